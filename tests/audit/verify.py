"""A second verifier of the audit log, written from the description of the format alone: it shares no code with the relay.

Usage: verify.py FOLDER ROOT_KEY [OLDER_CHECKPOINT ...]; the exit code is that of `colloque audit verify`.
"""

import base64
import hashlib
import json
import re
import sys
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TORN, CONTENT, SIGNATURE, GAP, INCONSISTENT, WARNING = 2, 3, 4, 5, 6, 7
ORDER = (CONTENT, GAP, SIGNATURE, INCONSISTENT, TORN, WARNING)
PLAIN, HASH, TIME = re.compile(r"[A-Za-z0-9._:/+=-]*\Z"), re.compile("[0-9a-f]{64}"), "%Y-%m-%dT%H:%M:%S.%fZ"
SLACK, LATE = 600_000_000, 1_000_000
BAD = (ValueError, KeyError, TypeError, IndexError, RecursionError)

def crc_step(crc, times=8):
    return crc_step(crc >> 1 ^ (0x82F63B78 if crc & 1 else 0), times - 1) if times else crc

CRC = [crc_step(byte) for byte in range(256)]

class Stop(Exception):
    """Nothing after this can be judged."""

def crc32c(data, crc=0xFFFFFFFF):
    for byte in data:
        crc = CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF

def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def check(good):
    if not good:
        raise ValueError("not of the expected form")

def unbase64(text):
    data = base64.b64decode(text, validate=True)
    check(base64.b64encode(data).decode() == text)
    return data

def number(text):
    check(str(int(text)) == text and int(text) >= 0)
    return int(text)

def micros(text):
    at = datetime.strptime(text, TIME)
    check(at.strftime(TIME) == text)
    return (at - datetime(1970, 1, 1)) // timedelta(microseconds=1)

class Key:
    def __init__(self, name, public):
        self.name, self.public, self.id = name, public, sha(name.encode(), b"\n\x01", public)[:4]

    @classmethod
    def parse(cls, text):
        name, key_id, key = text.strip().split("+", 2)
        made = cls(name, unbase64(key)[1:])
        check(unbase64(key)[0] == 1 and made.id.hex() == key_id)
        return made

    def signed(self, note):
        mine = [signature for name, signature in note[1] if name == self.name and signature[:4] == self.id]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(mine[0][4:], note[0].encode())
        except (IndexError, InvalidSignature, ValueError):
            return False
        return True

def read_note(whole):
    end, signatures = whole.rindex("\n\n"), []
    check(whole.endswith("\n"))
    for line in whole[end + 2 : -1].split("\n"):
        dash, name, data = line.split(" ", 2)
        check(dash == "\u2014" and name and PLAIN.match(name) and len(unbase64(data)) > 4)
        signatures.append((name, unbase64(data)))
    return whole[: end + 1], signatures

def read_checkpoint(text):
    origin, size, root, end = text.split("\n")
    check(end == "" and len(unbase64(root)) == 32)
    return origin, number(size), unbase64(root)

def unique(pairs):
    check(len(dict(pairs)) == len(pairs))
    return dict(pairs)

def plain(value):
    if isinstance(value, (dict, list)):
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            plain(item)
    else:
        check(PLAIN.match(value) if isinstance(value, str) else isinstance(value, int) and abs(value) < 1 << 53)

def read_entry(data):
    entry = json.loads(data, object_pairs_hook=unique)
    plain(entry)
    check(len(data) <= 8192 and json.dumps(entry, sort_keys=True, separators=(",", ":")).encode() == data)
    check(entry["v"] == 1 and HASH.fullmatch(entry["prev"]) and isinstance(entry["data"], dict))
    return entry, number(str(entry["seq"])), micros(entry["ts"])

def frame(data, at):
    """The entry of the frame at a place, or nothing."""
    size, crc = int.from_bytes(data[at + 4 : at + 8], "big"), int.from_bytes(data[at + 8 : at + 12], "big")
    entry = data[at + 12 : at + 12 + size]
    good = data[at : at + 4] == b"CLQ1" and len(data) >= at + 12 and len(entry) == size <= 8192
    return entry if good and crc32c(entry) == crc else None

def read_segment(data):
    entries, at = [], 0
    while at < len(data):
        entry = frame(data, at)
        if entry is None:
            later = [found.start() for found in re.finditer(b"CLQ1", data) if found.start() > at]
            return entries, "broken" if any(frame(data, place) is not None for place in later) else "torn"
        entries.append(entry)
        at += 12 + len(entry)
    return entries, "whole"

class Tree:
    def __init__(self, size=0, nodes=()):
        self.size, self.nodes = size, list(nodes)
        check(bin(size).count("1") == len(self.nodes))

    def push(self, leaf):
        for _ in range(len(bin(self.size)) - len(bin(self.size).rstrip("1"))):
            leaf = sha(b"\x01", self.nodes.pop(), leaf)
        self.nodes.append(leaf)
        self.size += 1

    def root(self):
        root = self.nodes[-1]
        for node in reversed(self.nodes[:-1]):
            root = sha(b"\x01", node, root)
        return root

class Log:
    def __init__(self, folder, root):
        self.files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.found, self.origin, self.certificates, self.seals, self.roots = set(), None, {}, {}, {}
        for name in sorted(self.files):
            if name.startswith("epochs/") and name.endswith(".cert"):
                self.guard(SIGNATURE, self.certificate, self.files[name], root)
        self.find(SIGNATURE, not self.certificates)
        self.checkpoints()
        self.tree = self.guard(CONTENT, self.frontier) or Tree()
        self.base, self.next, self.head, self.epoch, self.newest, self.late = self.tree.size, None, bytes(32), None, 0, 0
        self.first, self.purged, self.head_at_base, self.abandoned, self.stopped = None, None, None, False, False
        try:
            self.segments()
        except Stop:
            self.stopped = True
        self.finish()

    def find(self, code, happened):
        self.found |= {code} if happened else set()

    def fail(self, code, happened=True):
        self.find(code, happened)
        if happened:
            raise Stop

    def guard(self, code, call, *words):
        try:
            return call(*words)
        except BAD:
            self.find(code, True)

    def certificate(self, data, root):
        note = read_note(data.decode())
        origin, epoch, key, not_before, not_after, end = note[0].split("\n")
        check(end == "" and root.signed(note) and self.origin in (None, origin))
        self.origin = origin
        self.certificates[number(epoch)] = (Key(origin, unbase64(key)), micros(not_before), micros(not_after))

    def checkpoints(self):
        parts, known = self.files.get("checkpoints.log", b"").decode(errors="replace").split("\n\n"), []
        self.find(TORN, parts.pop() != "" or len(parts) % 2)
        for body, signatures in zip(parts[::2], parts[1::2]):
            known.append(f"{body}\n\n{signatures}\n")
            self.guard(SIGNATURE, self.checkpoint, known[-1])
        latest = self.files.get("checkpoint", b"").decode(errors="replace")
        self.find(SIGNATURE, latest not in known and (self.seals or "checkpoint" in self.files))

    def checkpoint(self, whole):
        note = read_note(whole)
        origin, size, root = read_checkpoint(note[0])
        self.find(SIGNATURE, origin != self.origin)
        check(size > max(self.seals, default=0))
        self.seals[size] = (note, root)

    def frontier(self):
        size, *nodes = self.files.get("frontier", b"0\n").decode().split("\n")
        check(nodes.pop() == "" and all(HASH.fullmatch(node) for node in nodes))
        return Tree(number(size), [bytes.fromhex(node) for node in nodes])

    def covers(self, epoch, at):
        return at is None or self.certificates[epoch][1] - SLACK <= at <= self.certificates[epoch][2] + SLACK

    def sized(self, at):
        size, root = self.tree.size, self.tree.root()
        self.roots[size] = root
        if size in self.seals:
            self.find(CONTENT, self.seals[size][1] != root)
            epochs = [epoch for epoch in self.certificates if (epoch == self.epoch if self.epoch is not None else self.covers(epoch, at))]
            self.find(SIGNATURE, not any(self.certificates[epoch][0].signed(self.seals[size][0]) for epoch in epochs))

    def segments(self):
        named = {int(name[4:-4]): data for name, data in self.files.items() if re.fullmatch(r"seg-\d{20}\.log", name)}
        if self.base:
            self.sized(None)
        firsts = sorted(named)
        for first, after in zip(firsts, firsts[1:] + [None]):
            if self.next is None:
                self.first = self.next = first
                self.fail(GAP, first > self.base)
            self.fail(GAP, first > self.next)
            self.fail(CONTENT, first < self.next)
            self.segment(after, named[first])

    def segment(self, after, data):
        was_abandoned, explained, taken = self.abandoned, False, 0
        entries, tail = read_segment(data)
        read = [self.guard(None, read_entry, entry) for entry in entries]
        for entry, seen in zip(entries, read):
            if self.next == after:
                break
            self.fail(CONTENT, seen is None)
            explained |= seen[0]["ev"] in ("audit.write_degraded", "audit.recovered")
            self.entry(entry, seen, [other[1] for other in read[taken:] if other])
            taken += 1
        self.fail(CONTENT, was_abandoned and not explained)
        self.abandoned = after is not None and (taken < len(entries) or tail != "whole")
        self.fail(GAP if tail == "whole" else CONTENT, after is not None and self.next < after)
        self.fail(CONTENT, after is None and tail == "broken")
        self.find(TORN, after is None and tail == "torn")

    def entry(self, data, seen, places):
        entry, seq, at = seen
        self.fail(GAP, seq > self.next and self.next not in places)
        chained = entry["prev"] == self.head.hex() or (seq == self.first and seq > 0)
        self.fail(CONTENT, seq != self.next or self.origin not in (None, entry["log"]) or not chained)
        self.head_at_base = entry["prev"] if seq == self.base else self.head_at_base
        self.late += at + LATE < self.newest
        self.newest = max(self.newest, at)
        event, facts = entry["ev"], entry["data"]
        past = self.epoch in self.certificates and at > self.certificates[self.epoch][2] + SLACK
        self.find(WARNING if entry["clk"] == "unsynced" else SIGNATURE, past and event != "audit.epoch_started")
        if event == "audit.epoch_started":
            epoch, ended = facts["epoch"], self.epoch is not None
            good = epoch in self.certificates and self.certificates[epoch][0].id.hex() == facts["kid"] and self.covers(epoch, at)
            self.find(SIGNATURE, not good or ended and (self.epoch >= epoch or seq not in self.seals))
            self.epoch = epoch
        elif event == "audit.purged":
            self.purged = (int(facts["to_seq"]) + 1, facts["last_leaf"])
        elif event == "audit.write_restored" and int(facts["kept_events"]) >= self.late:
            self.late = 0
        self.head, self.next = sha(b"\x00", data), seq + 1
        if seq >= self.base:
            self.tree.push(self.head)
            self.sized(at)

    def finish(self):
        self.found.discard(None)
        self.size = self.base if self.next is None else self.next
        for size, (note, _) in self.seals.items():
            self.find(GAP, size > self.size and not self.stopped)
            self.find(SIGNATURE, size < self.base and not any(key.signed(note) for key, *_ in self.certificates.values()))
        unsigned = self.size > max((size for size in self.seals if size <= self.size), default=0)
        self.find(WARNING, not self.stopped and (unsigned or self.late))
        self.find(GAP, not self.stopped and self.base and self.purged != (self.base, self.head_at_base))

    def older(self, whole):
        note = read_note(whole)
        origin, size, root = read_checkpoint(note[0])
        own = origin == self.origin and any(key.signed(note) for key, *_ in self.certificates.values())
        known = self.roots.get(size) if size >= self.base else self.seals.get(size, (None, None))[1]
        check(own and size <= self.size and known == root)

def verify(folder, root_key, older=()):
    log = Log(Path(folder), Key.parse(root_key))
    for note in older:
        log.guard(INCONSISTENT, log.older, note)
    return next((code for code in ORDER if code in log.found), 0)

if __name__ == "__main__":
    sys.exit(verify(sys.argv[1], Path(sys.argv[2]).read_text(), [Path(name).read_text() for name in sys.argv[3:]]))

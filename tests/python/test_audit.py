"""The audit log is judged alike by the relay's verifier and by one that was written from the description alone."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from node import binary

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "audit"))

import verify as second  # noqa: E402

GOOD, MUTATED = 50, 200


def audit(*words):
    return subprocess.run([str(binary()), "audit", *map(str, words)], capture_output=True, text=True, timeout=30, check=False)


def sample(folder, seed, **shape):
    words = [word for name, value in shape.items() for word in (f"--{name.replace('_', '-')}", value)]
    made = audit("sample", folder, "--seed", seed, *words)
    assert made.returncode == 0, made.stderr
    return folder, folder.with_suffix(".root.pub")


def both(folder, key, *older):
    """Both exit codes, and what the relay's verifier said."""
    flags = [word for note in older for word in ("--from", note)]
    mine = audit("verify", "--log", folder, "--root-key", key, "--json", *flags)
    assert mine.stderr == ""
    other = second.verify(folder, key.read_text(), [note.read_text() for note in older])
    return mine.returncode, other, mine.stdout


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def notes(folder):
    parts = (folder / "checkpoints.log").read_text().split("\n\n")[:-1]
    return [f"{text}\n\n{signatures}\n" for text, signatures in zip(parts[::2], parts[1::2])]


def damage(folder, chance):
    """Does one thing to one file; says what."""
    what = chance.choice(["flip", "cut", "insert", "remove", "unlink", "torn", "frames", "frames", "notes"])
    segments = sorted(folder.glob("seg-*"))
    path = segments[-1] if what == "torn" else chance.choice(segments if what == "frames" else files(folder))
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data))
    if what == "flip":
        data[at] ^= 1 << chance.randrange(8)
    elif what == "cut":
        del data[at:]
    elif what == "insert":
        data[at:at] = bytes([chance.randrange(256)])
    elif what == "remove":
        del data[at : at + chance.randrange(1, 40)]
    elif what == "torn":
        data += data[: chance.randrange(1, 100)]
    elif what == "frames":
        entries = second.read_segment(bytes(data))[0]
        one, other = chance.randrange(len(entries)), chance.randrange(len(entries))
        change = chance.choice(["drop", "swap", "double", "edit"])
        if change == "drop":
            del entries[one]
        elif change == "swap":
            entries[one], entries[other] = entries[other], entries[one]
        elif change == "double":
            entries.insert(other, entries[one])
        else:
            entries[one] = entries[one].replace(b'"clk_err_ms":4', b'"clk_err_ms":' + chance.choice([b"5", b"05", b" 4", b"4.0", b"null"]))
        data = bytearray(b"".join(b"CLQ1" + len(e).to_bytes(4, "big") + second.crc32c(e).to_bytes(4, "big") + e for e in entries))
        what = f"frames {change}"
    elif what == "notes":
        path, all_notes = folder / "checkpoints.log", notes(folder)
        one = chance.randrange(len(all_notes))
        chance.choice([lambda: all_notes.pop(one), lambda: all_notes.insert(one, all_notes[one]), lambda: all_notes.reverse()])()
        data = bytearray("".join(f"{note}\n" for note in all_notes).encode())
    if what == "unlink":
        path.unlink()
    else:
        path.write_bytes(data)
    return f"{what} {path.name} at {at}"


def shape(seed):
    return {"events": 20 + seed % 7 * 10, "days": 1 + seed % 4, "purged_days": seed % 4 // 2}


def test_both_verifiers_take_good_logs(tmp_path):
    for seed in range(GOOD):
        folder, key = sample(tmp_path / f"log{seed}", seed, **shape(seed))
        mine, other, said = both(folder, key)
        assert (mine, other) == (0, 0), f"seed {seed}: {said}"
        assert json.loads(said)["code"] == 0


def test_both_verifiers_agree_on_damaged_logs(tmp_path):
    chance, seen = random.Random(20), {}
    for round in range(MUTATED):
        seed = round % 10
        folder, key = sample(tmp_path / "log", seed, **shape(seed))
        what = damage(folder, chance)
        mine, other, said = both(folder, key)
        assert mine == other, f"round {round}, seed {seed}: {what}: {mine} and {other}\n{said}"
        seen[mine] = seen.get(mine, 0) + 1
        shutil.rmtree(folder)
    print("exit codes met:", dict(sorted(seen.items())))
    assert {2, 3, 4, 5} <= set(seen), seen
    assert seen.get(0, 0) < MUTATED / 10, seen


def test_both_verifiers_compare_with_an_older_checkpoint(tmp_path):
    folder, key = sample(tmp_path / "one", 3, events=40, days=2)
    kept = tmp_path / "kept"
    kept.write_text(notes(folder)[0])
    assert both(folder, key, kept)[:2] == (0, 0)
    # Another log of the same origin whose keys are the same: only what was kept elsewhere tells them apart.
    longer, _ = sample(tmp_path / "two", 3, events=41, days=2)
    assert both(longer, key)[:2] == (0, 0)
    last = tmp_path / "last"
    last.write_text(notes(folder)[-1])
    assert both(longer, key, last)[:2] == (6, 6)


def test_a_proof_holds_with_the_roots_key_alone(tmp_path):
    folder, key = sample(tmp_path / "log", 5, events=60, days=3, purged_days=1)
    seq = int(sorted(path.name for path in folder.glob("seg-*"))[0][4:-4]) + 7
    made = audit("prove", "--log", folder, "--seq", seq)
    assert made.returncode == 0, made.stderr
    proof = json.loads(made.stdout)
    origin, size, root = second.read_checkpoint(second.read_note(proof["checkpoint"])[0])
    assert second.read_entry(proof["entry"].encode())[1] == seq < size
    node, place, last = second.sha(b"\0", proof["entry"].encode()), seq, size - 1
    for sibling in map(second.unbase64, proof["path"]):
        if place & 1 or place == last:
            node = second.sha(b"\1", sibling, node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = second.sha(b"\1", node, sibling)
        place, last = place >> 1, last >> 1
    assert node == root
    signers = [second.read_note(note) for note in proof["certificates"]]
    assert all(second.Key.parse(key.read_text()).signed(note) for note in signers)
    keys = [second.Key(origin, second.unbase64(text.split("\n")[2])) for text, _ in signers]
    assert any(made.signed(second.read_note(proof["checkpoint"])) for made in keys)
    assert audit("prove", "--log", folder, "--seq", 0).returncode == 78


@pytest.mark.parametrize("words", [["--root-key", "nonsense"], []])
def test_a_missing_key_is_a_usage_error(tmp_path, words):
    ended = audit("verify", "--log", tmp_path, *words)
    assert ended.returncode == 64
    assert ended.stderr.count("\n") == 1


def test_a_folder_that_is_not_there_is_said(tmp_path):
    _, key = sample(tmp_path / "log", 1, events=20)
    ended = audit("verify", "--log", tmp_path / "nowhere", "--root-key", key)
    assert ended.returncode == 78
    assert os.fspath(tmp_path / "nowhere") in ended.stderr

"""What a consultation leaves on record: in the right order, on disk before anybody saw the effect, and nothing it must not hold."""

import asyncio
import json
import os
import random
import signal
import subprocess

import aiohttp
import pytest
from livekit import rtc
from node import Node, binary
from test_audit import second
from test_busy import UPGRADE, refused
from test_v1 import Platform, Problem

import media
from person import KEY, Person, eventually
from signalling import sign

# Values that must never be found: a person's name, a French social security number, a qualified identity, an address, a chat.
PLANTED = ("Jeanne Planted", "2 55 08 14 168 025 38", "255081416802538", "planted@patient.example", "planted chat text", "203.0.113.77")


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


def entries(folder):
    """The entries of a log, read from its frames without the relay's help."""
    for segment in sorted(folder.glob("seg-*.log")):
        whole, state = second.read_segment(segment.read_bytes())
        assert state == "whole", segment.name
        yield from map(json.loads, whole)


def logs(config):
    found = sorted(path.parent for path in (config.parent / "audit").rglob("checkpoints.log"))
    return [path for path in found if any(path.glob("seg-*.log"))]


def of_tenant(config):
    """Entries of the tenants' logs, in order."""
    return [entry for folder in logs(config) if "tenants" in folder.parts for entry in entries(folder)]


def verified(config):
    """Checks every log offline with the public key alone; 7 is intact with entries no witness has seen."""
    codes = {}
    for folder in logs(config):
        words = [binary(), "audit", "verify", "--log", folder, "--root-key", config.parent / "root.pub", "--json"]
        checked = subprocess.run(words, capture_output=True, text=True, timeout=60)
        codes[folder.relative_to(config.parent).as_posix()] = (checked.returncode, checked.stdout)
    return codes


async def comes(node, invited, known):
    person = Person(node, invited["seat"]["seat"])
    known.append(person)
    await person.connect(invited["token"])
    return person


async def test_a_consultation_on_record(record, session, room_name):
    node, known, sources = Node(config=record), [], []
    try:
        v1 = Platform(session, node)
        room = await v1.create(id=room_name)
        doctor = await comes(node, await v1.invite(room, "d", "doctor", name=PLANTED[0]), known)
        invited = await v1.invite(room, "p", "patient", name=PLANTED[0])
        patient = await comes(node, invited, known)
        for person, pitch in ((doctor, 440), (patient, 660)):
            sources.append(media.Microphone(pitch))
            await sources[-1].publish(person)
        await eventually("the doctor sees who waits", lambda: doctor.room.remote_participants.get("p"))
        assert not [entry for entry in of_tenant(record) if entry["ev"] == "media.subscribed"], "nobody receives anybody yet"
        await v1.call("POST", f"/consultations/{room}/seats/p/admit")
        await v1.call("POST", f"/consultations/{room}/consents", {"text": "v1"}, jwt=invited["token"])
        await doctor.track("p", rtc.TrackKind.KIND_AUDIO)
        # What the client just saw is on disk already.
        seen = [entry["ev"] for entry in of_tenant(record)]
        assert {"participant.admitted", "consent.given", "media.gate_opened", "media.subscribed"} <= set(seen), seen
        for text in PLANTED:
            await patient.me.publish_data(text.encode(), topic="chat")
        await v1.call("DELETE", f"/consultations/{room}/consents/p", jwt=invited["token"])
        await v1.call("POST", f"/consultations/{room}/seats/p/remove")
        await patient.event("disconnected")
        await v1.call("DELETE", f"/consultations/{room}")
        await doctor.event("disconnected")
    finally:
        await asyncio.gather(*(person.leave() for person in known), return_exceptions=True)
        await asyncio.gather(*(source.close() for source in sources))
        code, _ = node.stop()
    assert code == 0 and not node.faults()

    told = of_tenant(record)
    order = [entry["ev"] for entry in told]
    print(order)
    given = next(entry for entry in told if entry["ev"] == "consent.given")
    who = given["obj"]["ref"]
    # What concerns the patient, and the room itself.
    own = [entry["ev"] for entry in told if entry.get("obj", {}).get("ref") == who or entry["actor"].get("ref") == who or entry["ev"].startswith("room.")]
    first = {name: own.index(name) for name in set(own)}
    for before, after in (
        ("room.created", "token.accepted"),
        ("token.accepted", "participant.waiting"),
        ("token.accepted", "participant.admitted"),
        ("participant.waiting", "participant.admitted"),
        ("participant.admitted", "media.gate_opened"),
        ("consent.given", "media.gate_opened"),
        ("media.gate_opened", "media.subscribed"),
        ("media.subscribed", "consent.withdrawn"),
        ("consent.withdrawn", "participant.removed"),
        ("participant.removed", "room.closed"),
    ):
        assert first[before] < first[after], f"{before} before {after}: {own}"
    assert given["data"]["scope"] == ["teleconsultation"] and given["data"]["text_version"] == "v1"
    withdrawn = next(entry for entry in told if entry["ev"] == "consent.withdrawn")
    assert withdrawn["data"]["gate_closed_ms"] >= 1, "measured, and rounded up"
    assert given["obj"]["kind"] == "participant" and given["actor"]["role"] == "patient"
    codes = verified(record)
    print({name: code for name, (code, _) in codes.items()})
    assert len(codes) >= 2 and all(code in (0, 7) for code, _ in codes.values()), codes

    # One flipped byte is found, in the middle of an entry of the tenant's log.
    folder = next(folder for folder in logs(record) if "tenants" in folder.parts)
    segment = sorted(folder.glob("seg-*.log"))[0]
    segment.chmod(0o600)
    whole = bytearray(segment.read_bytes())
    whole[len(whole) // 2] ^= 1
    segment.write_bytes(whole)
    assert verified(record)[folder.relative_to(record.parent).as_posix()][0] == 3

    # Nothing planted is anywhere: not in the record, not in what the relay said. The control finds what is there.
    kept = b"".join(path.read_bytes() for path in (record.parent / "audit").rglob("*") if path.is_file())
    heard = "".join(node.lines).encode()
    assert b"participant.admitted" in kept and b"colloque ready" in heard, "positive control"
    for text in (*PLANTED, room_name, invited["token"]):
        assert text.encode() not in kept and text.encode() not in heard, "planted"


def of_node(config):
    return [entry for folder in logs(config) if "node" in folder.parts for entry in entries(folder)]


async def test_what_else_is_on_record(record, session, room_name):
    """Tokens that were refused, whose key signed the others, who vouched for whom, what was configured, how good the clock is."""
    (record.parent / "clock").touch()
    record.write_text(record.read_text() + f'clock_file = "{record.parent}/clock"\n')
    node, known = Node(config=record), []
    try:
        v1 = Platform(session, node)
        room = await v1.create(id=room_name)
        invited = await v1.invite(room, "d", "doctor")
        await comes(node, invited, known)
        patient = await comes(node, await v1.invite(room, "p", "patient"), known)
        await eventually("waits", lambda: patient.me.attributes.get("consultation.state") == "waiting")
        await v1.call("POST", f"/consultations/{room}/seats/p/identity", {"method": "seen_document"}, jwt=invited["token"])
        with pytest.raises(Problem):
            await v1.call("POST", f"/consultations/{room}/seats/p/identity", {"method": "2550814168025"}, jwt=invited["token"])
        companion = await v1.invite(room, "c", "companion")
        person = await comes(node, companion, known)
        await v1.call("POST", f"/consultations/{room}/seats/c/remove")
        await person.event("disconnected")
        for _ in range(7):
            status, _, _ = await refused(session, node, "/rtc/v1", companion["token"], **UPGRADE)
            assert status == 401
        for _ in range(20):
            await refused(session, node, "/rtc/v1", sign(secret="another secret of thirty-two bytes"), **UPGRADE)
        await v1.invite(room, "c", "interpreter")
    finally:
        await asyncio.gather(*(person.leave() for person in known), return_exceptions=True)
        node.stop()
    told = of_tenant(record)
    accepted = [entry for entry in told if entry["ev"] == "token.accepted"]
    assert len(accepted) == 3
    assert all(entry["data"]["kid"] == KEY and 0 < entry["data"]["ttl_s"] <= 600 for entry in accepted), accepted
    waiting = next(entry for entry in told if entry["ev"] == "participant.waiting")
    whose = next(entry for entry in accepted if entry["obj"] == waiting["obj"])
    assert whose["seq"] < waiting["seq"], "accepted, then waiting"
    vouched = next(entry for entry in told if entry["ev"] == "identity.attested")
    assert vouched["data"] == {"method": "seen_document"} and vouched["actor"]["role"] == "doctor" and vouched["obj"] == waiting["obj"]
    changed = next(entry for entry in told if entry["ev"] == "participant.role_changed")
    assert (changed["data"]["old"], changed["data"]["new"]) == ("companion", "interpreter")

    turned_away = [entry for entry in told if entry["ev"] == "token.refused"]
    print([(entry["why"], entry["data"]["count"]) for entry in turned_away])
    assert [(entry["why"], entry["data"]["count"]) for entry in turned_away] == [("revoked", 1), ("revoked", 6)]
    assert turned_away[0]["data"]["kid"] == KEY and turned_away[0]["out"] == "refused"
    of_the_node = of_node(record)
    forged = [(entry["why"], entry["data"]["count"]) for entry in of_the_node if entry["ev"] == "token.refused"]
    assert forged == [("bad_signature", 1), ("bad_signature", 19)], forged
    names = [entry["ev"] for entry in of_the_node]
    print(names)
    assert names.index("node.started") < names.index("tenant.registered") < names.index("node.draining") < names.index("node.stopped")
    assert {entry["clk"] for entry in told} == {"synced"} and all(entry["clk_err_ms"] <= 100 for entry in told)

    # Started again: what is configured otherwise is named, what is not is not.
    node = Node(config=record)
    node.stop()
    before = len(of_the_node)
    again = [entry for entry in of_node(record)[before:] if entry["ev"] == "node.config_changed"]
    assert len(again) == 1 and set(again[0]["data"]["keys_changed"]) == {"http.port", "media.udp_port"}, again
    assert "tenant.registered" not in [entry["ev"] for entry in of_node(record)[before:]]
    assert all(code in (0, 7) for code, _ in verified(record).values())


def test_who_takes_entries_out_is_on_record_before_them(record):
    node = Node(config=record)
    node.stop()
    folder = next(folder for folder in logs(record) if "node" in folder.parts)
    words = [binary(), "audit", "export", "--log", folder, "--root-key", record.parent / "root.pub", "--from", "2020-01-01", "--to", "2100-01-01"]
    # Only a tenant that is configured has a log here.
    config = record.parent / "stopped.toml"
    config.write_text(record.read_text() + '[[tenants]]\nname = "dev"\n[[tenants.keys]]\nid = "k"\nsecret = "0123456789abcdef0123456789abcdef"\n')

    def taken(*more):
        return subprocess.run([*words, *more], capture_output=True, text=True, timeout=30)

    told = taken("--format", "ndjson", "--config", config, "--by", "adm-7f3a")
    assert told.returncode == 0, told.stderr
    last = json.loads(told.stdout.splitlines()[-1])
    assert last["ev"] == "audit.exported" and last["actor"]["kind"] == "admin", "its own taking is among what it took"
    assert last["data"]["format"] == "ndjson" and last["data"]["to_seq"] == last["seq"] - 1
    assert taken("--format", "table", "--config", config, "--by", "adm-11c2").returncode == 0
    names = [entry["ev"] for entry in of_node(record)]
    assert names[-2:] == ["audit.exported", "audit.read"], names
    # Nobody is handed anything without a name, nor while the node has the log.
    assert taken("--format", "ndjson", "--config", config).returncode == 64
    node = Node(config=record)
    try:
        busy = taken("--format", "ndjson", "--config", config, "--by", "adm-7f3a")
        assert busy.returncode != 0 and not busy.stdout and "stop the node" in busy.stderr, busy.stderr
    finally:
        node.stop()
    assert all(code in (0, 7) for code, _ in verified(record).values())


async def test_what_a_client_saw_survives_being_killed(record, session, room_name):
    """Rounds of SIGKILL at a random moment; `ROUNDS` makes it longer, with a `TEST_BOUND_S` to match, `SEED` another one."""
    rounds = int(os.environ.get("ROUNDS", "4"))
    chance = random.Random(int(os.environ.get("SEED", "7")))
    saw = 0
    for number in range(rounds):
        node, known = Node(config=record), []
        try:
            v1 = Platform(session, node)
            rooms = []

            async def consult(seat, number=number, v1=v1, node=node, known=known, rooms=rooms):
                room = await v1.create(id=f"{room_name}-{number}-{seat}", rules={"consent": [], "auto_admit": ["patient"]})
                doctor = await comes(node, await v1.invite(room, "d", "doctor"), known)
                patient = await comes(node, await v1.invite(room, "p", "patient"), known)
                await eventually("both see each other", lambda: doctor.room.remote_participants and patient.room.remote_participants)
                rooms.append(room)

            calls = [asyncio.create_task(consult(seat)) for seat in range(3)]
            await asyncio.wait(calls, timeout=chance.uniform(0.1, 1.5))
            effects = len(rooms)
            node.process.send_signal(signal.SIGKILL)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        finally:
            node.stop()
            await asyncio.gather(*(asyncio.wait_for(person.leave(), 5) for person in known), return_exceptions=True)
        joined = {}
        for entry in of_tenant(record):
            if entry["ev"] == "participant.joined":
                joined[entry["room"]] = joined.get(entry["room"], 0) + 1
        saw += effects
        both = sum(1 for count in joined.values() if count >= 2)
        assert both >= saw, f"round {number}: {saw} rooms were seen with both inside, {both} are on record"
        codes = {name: code for name, (code, _) in verified(record).items()}
        assert all(code in (0, 2, 7) for code in codes.values()), codes
    print(f"{rounds} kills, {saw} rooms seen with both inside, all on record")
    node = Node(config=record)
    node.stop()
    assert all(code in (0, 7) for code, _ in verified(record).values()), "whole again after an orderly stop"

"""What an operator asks of the record about one consultation: to keep it, and whose references it holds."""

import json
import subprocess

import aiohttp
from audited import SETTINGS, make_keys
from livekit import api
from node import Node, binary
from test_record import of_tenant, verified
from test_v1 import Platform

from person import Person

KEY, SECRET = "APIclinic", "a secret of more than thirty-two bytes"
TENANT = f"""
[[tenants]]
name = "clinic-a"
policy = "consultation"
keys = [{{ id = "{KEY}", secret = "{SECRET}" }}]
"""
DOCTOR, NOBODY = "doctor-4711", "nobody-17"


async def a_consultation(config, room):
    """One doctor comes and goes; answers the sid of the room's opening, as the platform learns it."""
    node = Node(config=config)
    doctor = Person(node, DOCTOR)
    try:
        jwt = api.AccessToken(KEY, SECRET).with_grants(api.VideoGrants(room_create=True)).to_jwt()
        async with aiohttp.ClientSession() as session:
            v1 = Platform(session, node, jwt)
            await v1.create(id=room)
            await doctor.connect((await v1.invite(room, DOCTOR, "doctor"))["token"])
            busy = audit("resolve", "--config", config, "--tenant", "clinic-a", "--consultation", room, "--by", "adm-7f3a")
            assert busy.returncode == 78 and "stop the node" in busy.stderr and not busy.stdout, busy.stderr
            told = (await v1.call("GET", "/events?after=0"))["events"]
            assert doctor.room.isconnected()
        return next(event["facts"]["sid"] for event in told if event["type"] == "consultation.opened")
    finally:
        await doctor.leave()
        code, _ = node.stop()
        assert code == 0 and not node.faults(), node.lines[-20:]


def audit(*words):
    return subprocess.run([binary(), "audit", *words], capture_output=True, text=True, timeout=30)


async def test_references_of_named_ids_are_found_and_one_consultation_is_held(tmp_path, room_name):
    config = tmp_path / "colloque.toml"
    config.write_text(SETTINGS.format(folder=tmp_path) + TENANT)
    sid = await a_consultation(make_keys(config), room_name)

    def resolve(*more, by="adm-7f3a"):
        return audit("resolve", "--config", config, "--tenant", "clinic-a", "--by", by, *more)

    # Whose: by id, by reference, from a list of candidates. Nobody who is not named is told of.
    named = resolve("--consultation", room_name, "--room", sid, "--participant", DOCTOR, "--participant", NOBODY, "--json")
    told = json.loads(named.stdout)
    assert named.returncode == 1 and told["missing"] == [NOBODY], named.stderr
    refs = {row["kind"]: row for row in told["found"]}
    entries = of_tenant(config)
    opened = next(entry for entry in entries if entry["ev"] == "room.created")
    assert (refs["consultation"]["ref"], refs["room"]["ref"]) == (opened["consult"], opened["room"])
    joined = next(entry for entry in entries if entry["ev"] == "participant.joined")
    person = refs["participant"]
    assert (person["id"], person["room"], person["ref"]) == (DOCTOR, sid, joined["actor"]["ref"])
    assert person["first_seq"] <= joined["seq"] <= person["last_seq"] and person["entries"] >= 2
    assert resolve("--consultation", room_name).returncode == 0

    listed = tmp_path / "candidates"
    listed.write_text(f"somebody-1\n{DOCTOR}\nsomebody-2\n")
    whose = resolve("--room", sid, "--participants", listed, "--ref", person["ref"])
    assert whose.returncode == 0 and DOCTOR in whose.stdout and "somebody" not in whose.stdout, whose.stdout
    other = resolve("--room", sid, "--participant", NOBODY, "--ref", person["ref"])
    assert other.returncode == 1 and "nothing in this log by what was named" in other.stdout

    # That it was asked is on record with a number, and what was asked is nowhere.
    asked = [entry for entry in of_tenant(config) if entry["ev"] == "audit.resolved"]
    assert [entry["data"]["count"] for entry in asked] == [3, 1, 2, 1]
    assert all(entry["actor"] == {"kind": "admin", "ref": "adm-7f3a"} for entry in asked), asked[0]
    kept = b"".join(path.read_bytes() for path in (tmp_path / "audit").rglob("*") if path.is_file())
    assert DOCTOR.encode() not in kept and NOBODY.encode() not in kept and room_name.encode() not in kept

    # Wrong words are said before anything is read.
    listed.write_text("\n".join(f"id-{number}" for number in range(1001)))
    for words in ((), ("--participant", DOCTOR), ("--room", sid, "--participants", listed)):
        wrong = resolve(*words)
        assert wrong.returncode == 64 and not wrong.stdout and wrong.stderr, words
    assert resolve("--consultation", room_name, by="Jeanne Person").returncode == 64
    assert audit("resolve", "--config", config, "--tenant", "x", "--consultation", "c", "--by", "adm-1").returncode == 64

    def hold(*more):
        return audit("hold", "--config", config, "--by", "adm-7f3a", *more)

    def purge():
        words = ["--tenant", "clinic-a", "--older-than-days", "0", "--by", "adm-7f3a", "--second", "adm-11c2"]
        done = audit("purge", "--config", config, *words)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split()[0])

    held = ["--tenant", "clinic-a", "--consult", opened["consult"]]
    assert hold(*held, "--release").returncode == 78, "it is not held yet"
    unknown = "c-" + "0" * 26
    assert hold("--tenant", "clinic-a", "--consult", unknown, "--days", "30").returncode == 78, "no entry of it: a typing error"
    for words in (["--tenant", "clinic-a", "--consult", room_name, "--days", "30"], [*held, "--days", "367"], [*held], ["--node", "--consult", unknown, "--days", "3"]):
        wrong = hold(*words)
        assert wrong.returncode == 64 and not wrong.stdout, words
    done = hold(*held, "--days", "30")
    assert done.returncode == 0 and done.stdout.startswith("held until "), done.stderr
    assert purge() == 0 and opened["seq"] in [entry["seq"] for entry in of_tenant(config)]
    assert hold(*held, "--release").returncode == 0
    assert purge() > 0 and opened["seq"] not in [entry["seq"] for entry in of_tenant(config)]
    scopes = [(entry["ev"], entry["data"]["scope"], entry["data"]["scope_ref"]) for entry in of_tenant(config) if entry["ev"].startswith("audit.hold")]
    print(scopes)
    assert all(code in (0, 7) for code, _ in verified(config).values()), verified(config)

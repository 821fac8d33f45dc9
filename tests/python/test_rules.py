"""What a tenant's configuration says of its consultations binds every call and every room, and is on record."""

import asyncio
import subprocess

import aiohttp
import pytest
from audited import SETTINGS, make_keys
from livekit import api, rtc
from node import Node, binary
from test_record import of_node, of_tenant, verified
from test_v1 import Platform, Problem

from person import Person, eventually

KEY, SECRET = "APIstrict", "a secret of more than thirty-two bytes"
RULES = """
[[tenants]]
name = "strict"
policy = "consultation"
keys = [{{ id = "{key}", secret = "{secret}" }}]
[tenants.consultation]
consent = ["teleconsultation", "file_exchange"]
auto_admit = ["patient"]
professional_first = false
emergency_override = false
max_length_s = 1800
max_seats = {seats}
"""


def rules(config, seats):
    folder = config.parent
    config.write_text(SETTINGS.format(folder=folder) + RULES.format(key=KEY, secret=SECRET, seats=seats))
    return config


def signed(identity=None, attributes=None, **grants):
    made = api.AccessToken(KEY, SECRET).with_grants(api.VideoGrants(**grants))
    if identity:
        made = made.with_identity(identity).with_attributes(attributes)
    return made.to_jwt()


def seat(room, identity, role, **attributes):
    return signed(identity, {"consultation.role": role, **{f"consultation.{key}": value for key, value in attributes.items()}}, room_join=True, room=room)


async def loosened(call, key):
    with pytest.raises(Problem) as caught:
        await call
    told = caught.value.answer
    assert (caught.value.status, told["code"]) == (403, "tenant_rule"), told
    assert key in told["detail"] and "tenants.consultation" in told["detail"], told


async def run(config, doing):
    node, known = Node(config=config), []
    try:
        async with aiohttp.ClientSession() as session:
            return await doing(node, Platform(session, node, signed(room_create=True)), known)
    finally:
        await asyncio.gather(*(person.leave() for person in known), return_exceptions=True)
        code, _ = node.stop()
        assert code == 0 and not node.faults(), node.lines[-20:]


async def comes(node, known, identity, jwt):
    person = Person(node, identity)
    known.append(person)
    await person.connect(jwt)
    return person


async def arranged_and_not(node, v1, known):
    # A call says nothing, or less, or more than the tenant's rules.
    quiet = await v1.call("POST", "/consultations", {})
    assert quiet["rules"]["consent"] == ["teleconsultation", "file_exchange"] and quiet["rules"]["max_seats"] == 2
    assert quiet["rules"]["aside_allowed"] is True, "what is not written is the relay's default"
    own = {"consent": ["teleconsultation", "file_exchange", "aside"], "max_seats": 1, "early_s": 86400, "aside_allowed": False}
    shown = await v1.call("POST", "/consultations", {"rules": own})
    assert {key: shown["rules"][key] for key in own} == {**own, "consent": shown["rules"]["consent"]}
    assert sorted(shown["rules"]["consent"]) == sorted(own["consent"])
    await loosened(v1.create(rules={"consent": ["teleconsultation"]}), "rules.consent")
    await loosened(v1.create(rules={"emergency_override": True}), "rules.emergency_override")
    await loosened(v1.create(rules={"max_seats": 3}), "rules.max_seats")
    await loosened(v1.create(rules={"auto_admit": ["patient", "relative"]}), "rules.auto_admit")

    # A room that a token alone opens has the same rules: the patient need not wait, consent is asked for all scopes, and
    # there are two seats.
    room = "by-token"
    patient = await comes(node, known, "p", seat(room, "p", "patient"))
    await eventually("let in by the tenant's rule", lambda: patient.me.attributes.get("consultation.state") == "admitted")
    assert patient.me.attributes["consultation.gate"] == "consent"
    shown = await v1.call("GET", f"/consultations/{room}")
    assert shown["rules"]["max_seats"] == 2 and "file_exchange" in shown["rules"]["consent"]
    doctor = await comes(node, known, "d", seat(room, "d", "doctor"))
    with pytest.raises(rtc.ConnectError):
        await Person(node, "x").connect(seat(room, "x", "colleague"))
    await v1.call("POST", f"/consultations/{room}/consents", {"seat": "p", "text": "v1", "scopes": ["teleconsultation"]})
    await asyncio.sleep(0.3)
    assert patient.me.attributes["consultation.gate"] == "consent", "one scope of two"
    await v1.call("POST", f"/consultations/{room}/consents", {"seat": "p", "text": "v1", "scopes": ["file_exchange"]})
    await eventually("both scopes open the gate", lambda: "d" in patient.room.remote_participants)
    with pytest.raises(Problem) as caught:
        await v1.call("POST", f"/consultations/{room}/override", {"seat": "p", "why": "life_threat"}, jwt=seat(room, "d", "doctor"))
    assert caught.value.status == 403, "no call allows what the tenant does not"
    ends = (await v1.call("GET", f"/consultations/{room}"))["opened_at"]
    await loosened(v1.call("POST", f"/consultations/{room}/extend", {"ends_at": ends + 3600}), "max_length_s")
    await v1.call("POST", f"/consultations/{room}/extend", {"ends_at": ends + 1700})
    assert doctor.room.isconnected()


async def only_a_room(node, v1, known):
    await comes(node, known, "p", seat("another", "p", "patient"))
    assert (await v1.call("GET", "/consultations/another"))["rules"]["max_seats"] == 3


async def test_what_a_tenant_writes_binds_calls_rooms_and_the_record(tmp_path):
    config = make_keys(rules(tmp_path / "colloque.toml", 2))
    printed = subprocess.run([binary(), "check-config", "--config", config], capture_output=True, text=True, timeout=30)
    assert printed.returncode == 0, printed.stderr
    for line in ('consent = ["teleconsultation", "file_exchange"]', "emergency_override = false", "max_seats = 2"):
        assert line in printed.stdout.splitlines(), printed.stdout
    assert "# early_s = 900 (not written" in printed.stdout and SECRET not in printed.stdout

    await run(config, arranged_and_not)
    hashes = {entry["data"]["policy_hash"] for entry in of_tenant(config) if entry["ev"] == "room.created"}
    assert len(hashes) == 1, "one room was opened"
    await run(rules(config, 3), only_a_room)

    told = of_tenant(config)
    changed = [entry for entry in told if entry["ev"] == "tenant.policy_changed"]
    assert [entry["data"]["keys_changed"] for entry in changed] == [["consultation.max_seats"]], changed
    assert changed[0]["data"]["old_hash"] != changed[0]["data"]["new_hash"]
    # Each start has ports of its own; nothing else of the node has changed.
    of_its_own = [key for entry in of_node(config) if entry["ev"] == "node.config_changed" for key in entry["data"]["keys_changed"]]
    assert set(of_its_own) <= {"http.port", "media.udp_port"}, of_its_own
    later = {entry["data"]["policy_hash"] for entry in told if entry["ev"] == "room.created"}
    assert len(later) == 2 and hashes < later, "other rules, another hash"
    assert all(code in (0, 7) for code, _ in verified(config).values())


def test_a_bad_rule_is_one_line_with_key_value_and_remedy(tmp_path):
    config = rules(tmp_path / "colloque.toml", 65)
    checked = subprocess.run([binary(), "check-config", "--config", config], capture_output=True, text=True, timeout=30)
    assert checked.returncode != 0 and checked.stdout == ""
    said = checked.stderr.strip()
    assert said.count("\n") == 0 and "tenants[0].consultation.max_seats = 65" in said and "write max_seats = 16" in said, said

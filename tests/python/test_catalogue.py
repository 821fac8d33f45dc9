"""What the catalogue of the record promises of a running call, read back with the relay's own tools: calls of the platform, a no,
an end of tokens, a report, a call without pictures, a camera that brings nothing, data channels."""

import asyncio
import hashlib
import json
import subprocess

import aiohttp
import pytest
from livekit import api, rtc
from node import Node, binary
from test_record import PLANTED, comes, entries, logs, of_node, of_tenant, verified
from test_v1 import Platform, Problem

import media
from person import KEY, SECRET, Person, eventually

OTHER = "another secret of thirty-two bytes"


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


def exported(config, form):
    folder = max((folder for folder in logs(config) if "tenants" in folder.parts), key=lambda folder: len(list(entries(folder))))
    words = [binary(), "audit", "export", "--log", folder, "--root-key", config.parent / "root.pub", "--from", "2020-01-01", "--to", "2100-01-01"]
    taken = subprocess.run([*words, "--format", form], capture_output=True, text=True, timeout=30)
    assert taken.returncode == 0, taken.stderr
    return taken.stdout


async def bytes_of(session, node, v1, path):
    async with session.get(f"{node.http}/v1{path}", headers={"Authorization": f"Bearer {v1.jwt}"}) as answer:
        assert answer.status == 200
        return await answer.read()


async def refused(call):
    try:
        await call
    except Problem as problem:
        return problem.status
    raise AssertionError("it was carried out")


async def test_the_course_of_a_call_is_on_record(record, session, room_name):
    node, known, sources = Node(config=record), [], []
    twirp = api.LiveKitAPI(node.http, KEY, SECRET)
    forged = api.LiveKitAPI(node.http, KEY, OTHER)
    try:
        v1 = Platform(session, node)
        with pytest.raises(api.TwirpError):
            await forged.room.list_rooms(api.ListRoomsRequest())
        for _ in range(20):
            assert await refused(v1.call("POST", "/consultations", {"name": PLANTED[0]})) == 400
            assert await refused(v1.call("GET", f"/consultations/{PLANTED[1].replace(' ', '-')}")) == 404
        room = await v1.create(id=room_name)
        before = [entry for entry in of_tenant(record) if entry["ev"] == "admin.call" and entry["out"] == "ok"]
        assert [entry["data"]["op"] for entry in before] == ["room.create"], "on disk before the answer"
        doctor = await comes(node, await v1.invite(room, "d", "doctor", name=PLANTED[0], auth="psc:2"), known)
        invited = await v1.invite(room, "p", "patient", name=PLANTED[0])
        patient = await comes(node, invited, known)
        await v1.call("POST", f"/consultations/{room}/seats/p/admit")
        await eventually("asked", lambda: patient.me.attributes.get("consultation.gate") == "consent")

        # A no is told to the doctor, and the gate stays shut; then a yes.
        await v1.call("POST", f"/consultations/{room}/refusals", {}, jwt=invited["token"])
        other = doctor.room.remote_participants
        await eventually("told of the no", lambda: other["p"].attributes.get("consultation.declined") == "teleconsultation")
        assert patient.me.attributes.get("consultation.gate") == "consent" and not patient.room.remote_participants
        await v1.call("POST", f"/consultations/{room}/consents", {"text": "v1"}, jwt=invited["token"])
        await patient.sees("d")
        await eventually("no longer", lambda: "consultation.declined" not in other["p"].attributes)

        # The patient shows a camera that stops to bring anything; the doctor shows none.
        for person, pitch in ((doctor, 440), (patient, 660)):
            sources.append(media.Microphone(pitch))
            await sources[-1].publish(person)
        camera = media.Camera(media.COLOURS["a"])
        sources.append(camera)
        await camera.publish(patient)
        await doctor.track("p", rtc.TrackKind.KIND_VIDEO)
        for text in PLANTED:
            await patient.me.publish_data(text.encode(), topic=text)
        await asyncio.sleep(3)
        camera.task.cancel()

        for _ in range(3):
            await v1.call("GET", f"/consultations/{room}")
            await twirp.room.list_participants(api.ListParticipantsRequest(room=room))
        await twirp.room.send_data(api.SendDataRequest(room=room, data=PLANTED[4].encode(), topic=PLANTED[0]))
        await v1.call("GET", f"/consultations/{room}/timeline")
        told = await v1.call("GET", "/events?after=0")
        assert any(event["type"] == "consent.refused" for event in told["events"]), told
        report = await bytes_of(session, node, v1, f"/consultations/{room}/attestation")
        issued = [entry for entry in of_tenant(record) if entry["ev"] == "room.report_issued"]
        assert [entry["data"]["sha256"] for entry in issued] == [hashlib.sha256(report).hexdigest()]

        def happened(name):
            return [entry for entry in of_tenant(record) if entry["ev"] == name]

        await eventually("a time without pictures", lambda: happened("media.mode_changed"), 30)
        await eventually("an incident", lambda: happened("media.incident_started"), 30)
        await v1.call("POST", f"/consultations/{room}/seats/p/remove")
        await patient.event("disconnected")
        await v1.call("DELETE", f"/consultations/{room}")
        await doctor.event("disconnected")
    finally:
        await asyncio.gather(*(person.leave() for person in known), return_exceptions=True)
        await asyncio.gather(*(source.close() for source in sources), return_exceptions=True)
        await asyncio.gather(twirp.aclose(), forged.aclose())
        code, _ = node.stop()
    assert code == 0 and not node.faults()
    check(record, room_name, invited)
    heard = "".join(node.lines)
    assert not any(text in heard for text in (*PLANTED, room_name)), "planted"


def check(record, room_name, invited):
    told = [json.loads(line) for line in exported(record, "ndjson").splitlines()]
    print([(entry["ev"], entry["actor"]["kind"], entry["actor"].get("role"), entry.get("why")) for entry in told])

    def found(name, **where):
        fits = [entry for entry in told if entry["ev"] == name and all(entry.get(key, entry["data"].get(key)) == value for key, value in where.items())]
        assert fits, f"{name} {where}"
        return fits

    patient = found("consent.given")[0]["obj"]["ref"]
    doctor = next(entry for entry in found("participant.joined") if entry["actor"]["role"] == "doctor")["obj"]["ref"]

    # Who asked for what as which platform; what loops is one entry and a number.
    of_platform = [entry for entry in told if entry["ev"] in ("admin.call", "room.create_refused", "room.report_issued")]
    assert all(entry["actor"] == {"kind": "platform", "ref": KEY} for entry in of_platform), of_platform
    done = [entry["data"]["op"] for entry in found("admin.call", out="ok")]
    # Letting in, removing and ending are the consultation's own to tell.
    assert done == ["room.create", "seat.invite", "seat.invite", "room.read", "seat.read", "data.send", "timeline.read", "events.read"], done
    assert [entry["data"]["op"] for entry in found("admin.call", out="refused")] == ["room.read"]
    assert [entry["why"] for entry in found("room.create_refused")] == ["malformed"]
    counted = {(entry["data"]["ev"], entry["data"]["count"]) for entry in found("audit.suppressed")}
    assert {("room.create_refused", 19), ("admin.call", 19), ("admin.call", 2)} <= counted, counted
    assert sum(entry["ev"] == "token.refused" for entry in of_node(record)) == 1, "at the room service's door"

    # The patient's no, as the patient's own act.
    no = found("consent.refused")[0]
    assert (no["actor"]["ref"], no["actor"]["role"], no["out"]) == (patient, "patient", "refused")
    assert no["data"]["scope"] == ["teleconsultation"]
    # The doctor has sound and no picture; the patient's camera is on and brings nothing.
    mode = next(entry for entry in found("media.mode_changed", mode="audio_only") if entry["actor"]["ref"] == doctor)
    assert mode["why"] == "user" and mode["obj"]["ref"] == doctor
    lost = found("media.incident_started", kind="video_lost")[0]
    assert lost["actor"]["ref"] == patient and lost["obj"]["ref"] == patient
    assert found("media.incident_ended", kind="video_lost")[0]["data"]["dur_s"] >= 0, "with the stay at the latest"
    # Each person's data channels: open before anything is said, shut with how much was said.
    for who, messages in ((patient, len(PLANTED)), (doctor, 0)):
        opened = next(entry for entry in found("data.channel_opened") if entry["actor"]["ref"] == who)
        closed = next(entry for entry in found("data.channel_closed") if entry["obj"] == opened["obj"])
        assert (closed["data"]["msgs"], closed["data"]["bytes_kib"]) == (messages, 1 if messages else 0), closed
    removed = next(entry for entry in found("token.revoked") if entry["obj"]["kind"] == "participant")
    assert removed["obj"]["ref"] == patient and removed["data"]["by"] == "platform"
    accepted = next(entry for entry in found("token.accepted") if entry["obj"]["ref"] == patient)
    assert removed["data"].get("jti_ref") == accepted["data"].get("jti_ref"), "the token the seat came with"

    first = {}
    for entry in told:
        first.setdefault(entry["ev"] + (":" + entry["obj"]["kind"] if entry["ev"] == "token.revoked" else ""), entry["seq"])
    order = [
        "room.create_refused", "room.created", "consent.refused", "consent.given", "media.published", "media.incident_started", "participant.removed",
        "token.revoked:participant", "token.revoked:room", "room.closed",
    ]
    assert [first[name] for name in order] == sorted(first[name] for name in order), first
    assert first["data.channel_opened"] < first["media.gate_opened"] < first["data.channel_closed"]

    codes = {name: code for name, (code, _) in verified(record).items()}
    print(codes)
    assert len(codes) >= 2 and all(code in (0, 7) for code in codes.values()), codes
    # Nothing planted, in this form or in anybody else's.
    forms = {form: exported(record, form) for form in ("ndjson", "fhir-r4-tde", "fhir-r4-balp", "atna", "table")}
    kept = b"".join(path.read_bytes() for path in (record.parent / "audit").rglob("*") if path.is_file())
    for form, text in forms.items():
        assert len(text) > 1_000, form
    everything = kept + "".join(forms.values()).encode()
    assert b"consent.refused" in everything, "positive control"
    for text in (*PLANTED, PLANTED[1].replace(" ", "-"), room_name, invited["token"]):
        assert text.encode() not in everything, "planted"


async def test_what_clients_declare_of_their_encryption_is_on_record(record, session, room_name):
    node, known, sources = Node(config=record), [], []
    sealed = rtc.E2EEOptions(key_provider_options=rtc.KeyProviderOptions(shared_key=b"a key that only the two of them have"))
    try:
        v1 = Platform(session, node)
        room = await v1.create(id=room_name, rules={"consent": [], "auto_admit": ["patient"]})
        for seat, role, options, pitch in (("d", "doctor", {"encryption": sealed}, 440), ("p", "patient", {}, 660)):
            person = Person(node, seat)
            known.append(person)
            await person.connect((await v1.invite(room, seat, role))["token"], **options)
            sources.append(media.Microphone(pitch))
            await sources[-1].publish(person)
            await eventually(f"{seat} sends", lambda: sum(entry["ev"] == "media.published" for entry in of_tenant(record)) == len(known))
    finally:
        await asyncio.gather(*(person.leave() for person in known), return_exceptions=True)
        await asyncio.gather(*(source.close() for source in sources))
        node.stop()
    states = [(entry["data"]["state"], entry["actor"]["role"]) for entry in of_tenant(record) if entry["ev"] == "e2ee.state_changed"]
    print(states)
    assert states[:2] == [("on", "doctor"), ("mixed", "patient")], states
    assert all(entry["data"]["evidence"] == "declared" for entry in of_tenant(record) if entry["ev"] == "e2ee.state_changed")

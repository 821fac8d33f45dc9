"""The consultation API as a platform calls it, with real clients in the room."""

import asyncio
import time

import pytest
from livekit import api, rtc
from openapi_spec_validator import OpenAPIV31SpecValidator

import media
from person import KEY, SECRET, Person, eventually, token


def signed(**grants):
    return api.AccessToken(KEY, SECRET).with_grants(api.VideoGrants(**grants)).to_jwt()


class Problem(AssertionError):
    """An answer that is none of success."""

    def __init__(self, status, kind, answer):
        super().__init__(f"{status} {answer}")
        self.status, self.kind, self.answer = status, kind, answer


class Platform:
    """What a platform developer writes first: calls with a token, JSON in and out."""

    def __init__(self, http, node, jwt=None):
        self.http, self.node, self.jwt = http, node, jwt or signed(room_create=True)

    async def call(self, method, path, body=None, jwt=None, **headers):
        headers["Authorization"] = f"Bearer {jwt or self.jwt}"
        async with self.http.request(method, f"{self.node.http}/v1{path}", json=body, headers=headers) as answer:
            told = await answer.json(content_type=None) if answer.content_length else None
            if answer.status >= 400:
                raise Problem(answer.status, answer.content_type, told)
            return told

    async def create(self, **asked):
        return (await self.call("POST", "/consultations", asked))["id"]

    async def invite(self, room, seat, role, **more):
        return await self.call("POST", f"/consultations/{room}/seats", {"seat": seat, "role": role, **more})

    async def seat(self, room, seat):
        shown = await self.call("GET", f"/consultations/{room}")
        return next(found for found in shown["seats"] if found["seat"] == seat)


@pytest.fixture
def v1(http, node):
    return Platform(http, node)


@pytest.fixture
async def people(node):
    """Makes people of invitations; sends them home afterwards."""
    known = []

    async def come(invited):
        person = Person(node, invited["seat"]["seat"])
        known.append(person)
        person.jwt = invited["token"]
        await person.connect(person.jwt)
        return person

    yield come
    await asyncio.gather(*(person.leave() for person in known), return_exceptions=True)


@pytest.fixture
async def sources():
    made = []
    yield made
    await asyncio.gather(*(source.close() for source in made))


async def problem(call):
    with pytest.raises(Problem) as caught:
        await call
    assert caught.value.kind == "application/problem+json"
    told = caught.value.answer
    assert told["status"] == caught.value.status and told["type"].endswith(told["code"]) and told["detail"]
    return caught.value.status, told["code"]


def seats(person):
    return sorted(person.room.remote_participants)


async def test_the_description_is_valid(node, http):
    async with http.get(f"{node.http}/v1/openapi.json") as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        document = await answer.json()
    faults = [fault.message for fault in OpenAPIV31SpecValidator(document).iter_errors()]
    assert not faults, faults[:5]
    assert document["openapi"].startswith("3.1") and len(document["paths"]) >= 20


async def test_the_way_of_a_consultation(v1, people, sources, room_name):
    room = await v1.create(id=room_name)
    assert room == room_name
    doctor = await people(await v1.invite(room, "d", "doctor", name="Dr A"))
    patient = await people(await v1.invite(room, "p", "patient"))
    camera, voice = media.Camera(media.COLOURS["a"]), media.Microphone(440)
    face, mic = media.Camera(media.COLOURS["b"]), media.Microphone(660)
    sources += [camera, voice, face, mic]
    for person, tracks in ((patient, (camera, voice)), (doctor, (face, mic))):
        for track in tracks:
            await track.publish(person)

    # In the waiting room: nobody is seen, nothing comes, and the doctor knows who waits.
    waiting = await eventually("the doctor sees who waits", lambda: doctor.room.remote_participants.get("p"))
    assert waiting.attributes["consultation.state"] == "waiting"
    assert (await v1.seat(room, "p"))["gate"] == "admission"
    assert seats(patient) == [] and not waiting.track_publications

    # The doctor lets the patient in with the doctor's own token; the patient's gate still waits for consent.
    admit = f"/consultations/{room}/seats/p/admit"
    assert await problem(v1.call("POST", admit, jwt=patient.jwt)) == (403, "forbidden")
    await v1.call("POST", admit, jwt=doctor.jwt)
    await eventually("consent is what is missing", lambda: patient.me.attributes.get("consultation.gate") == "consent")
    assert seats(patient) == []
    began = time.monotonic()
    await v1.call("POST", f"/consultations/{room}/consents", {"text": "v1"}, jwt=patient.jwt)
    consented = time.monotonic() - began
    for person, other in ((doctor, "p"), (patient, "d")):
        (track, _, _) = await person.track(other, rtc.TrackKind.KIND_VIDEO)
        pictures, _ = await media.watch(track, lambda *_: True)
        assert pictures
    print(f"consent answered after {consented * 1000:.0f} ms, first pictures both ways after {(time.monotonic() - began) * 1000:.0f} ms")
    assert (await v1.seat(room, "p")) | {"beside": []} == {
        "seat": "p", "role": "patient", "state": "admitted", "gate": "open", "consent": ["teleconsultation"],
        "text": "v1", "emergency": None, "beside": [],
    }  # fmt: skip

    # Somebody is beside the patient, and everybody is shown it.
    await v1.call("POST", f"/consultations/{room}/presences", {"kind": "relative"}, jwt=patient.jwt)
    await eventually("the doctor sees it", lambda: doctor.peer("p").attributes.get("consultation.beside") == "relative:1")

    # Withdrawn: the answer means that packets obey.
    heard = await media.current(doctor, "p", rtc.TrackKind.KIND_VIDEO)
    await v1.call("DELETE", f"/consultations/{room}/consents/p", jwt=patient.jwt)
    assert await media.still(heard, seconds=1.0, grace=0.3) == 0
    await eventually("the patient sees nobody", lambda: seats(patient) == [])

    # And given again, then removed: no token opens the seat any more.
    await v1.call("POST", f"/consultations/{room}/consents", {"text": "v1"}, jwt=patient.jwt)
    await eventually("the doctor is back", lambda: seats(patient) == ["d"])
    await v1.call("POST", f"/consultations/{room}/seats/p/remove", jwt=doctor.jwt)
    (reason,) = await patient.event("disconnected")
    assert reason == rtc.DisconnectReason.PARTICIPANT_REMOVED
    again = Person(v1.node, "p")
    with pytest.raises(rtc.ConnectError):
        await again.connect(patient.jwt)

    await v1.call("DELETE", f"/consultations/{room}")
    (reason,) = await doctor.event("disconnected")
    assert reason == rtc.DisconnectReason.ROOM_DELETED
    with pytest.raises(rtc.ConnectError):
        await again.connect(doctor.jwt)
    assert await problem(v1.invite(room, "x", "relative")) == (410, "ended")


async def test_an_aside_leaves_the_patient_out(v1, people, sources, room_name):
    room = await v1.create(id=room_name, rules={"consent": [], "third_persons": [], "auto_admit": ["patient", "colleague"]})
    doctor = await people(await v1.invite(room, "d", "doctor"))
    colleague = await people(await v1.invite(room, "c", "colleague"))
    patient = await people(await v1.invite(room, "p", "patient"))
    voice = media.Microphone(1000)
    sources.append(voice)
    await voice.publish(doctor)
    for person in (colleague, patient):
        (track, _, _) = await person.track("d", rtc.TrackKind.KIND_AUDIO)
        assert abs(media.spectrum(await media.listen(track))[0] - 1000) < 10
    assert await problem(v1.call("POST", f"/consultations/{room}/aside", {"members": ["d", "c"]}, jwt=patient.jwt)) == (403, "forbidden")
    began = time.monotonic()
    await v1.call("POST", f"/consultations/{room}/aside", {"members": ["d", "c"]}, jwt=doctor.jwt)
    print(f"aside started in {(time.monotonic() - began) * 1000:.0f} ms")
    shown = await v1.call("GET", f"/consultations/{room}")
    assert sorted(shown["aside"]["members"]) == ["c", "d"]
    for left_out in ("d", "c"):
        await eventually("the patient sees who speaks apart", lambda: patient.peer(left_out).attributes.get("consultation.aside"))
    heard = await media.current(colleague, "d", rtc.TrackKind.KIND_AUDIO)
    assert abs(media.spectrum(await media.listen(heard))[0] - 1000) < 10, "those in it go on"
    assert await problem(v1.call("POST", f"/consultations/{room}/aside", {"members": ["d", "p"]}, jwt=doctor.jwt)) == (409, "aside_running")
    await v1.call("DELETE", f"/consultations/{room}/aside", jwt=doctor.jwt)
    heard = await media.current(patient, "d", rtc.TrackKind.KIND_AUDIO)
    assert abs(media.spectrum(await media.listen(heard))[0] - 1000) < 10, "and the patient hears again"


async def test_what_was_arranged_ahead_holds_when_people_come(v1, people, room_name):
    room = await v1.create(id=room_name)
    invited = await v1.invite(room, "p", "patient", admitted=True)
    await v1.call("POST", f"/consultations/{room}/consents", {"seat": "p", "text": "v7"})
    assert (await v1.seat(room, "p"))["state"] == "invited"
    doctor = await people(await v1.invite(room, "d", "doctor"))
    patient = await people(invited)
    await eventually("inside at once", lambda: seats(patient) == ["d"] and seats(doctor) == ["p"])
    assert (await v1.seat(room, "p"))["text"] == "v7"
    # A seat that nobody invited has a role of its token; one that was invited keeps the role it was invited in.
    other = Person(v1.node, "p2")
    with pytest.raises(rtc.ConnectError):
        await other.connect(token(room, "p2"))
    await v1.call("POST", f"/consultations/{room}/lock", jwt=doctor.jwt)
    assert (await v1.call("GET", f"/consultations/{room}"))["locked"]
    # The room that a plain call opened beforehand is no way around it.
    assert await problem(v1.call("POST", "/consultations", {"id": room, "ends_at": int(time.time()) + 999})) == (409, "conflict")


async def test_a_plain_room_of_the_same_name_is_no_way_around(v1, people, platform, room_name):
    room = await v1.create(id=room_name)
    await platform.create_room(api.CreateRoomRequest(name=room))
    patient = await people(await v1.invite(room, "p", "patient"))
    assert (await v1.seat(room, "p"))["state"] == "waiting"
    assert patient.me.attributes["consultation.gate"] == "admission"


async def test_a_link_is_worth_a_token(v1, http, people, room_name):
    room = await v1.create(id=room_name)
    soon = int(time.time()) + 3600
    invited = await v1.invite(room, "p", "patient")
    early = await v1.invite(room, "r", "relative", opens_at=soon)
    assert early["token"] is None and early["opens_at"] == soon

    async def swap(link):
        code = link.split("#code=")[1]
        async with http.post(f"{v1.node.http}/v1/links", json={"code": code}) as answer:
            return answer.status, await answer.json()

    status, told = await swap(early["link"])
    assert (status, told["code"], told["opens_at"]) == (403, "early", soon)
    status, told = await swap(invited["link"])
    assert (status, told["seat"], told["role"]) == (200, "p", "patient")
    assert 0 < told["expires_at"] - time.time() <= 600
    await people({"seat": {"seat": "p"}, "token": told["token"]})
    await v1.call("POST", f"/consultations/{room}/seats/p/remove")
    assert (await swap(invited["link"]))[0] == 404


async def test_events_are_numbered_and_wait(v1, people, room_name):
    last = (await v1.call("GET", "/events?after=0"))["next"]
    while (more := await v1.call("GET", f"/events?after={last}"))["more"]:
        last = more["next"]
    last = more["next"]
    waiting = asyncio.create_task(v1.call("GET", f"/events?after={last}&wait=20"))
    await asyncio.sleep(0.2)
    room = await v1.create(id=room_name)
    first = await waiting
    assert [event["type"] for event in first["events"]] == ["consultation.created"] and not first["gap"]
    doctor = await people(await v1.invite(room, "d", "doctor"))
    await doctor.leave()

    async def left():
        told = (await v1.call("GET", f"/events?after={last}"))["events"]
        kinds = [event["type"] for event in told if event["consultation"] == room]
        return kinds if "seat.left" in kinds else None

    kinds = await eventually("the doctor left", left)
    print("events:", ", ".join(kinds))
    wanted = ["consultation.created", "seat.invited", "consultation.opened", "seat.admitted", "seat.joined", "seat.left"]
    assert [kind for kind in kinds if kind in wanted] == wanted
    assert (await v1.call("GET", "/events?after=99999999"))["gap"]


async def test_errors_are_problems(v1, http, node, room_name):
    room = await v1.create(id=room_name)
    assert await problem(v1.call("GET", "/consultations/nowhere")) == (404, "not_found")
    assert await problem(v1.call("POST", "/consultations", {"recording": True})) == (400, "bad_body")
    assert await problem(v1.call("POST", f"/consultations/{room}/seats", {"role": "observer"})) == (400, "bad_body")
    assert await problem(v1.call("POST", f"/consultations/{room}/aside", {"members": ["a", "b"]})) == (409, "not_open")
    assert await problem(v1.call("GET", f"/consultations/{room}", jwt=signed(room_list=True))) == (403, "forbidden")
    assert await problem(v1.call("GET", f"/consultations/{room}", jwt="x.y.z")) == (401, "unauthenticated")
    other = signed(room_admin=True, room="other")
    assert await problem(v1.call("GET", f"/consultations/{room}", jwt=other)) == (403, "forbidden")

"""The rules of consultations with real clients: who waits, who is asked, who comes back, and over which packets it holds."""

import asyncio
import time

import pytest
from livekit import api, rtc

import media
from person import Person, eventually
from signalling import join_request
from test_busy import UPGRADE
from test_v1 import Platform

VIDEO = rtc.TrackKind.KIND_VIDEO
SOCKET_BREAKS = rtc.SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT


@pytest.fixture
def v1(http, node):
    return Platform(http, node)


@pytest.fixture
async def scene(node, v1, room_name):
    """Brings people to one consultation and sends them home afterwards."""
    people, sources = [], []

    class Scene:
        room = room_name

        async def come(self, seat, role, publish=True, invited=None, **more):
            invited = invited or await v1.invite(self.room, seat, role, **more)
            person = Person(node, seat)
            person.invited = invited
            people.append(person)
            await person.connect(invited["token"])
            if publish:
                person.voice, person.camera = media.Microphone(440 + 220 * len(people)), media.Camera(media.COLOURS["a"])
                sources.extend([person.voice, person.camera])
                await person.voice.publish(person)
                await person.camera.publish(person)
            return person

        async def act(self, path, body=None, by=None, method="POST"):
            await v1.call(method, f"/consultations/{self.room}/{path}", body, jwt=by and by.invited["token"])

    await v1.create(id=room_name)
    yield Scene()
    await asyncio.gather(*(person.leave() for person in people), return_exceptions=True)
    await asyncio.gather(*(source.close() for source in sources))


def seats(person):
    return sorted(person.room.remote_participants)


def label(person, key):
    return person.me.attributes.get(f"consultation.{key}")


async def receives(person, other):
    """Whether moving pictures of the other one come."""
    await eventually(f"{person.identity} sees {other}", lambda: other in person.room.remote_participants)
    pictures, _ = await media.watch(await media.current(person, other, VIDEO), lambda *_: True)
    return bool(pictures)


async def relayed(node):
    """Media packets forwarded so far; counted once a second."""
    await asyncio.sleep(1.5)
    return node.metrics()["colloque_forwarded_packets_total"]


async def test_not_a_packet_is_forwarded_for_who_waits(node, scene):
    doctor = await scene.come("d", "doctor")
    patient = await scene.come("p", "patient")
    relative = await scene.come("r", "relative")
    await eventually("all wait", lambda: label(patient, "gate") == label(relative, "gate") == "admission")
    before = await relayed(node)
    await doctor.me.publish_data(b"for those inside", reliable=True)
    await patient.me.publish_data(b"is anybody there?", reliable=True)
    assert await relayed(node) == before
    for person in (patient, relative):
        assert seats(person) == [] and not person.saw("track_subscribed") and not person.saw("data_received")
    assert not doctor.saw("data_received") and not doctor.saw("track_published")
    assert seats(doctor) == ["p", "r"], "the doctor sees that they wait"


async def test_a_third_person_waits_for_the_patient_and_a_reload_waits_for_nobody(scene):
    doctor = await scene.come("d", "doctor")
    patient = await scene.come("p", "patient")
    nurse = await scene.come("n", "companion")
    await scene.act("seats/n/admit", by=doctor)
    await eventually("nobody to ask yet", lambda: label(nurse, "gate") == "open")
    assert await receives(nurse, "d")
    await scene.act("seats/p/admit", by=doctor)
    await scene.act("consents", {"text": "v1"}, by=patient)
    await eventually("the nurse waits for the patient", lambda: label(nurse, "gate") == "third_person")
    await eventually("and sees nobody", lambda: seats(nurse) == [])
    await eventually("the patient sees who asks", lambda: "n" in patient.room.remote_participants)
    assert await receives(patient, "d") and not patient.saw("track_subscribed", lambda track, publication, who: who.identity == "n")
    await scene.act("consents", {"text": "v1", "scopes": ["third_person:companion"]}, by=patient)
    for person, others in ((nurse, "dp"), (patient, "dn"), (doctor, "np")):
        for other in others:
            assert await receives(person, other), (person.identity, other)

    # The page is loaded again: the same seat and token, and neither the doctor nor the patient is asked anew.
    invited, began = patient.invited, time.monotonic()
    again = await scene.come("p", "patient", invited=invited)
    assert await receives(again, "d")
    print(f"inside again after {time.monotonic() - began:.2f} s")
    assert label(again, "state") == "admitted" and label(again, "gate") == "open"


async def test_a_socket_that_breaks_changes_nothing_of_the_gate(scene):
    doctor = await scene.come("d", "doctor")
    patient = await scene.come("p", "patient")
    await asyncio.sleep(2)
    await patient.room.simulate_scenario(SOCKET_BREAKS)
    await patient.event("reconnected", seconds=20)
    assert seats(patient) == [] and label(patient, "gate") == "admission"
    await scene.act("seats/p/admit", by=doctor)
    await scene.act("consents", {"text": "v1"}, by=patient)
    assert await receives(doctor, "p") and await receives(patient, "d")
    await patient.room.simulate_scenario(SOCKET_BREAKS)
    await patient.event("reconnected", seconds=20)
    assert await receives(doctor, "p") and await receives(patient, "d")


async def turned_away(node, identity, jwt):
    """Tries to join as a client does; answers what it is told."""
    person = Person(node, identity)
    try:
        await person.connect(jwt)
    except rtc.ConnectError as error:
        return error.message
    finally:
        await asyncio.gather(person.leave(), return_exceptions=True)
    raise AssertionError(f"{identity} was let in")


async def swapped(http, node, link):
    async with http.post(f"{node.http}/v1/links", json={"code": link.split("#code=")[1]}) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize("way", ["v1", "doctor", "room service"])
async def test_nothing_of_a_removed_seat_opens_the_room_again(http, node, scene, platform, way):
    doctor = await scene.come("d", "doctor", publish=False)
    patient = await scene.come("p", "patient", publish=False, admitted=True)
    await eventually("the relay renews the patient's token", lambda: patient.saw("token_refreshed"))
    renewed = patient.room._token
    assert renewed and renewed != patient.invited["token"]
    if way == "room service":
        await platform.remove_participant(api.RoomParticipantIdentity(room=scene.room, identity="p"))
    else:
        await scene.act("seats/p/remove", by=doctor if way == "doctor" else None)
    await patient.event("disconnected")
    for jwt in (patient.invited["token"], renewed):
        # A new join, and the socket of the stay that was.
        assert "revoked" in await turned_away(node, "p", jwt)
        status, text = await resumed(http, node, jwt)
        assert status in (401, 403), (status, text)
        print(f"{way}: resume answers {status} {text!r}")
    assert (await swapped(http, node, patient.invited["link"]))[0] == 404
    assert seats(doctor) == []
    # An invitation anew is one.
    await asyncio.sleep(1.1)
    again = await scene.come("p", "patient", publish=False)
    await eventually("waits like anybody", lambda: label(again, "state") == "waiting")


async def resumed(http, node, jwt):
    """Asks for the socket of a stay that has another, as a client with a broken line does."""
    url = f"{node.http}/rtc/v1?join_request={join_request(reconnect=True)}"
    async with http.get(url, headers={"Authorization": f"Bearer {jwt}", **UPGRADE}) as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize("way", ["v1", "room service"])
async def test_a_token_of_a_consultation_that_is_over_opens_no_other(http, node, v1, scene, platform, way):
    doctor = await scene.come("d", "doctor", publish=False)
    late = await v1.invite(scene.room, "p", "patient")
    if way == "v1":
        await v1.call("DELETE", f"/consultations/{scene.room}")
    else:
        await platform.delete_room(api.DeleteRoomRequest(room=scene.room))
    await doctor.event("disconnected")
    for identity, invited in (("d", doctor.invited), ("p", late)):
        told = await turned_away(node, identity, invited["token"])
        assert "over" in told, told
    status, told = await swapped(http, node, late["link"])
    assert status in (404, 410), told
    listed = await platform.list_rooms(api.ListRoomsRequest(names=[scene.room]))
    assert not listed.rooms, "nothing was opened"


async def test_a_link_used_twice_seats_one(http, node, v1, scene):
    invited = await v1.invite(scene.room, "p", "patient")
    first, second = [(await swapped(http, node, invited["link"]))[1]["token"] for _ in range(2)]
    doctor = await scene.come("d", "doctor", publish=False)
    one, other = Person(node, "p"), Person(node, "p")
    try:
        await one.connect(first)
        await eventually("waits", lambda: label(one, "state") == "waiting")
        await other.connect(second)
        (reason,) = await one.event("disconnected")
        assert reason == rtc.DisconnectReason.DUPLICATE_IDENTITY
        await eventually("one seat", lambda: seats(doctor) == ["p"])
        # The first device cannot take it back with what it had in its hands, unless it takes the seat over as the second did.
        await scene.act("seats/p/remove")
        await other.event("disconnected")
        for jwt in (first, second):
            assert "revoked" in await turned_away(node, "p", jwt)
        assert (await swapped(http, node, invited["link"]))[0] == 404
    finally:
        await asyncio.gather(one.leave(), other.leave(), return_exceptions=True)


async def test_a_seat_in_use_is_not_given_twice_where_the_rules_say_so(node, v1, room_name):
    room = await v1.create(id=room_name, rules={"refuse_second_use": True})
    invited = await v1.invite(room, "d", "doctor")
    doctor = Person(node, "d")
    try:
        await doctor.connect(invited["token"])
        assert "in use" in await turned_away(node, "d", invited["token"])
        assert not doctor.saw("disconnected")
    finally:
        await asyncio.gather(doctor.leave(), return_exceptions=True)

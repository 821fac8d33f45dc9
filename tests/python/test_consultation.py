"""The rules of consultations with real clients: who waits, who is asked, who comes back, and over which packets it holds."""

import asyncio
import time

import pytest
from livekit import rtc

import media
from person import Person, eventually
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

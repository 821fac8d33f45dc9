"""At its limit the relay refuses newcomers, says when to come back, and the call that runs goes on."""

import asyncio
import time

import pytest
from livekit import api, rtc

from node import Node
from person import KEY, SECRET, Person, eventually, token
from signalling import join_request

LIMITS = """
[limits]
max_participants = 2
max_rooms = 1
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A relay that takes two people in one room."""
    config = tmp_path_factory.mktemp("busy") / "colloque.toml"
    config.write_text(LIMITS)
    relay = Node(config=config)
    yield relay
    panics = relay.metrics()["colloque_panics_total"]
    code, _ = relay.stop()
    assert (code, panics, relay.faults()) == (0, 0, [])


async def refused(http, node, path, jwt, **headers):
    """Asks as a client does, and answers what it is told: status, seconds, text."""
    url = f"{node.http}{path}?join_request={join_request()}"
    async with http.get(url, headers={"Authorization": f"Bearer {jwt}", **headers}) as answer:
        text = await answer.text()
        return answer.status, int(answer.headers.get("Retry-After", 0)), text


UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def test_a_full_relay_refuses_newcomers_and_carries_on(small, http, room_name):
    people = [Person(small, "doctor"), Person(small, "patient")]
    doctor, patient = people
    late = Person(small, "late")
    platform = api.LiveKitAPI(small.http, KEY, SECRET)
    try:
        await doctor.connect(token(room_name, "doctor"))
        await patient.connect(token(room_name, "patient"))
        await doctor.sees("patient")
        await patient.sees("doctor")

        # A real client, and what it says.
        began = time.monotonic()
        with pytest.raises(rtc.ConnectError) as caught:
            await late.connect(token(room_name, "late"))
        print(f"the client gave up after {time.monotonic() - began:.2f} s: {caught.value.message}")
        assert "503" in caught.value.message or "busy" in caught.value.message.lower()

        # What it was told, before the upgrade and by the validation that follows.
        for path, headers in [("/rtc/v1", UPGRADE), ("/rtc/v1/validate", {})]:
            status, seconds, text = await refused(http, small, path, token(room_name, "late"), **headers)
            print(f"{path}: {status}, Retry-After: {seconds}, {text!r}")
            assert status == 503 and 1 <= seconds <= 30 and text == f"busy, try again in {seconds} s"

        # A balancer sends new calls elsewhere; the process is well.
        for path, status, body in [("/readyz", 503, "participants"), ("/healthz", 200, "OK")]:
            async with http.get(small.http + path) as answer:
                assert (answer.status, await answer.text()) == (status, body)
                assert ("Retry-After" in answer.headers) == (status == 503)

        # The platform is told as well, and can still work on the room that runs.
        with pytest.raises(api.TwirpError) as caught:
            await platform.room.create_room(api.CreateRoomRequest(name=room_name + "-another"))
        assert (caught.value.code, caught.value.status) == ("unavailable", 503)
        await platform.room.create_room(api.CreateRoomRequest(name=room_name, metadata="goes on"))
        listed = await platform.room.list_participants(api.ListParticipantsRequest(room=room_name))
        assert sorted(member.identity for member in listed.participants) == ["doctor", "patient"]

        # The call goes on.
        await doctor.me.publish_data(b"still here", reliable=True)
        packet = await patient.event("data_received")
        assert packet[0].data == b"still here"

        # Whoever had a seat takes it again: after a lost signalling socket, a lost connection, a page that was loaded anew.
        for kind in ("SIMULATE_SIGNAL_RECONNECT", "SIMULATE_FULL_RECONNECT"):
            patient.history.clear()
            breaking = asyncio.create_task(patient.room.simulate_scenario(rtc.SimulateScenarioKind.Value(kind)))
            await patient.event("reconnecting", seconds=20)
            await patient.event("reconnected", seconds=25)
            await breaking
            print(f"{kind}: the patient saw {patient.history}")
        again = Person(small, "patient")
        people.append(again)
        await again.connect(token(room_name, "patient"))
        await again.sees("doctor")
        await again.me.publish_data(b"back", reliable=True)
        assert (await doctor.event("data_received"))[0].data == b"back"

        samples = small.metrics()
        assert samples['colloque_joins_refused_total{reason="participants"}'] >= 2
        assert samples['colloque_admits{newcomer="room"}'] == samples['colloque_admits{newcomer="member"}'] == 0
        print({name: value for name, value in samples.items() if "worker_" in name})

        # A seat that is free again is given away.
        await again.leave()
        await eventually("the seat is free", lambda: small.metrics()['colloque_admits{newcomer="member"}'] == 1)
        await late.connect(token(room_name, "late"))
        people.append(late)
        await late.sees("doctor")
    finally:
        await platform.aclose()
        await asyncio.gather(*(person.leave() for person in people), return_exceptions=True)


async def test_a_second_room_is_refused_while_the_first_may_grow(small, http, room_name):
    doctor, patient, other = Person(small, "doctor"), Person(small, "patient"), Person(small, "other")
    try:
        await eventually("the other test's room has closed", lambda: small.metrics()['colloque_admits{newcomer="room"}'] == 1, 40)
        await doctor.connect(token(room_name, "doctor"))
        with pytest.raises(rtc.ConnectError):
            await other.connect(token(room_name + "-2", "other"))
        async with http.get(small.http + "/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "rooms")
        await patient.connect(token(room_name, "patient"))
        await patient.sees("doctor")
    finally:
        await asyncio.gather(*(person.leave() for person in (doctor, patient)), return_exceptions=True)

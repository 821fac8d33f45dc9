"""Many come and go: the list stays right, and nothing is kept of those who went."""

import asyncio
import time

from livekit import api

import pytest

import media
from node import Node
from person import KEY, SECRET, Person, eventually, token

ROUNDS, AT_ONCE = 6, 5
GAUGES = ["colloque_rooms", "colloque_participants", "colloque_tracks", "colloque_peers", "colloque_signal_sessions"]


def gauges(node):
    metrics = node.metrics()
    return {name: metrics[name] for name in GAUGES}


@pytest.fixture
def fresh():
    """A relay of its own: what other tests left open would blur the figures."""
    relay = Node()
    yield relay
    faults = relay.faults()
    code, _ = relay.stop()
    assert not faults and code == 0, (faults[:5], code)


async def test_thirty_come_and_go(fresh, room_name):
    client = api.LiveKitAPI(fresh.http, KEY, SECRET)
    try:
        await come_and_go(fresh, client.room, room_name)
    finally:
        await client.aclose()


async def come_and_go(node, platform, room_name):
    await platform.create_room(api.CreateRoomRequest(name=room_name, departure_timeout=1, empty_timeout=60))
    before, memory = node.metrics(), [node.resident_kib()]

    async def roster():
        listed = await platform.list_participants(api.ListParticipantsRequest(room=room_name))
        return sorted(found.identity for found in listed.participants)

    async def visit(host, number, camera):
        guest = Person(node, f"guest{number}")
        took = await guest.connect(token(room_name, guest.identity))
        await host.event("participant_connected", lambda who: who.identity == guest.identity)
        await guest.sees("host")
        if number % 3 == 0:
            await camera.publish(guest)
            await host.event("track_subscribed", lambda _t, _p, who: who.identity == guest.identity)
        await guest.me.publish_data(guest.identity, topic="hello")
        await host.event("data_received", lambda packet: packet.data.decode() == guest.identity)
        await guest.leave()
        await host.event("participant_disconnected", lambda who: who.identity == guest.identity)
        return took

    host = Person(node, "host")
    cameras = [media.Camera(media.COLOURS["b"]) for _ in range(2)]
    took, began = [], time.monotonic()
    try:
        await host.connect(token(room_name, "host"))
        for turn in range(ROUNDS):
            numbers = range(turn * AT_ONCE, (turn + 1) * AT_ONCE)
            took += await asyncio.gather(*(visit(host, number, cameras[number // 3 % 2]) for number in numbers))
            assert await roster() == ["host"]
            memory.append(node.resident_kib())
    finally:
        await host.leave()
        await asyncio.gather(*(camera.close() for camera in cameras))
    took.sort()
    print(
        f"{len(took)} visits in {time.monotonic() - began:.1f} s; connect median {took[len(took) // 2] * 1e3:.0f} ms, "
        f"slowest {took[-1] * 1e3:.0f} ms; resident memory in KiB after each round: {memory}"
    )

    async def closed():
        return not (await platform.list_rooms(api.ListRoomsRequest(names=[room_name]))).rooms

    began = time.monotonic()
    await eventually("the room closes after the last one left", closed, 10)
    print(f"room closed {time.monotonic() - began:.2f} s after the last one left")
    # Counters are published once a second.
    await eventually("every gauge at zero", lambda: not any(gauges(node).values()), 10)
    after = node.metrics()
    print("gauges:", gauges(node))
    print("open files:", before.get("colloque_process_open_fds"), "->", after.get("colloque_process_open_fds"))
    assert after["colloque_joins_total"] - before["colloque_joins_total"] == ROUNDS * AT_ONCE + 1
    assert after["colloque_process_open_fds"] <= before["colloque_process_open_fds"] + 3
    # The first rounds fill pools and the allocator's free lists; after them a visit must leave next to nothing.
    grown = memory[-1] - memory[2]
    assert grown < 8 * 1024, f"{grown} KiB more after {(ROUNDS - 2) * AT_ONCE} visits"


async def test_a_room_stays_for_its_departure_timeout_only(node, platform, room_name):
    await platform.create_room(api.CreateRoomRequest(name=room_name, departure_timeout=2))
    a = Person(node, "a")
    await a.connect(token(room_name, "a"))
    await a.leave()
    left = time.monotonic()
    names = api.ListRoomsRequest(names=[room_name])
    assert (await platform.list_rooms(names)).rooms, "whoever comes back finds the room"

    async def closed():
        return not (await platform.list_rooms(names)).rooms

    await eventually("the room closes", closed, 10)
    took = time.monotonic() - left
    print(f"closed {took:.2f} s after the last one left")
    assert took > 1.5

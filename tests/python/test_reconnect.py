"""A broken line mends itself: signalling alone, or all of it."""

import asyncio
import time

import pytest
from livekit import rtc

import media
from person import both_ways

VIDEO = rtc.TrackKind.KIND_VIDEO
Kind = rtc.SimulateScenarioKind


@pytest.fixture
async def sources():
    made = []
    yield made
    await asyncio.gather(*(source.close() for source in made))


async def call(join, sources):
    a, b = await join("a"), await join("b")
    await asyncio.gather(a.sees("b"), b.sees("a"))
    camera = media.Camera(media.COLOURS["a"])
    sources.append(camera)
    published = await camera.publish(a)
    picture, _, _ = await b.track("a", VIDEO)
    judge, _, _ = media.recognise(media.COLOURS["a"], pictures=2)
    await media.watch(picture, judge)
    a.history.clear(), b.history.clear()
    return a, b, published, picture


@both_ways
async def test_signalling_breaks_and_the_call_goes_on(node, join, sources):
    a, b, published, picture = await call(join, sources)
    sid, resumes = published.sid, node.metrics()["colloque_resumes_total"]
    began = time.monotonic()
    breaking = asyncio.create_task(a.room.simulate_scenario(Kind.SIMULATE_SIGNAL_RECONNECT))
    judge, _, _ = media.recognise(media.COLOURS["a"], pictures=10)
    watching = asyncio.create_task(media.watch(picture, judge))
    await a.event("reconnecting")
    await a.event("reconnected", seconds=20)
    print(f"resumed after {time.monotonic() - began:.2f} s; a saw {a.history}")
    count, took = await watching
    print(f"{count} pictures in {took:.2f} s meanwhile")
    assert took < 3, "pictures did not go on"
    await breaking
    assert published.sid == sid
    for quiet in ("participant_disconnected", "track_unsubscribed", "track_unpublished"):
        assert quiet not in b.history, b.history
    await a.me.publish_data(b"still here", topic="t")
    (packet,) = await b.event("data_received")
    assert packet.data == b"still here"
    await b.me.publish_data(b"me too", topic="t")
    await a.event("data_received")
    await asyncio.sleep(1.1)  # workers publish their counters once a second
    assert node.metrics()["colloque_resumes_total"] > resumes


@both_ways
@pytest.mark.parametrize("kind", ["SIMULATE_FULL_RECONNECT", "SIMULATE_SERVER_LEAVE", "SIMULATE_NODE_FAILURE"])
async def test_a_full_reconnect_publishes_again(node, join, sources, kind):
    a, b, published, picture = await call(join, sources)
    old, seat = published.sid, a.me.sid
    began = time.monotonic()
    breaking = asyncio.create_task(a.room.simulate_scenario(Kind.Value(kind)))
    await a.event("reconnecting", seconds=20)
    await a.event("reconnected", seconds=25)
    took = time.monotonic() - began
    await asyncio.wait_for(breaking, 20)
    print(f"{kind}: back after {took:.2f} s; a saw {a.history}; b saw {b.history}")
    assert a.room.connection_state == rtc.ConnectionState.CONN_CONNECTED
    if "local_track_republished" in a.history:
        assert published.sid != old and a.me.sid != seat
    else:
        # A resume was enough.
        assert published.sid == old and "participant_disconnected" not in b.history
    assert kind != "SIMULATE_FULL_RECONNECT" or published.sid != old
    track = await media.current(b, "a", VIDEO)
    judge, _, _ = media.recognise(media.COLOURS["a"], pictures=3)
    await media.watch(track, judge)
    assert list(b.room.remote_participants) == ["a"], "nobody twice"
    assert list(b.peer("a").track_publications) == [published.sid]
    await b.sees("a")
    await a.me.publish_data(b"again", topic="t")
    (packet,) = await b.event("data_received")
    assert packet.data == b"again"

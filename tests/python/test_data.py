"""Data messages, streams and calls reach those they are for, once and in order."""

import asyncio
import hashlib
import os
import time

import pytest
from livekit import rtc
from livekit.rtc.participant import PublishDataError

from person import all_ways, both_ways, eventually, within

RELIABLE, LOSSY = rtc.DataPacketKind.KIND_RELIABLE, rtc.DataPacketKind.KIND_LOSSY


async def trio(join):
    people = [await join(identity) for identity in ("a", "b", "c")]
    await asyncio.gather(*(x.sees(y.identity) for x in people for y in people if x is not y))
    return people


def data(topic):
    return lambda packet: packet.topic == topic


@all_ways
async def test_reliable_messages_reach_all_or_those_named(node, join):
    a, b, c = await trio(join)
    await a.me.publish_data(b"for all", topic="all")
    for person in (b, c):
        (packet,) = await person.event("data_received", data("all"))
        assert (packet.data, packet.kind, packet.participant.identity) == (b"for all", RELIABLE, "a")
    await a.me.publish_data(b"for b", topic="secret", destination_identities=["b"])
    await a.me.publish_data(b"mark", topic="mark")
    (packet,) = await b.event("data_received", data("secret"))
    assert (packet.data, packet.participant.identity) == (b"for b", "a")
    # The channel keeps order: whoever has the mark would have had the secret before it.
    await asyncio.gather(b.event("data_received", data("mark")), c.event("data_received", data("mark")))
    assert not c.saw("data_received"), "c got what was for b"
    assert not a.saw("data_received"), "a sender gets nothing back"


@both_ways
async def test_lossy_messages_reach_all_or_those_named(node, join):
    a, b, c = await trio(join)
    # Lossy messages before a receiver's channel is open are lost, as they may be; so first one that is not.
    for person in (b, c):

        async def got(person=person):
            await a.me.publish_data(b"probe", topic="probe", reliable=False)
            return person.saw("data_received")

        await eventually("the lossy channel is open", got)
    for person in (b, c):
        person.events.clear()
    for number in range(20):
        await a.me.publish_data(f"for c {number}", topic="secret", reliable=False, destination_identities=["c"])
        await a.me.publish_data(f"mark {number}", topic="mark", reliable=False)
    got = []
    for _ in range(20):
        got.append((await c.event("data_received", data("secret"), seconds=5))[0])
    assert all(packet.kind == LOSSY and packet.participant.identity == "a" for packet in got)
    for _ in range(20):
        await b.event("data_received", data("mark"), seconds=5)
    print("lossy: 20 of 20 to each")
    assert not b.saw("data_received", data("secret")), "b got what was for c"


@both_ways
async def test_large_message(node, join):
    a, b, _ = await trio(join)
    for size in (1, 1_200, 16_384, 60_000):
        payload = os.urandom(size)
        began = time.monotonic()
        await a.me.publish_data(payload, topic="large")
        (packet,) = await b.event("data_received", data("large"))
        print(f"{size} bytes in {(time.monotonic() - began) * 1e3:.1f} ms")
        assert packet.data == payload


@both_ways
async def test_two_hundred_in_order_and_once(node, join):
    a, b, c = await trio(join)
    began = time.monotonic()

    async def send(person, label):
        for number in range(200):
            await person.me.publish_data(f"{label}{number}", topic=label)

    await asyncio.gather(send(a, "x"), send(b, "y"))
    for person, labels in ((c, "xy"), (b, "x"), (a, "y")):
        for label in labels:
            for number in range(200):
                (packet,) = await person.event("data_received", data(label))
                assert packet.data.decode() == f"{label}{number}"
    await asyncio.gather(a.me.publish_data(b"end", topic="end"), b.me.publish_data(b"end", topic="end"))
    for person, ends in ((a, 1), (b, 1), (c, 2)):
        for _ in range(ends):
            await person.event("data_received", data("end"))
        assert not person.saw("data_received"), "a message came twice"
    print(f"2 x 200 messages, each to two receivers, in {time.monotonic() - began:.2f} s")


@both_ways
async def test_the_first_message_after_a_join_is_not_lost(node, join):
    a = await join("a")
    for turn in range(5):
        late = await join(f"late{turn}")
        # Sent as soon as the newcomer is seen, before its channels can be open.
        await a.event("participant_connected", lambda who, turn=turn: who.identity == f"late{turn}")
        await a.me.publish_data(f"hello {turn}", topic="hello")
        (packet,) = await late.event("data_received", data("hello"))
        assert packet.data.decode() == f"hello {turn}"


@both_ways
async def test_who_may_not_send_data_is_not_heard(node, join):
    a = await join("a", can_publish_data=False)
    b, c = await join("b"), await join("c")
    await asyncio.gather(b.sees("a"), c.sees("a"), b.sees("c"), c.sees("b"))
    try:
        await within(10, "publish_data", a.me.publish_data(b"no", topic="no"))
    except PublishDataError as error:
        print(f"refused by the client itself: {error}")
    await b.me.publish_data(b"yes", topic="yes")
    await c.event("data_received", data("yes"))
    assert not c.saw("data_received") and not b.saw("data_received")


def text_reader(person, topic):
    got = asyncio.get_running_loop().create_future()

    def opened(reader, identity):
        async def read():
            got.set_result((await reader.read_all(), identity, reader.info))

        person.reading = asyncio.create_task(read())

    person.room.register_text_stream_handler(topic, opened)
    return got


def byte_reader(person, topic):
    got = asyncio.get_running_loop().create_future()

    def opened(reader, identity):
        async def read():
            parts = [part async for part in reader]
            got.set_result((b"".join(parts), identity, reader.info, len(parts)))

        person.reading = asyncio.create_task(read())

    person.room.register_byte_stream_handler(topic, opened)
    return got


@pytest.mark.parametrize("compress", [True, False])
async def test_text_stream(node, join, compress):
    a, b, c = await trio(join)
    long = "".join(f"{number:06d} Grüße aus der Sprechstunde. " for number in range(3_500))
    for topic, text, to in (("short", "hello", None), ("long", long, None), ("private", long[:40_000], ["b"])):
        at_b, at_c = text_reader(b, topic), text_reader(c, topic)
        began = time.monotonic()
        await within(20, "send_text", a.me.send_text(text, topic=topic, destination_identities=to, compress=compress))
        got, sender, info = await within(20, f"{topic} at b", at_b)
        print(f"{topic}: {len(text.encode())} bytes in {(time.monotonic() - began) * 1e3:.0f} ms")
        assert (got, sender, info.topic) == (text, "a", topic)
        if to is None:
            assert (await within(20, f"{topic} at c", at_c))[0] == text
        else:
            await a.me.publish_data(b"mark", topic="mark")
            await c.event("data_received", data("mark"))
            assert not at_c.done(), "c got a stream that was for b"


async def test_text_written_piece_by_piece(node, join):
    a, b, _ = await trio(join)
    got = text_reader(b, "typed")
    writer = await within(10, "stream_text", a.me.stream_text(topic="typed", attributes={"lang": "en"}))
    pieces = [f"piece {number} " * 200 for number in range(30)]
    for piece in pieces:
        await writer.write(piece)
    await writer.aclose()
    text, _, info = await within(15, "the text", got)
    assert text == "".join(pieces)
    assert info.attributes["lang"] == "en"


async def test_byte_stream(node, join):
    a, b, _ = await trio(join)
    payload = os.urandom(300_000)
    got = byte_reader(b, "file")
    began = time.monotonic()
    await within(20, "send_bytes", a.me.send_bytes(payload, topic="file", name="scan.bin", mime_type="application/dicom"))
    received, sender, info, parts = await within(20, "the bytes", got)
    print(f"300000 bytes in {parts} parts, {(time.monotonic() - began) * 1e3:.0f} ms")
    assert hashlib.sha256(received).digest() == hashlib.sha256(payload).digest()
    assert (sender, info.name, info.mime_type) == ("a", "scan.bin", "application/dicom")
    assert parts > 1


@both_ways
async def test_calls_both_ways_and_their_errors(node, join):
    a, b, _ = await trio(join)

    async def echo(call):
        return f"{call.caller_identity}:{call.payload}"

    async def refuse(call):
        raise rtc.RpcError(4711, "the clinic is closed", "until monday")

    async def dawdle(call):
        await asyncio.sleep(30)
        return "too late"

    for person in (a, b):
        person.me.register_rpc_method("echo", echo)
    b.me.register_rpc_method("refuse", refuse)
    b.me.register_rpc_method("dawdle", dawdle)

    async def ask(person, to, method, payload="", timeout=8.0):
        began = time.monotonic()
        asking = person.me.perform_rpc(destination_identity=to, method=method, payload=payload, response_timeout=timeout)
        try:
            return await within(20, method, asking), time.monotonic() - began
        except rtc.RpcError as error:
            return error, time.monotonic() - began

    for person, to in ((a, "b"), (b, "a")):
        answer, took = await ask(person, to, "echo", "hello")
        print(f"call {person.identity} -> {to}: {took * 1e3:.1f} ms")
        assert answer == f"{person.identity}:hello"
    large = "x" * 40_000
    assert (await ask(a, "b", "echo", large))[0] == f"a:{large}"
    error, _ = await ask(a, "b", "refuse")
    assert (error.code, error.message, error.data) == (4711, "the clinic is closed", "until monday")
    error, took = await ask(a, "b", "nothing like that")
    print(f"unknown method: code {error.code} after {took * 1e3:.1f} ms")
    assert error.code == rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD and took < 5
    error, took = await ask(a, "b", "dawdle", timeout=8.0)
    print(f"slow method: code {error.code} after {took:.1f} s")
    # The client keeps 7 of the 8 s for the way there and back.
    assert error.code == rtc.RpcError.ErrorCode.RESPONSE_TIMEOUT and took < 9
    error, took = await ask(a, "nobody", "echo")
    print(f"unknown receiver: code {error.code} after {took:.1f} s")
    assert error.code in (rtc.RpcError.ErrorCode.RECIPIENT_NOT_FOUND, rtc.RpcError.ErrorCode.CONNECTION_TIMEOUT) and took < 15


async def test_many_calls_at_once(node, join):
    a, b, _ = await trio(join)

    async def double(call):
        return str(int(call.payload) * 2)

    b.me.register_rpc_method("double", double)
    began = time.monotonic()
    calls = (a.me.perform_rpc(destination_identity="b", method="double", payload=str(n)) for n in range(50))
    answers = await within(20, "50 calls", asyncio.gather(*calls))
    print(f"50 calls at once in {time.monotonic() - began:.2f} s")
    assert answers == [str(2 * n) for n in range(50)]

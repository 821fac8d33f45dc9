"""The room service, in protobuf as the SDK speaks it and in JSON as others do."""

import asyncio
import base64
import json
import time

import pytest
from livekit import api, rtc

import media
from person import KEY, SECRET, both_ways, eventually, token


@pytest.fixture
async def sources():
    made = []
    yield made
    await asyncio.gather(*(source.close() for source in made))


async def refused(call):
    with pytest.raises(api.TwirpError) as caught:
        await call
    return caught.value.status, caught.value.code, caught.value.message


async def test_rooms(node, platform, room_name):
    asked = api.CreateRoomRequest(name=room_name, empty_timeout=77, departure_timeout=9, max_participants=3, metadata="m")
    room = await platform.create_room(asked)
    assert room.sid.startswith("RM_")
    assert (room.name, room.empty_timeout, room.departure_timeout) == (room_name, 77, 9)
    assert (room.max_participants, room.metadata, room.num_participants) == (3, "m", 0)
    assert abs(room.creation_time - time.time()) < 60
    again = await platform.create_room(api.CreateRoomRequest(name=room_name))
    assert again.sid == room.sid, "creating is idempotent"
    other = await platform.create_room(api.CreateRoomRequest(name=room_name + "-2"))
    listed = await platform.list_rooms(api.ListRoomsRequest(names=[room_name]))
    assert [found.sid for found in listed.rooms] == [room.sid]
    everything = {found.name for found in (await platform.list_rooms(api.ListRoomsRequest())).rooms}
    assert {room_name, other.name} <= everything
    changed = await platform.update_room_metadata(api.UpdateRoomMetadataRequest(room=room_name, metadata="new"))
    assert changed.metadata == "new"
    for name in (room_name, other.name):
        await platform.delete_room(api.DeleteRoomRequest(room=name))
    assert not (await platform.list_rooms(api.ListRoomsRequest(names=[room_name, other.name]))).rooms


async def test_a_room_is_full(node, join, platform, room_name):
    await platform.create_room(api.CreateRoomRequest(name=room_name, max_participants=1))
    a = await join("a")
    began = time.monotonic()
    with pytest.raises(rtc.ConnectError) as caught:
        await join("b")
    print(f"refused after {time.monotonic() - began:.2f} s: {caught.value.message}")
    await a.leave()


async def test_participants(node, join, platform, room_name, sources):
    a = await join("a", name="Dr. A")
    microphone = media.Microphone(440)
    sources.append(microphone)
    published = await microphone.publish(a)
    listed = (await platform.list_participants(api.ListParticipantsRequest(room=room_name))).participants
    assert [(found.identity, found.name, found.sid) for found in listed] == [("a", "Dr. A", a.me.sid)]
    ask = api.RoomParticipantIdentity(room=room_name, identity="a")

    async def active():
        return (await platform.get_participant(ask)).state == api.ParticipantInfo.State.ACTIVE

    await eventually("active", active)

    # The publication is told to its owner first; it is part of the record once its media is negotiated.
    async def listed():
        return (await platform.get_participant(ask)).tracks

    await eventually("the track in the record", listed)
    found = await platform.get_participant(ask)
    assert [(track.sid, track.name, track.muted) for track in found.tracks] == [(published.sid, "microphone", False)]
    assert found.permission.can_publish and found.permission.can_subscribe
    assert found.is_publisher
    changed = await platform.update_participant(
        api.UpdateParticipantRequest(room=room_name, identity="a", name="Dr. B", metadata="m", attributes={"k": "v"})
    )
    assert (changed.name, changed.metadata, dict(changed.attributes)) == ("Dr. B", "m", {"k": "v"})
    await a.event("participant_name_changed", lambda who, _b, now: who.identity == "a" and now == "Dr. B")
    assert changed.permission.can_publish, "a record without permissions leaves them as they are"


async def test_mute_from_outside_and_no_unmute(node, join, platform, room_name, sources):
    a, b = await join("a"), await join("b")
    microphone = media.Microphone(440)
    sources.append(microphone)
    published = await microphone.publish(a)
    sound, _, _ = await b.track("a", rtc.TrackKind.KIND_AUDIO)
    await media.listen(sound, media.RATE // 4)
    ask = dict(room=room_name, identity="a", track_sid=published.sid)
    answer = await platform.mute_published_track(api.MuteRoomTrackRequest(muted=True, **ask))
    assert answer.track.sid == published.sid and answer.track.muted
    await asyncio.gather(a.event("track_muted"), b.event("track_muted"))
    refusal = await refused(platform.mute_published_track(api.MuteRoomTrackRequest(muted=False, **ask)))
    print("unmute from outside:", refusal)
    assert refusal[:2] == (412, "failed_precondition")
    quiet = await media.listen(sound, media.RATE * 3 // 2, skip_silence=False)
    assert abs(quiet[-media.RATE // 2 :]).max() < 300
    published.track.unmute()
    await b.event("track_unmuted")
    assert abs(media.spectrum(await media.listen(sound))[0] - 440) <= 3, "its owner may"


@both_ways
async def test_subscriptions_from_outside(node, join, platform, room_name, sources):
    a, b = await join("a"), await join("b")
    camera = media.Camera(media.COLOURS["a"])
    sources.append(camera)
    published = await camera.publish(a)
    picture, _, _ = await b.track("a", rtc.TrackKind.KIND_VIDEO)
    judge, _, _ = media.recognise(media.COLOURS["a"], pictures=2)
    await media.watch(picture, judge)
    ask = dict(room=room_name, identity="b", track_sids=[published.sid])
    await platform.update_subscriptions(api.UpdateSubscriptionsRequest(subscribe=False, **ask))
    assert await media.still(picture) == 0
    await platform.update_subscriptions(api.UpdateSubscriptionsRequest(subscribe=True, **ask))
    track = await media.returned(b, "a", rtc.TrackKind.KIND_VIDEO)
    judge, _, _ = media.recognise(media.COLOURS["a"], pictures=2)
    await media.watch(track, judge)


@both_ways
async def test_send_data(node, join, platform, room_name):
    a, b = await join("a"), await join("b")
    await asyncio.gather(a.sees("b"), b.sees("a"))
    # Own messages first: then the channels are open for sure.
    await a.me.publish_data(b"x", topic="x")
    await b.event("data_received")
    await b.me.publish_data(b"x", topic="x")
    await a.event("data_received")
    kind = api.DataPacket.Kind.RELIABLE

    async def send(**words):
        await platform.send_data(api.SendDataRequest(room=room_name, kind=kind, **words))

    await send(data=b"for all", topic="news")
    for person in (a, b):
        (packet,) = await person.event("data_received")
        assert (packet.data, packet.topic, packet.participant) == (b"for all", "news", None)
    await send(data=b"for a", topic="news", destination_identities=["a"])
    await send(data=b"mark", topic="mark")
    assert (await a.event("data_received"))[0].data == b"for a"
    assert (await b.event("data_received"))[0].data == b"mark"


async def test_a_repeated_call_is_read_once(node, http, join, room_name):
    a, b = await join("a"), await join("b")
    await asyncio.gather(a.sees("b"), b.sees("a"))
    await a.me.publish_data(b"x", topic="x")
    await b.event("data_received")
    admin = signed(room_admin=True, room=room_name)

    async def send(text, **words):
        body = {"room": room_name, "kind": "RELIABLE", "data": base64.b64encode(text).decode(), "destinationIdentities": ["b"]}
        return (await post(http, node, "SendData", body | words, admin))[0]

    # The SDKs number each call and use the same number when they repeat it.
    nonce = base64.b64encode(b"0123456789abcdef").decode()
    assert [await send(b"once", nonce=nonce), await send(b"once", nonce=nonce), await send(b"end")] == [200] * 3
    assert [(await b.event("data_received"))[0].data for _ in range(2)] == [b"once", b"end"]
    assert await send(b"x", nonce=base64.b64encode(b"short").decode()) == 400


async def test_room_metadata_reaches_the_room(node, join, platform, room_name):
    a = await join("a")
    await platform.update_room_metadata(api.UpdateRoomMetadataRequest(room=room_name, metadata="agenda"))
    _, after = await a.event("room_metadata_changed")
    assert after == "agenda"
    b = await join("b")
    assert b.room.metadata == "agenda"


async def test_unknown_things(node, join, platform, room_name):
    nowhere = room_name + "-none"
    ask = api.RoomParticipantIdentity(room=nowhere, identity="a")
    calls = {
        "delete_room": platform.delete_room(api.DeleteRoomRequest(room=nowhere)),
        "list_participants": platform.list_participants(api.ListParticipantsRequest(room=nowhere)),
        "get_participant": platform.get_participant(ask),
        "remove_participant": platform.remove_participant(ask),
        "update_participant": platform.update_participant(api.UpdateParticipantRequest(room=nowhere, identity="a", name="x")),
        "mute": platform.mute_published_track(api.MuteRoomTrackRequest(room=nowhere, identity="a", track_sid="TR_x", muted=True)),
        "metadata": platform.update_room_metadata(api.UpdateRoomMetadataRequest(room=nowhere, metadata="x")),
        "send_data": platform.send_data(api.SendDataRequest(room=nowhere, data=b"x")),
        "subscriptions": platform.update_subscriptions(
            api.UpdateSubscriptionsRequest(room=nowhere, identity="a", track_sids=["TR_x"], subscribe=True)
        ),
    }
    for name, call in calls.items():
        status, code, message = await refused(call)
        print(f"unknown room, {name}: {status} {code} {message}")
        assert (status, code) == (404, "not_found"), name
    await join("a")
    status, code, message = await refused(
        platform.get_participant(api.RoomParticipantIdentity(room=room_name, identity="nobody"))
    )
    assert (status, code, message) == (404, "not_found", "participant does not exist")
    status, code, _ = await refused(
        platform.mute_published_track(api.MuteRoomTrackRequest(room=room_name, identity="a", track_sid="TR_x", muted=True))
    )
    assert (status, code) == (404, "not_found")
    status, code, _ = await refused(platform.create_room(api.CreateRoomRequest(name="")))
    assert (status, code) == (400, "invalid_argument")


def signed(**grants):
    return api.AccessToken(KEY, SECRET).with_grants(api.VideoGrants(**grants)).to_jwt()


async def post(http, node, method, body, jwt, *, kind="application/json", service="livekit.RoomService", raw=None):
    headers = {"Content-Type": kind}
    if jwt:
        headers["Authorization"] = f"Bearer {jwt}"
    data = raw if raw is not None else json.dumps(body)
    async with http.post(f"{node.http}/twirp/{service}/{method}", data=data, headers=headers) as answer:
        text = await answer.read()
        kind = answer.headers.get("Content-Type")
        return answer.status, kind, json.loads(text) if kind == "application/json" else text.decode(errors="replace")


async def test_grants(node, http, room_name):
    create, listing, admin = signed(room_create=True), signed(room_list=True), signed(room_admin=True, room=room_name)
    other, join = signed(room_admin=True, room=room_name + "-other"), token(room_name, "a")
    assert (await post(http, node, "CreateRoom", {"name": room_name}, create))[0] == 200
    wrong = [
        ("CreateRoom", {"name": room_name}, [listing, admin, join]),
        ("ListRooms", {}, [create, admin, join]),
        ("DeleteRoom", {"room": room_name}, [listing, admin, join]),
        ("ListParticipants", {"room": room_name}, [create, listing, other, join]),
        ("GetParticipant", {"room": room_name, "identity": "a"}, [create, listing, other, join]),
        ("RemoveParticipant", {"room": room_name, "identity": "a"}, [create, listing, other, join]),
        ("MutePublishedTrack", {"room": room_name, "identity": "a", "muted": True}, [create, other, join]),
        ("UpdateParticipant", {"room": room_name, "identity": "a", "name": "x"}, [create, other, join]),
        ("UpdateSubscriptions", {"room": room_name, "identity": "a"}, [create, other, join]),
        ("SendData", {"room": room_name, "data": ""}, [create, other, join]),
        ("UpdateRoomMetadata", {"room": room_name, "metadata": "x"}, [create, other, join]),
    ]
    asked = 0
    for method, body, tokens in wrong:
        for jwt in tokens:
            status, kind, answer = await post(http, node, method, body, jwt)
            assert (status, kind, answer["code"]) == (401, "application/json", "unauthenticated"), (method, answer)
            asked += 1
    print(f"{asked} calls with a wrong grant: 401 unauthenticated")
    for jwt in (None, "x.y.z", signed(room_list=True)[:-4] + "AAAA"):
        status, kind, answer = await post(http, node, "ListRooms", {}, jwt)
        assert status == 401 and isinstance(answer, str) and answer, (status, kind, answer)
    assert (await post(http, node, "DeleteRoom", {"room": room_name}, create))[:2] == (200, "application/json")


async def test_json(node, http, join, room_name):
    create, listing, admin = signed(room_create=True), signed(room_list=True), signed(room_admin=True, room=room_name)
    body = {"name": room_name, "emptyTimeout": 60, "departure_timeout": "7", "unknownField": [1, {"x": None}]}
    status, kind, room = await post(http, node, "CreateRoom", body, create)
    assert (status, kind, room["name"]) == (200, "application/json", room_name)
    empty, departure = (room.get(a, room.get(b)) for a, b in (("emptyTimeout", "empty_timeout"), ("departureTimeout", "departure_timeout")))
    assert (empty, departure) == (60, 7), "camelCase and snake_case are read"
    assert (await post(http, node, "CreateRoom", body, create, kind="application/json; charset=UTF-8"))[2]["sid"] == room["sid"]
    a = await join("a")
    _, _, answer = await post(http, node, "ListRooms", {"names": [room_name]}, listing)
    assert [found["sid"] for found in answer["rooms"]] == [room["sid"]]
    _, _, answer = await post(http, node, "ListParticipants", {"room": room_name}, admin)
    assert [found["identity"] for found in answer["participants"]] == ["a"]
    _, _, answer = await post(http, node, "GetParticipant", {"room": room_name, "identity": "a"}, admin)
    assert answer["sid"] == a.me.sid and answer["state"] in ("JOINED", "ACTIVE"), "enums by name"
    await eventually("active", lambda: a.room.connection_state == rtc.ConnectionState.CONN_CONNECTED)
    body = {"room": room_name, "identity": "a", "permission": {"canSubscribe": True, "can_publish": True}, "attributes": {"k": "v"}}
    status, _, answer = await post(http, node, "UpdateParticipant", body, admin)
    assert status == 200 and answer["attributes"] == {"k": "v"}
    await a.event("participant_attributes_changed")
    data = {"room": room_name, "data": base64.b64encode(b"\x00bytes\xff").decode(), "kind": "RELIABLE", "topic": "t"}

    async def delivered():
        assert (await post(http, node, "SendData", data, admin))[0] == 200
        return a.saw("data_received")

    await eventually("data", delivered)
    assert a.saw("data_received")[0][0].data == b"\x00bytes\xff"
    status, _, answer = await post(http, node, "UpdateRoomMetadata", {"room": room_name, "metadata": "m"}, admin)
    assert status == 200 and answer["metadata"] == "m"
    assert (await post(http, node, "RemoveParticipant", {"room": room_name, "identity": "a"}, admin))[0] == 200
    assert (await a.event("disconnected"))[0] == rtc.DisconnectReason.PARTICIPANT_REMOVED
    status, kind, answer = await post(http, node, "GetParticipant", {"room": room_name, "identity": "a"}, admin)
    assert (status, kind, answer["code"]) == (404, "application/json", "not_found")
    status, kind, answer = await post(http, node, "CreateRoom", None, create, raw="{not json")
    assert (status, kind, answer["code"]) == (400, "application/json", "malformed")
    status, _, answer = await post(http, node, "CreateRoom", None, create, raw=b"\xff\xff", kind="application/protobuf")
    assert (status, answer["code"]) == (400, "malformed")
    status, _, answer = await post(http, node, "NoSuchMethod", {}, create)
    assert (status, answer["code"]) == (404, "bad_route")
    status, _, answer = await post(http, node, "ListEgress", {}, create, service="livekit.Egress")
    assert (status, answer["code"]) in ((501, "unimplemented"), (404, "bad_route"))
    assert (await post(http, node, "CreateRoom", None, create, raw=b" " * (11 * 2**20)))[0] == 413
    assert (await post(http, node, "DeleteRoom", {"room": room_name}, create))[0] == 200

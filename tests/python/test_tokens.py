"""Bad tokens open nothing, and the client learns why."""

import asyncio
import time

import aiohttp
import pytest
from livekit import api, rtc
from livekit.protocol import models, rtc as wire

from person import KEY, SECRET, token, within
from signalling import Signalling, join_request, sign

NOW = int(time.time())


def grant(**changes):
    return {"roomJoin": True, "room": "r"} | changes


GOOD = {
    "plain": sign(),
    "clock a little behind": sign(nbf=NOW + 30),
    "identity in jti": sign(sub=None, jti="a"),
    "unknown claims": sign(video=grant(somethingNew=True), sip={"admin": True}, whatever=[1, 2]),
}

# name: (token, status, a part of the body)
BAD = {
    "wrong secret": (sign(secret="another"), 401, "invalid authorization token"),
    "unknown key": (sign(iss="nobody"), 401, "invalid API key"),
    "no key": (sign(iss=None), 401, "invalid API key"),
    "expired": (sign(nbf=NOW - 900, exp=NOW - 300), 401, "expired"),
    "no expiry": (sign(exp=None), 401, "invalid authorization token"),
    "not yet valid": (sign(nbf=NOW + 3600, exp=NOW + 7200), 401, "not yet valid"),
    "algorithm none": (sign(algorithm="none"), 401, "invalid authorization token"),
    "algorithm HS512": (sign(algorithm="HS512"), 401, "invalid authorization token"),
    "key in the header": (sign(header={"jwk": {"kty": "oct", "k": "AAAA"}}), 401, "invalid authorization token"),
    "no video grant": (sign(video=None), 401, "permissions denied"),
    "no roomJoin": (sign(video=grant(roomJoin=False)), 401, "permissions denied"),
    "admin is no join": (sign(video={"roomAdmin": True, "room": "r"}), 401, "permissions denied"),
    "hidden": (sign(video=grant(hidden=True)), 401, "hidden"),
    "no identity": (sign(sub=None), 400, "identity"),
    "no room": (sign(video=grant(room="")), 400, "room"),
    "long identity": (sign(sub="x" * 257), 400, "too long"),
    "not a token": ("abc", 401, "invalid authorization token"),
    "empty parts": ("..", 401, "invalid authorization token"),
    "very long": ("a" * 40_000, 401, "invalid authorization token"),
    "altered": (sign()[:-6] + "AAAAAA", 401, "invalid authorization token"),
}


async def validate(http, node, jwt=None, *, header=True, query="", path="/rtc/v1/validate"):
    headers = {"Authorization": f"Bearer {jwt}"} if jwt and header else {}
    join = f"join_request={join_request()}" if path.startswith("/rtc/v1") else "protocol=17&auto_subscribe=1"
    url = f"{node.http}{path}?{join}{query}" + (f"&access_token={jwt}" if jwt and not header else "")
    async with http.get(url, headers=headers) as answer:
        assert answer.headers.get("Access-Control-Allow-Origin") == "*", "browsers must read the refusal"
        return answer.status, (await answer.read()).decode()


@pytest.mark.parametrize("name", GOOD)
async def test_good_tokens_validate(node, http, name):
    for header in (True, False):
        assert await validate(http, node, GOOD[name], header=header) == (200, "success")


@pytest.mark.parametrize("name", BAD)
async def test_bad_tokens_are_refused_with_a_reason(node, http, name):
    jwt, status, text = BAD[name]
    for header in (True, False):
        answer = await validate(http, node, jwt, header=header)
        assert answer[0] == status and text in answer[1], answer
        assert jwt not in answer[1]
        assert await validate(http, node, jwt, header=header, path="/rtc/validate") == answer, "the older path says the same"
    print(f"{name}: {answer[0]} {answer[1]!r}")


async def test_other_requests(node, http):
    assert (await validate(http, node))[0] == 401
    for header in ("Basic abc", "bearer " + sign(), sign()):
        async with http.get(f"{node.http}/rtc/v1/validate", headers={"Authorization": header}) as answer:
            assert answer.status == 401 and "Bearer" in await answer.text()
    auth = {"Authorization": f"Bearer {sign()}"}
    table = [
        ("/rtc/v1/validate", 400), ("/rtc/v1/validate?join_request=%21%21", 400), ("/rtc/v1", 404), ("/rtc/validate", 200),
        ("/rtc", 404), ("/rtc/validate?publish=x", 400),
        ("/rtc/v2", 404), ("/settings/regions", 404), ("//rtc/v1/validate?join_request=", 200), ("/", 200),
    ]  # fmt: skip
    for path, status in table:
        async with http.get(node.http + path, headers=auth) as answer:
            print(f"GET {path}: {answer.status} {(await answer.read())[:70]!r}")
            assert answer.status == status, path


async def test_the_client_reports_bad_tokens(node, join):
    names = ["wrong secret", "unknown key", "expired", "no roomJoin", "no identity", "not a token"]

    async def attempt(name):
        began = time.monotonic()
        with pytest.raises(rtc.ConnectError) as caught:
            await join("a", jwt=BAD[name][0])
        return name, time.monotonic() - began, caught.value.message

    for name, took, message in await asyncio.gather(*(attempt(name) for name in names)):
        print(f"{name}: {took:.2f} s, {message}")
        assert took < 20
        assert "401" in message or "400" in message


async def test_a_refreshed_token_joins(node, join, room_name):
    a = await join("a", name="Dr. A", attributes={"k": "v"}, can_publish=False)
    await a.event("token_refreshed")
    claims = api.TokenVerifier(KEY, SECRET).verify(a.room._token)
    assert (claims.identity, claims.name, claims.attributes) == ("a", "Dr. A", {"k": "v"})
    assert claims.video.room == room_name and claims.video.room_join and not claims.video.can_publish
    assert not claims.video.room_admin and not claims.video.room_create
    second = await join("a", jwt=a.room._token)
    assert second.me.name == "Dr. A"


async def test_raw_join_and_refusals_on_the_wire(node, http, room_name):
    signalling = await Signalling.open(http, node, token(room_name, "raw", can_publish=False))
    join = await signalling.message("join")
    assert join.room.name == room_name and join.participant.identity == "raw" and not join.participant.permission.can_publish
    assert join.server_info.version.count(".") == 2 and join.server_info.protocol in (16, 17)
    assert join.ping_interval > 0 and join.ping_timeout > join.ping_interval
    assert signalling.seen == ["join"], "join comes first"
    track = dict(cid="c1", name="camera", type=models.TrackType.VIDEO, source=models.TrackSource.CAMERA)
    await signalling.send(add_track=wire.AddTrackRequest(**track))
    refusal = await signalling.message("request_response")
    assert refusal.reason == wire.RequestResponse.Reason.NOT_ALLOWED and refusal.add_track.cid == "c1"
    await signalling.send(mute=wire.MuteTrackRequest(sid="TR_none", muted=True))
    assert (await signalling.message("request_response")).reason == wire.RequestResponse.Reason.NOT_FOUND
    await signalling.send(update_metadata=wire.UpdateParticipantMetadata(name="x", request_id=7))
    refusal = await signalling.message("request_response")
    assert (refusal.request_id, refusal.reason) == (7, wire.RequestResponse.Reason.NOT_ALLOWED)
    await signalling.send(ping_req=wire.Ping(timestamp=123, rtt=4))
    pong = await signalling.message("pong_resp")
    assert pong.last_ping_timestamp == 123 and abs(pong.timestamp / 1e3 - time.time()) < 5
    await signalling.socket.send_bytes(b"\xff\xff\xff\xff")
    closed = await signalling.socket.receive(timeout=5)
    print(f"malformed message: socket closed with {signalling.socket.close_code}")
    assert closed.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED) and signalling.socket.close_code == 1002
    await signalling.close()

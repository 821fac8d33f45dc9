"""A client of the signalling alone, for what the SDK does not show: raw messages, raw HTTP."""

import base64
import time

import aiohttp
import jwt as pyjwt
from livekit.protocol import rtc as wire

from person import KEY, SECRET


def join_request(**settings):
    request = wire.JoinRequest(client_info={"protocol": 16, "sdk": "PYTHON"}, connection_settings={"auto_subscribe": True})
    request.MergeFrom(wire.JoinRequest(**settings))
    wrapped = wire.WrappedJoinRequest(join_request=request.SerializeToString())
    return base64.urlsafe_b64encode(wrapped.SerializeToString()).decode()


def sign(secret=SECRET, algorithm="HS256", header=None, **claims):
    """A token of any claims, right or wrong; a claim of None is left out."""
    now = int(time.time())
    whole = {"iss": KEY, "sub": "a", "nbf": now - 5, "exp": now + 300, "video": {"roomJoin": True, "room": "r"}} | claims
    whole = {name: value for name, value in whole.items() if value is not None}
    return pyjwt.encode(whole, secret if algorithm != "none" else None, algorithm=algorithm, headers=header)


class Signalling:
    """One WebSocket that decodes what comes."""

    def __init__(self, socket):
        self.socket = socket
        self.seen = []

    @classmethod
    async def open(cls, http, node, jwt, **settings):
        url = f"{node.http}/rtc/v1?join_request={join_request(**settings)}"
        return cls(await http.ws_connect(url, headers={"Authorization": f"Bearer {jwt}"}))

    async def send(self, **message):
        await self.socket.send_bytes(wire.SignalRequest(**message).SerializeToString())

    async def any(self, seconds=5.0):
        """The next message, whatever it is."""
        got = await self.socket.receive(timeout=seconds)
        assert got.type == aiohttp.WSMsgType.BINARY, f"got {got.type} {got.data}; seen {self.seen}"
        response = wire.SignalResponse.FromString(got.data)
        self.seen.append(response.WhichOneof("message"))
        return response

    async def message(self, kind, seconds=5.0):
        """Waits for a message of that kind and passes over others."""
        end = time.monotonic() + seconds
        while True:
            response = await self.any(max(0.01, end - time.monotonic()))
            if response.WhichOneof("message") == kind:
                return getattr(response, kind)

    async def close(self):
        await self.socket.close()

"""A tenant's events pushed to its platform: signed so that LiveKit's own receiver takes them, in order, and never in a call's way."""

import asyncio
import datetime
import ipaddress
import json
import os
import ssl
import time

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from livekit import api
from node import Node
from test_v1 import Platform

from person import Person, eventually

KEY, SECRET = "APIhooked", "a secret of more than thirty-two bytes"
PATH = "/hooks/planted-path"
CONFIG = """
[[tenants]]
name = "hooked"
policy = "consultation"
keys = [{{ id = "{key}", secret = "{secret}" }}]
webhooks = [{{ url = "{url}", key = "{key}" }}]
"""


class Receiver:
    """What a platform runs: reads the body as it came and lets the SDK check it."""

    def __init__(self):
        self.events, self.requests, self.answers = [], [], []
        self.check = api.WebhookReceiver(api.TokenVerifier(KEY, SECRET))

    async def start(self, context=None, port=0):
        app = web.Application()
        app.router.add_post(PATH, self.take)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", port, ssl_context=context)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        return self

    async def take(self, request):
        body, token = (await request.read()).decode(), request.headers["Authorization"]
        self.requests.append((body, token, request.content_type))
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.events.append((self.check.receive(body, token), json.loads(body)))
        return web.Response(status=status)

    async def stop(self):
        await self.runner.cleanup()

    def numbers(self):
        return [told["number"] for _, told in self.events]

    def kinds(self):
        return [event.event for event, _ in self.events]


def configured(folder, url):
    config = folder / "colloque.toml"
    config.write_text(CONFIG.format(key=KEY, secret=SECRET, url=url))
    return config


def platform(session, node):
    return Platform(session, node, api.AccessToken(KEY, SECRET).with_grants(api.VideoGrants(room_create=True)).to_jwt())


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


async def test_events_arrive_signed_and_in_order(tmp_path, session, room_name):
    receiver = await Receiver().start()
    # The first attempts fail in every way that passes: the order stays, nothing is said twice that was taken.
    receiver.answers = [503, 429, 200, 500, 200]
    node = Node(config=configured(tmp_path, f"http://127.0.0.1:{receiver.port}{PATH}"))
    doctor = Person(node, "d")
    try:
        v1 = platform(session, node)
        await v1.create(id=room_name)
        await doctor.connect((await v1.invite(room_name, "d", "doctor"))["token"])
        await doctor.leave()
        await eventually("the doctor left", lambda: "seat.left" in receiver.kinds())
        pulled = (await v1.call("GET", "/events?after=0"))["events"]
        samples = node.metrics()
    finally:
        await doctor.leave()
        code, _ = node.stop()
        await receiver.stop()
    assert code == 0 and not node.faults()
    print(receiver.kinds())
    assert receiver.numbers() == list(range(1, len(receiver.events) + 1)), "each once, in order"
    event_keys = ("number", "at_ms", "type", "consultation", "seat", "facts")
    pushed = [{key: told[key] for key in event_keys if key in told} for _, told in receiver.events]
    assert pushed[: len(pulled)] == pulled[: len(pushed)], "the same events as are read"
    event, told = next(pair for pair in receiver.events if pair[0].event == "consultation.opened")
    assert event.room.name == room_name and event.room.sid.startswith("RM_") and event.id and event.num_dropped == 0
    assert abs(event.created_at - time.time()) < 120
    joined = next(event for event, _ in receiver.events if event.event == "seat.joined")
    assert joined.participant.identity == "d"
    assert {kind for _, _, kind in receiver.requests} == {"application/webhook+json"}

    # The receiver believes neither another body nor another key.
    body, token, _ = receiver.requests[-1]
    with pytest.raises(Exception, match="hash mismatch"):
        receiver.check.receive(body.replace(room_name, "other"), token)
    with pytest.raises(Exception, match="(?i)signature"):
        api.WebhookReceiver(api.TokenVerifier(KEY, SECRET + "x")).receive(body, token)

    assert samples["colloque_webhooks_delivered_total"] >= 5 and samples["colloque_webhooks_retried_total"] == 3
    assert samples["colloque_webhooks_refused_total"] == 0 == samples["colloque_webhooks_lost_total"]
    said = "".join(node.lines)
    assert "a webhook receiver did not take an event" in said, "positive control"
    for planted in ("planted-path", SECRET, room_name, KEY, "hooked"):
        assert planted not in said, planted


async def test_a_receiver_that_is_gone_costs_no_call_anything(tmp_path, session, room_name):
    receiver = await Receiver().start()
    port = receiver.port
    await receiver.stop()
    node = Node(config=configured(tmp_path, f"http://127.0.0.1:{port}{PATH}"))
    doctor = Person(node, "d")
    try:
        v1 = platform(session, node)
        began = time.monotonic()
        for number in range(40):
            await v1.create(id=f"{room_name}-{number}")
        await v1.create(id=room_name)
        await doctor.connect((await v1.invite(room_name, "d", "doctor"))["token"])
        print(f"41 consultations and a join with nobody at the other end: {time.monotonic() - began:.2f} s")
        assert doctor.room.isconnected()
        await eventually("it is counted", lambda: node.metrics()["colloque_webhooks_retried_total"] >= 1)
        assert node.metrics()["colloque_webhooks_delivered_total"] == 0
        # Back again: what waited comes, from the first on.
        receiver = await Receiver().start(port=port)
        receiver.answers = [410]
        await eventually("what waited comes", lambda: "seat.joined" in receiver.kinds(), 40)
        samples = node.metrics()
    finally:
        await doctor.leave()
        node.stop()
        await receiver.stop()
    # One that a receiver refuses for good is passed over, and its number is missing.
    assert receiver.numbers()[0] == 2 and samples["colloque_webhooks_refused_total"] == 1
    assert receiver.numbers() == list(range(2, len(receiver.events) + 2))


def certificate(folder):
    """An authority and a certificate of 127.0.0.1, as a platform inside a clinic has."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def made(name, key, issuer, signer, authority):
        builder = x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        builder = builder.issuer_name(issuer).public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=2))
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        if not authority:
            names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(signer, hashes.SHA256())

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
    root, own = made("test authority", root_key, root_name, root_key, True), made("receiver", key, root_name, root_key, False)
    pem = serialization.Encoding.PEM
    (folder / "root.pem").write_bytes(root.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "own.pem").write_bytes(private + own.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "own.pem")
    return context


async def test_https_needs_a_certificate_somebody_vouches_for(tmp_path, session, room_name, monkeypatch):
    receiver = await Receiver().start(certificate(tmp_path))
    config = configured(tmp_path, f"https://127.0.0.1:{receiver.port}{PATH}")
    try:
        for vouched in (False, True):
            if vouched:
                monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
            node = Node(config=config)
            try:
                await platform(session, node).create(id=f"{room_name}-{vouched}")
                if vouched:
                    await eventually("it arrives over TLS", receiver.kinds)
                else:
                    await eventually("it is refused", lambda: node.metrics()["colloque_webhooks_retried_total"] >= 1)
                    assert receiver.requests == [], "nothing is sent to whom nobody vouches for"
            finally:
                node.stop()
    finally:
        await receiver.stop()
    assert receiver.kinds() == ["consultation.created"] and os.environ["SSL_CERT_FILE"].endswith("root.pem")
    await asyncio.sleep(0)

"""The relay under test, people who join it, and the platform that administers it."""

import asyncio
import functools
import inspect
import os
import sys
import uuid
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from livekit import api

sys.path.insert(0, str(Path(__file__).parent))

from audited import SETTINGS, make_keys  # noqa: E402
from node import Node  # noqa: E402
from person import KEY, SECRET, Person, token  # noqa: E402
from livekit.rtc import _ffi_client  # noqa: E402


class _KeepsRunning:
    """The `os` of the SDK's callback. Where a connection was given up half way (a killed relay), its core says panic seconds later, and the
    SDK then ends the whole process, pytest with it, in some later test. That one room is lost; whatever else broke fails its own test."""

    def __getattr__(self, name):
        return getattr(os, name)

    def kill(self, pid, number):
        print(f"the SDK wanted to end process {pid} with signal {number}: its core said panic", file=sys.stderr, flush=True)


_ffi_client.os = _KeepsRunning()

# No test may hold the others up, whatever it waits for.
TEST_BOUND_S = float(os.environ.get("TEST_BOUND_S", "100"))


def pytest_collection_modifyitems(items):
    for item in items:
        if inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.obj = bounded(item.obj)


def pytest_unconfigure():
    """Ends the native library while Python still can: at the interpreter's end its threads would call into what is gone."""
    from livekit.rtc._ffi_client import FfiClient

    if FfiClient._instance is not None:
        FfiClient._instance._dispose()


def bounded(test):
    @functools.wraps(test)
    async def run(*args, **kwargs):
        async with asyncio.timeout(TEST_BOUND_S):
            return await test(*args, **kwargs)

    return run


@pytest.fixture
def record(tmp_path):
    """A configuration with a record, its keys made."""
    config = tmp_path / "colloque.toml"
    config.write_text(SETTINGS.format(folder=tmp_path))
    return make_keys(config)


@pytest.fixture(scope="session")
def node():
    """One relay for all tests; rooms keep them apart."""
    relay = Node()
    yield relay
    panics = relay.metrics()["colloque_panics_total"]
    code, took = relay.stop()
    print(f"relay ended with {code} after {took:.2f} s, {len(relay.lines)} lines of log, {panics:.0f} panics")
    assert panics == 0
    assert not relay.faults(), relay.faults()[:5]
    assert code == 0, f"exit code {code}"
    assert took < 10, f"the relay took {took:.1f} s to end"


@pytest.fixture(autouse=True)
def quiet_log(request):
    """Fails the test during which the relay reported a fault of its own."""
    if "node" not in request.fixturenames:
        yield
        return
    relay = request.getfixturevalue("node")
    before = len(relay.lines)
    yield
    assert relay.process.poll() is None, "the relay ended"
    assert not relay.faults(before), relay.faults(before)[:5]


@pytest.fixture
def room_name(request):
    return f"{request.node.name[:60]}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def connections(request):
    """How people connect: over "one" peer connection as the SDK does by itself, over "two", or "mixed", one so and one so."""
    return getattr(request, "param", "one")


@pytest_asyncio.fixture
async def join(node, room_name, connections):
    """Makes people and sends them home afterwards: `await join("a", can_publish=False)`."""
    people = []

    async def make(identity, *, room=None, jwt=None, options=None, **words):
        person = Person(node, identity)
        people.append(person)
        options = dict(options or {})
        if connections == "two" or (connections == "mixed" and len(people) % 2):
            options["single_peer_connection"] = False
        person.took = await person.connect(jwt or token(room or room_name, identity, **words), **options)
        return person

    yield make
    await asyncio.gather(*(person.leave() for person in people), return_exceptions=True)


@pytest_asyncio.fixture
async def platform(node):
    """The client of the room service, which signs its own tokens with all grants a call needs."""
    client = api.LiveKitAPI(node.http, KEY, SECRET)
    yield client.room
    await client.aclose()


@pytest_asyncio.fixture
async def http():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session

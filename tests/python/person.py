"""A participant with a memory: every event of its room is kept until a test asks for it."""

import asyncio
import datetime
import time

import pytest
from livekit import api, rtc

KEY, SECRET = "devkey", "secret"
# How long anything in a call may take on a busy machine; most take some milliseconds.
SOON = 12.0

# Tests of what a client does on its own, over each number of peer connections; see the fixture `connections`.
both_ways = pytest.mark.parametrize("connections", ["one", "two"], indirect=True)
all_ways = pytest.mark.parametrize("connections", ["one", "two", "mixed"], indirect=True)

EVENTS = [
    "participant_connected", "participant_disconnected", "participant_active", "local_track_published",
    "local_track_unpublished", "local_track_republished", "local_track_subscribed", "track_published", "track_unpublished",
    "track_subscribed", "track_unsubscribed", "track_subscription_failed", "track_muted", "track_unmuted",
    "active_speakers_changed", "room_metadata_changed", "participant_metadata_changed", "participant_name_changed",
    "participant_attributes_changed", "connection_quality_changed", "participant_permissions_changed", "data_received",
    "connection_state_changed", "connected", "disconnected", "reconnecting", "reconnected", "room_updated", "token_refreshed",
]  # fmt: skip


async def within(seconds, what, doing):
    """Awaits with a bound and says what did not come."""
    try:
        return await asyncio.wait_for(doing, seconds)
    except asyncio.TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None


async def eventually(what, question, seconds=SOON):
    """Asks until the answer is true; only for what no event tells."""
    end = time.monotonic() + seconds
    while True:
        answer = question()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}; last answer {answer!r}")
        await asyncio.sleep(0.05)


def token(room, identity, *, name="", metadata="", attributes=None, ttl_s=600, **grants):
    grants = api.VideoGrants(room_join=True, room=room, **grants)
    made = api.AccessToken(KEY, SECRET).with_identity(identity).with_grants(grants)
    made = made.with_ttl(datetime.timedelta(seconds=ttl_s))
    if name:
        made = made.with_name(name)
    if metadata:
        made = made.with_metadata(metadata)
    if attributes:
        made = made.with_attributes(attributes)
    return made.to_jwt()


class Person:
    """One connection of the SDK."""

    def __init__(self, node, identity):
        self.node = node
        self.identity = identity
        self.room = rtc.Room()
        self.events = []
        self.history = []
        self._wake = asyncio.Event()
        for name in EVENTS:
            self.room.on(name, self._keeper(name))

    def _keeper(self, name):
        def keep(*args):
            self.events.append((name, args))
            self.history.append(name)
            self._wake.set()

        return keep

    async def connect(self, jwt, **options):
        began = time.monotonic()
        await within(25, f"{self.identity} connects", self.room.connect(self.node.ws, jwt, rtc.RoomOptions(**options)))
        return time.monotonic() - began

    @property
    def me(self):
        return self.room.local_participant

    def peer(self, identity):
        return self.room.remote_participants[identity]

    async def event(self, name, where=lambda *args: True, seconds=SOON):
        """Takes the oldest kept event of that name that fits; waits for it if there is none yet."""

        async def take():
            while True:
                for index, (kept, args) in enumerate(self.events):
                    if kept == name and where(*args):
                        del self.events[index]
                        return args
                self._wake.clear()
                await self._wake.wait()

        return await within(seconds, f"{self.identity} sees {name}; has seen {self.history[-25:]}", take())

    def saw(self, name, where=lambda *args: True):
        return [args for kept, args in self.events if kept == name and where(*args)]

    async def sees(self, identity, seconds=SOON):
        """Waits until the other one is there and ready for data."""

        def ready():
            other = self.room.remote_participants.get(identity)
            return other is not None and other.state == rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE

        async def wait():
            while not ready():
                self._wake.clear()
                try:
                    # `participants_updated` raises no event of its own.
                    await asyncio.wait_for(self._wake.wait(), 0.1)
                except asyncio.TimeoutError:
                    pass

        await within(seconds, f"{self.identity} sees {identity} active; has {list(self.room.remote_participants)}", wait())
        return self.room.remote_participants[identity]

    async def track(self, identity, kind, seconds=SOON):
        """Waits for a subscribed track of that person and kind (also one subscribed before)."""

        def fits(track, publication, participant):
            return participant.identity == identity and publication.kind == kind

        return await self.event("track_subscribed", fits, seconds)

    async def leave(self):
        await within(10, f"{self.identity} leaves", self.room.disconnect())

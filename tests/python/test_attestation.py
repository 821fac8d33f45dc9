"""The signed statement of what was delivered, held against what the clients themselves counted; and the story for support."""

import asyncio
import base64
import datetime
import json
import subprocess
import time

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from livekit import rtc
from node import Node, binary
from test_v1 import Platform, Problem

import media
from person import Person, eventually

Kind = rtc.SimulateScenarioKind
SAMPLE_S = 0.25
# Growth of a counter no further apart than this is one stretch, as in the statement.
TOGETHER_S = 1.5
# What the statement promises at either end of an interval.
CLOSE_S = 1.0
# A name that must be nowhere.
PLANTED = "Jeanne Planted"


class Counted:
    """What one person's client says of one track it receives, four times a second."""

    def __init__(self, track):
        self.track = track
        self.samples = []
        self.task = asyncio.create_task(self._run())

    async def _run(self):
        while True:
            stats = await self.track.get_stats()
            got = sum(entry.inbound_rtp.inbound.bytes_received for entry in stats if entry.HasField("inbound_rtp"))
            self.samples.append((time.time(), got))
            await asyncio.sleep(SAMPLE_S)

    async def close(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def intervals(self):
        """Stretches in which bytes came, each end with the time it may be off by."""
        found = []
        for (before, had), (at, has) in zip(self.samples, self.samples[1:]):
            if has <= had:
                continue
            if found and before - found[-1][1] <= TOGETHER_S:
                found[-1][1] = at
            else:
                found.append([before, at])
        return found

    def gap(self):
        return max((b[0] - a[0] for a, b in zip(self.samples, self.samples[1:])), default=0)


class Statement:
    """A statement as anybody reads it: with a library that is not ours, and the public key."""

    def __init__(self, token, pem):
        header = jwt.get_unverified_header(token)
        assert header["typ"] == "consultation-attestation+jwt" and header["alg"] == "EdDSA", header
        self.token = token
        self.said = jwt.decode(token, load_pem_public_key(pem.encode()), algorithms=["EdDSA"])
        opened = self.said["opened_at"].replace("Z", "+00:00")
        self.opened = datetime.datetime.fromisoformat(opened).timestamp()

    def seat(self, role):
        return next(seat["seat"] for seat in self.said["seats"] if seat["role"] == role)

    def intervals(self, sender, receiver, kind):
        wanted = (self.seat(sender), self.seat(receiver), kind)
        spans = [one["intervals"] for one in self.said["delivered"] if (one["from"], one["to"], one["kind"]) == wanted]
        return [[self.opened + span["from_ms"] / 1000, self.opened + span["to_ms"] / 1000] for span in (spans or [[]])[0]]

    def interruptions(self, sender, receiver, kind):
        pair = (self.seat(sender), self.seat(receiver), kind)
        return [one for one in self.said["interruptions"] if (one["from"], one["to"], one["kind"]) == pair]


async def refused(call):
    """The problem a call ends with."""
    with pytest.raises(Problem) as caught:
        await call
    assert caught.value.kind == "application/problem+json"
    return caught.value.answer


async def fetch(session, node, path, jwt=None):
    headers = {"Authorization": f"Bearer {jwt}"} if jwt else {}
    async with session.get(f"{node.http}/v1{path}", headers=headers) as answer:
        return answer.status, answer.headers, await answer.text()


class Call:
    """A consultation on a node of its own that keeps a record."""

    def __init__(self, config, session, room):
        self.config, self.session, self.room = config, session, room
        self.node = Node(config=config)
        self.v1 = Platform(session, self.node)
        self.people, self.sources, self.counted = {}, [], {}

    def restart(self):
        self.node = Node(config=self.config)
        self.v1 = Platform(self.session, self.node)

    async def comes(self, seat, role, admit=True):
        invited = await self.v1.invite(self.room, seat, role, name=PLANTED)
        person = Person(self.node, seat)
        self.people[seat] = person
        person.jwt = invited["token"]
        await person.connect(person.jwt)
        if admit and role != "doctor":
            await self.v1.call("POST", f"/consultations/{self.room}/seats/{seat}/admit")
        return person

    async def talks(self, person, pitch):
        self.sources.append(media.Microphone(pitch))
        await self.sources[-1].publish(person)

    async def count(self, receiver, sender, kind):
        track = (await self.people[receiver].track(sender, kind))[0]
        self.counted[(receiver, sender, kind)] = Counted(track)

    async def statement(self, **query):
        words = "&".join(f"{name}={value}" for name, value in query.items())
        path = f"/consultations/{self.room}/attestation"
        status, headers, token = await fetch(self.session, self.node, f"{path}?{words}", self.v1.jwt)
        assert status == 200, token
        assert headers["content-type"] == "application/jose"
        _, _, pem = await fetch(self.session, self.node, "/attestation-key")
        statement = Statement(token, pem)
        statement.number = (int(headers["colloque-opening"]), int(headers["colloque-openings"]))
        return statement

    async def ended(self):
        """The statement once its call is over."""

        async def over():
            statement = await self.statement()
            return statement if statement.said["ended"] else None

        return await eventually("the statement is final", over)

    async def close(self):
        await asyncio.gather(*(one.close() for one in self.counted.values()))
        await asyncio.gather(*(person.leave() for person in self.people.values()), return_exceptions=True)
        await asyncio.gather(*(source.close() for source in self.sources))
        code, _ = self.node.stop()
        assert code == 0 and not self.node.faults()


@pytest.fixture
async def call(record, room_name):
    async with aiohttp.ClientSession() as session:
        call = Call(record, session, room_name)
        try:
            await call.v1.create(id=room_name)
            yield call
        finally:
            await call.close()


def close_to(said, seen, slack):
    """Holds intervals against those a client counted; prints how far the ends are off."""
    assert len(said) == len(seen), (said, seen)
    off = [round(abs(a - b), 2) for one, other in zip(said, seen) for a, b in zip(one, other)]
    assert all(each <= CLOSE_S + slack for each in off), (off, said, seen)
    return off


def cli(config, file):
    words = [binary(), "attestation", "verify", file, "--key", config.parent / "audit/attestation.pub"]
    return subprocess.run(words, capture_output=True, text=True, timeout=30)


async def test_what_was_delivered_is_stated_and_signed(call, record, tmp_path):
    doctor = await call.comes("d", "doctor")
    patient = await call.comes("p", "patient")
    await call.v1.call("POST", f"/consultations/{call.room}/consents", {"text": "v1"}, jwt=patient.jwt)
    cameras = {}
    for person, pitch, colours in ((doctor, 440, "a"), (patient, 660, "b")):
        await call.talks(person, pitch)
        camera = media.Camera(media.COLOURS[colours])
        call.sources.append(camera)
        await camera.publish(person)
        cameras[person.identity] = camera
    pairs = [(to, of, kind) for to, of in (("d", "p"), ("p", "d")) for kind in (rtc.TrackKind.KIND_VIDEO, rtc.TrackKind.KIND_AUDIO)]
    await asyncio.gather(*(call.count(*pair) for pair in pairs))
    await asyncio.sleep(5)
    cameras["p"].track.mute()
    muted = time.time()
    await asyncio.sleep(4)
    so_far = await call.statement()
    cameras["p"].track.unmute()
    unmuted = time.time()
    await asyncio.sleep(4)
    for counted in call.counted.values():
        await counted.close()
    code = (await call.v1.call("GET", f"/consultations/{call.room}/support", jwt=patient.jwt))["code"]
    await patient.leave()
    left = time.time()
    await doctor.event("participant_disconnected")
    await call.v1.call("DELETE", f"/consultations/{call.room}")
    statement = await call.ended()

    assert not so_far.said["ended"] and so_far.said["log"]["to_seq"] <= statement.said["log"]["to_seq"]
    assert (await call.statement()).token == statement.token, "once it is over it never changes"
    assert statement.said["complete"] and statement.number == (1, 1)
    assert statement.said["consents"][0]["text_version"] == "v1" and statement.said["consents"][0]["state"] == "given"
    roles, off = {"d": "doctor", "p": "patient"}, {}
    for (to, of, kind), counted in call.counted.items():
        name = "video" if kind == rtc.TrackKind.KIND_VIDEO else "audio"
        said = statement.intervals(roles[of], roles[to], name)
        seen = counted.intervals()
        # Counting ended before the patient left: the end is that of the stay.
        seen[-1][1] = left
        # Counting began when the client told of the track: not before its first bytes.
        off[f"{name} {of}>{to}"] = close_to(said, seen, counted.gap())
    print("off by", off)
    camera = statement.intervals("patient", "doctor", "video")
    assert len(camera) == 2 and abs(camera[0][1] - muted) < 1.5 and abs(camera[1][0] - unmuted) < 2.5, (camera, muted, unmuted)
    pause = statement.interruptions("patient", "doctor", "video")
    assert [one["cause"] for one in pause] == ["sender"], pause
    assert statement.said["summary"]["video_two_way"] and statement.said["summary"]["audio_two_way_s"] >= 10

    # Our own command agrees, and refuses what was changed.
    file = tmp_path / "attestation.jws"
    file.write_text(statement.token)
    good = cli(record, file)
    assert good.returncode == 0 and "Two-way video   yes" in good.stdout, good
    whole = bytearray(statement.token.encode())
    whole[len(whole) // 2] ^= 1
    file.write_bytes(whole)
    assert cli(record, file).returncode == 65
    # Nobody is named in it.
    said = base64.urlsafe_b64decode(statement.token.split(".")[1] + "==").decode()
    assert call.room not in said and PLANTED not in said, said

    story = await call.v1.call("GET", f"/timelines/{code}")
    by_id = await call.v1.call("GET", f"/consultations/{call.room}/timeline")
    assert story == by_id and story["code"] == code
    told = [(line["seat"], line["what"], line["class"]) for line in story["lines"]]
    for wanted in (
        ("patient", "joined", "course"),
        ("patient", "consent_given", "consent"),
        ("patient", "connected", "course"),
        ("patient", "muted", "own_choice"),
        ("patient", "unmuted", "own_choice"),
        ("patient", "left", "own_choice"),
        ("doctor", "left", "course"),
    ):
        assert wanted in told, (wanted, told)
    assert PLANTED not in json.dumps(story)
    other = await refused(call.v1.call("GET", f"/timelines/{(int(code) + 1) % 1_000_000:06}"))
    assert other["status"] == 404 and "no such story" in other["detail"], other


async def test_sound_alone_an_aside_and_a_withdrawal_are_said_as_they_were(call, record, tmp_path):
    doctor = await call.comes("d", "doctor")
    companion = await call.comes("c", "companion")
    patient = await call.comes("p", "patient")
    consent = {"text": "v1", "scopes": ["teleconsultation", "aside", "third_person:companion"]}
    await call.v1.call("POST", f"/consultations/{call.room}/consents", consent, jwt=patient.jwt)
    for person, pitch in ((doctor, 440), (companion, 550), (patient, 660)):
        await call.talks(person, pitch)
    sound = rtc.TrackKind.KIND_AUDIO
    await asyncio.gather(*(call.count(*pair, sound) for pair in (("p", "d"), ("d", "p"), ("c", "d"))))
    await asyncio.sleep(2.5)
    await call.v1.call("POST", f"/consultations/{call.room}/aside", {"members": ["d", "c"]}, jwt=doctor.jwt)
    apart = time.time()
    await asyncio.sleep(4)
    await call.v1.call("DELETE", f"/consultations/{call.room}/aside", jwt=doctor.jwt)
    together = time.time()
    await asyncio.sleep(3)
    # Signalling breaks; media and the seat go on.
    await doctor.room.simulate_scenario(Kind.SIMULATE_SIGNAL_RECONNECT)
    await asyncio.sleep(2.5)
    await call.v1.call("DELETE", f"/consultations/{call.room}/consents/p", jwt=patient.jwt)
    withdrawn = time.time()
    await asyncio.sleep(3)
    await call.v1.call("POST", f"/consultations/{call.room}/consents", consent, jwt=patient.jwt)
    again = time.time()
    await asyncio.sleep(3)
    # The node stops while they talk: what was open is signed, and another start hands it over.
    code, _ = call.node.stop()
    assert code == 0 and not call.node.faults()
    await asyncio.gather(*(counted.close() for counted in call.counted.values()), *(person.leave() for person in call.people.values()), return_exceptions=True)
    call.people.clear()
    call.restart()
    statement = await call.statement()
    assert statement.said["ended"] and statement.number == (1, 1)

    said = statement.intervals("doctor", "patient", "audio")
    print("doctor to patient", [[round(end - statement.opened, 2) for end in span] for span in said])
    print("apart, together, withdrawn, again", [round(at - statement.opened, 2) for at in (apart, together, withdrawn, again)])
    assert len(said) == 3, said
    for moment, end in ((apart, said[0][1]), (together, said[1][0]), (withdrawn, said[1][1]), (again, said[2][0])):
        assert abs(moment - end) < 2, (moment - statement.opened, end - statement.opened)
    causes = [one["cause"] for one in statement.interruptions("doctor", "patient", "audio")]
    assert causes == ["aside", "consent"], statement.said["interruptions"]
    assert len(statement.intervals("doctor", "companion", "audio")) == 1, "the aside and the break of signalling cost it nothing"
    states = [one["state"] for one in statement.said["consents"]]
    assert states == ["given", "withdrawn", "given"], states
    assert len(statement.said["asides"]) == 1
    summary = statement.said["summary"]
    assert not summary["video_two_way"] and summary["video_two_way_s"] == 0 and summary["audio_two_way_s"] >= 6, summary
    file = tmp_path / "attestation.jws"
    file.write_text(statement.token)
    checked = cli(record, file)
    assert checked.returncode == 0 and "Two-way video   no" in checked.stdout, checked

    # The same name once more is another opening, with a statement of its own.
    await call.v1.create(id=call.room)
    doctor, patient = await call.comes("d", "doctor"), await call.comes("p", "patient")
    await call.v1.call("POST", f"/consultations/{call.room}/consents", {"text": "v2"}, jwt=patient.jwt)
    await call.talks(doctor, 500)
    await patient.track("d", sound)
    await asyncio.sleep(2.5)
    running = await call.statement()
    assert running.number == (2, 2) and not running.said["ended"]
    assert [one["text_version"] for one in running.said["consents"]] == ["v2"] and running.intervals("doctor", "patient", "audio")
    assert (await call.statement(opening=1)).token == statement.token
    gone = await refused(call.v1.call("GET", f"/consultations/{call.room}/attestation?opening=3"))
    assert gone["code"] == "unattested" and "1 to 2" in gone["detail"], gone
    await call.v1.call("DELETE", f"/consultations/{call.room}")
    assert (await call.ended()).number == (2, 2)
    assert json.dumps(statement.said).count(call.room) == 0
    unknown = await refused(call.v1.call("GET", "/consultations/nobody-knows-it/attestation"))
    assert unknown["status"] == 404 and "audit record" in unknown["detail"], unknown

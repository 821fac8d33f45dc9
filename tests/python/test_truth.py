"""What clients learn of their own line and the others', and what the relay says of what arrives."""

import asyncio
import os
import socket
import subprocess
from pathlib import Path

import pytest
from livekit import rtc

import media
from node import ROOT, Node, free_port
from person import Person, eventually, token
from test_v1 import Platform

GOOD, POOR = rtc.ConnectionQuality.QUALITY_EXCELLENT, rtc.ConnectionQuality.QUALITY_POOR
LOSSY = "{ both = { loss = 0.25 } }"

# The relay listens on one address of this machine and names another, where the line to it begins.
SEPARATE = """
[media]
bind = ["127.0.0.1"]
advertise = ["127.0.0.2"]
"""


class Line:
    """`loadtest impair` between every client and the relay."""

    def __init__(self, node):
        path = Path(os.environ.get("LOADTEST_BIN") or ROOT / "target/debug/loadtest")
        self.control = free_port(socket.SOCK_STREAM)
        words = [str(path), "impair", "--listen", f"127.0.0.2:{node.udp_port}", "--to", f"127.0.0.1:{node.udp_port}"]
        words += ["--profile", "clean", "--seed", "7", "--control", f"127.0.0.1:{self.control}"]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def become(self, profile, client):
        with socket.create_connection(("127.0.0.1", self.control), timeout=5) as control:
            control.sendall(f"profile {profile} both client {client}\n".encode())
            answer = control.makefile().readline()
        assert answer == "ok\n", answer

    def stop(self):
        self.process.terminate()
        self.process.wait(5)


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    """A relay behind a line that can be spoilt, and the line."""
    config = tmp_path_factory.mktemp("truth") / "colloque.toml"
    config.write_text(SEPARATE)
    relay = Node(config=config)
    line = Line(relay)
    yield relay, line
    line.stop()
    panics = relay.metrics()["colloque_panics_total"]
    code, _ = relay.stop()
    assert (code, panics, relay.faults()) == (0, 0, [])


async def published(person, hertz):
    voice, camera = media.Microphone(hertz), media.Camera(media.COLOURS["a"])
    await voice.publish(person)
    await camera.publish(person)
    return [voice, camera]


def said(person, of):
    """What a person was told of another's line, in order."""
    return [quality for who, quality in person.saw("connection_quality_changed") if who.identity == of]


async def test_a_line_that_loses_is_poor_for_everybody_and_good_again(far, room_name):
    relay, line = far
    doctor, patient = Person(relay, "doctor"), Person(relay, "patient")
    sources = []
    try:
        # Clients of the line are numbered as they come.
        await doctor.connect(token(room_name, "doctor"))
        sources += await published(doctor, 440)
        await doctor.event("local_track_published")
        await asyncio.sleep(1)
        await patient.connect(token(room_name, "patient"))
        sources += await published(patient, 660)
        for viewer in (doctor, patient):
            for of in ("doctor", "patient"):
                await eventually(f"{viewer.identity} hears of {of}", lambda v=viewer, o=of: said(v, o)[-1:] == [GOOD])
        line.become(LOSSY, 1)
        await eventually("the patient's line is poor", lambda: said(doctor, "patient")[-1] == POOR, seconds=20)
        await eventually("the patient is told", lambda: said(patient, "patient")[-1] == POOR)
        assert POOR not in said(patient, "doctor"), "the doctor's own line is as it was"
        line.become("clean", 1)
        await eventually("it is good again", lambda: said(doctor, "patient")[-1] == GOOD, seconds=30)
        assert len(said(doctor, "patient")) <= 8, said(doctor, "patient")
        assert not patient.saw("reconnecting") and not doctor.saw("reconnecting")
    finally:
        await asyncio.gather(doctor.leave(), patient.leave(), return_exceptions=True)
        await asyncio.gather(*(source.close() for source in sources))


async def test_in_a_consultation_everybody_reads_what_reaches_whom(http, node, room_name):
    v1 = Platform(http, node)
    await v1.create(id=room_name)
    people, sources = [], []
    try:
        for seat, role in (("d", "doctor"), ("n", "companion")):
            invited = await v1.invite(room_name, seat, role)
            person = Person(node, seat)
            people.append(person)
            await person.connect(invited["token"])
            sources += await published(person, 440 + 220 * len(people))
        doctor, nurse = people
        await v1.call("POST", f"/consultations/{room_name}/seats/d/admit", None)
        await v1.call("POST", f"/consultations/{room_name}/seats/n/admit", None)
        await eventually("they meet", lambda: "d" in nurse.room.remote_participants and "n" in doctor.room.remote_participants)

        tracks = {publication.kind: publication.sid for publication in nurse.me.track_publications.values()}
        picture, voice = tracks[rtc.TrackKind.KIND_VIDEO], tracks[rtc.TrackKind.KIND_AUDIO]

        def words(of):
            text = of.attributes.get("consultation.receives", "")
            return dict(word.split("=") for word in text.split())

        await eventually("the nurse reads what reaches the doctor", lambda: words(nurse.peer("d")).get(voice) == "clear", seconds=20)
        arrives = await eventually("the picture too", lambda: words(nurse.peer("d")).get(picture))
        print(f"the doctor receives {arrives}")
        assert arrives.split("@")[0].split("/")[0].isdigit(), arrives
        assert words(doctor.me).get(voice) == "clear", "so does the doctor"

        await nurse.me.unpublish_track(picture)
        await eventually("what is gone is not said", lambda: picture not in words(nurse.peer("d")))
        assert words(nurse.peer("d")).get(voice) == "clear"
        assert not doctor.saw("participant_attributes_changed", lambda changed, who: set(changed) == {"consultation.receives"} and who.identity not in "dn")
    finally:
        await asyncio.gather(*(person.leave() for person in people), return_exceptions=True)
        await asyncio.gather(*(source.close() for source in sources))

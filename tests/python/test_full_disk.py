"""What a full disk under the audit record does: nobody new comes in, a running call goes on, and afterwards the record is whole.

The disk is real: a small tmpfs, mounted where only this test and its relay see it. That takes root, or a kernel that gives
everybody mount namespaces of their own; elsewhere the tests say that they were not run.
"""

import asyncio
import os
import subprocess
from pathlib import Path

import aiohttp
import pytest
from livekit import rtc
from node import Node
from test_busy import UPGRADE, refused
from test_record import entries, verified
from test_v1 import Platform, Problem

import media
from audited import SETTINGS, make_keys
from person import Person, eventually

DISK_KIB = 16 * 1024
VIDEO, AUDIO = rtc.TrackKind.KIND_VIDEO, rtc.TrackKind.KIND_AUDIO
MINE = "reserve_mib = 1\ngrace_min = {grace}\n"


class Disk:
    """A file system that can be filled, in a mount namespace that lives as long as this."""

    def __init__(self, folder):
        folder.mkdir()
        mount = f"mount -t tmpfs -o size={DISK_KIB}k none {folder} && echo mounted && exec sleep 3600"
        # As root the namespace of mounts is enough; others need one of users as well.
        own = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
        self.holder = subprocess.Popen(["unshare", *own, "sh", "-c", mount], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.holder.stdout.readline().strip() != "mounted":
            why = self.holder.communicate(timeout=10)[1].strip()
            pytest.skip(f"not checked: a full disk, because no file system can be mounted here: {why}")
        users = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        self.inside = ["nsenter", f"--target={self.holder.pid}", "--mount", *users, "--"]
        self.folder = Path(f"/proc/{self.holder.pid}/root{folder}")

    def fill(self):
        """Takes what is left, to the last byte."""
        with open(self.folder / "filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError as error:
                assert error.errno == 28, error
        assert os.statvfs(self.folder).f_bavail == 0

    def free(self):
        (self.folder / "filler").unlink()

    def close(self):
        self.holder.kill()
        self.holder.communicate(timeout=10)


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path / "disk")
    yield disk
    disk.close()


@pytest.fixture
async def http():
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


def configured(tmp_path, disk, grace):
    config = tmp_path / "colloque.toml"
    config.write_text(SETTINGS.format(folder=tmp_path).replace(f"{tmp_path}/audit", f"{tmp_path}/disk/audit") + MINE.format(grace=grace))
    return make_keys(config, disk.inside)


def state(node, word):
    return node.metrics()[f'colloque_audit_state{{state="{word}"}}'] == 1


class Scene:
    def __init__(self, node, http, room):
        self.node, self.v1, self.room, self.known, self.sources = node, Platform(http, node), room, [], []

    async def come(self, invited, publish=True):
        person = Person(self.node, invited["seat"]["seat"])
        self.known.append(person)
        await person.connect(invited["token"])
        if publish:
            for source in (media.Microphone(440 + 220 * len(self.known)), media.Camera(media.COLOURS["a"])):
                self.sources.append(source)
                await source.publish(person)
        return person

    async def invite(self, seat, role):
        return await self.v1.invite(self.room, seat, role)

    async def call(self, path, body=None, jwt=None, method="POST"):
        return await self.v1.call(method, f"/consultations/{self.room}/{path}", body, jwt=jwt)

    async def home(self):
        await asyncio.gather(*(person.leave() for person in self.known), return_exceptions=True)
        await asyncio.gather(*(source.close() for source in self.sources))


async def unavailable(call):
    """Asserts the one answer to whoever would be given access."""
    with pytest.raises(Problem) as caught:
        await call
    told = caught.value
    assert (told.status, told.kind, told.answer["code"]) == (503, "application/problem+json", "audit_unavailable"), told
    assert 1 <= told.answer["retry_after"] <= 30


async def moves(person, other):
    pictures, _ = await media.watch(await media.current(person, other, VIDEO), lambda *_: True)
    return bool(pictures)


def of_tenant(disk):
    folders = sorted(path.parent for path in (disk.folder / "audit" / "tenants" / "dev").rglob("checkpoints.log"))
    return [entry for folder in folders if any(folder.glob("seg-*.log")) for entry in entries(folder)]


def whole(disk, tmp_path):
    """Every log, checked offline on a copy with the public key alone."""
    copy = tmp_path / "copy"
    copy.mkdir()
    subprocess.run(["cp", "-a", disk.folder / "audit", copy], check=True, timeout=30)
    (copy / "root.pub").write_bytes((tmp_path / "root.pub").read_bytes())
    return verified(copy / "colloque.toml")


async def test_a_full_disk_keeps_newcomers_out_and_nobody_who_is_inside(disk, tmp_path, http, room_name):
    config = configured(tmp_path, disk, grace=15)
    node = Node(config=config, inside=disk.inside)
    scene = Scene(node, http, room_name)
    try:
        await scene.v1.create(id=room_name)
        doctor = await scene.come(await scene.invite("d", "doctor"))
        invited = await scene.invite("p", "patient")
        agreed = {"text": "v1"}
        patient = await scene.come(invited)
        await scene.call("seats/p/admit")
        await scene.call("consents", agreed, jwt=invited["token"])
        assert await moves(doctor, "p") and await moves(patient, "d")
        waiting = await scene.invite("c", "companion")
        companion = await scene.come(waiting, publish=False)
        late = await scene.invite("r", "relative")
        assert state(node, "writing")

        disk.fill()
        await eventually("the relay finds the disk full", lambda: state(node, "degraded"))

        # A balancer, newcomers, those who hold a link, and the platform: nobody gets in, and everybody hears why and when to ask.
        async with http.get(node.http + "/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "audit_log") and "Retry-After" in answer.headers
        for path, headers in (("/rtc/v1", UPGRADE), ("/rtc/v1/validate", {})):
            status, seconds, text = await refused(http, node, path, late["token"], **headers)
            print(f"{path}: {status}, Retry-After: {seconds}, {text!r}")
            assert status == 503 and text == f"the audit log is not available, try again in {seconds} s"
        relative = Person(node, "r")
        with pytest.raises(rtc.ConnectError) as caught:
            await relative.connect(late["token"])
        print(f"the client says: {caught.value.message}")
        code = late["link"].split("#code=")[1]
        async with http.post(f"{node.http}/v1/links", json={"code": code}) as answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "audit_unavailable")
            assert 1 <= int(answer.headers["Retry-After"]) <= 30
        await unavailable(scene.v1.create(id=f"{room_name}-2"))
        await unavailable(scene.invite("x", "colleague"))
        await unavailable(scene.call("seats/c/admit"))
        await unavailable(scene.call("consents", {"text": "v1", "scopes": ["aside"]}, jwt=invited["token"]))
        await unavailable(scene.call("extend", {"ends_at": 4102444800}))

        # The call goes on, and says what is the matter.
        await eventually("the call is told", lambda: doctor.me.attributes.get("consultation.unrecorded") == "true")
        assert int(doctor.me.attributes["consultation.unrecorded_until"]) > 0
        assert await moves(doctor, "p") and await moves(patient, "d")
        patient.history.clear()
        breaking = asyncio.create_task(patient.room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT))
        await patient.event("reconnected", seconds=25)
        await breaking
        assert await moves(doctor, "p") and await moves(patient, "d")

        # What takes access away works as ever.
        await scene.call("seats/d/mute", {})
        await doctor.event("track_muted", lambda who, publication: who.identity == "d")
        await scene.call("consents/p?scopes=teleconsultation", jwt=invited["token"], method="DELETE")
        await eventually("the gate is shut", lambda: patient.me.attributes.get("consultation.gate") == "consent")
        await eventually("nothing of the patient's is left", lambda: not doctor.peer("p").track_publications)
        await scene.call("seats/c/remove")
        await companion.event("disconnected")
        await unavailable(scene.call("consents", agreed, jwt=invited["token"]))

        disk.free()
        await eventually("the relay writes again", lambda: state(node, "writing"), seconds=20)
        async with http.get(node.http + "/readyz") as answer:
            assert answer.status == 200
        await scene.call("consents", agreed, jwt=invited["token"])
        assert await moves(doctor, "p")
        await scene.come(late, publish=False)
        await eventually("the notice is gone", lambda: "consultation.unrecorded" not in doctor.me.attributes)
        await doctor.leave()
        figures = {name: value for name, value in node.metrics().items() if "audit" in name}
        print(figures)
        assert figures["colloque_audit_lost_total"] == 0 and figures["colloque_audit_kept_total"] >= 4
        assert figures['colloque_joins_refused_total{reason="audit_log"}'] >= 5
    finally:
        await scene.home()
        code, _ = node.stop()
    assert code == 0
    codes = {name: code for name, (code, _) in whole(disk, tmp_path).items()}
    print(codes)
    assert len(codes) == 3 and all(code == 0 for code in codes.values()), codes

    told = of_tenant(disk)
    assert [entry["seq"] for entry in told] == list(range(len(told)))
    names = [entry["ev"] for entry in told]
    down, back = names.index("audit.write_degraded"), names.index("audit.write_restored")
    between = told[down + 1 : back]
    print([entry["ev"] for entry in between])
    times = [entry["ts"] for entry in between]
    assert times == sorted(times)
    assert {"participant.resumed", "moderation.muted", "consent.withdrawn", "media.gate_closed", "participant.removed"} <= {
        entry["ev"] for entry in between
    }
    assert told[back]["data"]["kept_events"] >= len(between) and told[back]["data"]["lost_b_events"] == 0
    assert not {"consent.given", "participant.admitted", "token.accepted"} & {entry["ev"] for entry in between}


async def test_a_call_ends_when_its_grace_time_is_over(disk, tmp_path, http, room_name):
    config = configured(tmp_path, disk, grace=0)
    node = Node(config=config, inside=disk.inside)
    scene = Scene(node, http, room_name)
    try:
        await scene.v1.create(id=room_name, rules={"consent": [], "auto_admit": ["patient"]})
        doctor = await scene.come(await scene.invite("d", "doctor"), publish=False)
        patient = await scene.come(await scene.invite("p", "patient"), publish=False)
        await eventually("both are inside", lambda: doctor.room.remote_participants and patient.room.remote_participants)
        disk.fill()
        for person in (doctor, patient):
            (reason,) = await person.event("disconnected", seconds=20)
            assert reason == rtc.DisconnectReason.ROOM_DELETED
        disk.free()
        await eventually("the relay writes again", lambda: state(node, "writing"), seconds=20)
        told = (await scene.v1.call("GET", "/events?after=0"))["events"]
        closed = next(event for event in told if event["type"] == "consultation.closed" and event["consultation"] == room_name)
        assert closed["facts"]["why"] == "unrecorded"
    finally:
        await scene.home()
        code, _ = node.stop()
    assert code == 0
    codes = {name: code for name, (code, _) in whole(disk, tmp_path).items()}
    assert len(codes) == 3 and all(code == 0 for code in codes.values()), codes
    closed = next(entry for entry in of_tenant(disk) if entry["ev"] == "room.closed")
    assert closed["why"] == "audit_grace_over"

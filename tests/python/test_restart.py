"""What a node still knows after a restart: what was arranged, which links work, and who was taken out."""

import asyncio
import signal

import aiohttp
import pytest
from node import Node
from test_busy import UPGRADE, refused
from test_v1 import Platform, Problem

from person import Person, eventually

NAME = "Ada Lovelace"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "colloque.toml"
    path.write_text(f'[rooms]\nstate_dir = "{tmp_path}/rooms"\n')
    return path


async def seated(node, jwt, identity):
    person = Person(node, identity)
    await person.connect(jwt)
    return person


def written(folder):
    return "".join(path.read_text() for path in folder.iterdir())


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
async def test_a_restart_forgets_nothing_that_was_answered(config, ending):
    known = []
    node = Node(config=config)
    try:
        async with aiohttp.ClientSession() as http:
            v1 = Platform(http, node)
            await v1.create(id="c-1", rules={"third_persons": []})
            await v1.create(id="c-2")
            doctor = await v1.invite("c-1", "d", "doctor", name=NAME)
            patient = await v1.invite("c-1", "p", "patient", name=NAME)
            relative = await v1.invite("c-1", "r", "relative", admitted=True)
            over = await v1.invite("c-2", "d", "doctor")
            await v1.call("POST", "/consultations/c-1/consents", {"seat": "p", "text": "v1", "channel": "token"})
            known += [await seated(node, doctor["token"], "d"), await seated(node, relative["token"], "r")]
            known.append(await seated(node, over["token"], "d"))
            await v1.call("POST", "/consultations/c-1/seats/r/remove")
            await v1.call("DELETE", "/consultations/c-2")
            if ending == signal.SIGKILL:
                # What a room decides by itself is on disk within a moment, not at once.
                await asyncio.sleep(0.6)
            node.process.send_signal(ending)
            node.process.wait(15)
            text = written(config.parent / "rooms")
            assert '"c-1"' in text and NAME not in text and patient["link"].split("code=")[1] not in text

            again = v1.node = Node(config=config)
            try:
                code = patient["link"].split("code=")[1]
                async with http.post(f"{again.http}/v1/links", json={"code": code}) as answer:
                    assert answer.status == 200, await answer.text()
                    swapped = await answer.json()
                assert (swapped["consultation"], swapped["seat"], swapped["role"]) == ("c-1", "p", "patient")
                shown = await v1.call("GET", "/consultations/c-1")
                assert {seat["seat"]: seat["consent"] for seat in shown["seats"]} == {"d": [], "p": ["teleconsultation"]}
                for path, headers in [("/rtc/v1", UPGRADE), ("/rtc/v1/validate", {})]:
                    for who in (relative, over):
                        status, _, _ = await refused(http, again, path, who["token"], **headers)
                        assert status == 401, who["seat"]["role"]
                with pytest.raises(Problem) as caught:
                    await v1.invite("c-2", "d", "doctor")
                assert caught.value.answer["code"] == "ended"

                # Doctor and patient go on: what the patient agreed to counts.
                come = [await seated(again, doctor["token"], "d"), await seated(again, swapped["token"], "p")]
                known += come
                await v1.call("POST", "/consultations/c-1/seats/p/admit")
                await eventually("they see each other", lambda: "p" in come[0].room.remote_participants)
                gate = next(seat["gate"] for seat in (await v1.call("GET", "/consultations/c-1"))["seats"] if seat["seat"] == "p")
                assert gate == "open"
            finally:
                again.stop()
            assert not again.faults(), again.faults()[:3]
    finally:
        await asyncio.gather(*(person.leave() for person in known), return_exceptions=True)
        node.stop()


async def test_a_disk_that_takes_nothing_is_said(config):
    node = Node(config=config)
    try:
        async with aiohttp.ClientSession() as http:
            v1 = Platform(http, node)
            await v1.create(id="c-1")
            rooms = config.parent / "rooms"
            file = next(path for path in rooms.glob("*.json") if path.name != "removals.json")
            # A folder where the new file is drafted: the disk takes nothing of this consultation.
            file.with_suffix(".part").mkdir()
            with pytest.raises(Problem) as caught:
                await v1.invite("c-1", "p", "patient")
            assert (caught.value.status, caught.value.answer["code"]) == (503, "not_kept")
            # To end it works all the same.
            await v1.call("DELETE", "/consultations/c-1")
            file.with_suffix(".part").rmdir()
            await v1.create(id="c-2")
            assert '"ended":true' in file.read_text()
    finally:
        node.stop()


def test_two_nodes_never_share_a_folder(config):
    node = Node(config=config)
    try:
        with pytest.raises(RuntimeError, match="another node uses it"):
            Node(config=config)
    finally:
        node.stop()

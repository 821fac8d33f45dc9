"""Pictures and sound arrive as what they were sent."""

import asyncio
import time

import numpy as np
import pytest
from livekit import rtc

import media
from person import all_ways, both_ways, eventually, within

AUDIO, VIDEO = rtc.TrackKind.KIND_AUDIO, rtc.TrackKind.KIND_VIDEO


@pytest.fixture
async def sources():
    made = []
    yield made
    await asyncio.gather(*(source.close() for source in made))


@all_ways
async def test_two_people_see_and_hear_each_other(node, join, sources):
    a, b = await join("a"), await join("b")
    print(f"connect: a {a.took * 1e3:.0f} ms, b {b.took * 1e3:.0f} ms")
    pitch = {"a": 440, "b": 880}
    began = time.monotonic()
    for person in (a, b):
        camera, microphone = media.Camera(media.COLOURS[person.identity]), media.Microphone(pitch[person.identity])
        sources += [camera, microphone]
        await camera.publish(person)
        await microphone.publish(person)

    async def receive(person, other):
        picture, publication, _ = await person.track(other, VIDEO)
        assert publication.source == rtc.TrackSource.SOURCE_CAMERA
        assert (publication.width, publication.height) == (media.WIDTH, media.HEIGHT)
        sound, publication, _ = await person.track(other, AUDIO)
        assert publication.source == rtc.TrackSource.SOURCE_MICROPHONE
        judge, errors, moved = media.recognise(media.COLOURS[other])
        (count, took), samples = await asyncio.gather(media.watch(picture, judge), media.listen(sound))
        forward, steps = moved()
        dominant, near = media.spectrum(samples)
        wrong = pitch["a" if other == "b" else "b"]
        clear = near(pitch[other]) - near(wrong)
        print(
            f"{person.identity} <- {other}: {count} pictures in {took:.2f} s, colour error {max(errors):.1f}, mark moved on "
            f"{forward}/{steps}; {dominant:.1f} Hz, {clear:.0f} dB above {wrong} Hz"
        )
        assert forward >= steps * 0.8
        assert abs(dominant - pitch[other]) <= 3
        assert clear > 20

    await asyncio.gather(receive(a, "b"), receive(b, "a"))
    took = time.monotonic() - began
    print(f"all recognised {took:.2f} s after the first publish")
    assert took < 25


@both_ways
async def test_first_picture_comes_soon_also_for_who_joins_late(node, join, sources):
    a = await join("a")
    camera = media.Camera(media.COLOURS["a"])
    sources.append(camera)
    await camera.publish(a)
    for late in ("early", "late"):
        began = time.monotonic()
        person = await join(late)
        picture, _, _ = await person.track("a", VIDEO)
        judge, errors, _ = media.recognise(media.COLOURS["a"], pictures=1)
        await media.watch(picture, judge)
        took = time.monotonic() - began
        print(f"{late}: first right picture {took * 1e3:.0f} ms after its connect began, colour error {errors[0]:.1f}")
        # Without a key-frame request it would wait for the encoder's own interval, which is minutes.
        assert took < 5


@both_ways
async def test_mute_stops_the_sound_and_unmute_brings_it_back(node, join, sources):
    a, b = await join("a"), await join("b")
    microphone = media.Microphone(440)
    sources.append(microphone)
    published = await microphone.publish(a)
    sound, publication, _ = await b.track("a", AUDIO)
    assert abs(media.spectrum(await media.listen(sound))[0] - 440) <= 3

    published.track.mute()
    participant, muted = await b.event("track_muted")
    assert (participant.identity, muted.sid, muted.muted) == ("a", publication.sid, True)
    # What was on its way may still sound; after it there is silence, which the decoder makes itself.
    silent = await media.listen(sound, media.RATE * 3 // 2, skip_silence=False)
    level = float(np.abs(silent[-media.RATE // 2 :]).max())
    print(f"loudest sample of the last half second after mute: {level:.0f}")
    assert level < 300

    published.track.unmute()
    _, unmuted = await b.event("track_unmuted")
    assert not unmuted.muted
    heard = media.spectrum(await media.listen(sound))[0]
    print(f"after unmute: {heard:.1f} Hz")
    assert abs(heard - 440) <= 3
    assert not b.saw("track_unsubscribed"), "mute must not take the subscription away"


async def test_muted_before_anyone_came_is_seen_muted(node, join, sources):
    a = await join("a")
    microphone = media.Microphone(440)
    sources.append(microphone)
    published = await microphone.publish(a)
    published.track.mute()
    b = await join("b")
    await b.sees("a")
    publication = await eventually("the track in b's list", lambda: b.peer("a").track_publications.get(published.sid))
    await eventually("muted", lambda: publication.muted)


@both_ways
async def test_unpublish_and_publish_again(node, join, sources):
    a, b = await join("a"), await join("b")
    sids = []
    for turn in range(3):
        camera = media.Camera(media.COLOURS["a" if turn % 2 == 0 else "b"])
        sources.append(camera)
        began = time.monotonic()
        published = await camera.publish(a)
        sids.append(published.sid)
        picture, publication, _ = await b.track("a", VIDEO)
        assert publication.sid == published.sid
        judge, errors, _ = media.recognise(camera.colours, pictures=3)
        await media.watch(picture, judge)
        print(f"turn {turn}: seen {(time.monotonic() - began) * 1e3:.0f} ms after publish, colour error {max(errors):.1f}")
        await within(10, "unpublish", a.me.unpublish_track(published.sid))
        await b.event("track_unsubscribed", lambda _t, kept, _p: kept.sid == published.sid)
        await b.event("track_unpublished", lambda kept, _p: kept.sid == published.sid)
        assert published.sid not in b.peer("a").track_publications
    assert len(set(sids)) == 3 and all(sid.startswith("TR_") for sid in sids), "every publication has an id of its own"


@both_ways
async def test_a_receiver_chooses_what_it_takes(node, join, sources):
    a = await join("a")
    camera, microphone = media.Camera(media.COLOURS["a"]), media.Microphone(440)
    sources += [camera, microphone]
    picture, sound = await camera.publish(a), await microphone.publish(a)
    b = await join("b", options={"auto_subscribe": False})
    await b.sees("a")
    publications = b.peer("a").track_publications
    await eventually("both publications", lambda: {picture.sid, sound.sid} <= set(publications))
    publications[sound.sid].set_subscribed(True)
    track, publication, _ = await b.track("a", AUDIO)
    assert publication.sid == sound.sid
    assert abs(media.spectrum(await media.listen(track))[0] - 440) <= 3
    assert not b.saw("track_subscribed"), "only what was asked for"
    publications[sound.sid].set_subscribed(False)
    await b.event("track_unsubscribed", lambda _t, kept, _p: kept.sid == sound.sid)
    publications[picture.sid].set_subscribed(True)
    track, _, _ = await b.track("a", VIDEO)
    judge, _, _ = media.recognise(media.COLOURS["a"], pictures=3)
    await media.watch(track, judge)
    publications[sound.sid].set_subscribed(True)
    track, _, _ = await b.track("a", AUDIO)
    assert abs(media.spectrum(await media.listen(track))[0] - 440) <= 3


@both_ways
async def test_a_publisher_chooses_who_receives(node, join, sources):
    a, b, c = await join("a"), await join("b"), await join("c")
    camera = media.Camera(media.COLOURS["a"])
    sources.append(camera)
    a.me.set_track_subscription_permissions(
        allow_all_participants=False,
        participant_permissions=[rtc.ParticipantTrackPermission(participant_identity="b", allow_all=True)],
    )
    await camera.publish(a)
    picture, _, _ = await b.track("a", VIDEO)
    judge, _, _ = media.recognise(media.COLOURS["a"], pictures=3)
    await media.watch(picture, judge)
    await c.event("track_published")
    assert not c.saw("track_subscribed"), "c is not on the list"
    a.me.set_track_subscription_permissions(allow_all_participants=True)
    picture, _, _ = await c.track("a", VIDEO)
    judge, _, _ = media.recognise(media.COLOURS["a"], pictures=3)
    await media.watch(picture, judge)
    a.me.set_track_subscription_permissions(allow_all_participants=False)
    # This client raises no event for it, so the pictures themselves are counted.
    tracks = [await media.current(person, "a", VIDEO) for person in (b, c)]
    stopped = await asyncio.gather(*(media.still(track) for track in tracks))
    assert stopped == [0, 0], "pictures still come"


async def test_three_people_are_not_mixed_up(node, join, sources):
    people = [await join(identity) for identity in ("a", "b", "c")]
    pitch = {"a": 440, "b": 880, "c": 1320}
    for person in people:
        microphone = media.Microphone(pitch[person.identity])
        sources.append(microphone)
        await microphone.publish(person)

    async def hears(person, other):
        sound, _, _ = await person.track(other, AUDIO)
        dominant, near = media.spectrum(await media.listen(sound))
        others = max(near(hertz) for name, hertz in pitch.items() if name != other)
        print(f"{person.identity} <- {other}: {dominant:.1f} Hz, {near(pitch[other]) - others:.0f} dB above the others")
        assert abs(dominant - pitch[other]) <= 3
        assert near(pitch[other]) - others > 20

    await asyncio.gather(*(hears(x, y.identity) for x in people for y in people if x is not y))


async def test_speakers_are_named(node, join, sources):
    a, b = await join("a"), await join("b")
    microphone = media.Microphone(440)
    sources.append(microphone)
    published = await microphone.publish(a)
    began = time.monotonic()
    await b.event("active_speakers_changed", lambda speakers: [s.identity for s in speakers] == ["a"])
    print(f"a is named as speaker {time.monotonic() - began:.2f} s after publish")
    published.track.mute()
    began = time.monotonic()
    await b.event("active_speakers_changed", lambda speakers: not speakers)
    print(f"and no longer {time.monotonic() - began:.2f} s after mute")

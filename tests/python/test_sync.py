"""Lip sync: a flash and a beep made at one moment arrive as one moment, and the receiver's own clocks say so too."""

import asyncio
import time

import numpy as np
from livekit import rtc

import media
from media import HEIGHT, RATE, STEP, WIDTH

SECONDS = 9
# A relay's report may name the moment of the newest picture, so pictures must be close together to judge its clock.
FPS = 25
# The first beats pass while jitter buffers find their depth.
SETTLING = 3


class Beat:
    """Publishes a black picture that flashes white, and silence that beeps, at the same moments each second."""

    def __init__(self):
        self.picture = rtc.VideoSource(WIDTH, HEIGHT)
        self.sound = rtc.AudioSource(RATE, 1, queue_size_ms=50)
        self.flashes = []
        self.tasks = []

    async def start(self, person):
        video = rtc.LocalVideoTrack.create_video_track("flash", self.picture)
        audio = rtc.LocalAudioTrack.create_audio_track("beep", self.sound)
        camera = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA, simulcast=False)
        # Without pauses in the stream: a beep after a pause would come at the decoder's leisure.
        microphone = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False)
        await person.me.publish_track(video, camera)
        await person.me.publish_track(audio, microphone)
        self.tasks = [asyncio.create_task(self._sound()), asyncio.create_task(self._picture())]

    async def _sound(self):
        number = 0
        beep, silence = [media.tone(1000, n * STEP).tobytes() for n in range(10)], bytes(2 * STEP)
        while True:
            place = number % 100
            if place == 0:
                # The beep is heard when what is queued before it has been played; the flash waits as long.
                self.flashes.append(time.monotonic() + self.sound.queued_duration)
            await self.sound.capture_frame(rtc.AudioFrame(beep[place] if place < 10 else silence, RATE, 1, STEP))
            number += 1

    async def _picture(self):
        dark, light = (np.full((HEIGHT, WIDTH, 4), level, np.uint8).tobytes() for level in (16, 235))
        show = lambda data: self.picture.capture_frame(rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.RGBA, data))  # noqa: E731
        shown = 0
        while True:
            due = self.flashes[shown] if shown < len(self.flashes) else None
            if due is not None and time.monotonic() >= due - 0.002:
                shown += 1
                for _ in range(FPS // 5):
                    show(light)
                    await asyncio.sleep(1 / FPS)
                continue
            show(dark)
            wake = time.monotonic() + 1 / FPS
            await asyncio.sleep(max(0.0, min(wake, due if due is not None and due > time.monotonic() else wake) - time.monotonic()))

    async def close(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.gather(self.picture.aclose(), self.sound.aclose())


async def flashes(track, until):
    stream, seen, bright = rtc.VideoStream(track, format=rtc.VideoBufferType.RGBA), [], False
    async for event in stream:
        now = time.monotonic()
        light = media.rgb(event.frame)[::8, ::8].mean() > 128
        if light and not bright:
            seen.append(now)
        bright = light
        if now > until:
            break
    await stream.aclose()
    return seen


async def beeps(track, until):
    stream, seen, quiet_since = rtc.AudioStream(track, sample_rate=RATE, num_channels=1), [], 0.0
    async for event in stream:
        now = time.monotonic()
        samples = np.abs(np.frombuffer(event.frame.data, np.int16).astype(np.int32))
        if samples.max() > 3000:
            if now - quiet_since > 0.3:
                # A frame is handed over when its last sample was played.
                seen.append(now - (samples.size - int(np.argmax(samples > 3000))) / RATE)
            quiet_since = now
        if now > until:
            break
    await stream.aclose()
    return seen


async def report(track):
    """The last sender report: NTP time in it minus time of its arrival, in ms; the publisher's clock is also ours."""
    for entry in await track.get_stats():
        if entry.HasField("remote_outbound_rtp") and entry.remote_outbound_rtp.remote_outbound.reports_sent:
            outbound = entry.remote_outbound_rtp
            # The arrival is in us.
            return outbound.remote_outbound.remote_timestamp - outbound.rtc.timestamp / 1e3
    return None


async def test_flash_and_beep_arrive_together(node, join):
    a, b = await join("a"), await join("b")
    beat = Beat()
    try:
        await beat.start(a)
        picture, _, _ = await b.track("a", rtc.TrackKind.KIND_VIDEO)
        sound, _, _ = await b.track("a", rtc.TrackKind.KIND_AUDIO)
        until = time.monotonic() + SECONDS
        seeing, hearing = asyncio.create_task(flashes(picture, until)), asyncio.create_task(beeps(sound, until))
        mapped = []
        while time.monotonic() < until - 0.5:
            await asyncio.sleep(0.5)
            both = await asyncio.gather(report(picture), report(sound))
            if None not in both:
                mapped.append(both)
        seen, heard = await asyncio.wait_for(seeing, 10), await asyncio.wait_for(hearing, 10)
    finally:
        await beat.close()
    pairs = [(flash, min(heard, key=lambda beep: abs(beep - flash))) for flash in seen[SETTLING:]]
    offsets = [(beep - flash) * 1e3 for flash, beep in pairs]
    print(f"{len(seen)} flashes, {len(heard)} beeps; beep after flash, ms: {[round(offset) for offset in offsets]}")
    print(f"NTP of sender reports minus arrival, picture and sound, ms: {[(round(p), round(s)) for p, s in mapped]}")
    assert len(seen) >= SECONDS - 3 and len(heard) >= SECONDS - 3 and len(offsets) >= 3
    middle = float(np.median(offsets))
    assert abs(middle) <= 100, f"beep comes {middle:.0f} ms after the flash"
    # This client aligns streams of one stream id only and the relay gives each track its own, so its playout estimate
    # stays empty. What can be asked: reports of both streams arrive, and carry the publisher's one clock, not the relay's two.
    assert len(mapped) >= 3, "no sender reports of both streams"
    apart = max(abs(picture - sound) for picture, sound in mapped[1:])
    print(f"median offset {middle:.0f} ms; clocks of the two streams at most {apart:.0f} ms apart")
    assert apart <= 100
    assert all(-500 < stamp < 100 for pair in mapped for stamp in pair), "not the publisher's wall clock"

"""Pictures and sounds that can be recognised after a lossy way: coloured quarters with a moving mark, and pure tones."""

import asyncio
import time

import numpy as np
from livekit import rtc

WIDTH, HEIGHT, FPS = 320, 180, 10
RATE = 48_000
STEP = RATE // 100
MARK = 24

COLOURS = {
    "a": [(200, 40, 40), (40, 170, 60), (50, 60, 200), (205, 200, 60)],
    "b": [(60, 200, 200), (190, 60, 190), (230, 130, 30), (90, 90, 90)],
}


def picture(colours, number):
    """Four quarters, and across the middle a black band on which a white mark moves 8 pixels to the right each frame."""
    frame = np.empty((HEIGHT, WIDTH, 4), np.uint8)
    frame[..., 3] = 255
    half_height, half_width = HEIGHT // 2, WIDTH // 2
    for index, colour in enumerate(colours):
        top, left = index // 2 * half_height, index % 2 * half_width
        frame[top : top + half_height, left : left + half_width, :3] = colour
    frame[half_height - 12 : half_height + 12, :, :3] = 0
    left = number * 8 % (WIDTH - MARK)
    frame[half_height - 12 : half_height + 12, left : left + MARK, :3] = 255
    return frame


def rgb(frame):
    frame = frame.convert(rtc.VideoBufferType.RGBA) if frame.type != rtc.VideoBufferType.RGBA else frame
    return np.frombuffer(frame.data, np.uint8).reshape(frame.height, frame.width, 4)[..., :3].astype(np.float32)


def quarters(pixels):
    """Mean colours of the four quarters, away from their edges and from the band."""
    height, width = pixels.shape[:2]
    rows = [slice(int(height * 0.08), int(height * 0.38)), slice(int(height * 0.62), int(height * 0.92))]
    columns = [slice(int(width * 0.08), int(width * 0.42)), slice(int(width * 0.58), int(width * 0.92))]
    return [pixels[row, column].mean(axis=(0, 1)) for row in rows for column in columns]


def mark(pixels):
    """Left edge of the mark as a part of the width, or None when there is no clear one."""
    height, width = pixels.shape[:2]
    band = pixels[int(height * 0.47) : int(height * 0.53)].mean(axis=(0, 2))
    bright = np.flatnonzero(band > 128)
    if not 0.5 * MARK / WIDTH < bright.size / width < 2 * MARK / WIDTH:
        return None
    return bright[0] / width


def colour_error(pixels, colours):
    return max(float(np.abs(mean - np.array(colour)).max()) for mean, colour in zip(quarters(pixels), colours))


def tone(hertz, first, count=STEP, level=0.3):
    phase = 2 * np.pi * hertz * (np.arange(count) + first) / RATE
    return (np.sin(phase) * level * 32767).astype(np.int16)


def spectrum(samples):
    """Dominant frequency in Hz, and a function that gives the power near a frequency in dB."""
    power = np.abs(np.fft.rfft(samples * np.hanning(samples.size))) ** 2 + 1e-9
    hertz = np.fft.rfftfreq(samples.size, 1 / RATE)

    def near(wanted):
        return 10 * np.log10(power[np.abs(hertz - wanted) < 15].max())

    return float(hertz[power.argmax()]), near


class Camera:
    """Publishes the picture until closed."""

    def __init__(self, colours, name="camera"):
        self.source = rtc.VideoSource(WIDTH, HEIGHT)
        self.track = rtc.LocalVideoTrack.create_video_track(name, self.source)
        self.colours = colours
        self.task = asyncio.create_task(self._run())

    async def _run(self):
        began = time.monotonic()
        number = 0
        while True:
            data = picture(self.colours, number).tobytes()
            self.source.capture_frame(rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.RGBA, data))
            number += 1
            await asyncio.sleep(max(0.0, began + number / FPS - time.monotonic()))

    async def publish(self, person):
        options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA, simulcast=False, video_codec=rtc.VideoCodec.VP8
        )
        return await asyncio.wait_for(person.me.publish_track(self.track, options), 15)

    async def close(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.source.aclose()


class Microphone:
    """Publishes a tone until closed."""

    def __init__(self, hertz, name="microphone"):
        self.source = rtc.AudioSource(RATE, 1, queue_size_ms=100)
        self.track = rtc.LocalAudioTrack.create_audio_track(name, self.source)
        self.hertz = hertz
        self.task = asyncio.create_task(self._run())

    async def _run(self):
        first = 0
        while True:
            # The source takes no more than it can play, so this keeps its own pace.
            await self.source.capture_frame(rtc.AudioFrame(tone(self.hertz, first).tobytes(), RATE, 1, STEP))
            first += STEP

    async def publish(self, person):
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        return await asyncio.wait_for(person.me.publish_track(self.track, options), 15)

    async def close(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.source.aclose()


async def watch(track, enough, seconds=15.0):
    """Feeds received pictures to `enough` until it is content; answers how many and how long."""
    stream = rtc.VideoStream(track, format=rtc.VideoBufferType.RGBA)
    began, count = time.monotonic(), 0

    async def read():
        nonlocal count
        async for event in stream:
            count += 1
            if enough(rgb(event.frame), event):
                return True
        return False

    try:
        content = await asyncio.wait_for(read(), seconds)
    except asyncio.TimeoutError:
        raise AssertionError(f"{count} pictures in {seconds} s did not do") from None
    finally:
        await stream.aclose()
    assert content, f"the stream ended after {count} pictures"
    return count, time.monotonic() - began


async def listen(track, count=RATE, seconds=15.0, skip_silence=True):
    """Collects that many samples, by default from the first loud one on."""
    stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
    kept = []

    async def read():
        async for event in stream:
            samples = np.frombuffer(event.frame.data, np.int16).astype(np.float32)
            if not kept and skip_silence and np.abs(samples).max() < 500:
                continue
            kept.append(samples)
            if sum(part.size for part in kept) >= count:
                return

    try:
        await asyncio.wait_for(read(), seconds)
    except asyncio.TimeoutError:
        raise AssertionError(f"{sum(part.size for part in kept)} samples in {seconds} s, wanted {count}") from None
    finally:
        await stream.aclose()
    assert kept, "the stream ended"
    return np.concatenate(kept)[:count]


def recognise(colours, pictures=12, tolerance=25):
    """A judge for `watch`: colours right and the mark moving on, in enough pictures one after the other."""
    seen, errors = [], []

    def enough(pixels, _event):
        error, place = colour_error(pixels, colours), mark(pixels)
        if error <= tolerance and place is not None:
            errors.append(error)
            seen.append(place)
        return len(seen) >= pictures

    def moved():
        steps = np.diff(seen)
        return int((steps > 0).sum()), len(steps)

    return enough, errors, moved


async def still(track, seconds=1.5, grace=0.5):
    """How many pictures come within that time, after a grace for what is on its way."""
    stream = rtc.VideoStream(track)
    began, count = time.monotonic(), 0

    async def read():
        nonlocal count
        async for _ in stream:
            if time.monotonic() - began > grace:
                count += 1

    try:
        await asyncio.wait_for(read(), grace + seconds)
    except asyncio.TimeoutError:
        pass
    finally:
        await stream.aclose()
    return count


async def returned(person, identity, kind):
    """A track that the relay took away and gives back: a new object, or the one the client kept."""
    try:
        return (await person.track(identity, kind, seconds=3))[0]
    except AssertionError:
        return await current(person, identity, kind)


async def current(person, identity, kind, seconds=12.0):
    """The track now subscribed, whether the client kept its object or made a new one."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for publication in person.peer(identity).track_publications.values():
            if publication.kind == kind and publication.track is not None:
                return publication.track
        await asyncio.sleep(0.05)
    raise AssertionError(f"{person.identity} has no track of {identity}")

"""Video files → a few telling frames with their times, by PyAV (FFmpeg inside).

Knows: containers, frames, how much two frames differ. Does not know: text.
How frames are chosen: the first; then, again and again, the one least like all chosen so far, in looks and in time: so
every scene and every caption gets its frame before any gets a second, and what moves all the time is sampled evenly.
Invariants: duration and frame size are checked before anything is decoded; two frames that look alike are not both
kept; no more than the chosen frames are held as pixels.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import av
import msgspec
import numpy as np
import numpy.typing as npt

from pointsman.backends.worker.media import open_media, undecodable
from pointsman.backends.worker.pictures import Pixels
from pointsman.backends.worker.server import Stop
from pointsman.backends.worker.wire import invalid
from pointsman.types import Value

Thumbnail = npt.NDArray[np.float32]

FILMS = "mp4, webm, mov, mkv or avi"
THUMBNAIL = (160, 90)
CANDIDATES_PER_S = 5.0
MAX_CANDIDATES = 600
FULL_DECODE_PIXELS = 1_500_000_000
"""Above this many pixels in the whole film only key frames are looked at (about five seconds' work on one core)."""

TIME_WEIGHT = 0.2
SAME_LOOK = 0.03
"""Frames that differ less than this (0: equal, 1: black and white) show the same. One digit of a caption is more, what
a codec adds is less."""


class Shot(Value, frozen=True):
    """A stretch of time that looks like one still, as far as the frames looked at tell. `still` is its index."""

    begin_s: float
    end_s: float
    still: int


class Film(Value, frozen=True):
    """What a video is: a few stills, and when each was to be seen. `shots` are in the order of time."""

    duration_s: float
    width: int
    height: int
    fps: float
    has_sound: bool
    stills: tuple[Pixels, ...] = ()
    shots: tuple[Shot, ...] = ()


class Glance(NamedTuple):
    """A candidate: its number among the decoded frames, its time, its looks."""

    number: int
    at_s: float
    looks: Thumbnail


class Bounds(Value, frozen=True):
    max_frames: int
    max_pixels: int
    max_s: float
    threads: int


def watch(data: bytes, param: str, bounds: Bounds, stop: Stop) -> Film:
    """The film and its telling frames. Raises RequestError `invalid_media`."""
    try:
        with open_media(data, param, FILMS) as container:
            film = _described(container, param, bounds)
        keys_only = film.duration_s * film.fps * film.width * film.height > FULL_DECODE_PIXELS
        glances = _glances(data, param, bounds, film.duration_s, stop, keys_only=keys_only)
        if keys_only and len(glances) < bounds.max_frames:
            keys_only = False
            glances = _glances(data, param, bounds, film.duration_s, stop, keys_only=False)
        if not glances:
            raise undecodable(param, FILMS)
        chosen = telling(glances, bounds.max_frames)
        stills = _stills(data, param, bounds, chosen, stop, keys_only=keys_only)
    except av.FFmpegError:
        raise undecodable(param, FILMS) from None
    duration_s = film.duration_s or glances[-1].at_s
    shots = tuple(shots_of(glances, chosen, duration_s))
    return msgspec.structs.replace(film, duration_s=duration_s, stills=stills, shots=shots)


def telling(glances: list[Glance], count: int) -> tuple[Glance, ...]:
    """The first glance and those least like all chosen before them, in the order of time."""
    span_s = max(glances[-1].at_s - glances[0].at_s, 1e-6)
    chosen = [glances[0]]
    looks = np.full(len(glances), np.inf, np.float32)
    times = np.full(len(glances), np.inf, np.float32)
    while len(chosen) < min(count, len(glances)):
        newest = chosen[-1]
        looks = np.minimum(looks, [difference(glance.looks, newest.looks) for glance in glances])
        times = np.minimum(times, [abs(glance.at_s - newest.at_s) / span_s for glance in glances])
        score = np.where(looks < SAME_LOOK, 0.0, looks + TIME_WEIGHT * times)
        best = int(score.argmax())
        if not score[best]:
            break
        chosen.append(glances[best])
    return tuple(sorted(chosen, key=lambda glance: glance.at_s))


def shots_of(glances: list[Glance], chosen: tuple[Glance, ...], duration_s: float) -> Iterator[Shot]:
    """When each chosen frame was to be seen: every glance counts for the one it looks most like."""
    likest = [min(range(len(chosen)), key=lambda i: difference(glance.looks, chosen[i].looks)) for glance in glances]
    begin_s = glances[0].at_s
    for (glance, still), following in zip(zip(glances, likest, strict=True), [*likest[1:], None], strict=True):
        if still != following:
            after = next((later.at_s for later in glances if later.at_s > glance.at_s), max(duration_s, glance.at_s))
            yield Shot(begin_s=begin_s, end_s=after, still=still)
            begin_s = after


def difference(one: Thumbnail, other: Thumbnail) -> float:
    """How unlike two thumbnails are, 0 to 1: the mean of what differs most: a caption is a small part of a frame."""
    apart = np.abs(one - other).ravel()
    most = max(1, len(apart) // 200)
    return float(np.partition(apart, -most)[-most:].mean())


def _described(container: Any, param: str, bounds: Bounds) -> Film:
    if not container.streams.video:
        raise invalid(param, "has no picture in it; send a video", "invalid_media")
    stream = container.streams.video[0]
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > bounds.max_pixels:
        raise invalid(
            param, f"has frames of {width}×{height}; {bounds.max_pixels:,} pixels are allowed", "invalid_media"
        )
    duration_s = float((container.duration or 0) / av.time_base)
    if duration_s > bounds.max_s:
        raise _too_long(param, bounds)
    return Film(
        duration_s=duration_s,
        width=width,
        height=height,
        fps=float(stream.average_rate or 0),
        has_sound=bool(container.streams.audio),
    )


def _glances(
    data: bytes, param: str, bounds: Bounds, duration_s: float, stop: Stop, *, keys_only: bool
) -> list[Glance]:
    gap_s = max(1 / CANDIDATES_PER_S, duration_s / MAX_CANDIDATES)
    glances: list[Glance] = []
    for index, at_s, frame in _frames(data, param, bounds, keys_only=keys_only):
        stop.check()
        if at_s > bounds.max_s:
            raise _too_long(param, bounds)
        if not glances or at_s - glances[-1].at_s >= gap_s - 1e-3:
            grey = frame.reformat(*THUMBNAIL, format="gray").to_ndarray()
            glances.append(Glance(index, at_s, grey.astype(np.float32) / 255))
    return glances


def _stills(
    data: bytes, param: str, bounds: Bounds, chosen: tuple[Glance, ...], stop: Stop, *, keys_only: bool
) -> tuple[Pixels, ...]:
    wanted = {glance.number for glance in chosen}
    stills: list[Pixels] = []
    for index, _, frame in _frames(data, param, bounds, keys_only=keys_only):
        stop.check()
        if index in wanted:
            upright = np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90))
            stills.append(upright)
            if len(stills) == len(wanted):
                break
    return tuple(stills)


def _frames(data: bytes, param: str, bounds: Bounds, *, keys_only: bool) -> Iterator[tuple[int, float, Any]]:
    """Frames that can be decoded, with their index and time."""
    with open_media(data, param, FILMS) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = bounds.threads
        stream.codec_context.skip_frame = "NONKEY" if keys_only else "DEFAULT"
        rate = float(stream.average_rate or 25)
        start_s: float | None = None
        frames: Callable[[], Any] = container.decode(stream).__next__
        index = 0
        while True:
            try:
                frame = frames()
            except StopIteration:
                return
            except av.error.InvalidDataError:
                continue
            at_s = frame.time if frame.time is not None else index / rate
            start_s = at_s if start_s is None else start_s
            if frame.width * frame.height <= bounds.max_pixels:
                yield index, max(0.0, float(at_s - start_s)), frame
            index += 1


def _too_long(param: str, bounds: Bounds) -> Exception:
    return invalid(param, f"is longer than {bounds.max_s / 60:g} minutes; send a part of it", "invalid_media")

"""Sound files ↔ samples, by PyAV (FFmpeg inside).

Knows: containers, codecs, sample rates. Does not know: speech. Samples are mono; decoded ones float32 in [-1, 1] at
16 kHz, spoken ones int16 at the voice's rate.
Invariants: only containers on the list are opened and no protocol is, so that a playlist posing as a recording cannot
make FFmpeg read files or URLs; memory is bounded by one piece, not by the recording.
"""

import io
import struct
from collections.abc import Generator, Iterator
from itertools import chain
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt

from pointsman.backends.worker.wire import invalid
from pointsman.errors import RequestError
from pointsman.types import Value

Samples = npt.NDArray[np.float32]
Pcm = npt.NDArray[np.int16]
AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

HEARING_HZ = 16_000
"""What Whisper and Silero hear."""

CONTAINERS = (
    "wav,w64,aiff,au,caf,mp3,aac,ac3,amr,flac,ogg,matroska,webm,mov,mp4,m4a,3gp,mj2,asf,avi,flv,mpeg,mpegts,gif"
)
OPEN_OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "none"}

SOUND = "wav, mp3, m4a, flac, ogg or webm"

PIECE_S = 120.0
SEEK_S = 20.0
WINDOW_S = 0.2


class Piece(Value, frozen=True):
    """A stretch of a recording, cut where it is quiet. `start_s` is its place in the recording."""

    start_s: float
    samples: Samples

    @property
    def end_s(self) -> float:
        return self.start_s + len(self.samples) / HEARING_HZ


def open_media(data: bytes, param: str, wanted: str) -> Any:
    """An opened container; close it. Raises RequestError `invalid_media` that asks for what is `wanted`."""
    try:
        return av.open(io.BytesIO(data), options=OPEN_OPTIONS, metadata_errors="ignore")
    except (av.FFmpegError, ValueError):
        raise undecodable(param, wanted) from None


def undecodable(param: str, wanted: str) -> RequestError:
    return invalid(param, f"cannot be decoded; send {wanted}", "invalid_media")


def pieces(data: bytes, param: str, max_s: float, piece_s: float = PIECE_S) -> Generator[Piece, None, None]:
    """A recording, cut into pieces of about `piece_s`, decoded as they are asked for.

    Raises RequestError `invalid_media` where nothing can be decoded or it is longer than `max_s`.
    """
    with open_media(data, param, SOUND) as container:
        if not container.streams.audio:
            raise invalid(param, "has no sound in it; send a recording", "invalid_media")
        if (container.duration or 0) / av.time_base > max_s:
            raise _too_long(param, max_s)
        start_s = 0.0
        waiting: list[Samples] = [np.zeros(0, np.float32)]
        waiting_s = 0.0
        for samples in _decoded(container):
            waiting.append(samples)
            waiting_s += len(samples) / HEARING_HZ
            if waiting_s < piece_s + SEEK_S:
                continue
            held = np.concatenate(waiting)
            cut = quiet_cut(held, int(piece_s * HEARING_HZ))
            yield Piece(start_s=start_s, samples=held[:cut])
            start_s += cut / HEARING_HZ
            waiting, waiting_s = [held[cut:]], waiting_s - cut / HEARING_HZ
            if start_s > max_s:
                raise _too_long(param, max_s)
        held = np.concatenate(waiting)
        if not start_s and not len(held):
            raise undecodable(param, SOUND)
        if len(held):
            yield Piece(start_s=start_s, samples=held)


def quiet_cut(samples: Samples, after: int) -> int:
    """Index of the middle of the quietest window past `after`: where a cut harms no word."""
    width = int(WINDOW_S * HEARING_HZ)
    tail = samples[after:]
    count = len(tail) // width
    if not count:
        return len(samples)
    power = np.square(tail[: count * width]).reshape(count, width).sum(axis=1)
    return after + int(power.argmin()) * width + width // 2


def _too_long(param: str, max_s: float) -> RequestError:
    return invalid(param, f"is longer than {max_s / 60:g} minutes; split it", "invalid_media")


def _decoded(container: Any) -> Generator[Samples, None, None]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=HEARING_HZ)
    for frame in chain(_sound_frames(container), [None]):  # None flushes the resampler
        for resampled in resampler.resample(frame):
            yield resampled.to_ndarray().reshape(-1).astype(np.float32) / 32768.0


def _sound_frames(container: Any) -> Iterator[Any]:
    """The frames that can be decoded; broken ones are left out, as players do."""
    frames = container.decode(audio=0)
    while True:
        try:
            frame = next(frames)
        except StopIteration:
            return
        except av.error.InvalidDataError:
            continue
        except av.FFmpegError:  # cut short: what came before counts
            return
        frame.pts = None
        yield frame


# ---------------------------------------------------------------- speaking

MIME: dict[AudioFormat, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
PCM_HZ = 24_000
"""OpenAI's rate for headerless `pcm`; opus wants it too."""

_CODECS: dict[str, tuple[str, str, dict[str, str]]] = {
    "mp3": ("libmp3lame", "mp3", {"write_xing": "0", "id3v2_version": "0"}),
    "opus": ("libopus", "ogg", {}),
    "aac": ("aac", "adts", {}),
    "flac": ("flac", "flac", {}),
}
STREAMABLE: frozenset[AudioFormat] = frozenset({"mp3", "opus", "aac", "pcm"})
"""Formats whose beginning does not need to know the end."""

UNKNOWN_LENGTH = 0xFFFFFFFF


def wav_header(rate_hz: int, data_bytes: int = UNKNOWN_LENGTH) -> bytes:
    """The 44 bytes before 16-bit mono samples. Of unknown length: the largest, read as «until the end»."""
    riff_bytes = min(data_bytes + 36, UNKNOWN_LENGTH)
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", riff_bytes, b"WAVE", b"fmt ", 16, 1, 1, rate_hz, rate_hz * 2, 2, 16, b"data", data_bytes),
    )


def encoded(spoken: Iterator[Pcm], rate_hz: int, audio_format: AudioFormat) -> Generator[bytes, None, None]:
    """Speech in a file format, a chunk for each stretch of speech as soon as the format has it."""
    if audio_format == "pcm":
        yield from _resampled(spoken, rate_hz, PCM_HZ)
    elif audio_format == "wav":
        data = b"".join(stretch.tobytes() for stretch in spoken)
        yield wav_header(rate_hz, len(data)) + data
    else:
        yield from _muxed(spoken, rate_hz, audio_format)


def streamed_wav(spoken: Iterator[Pcm], rate_hz: int) -> Generator[bytes, None, None]:
    """A wav file whose header comes before its length is known."""
    for index, stretch in enumerate(spoken):
        yield (b"" if index else wav_header(rate_hz)) + stretch.tobytes()


def _frame(stretch: Pcm, rate_hz: int) -> Any:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(stretch).reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = rate_hz
    return frame


def _resampled(spoken: Iterator[Pcm], from_hz: int, to_hz: int) -> Generator[bytes, None, None]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=to_hz)
    for frame in chain((_frame(stretch, from_hz) for stretch in spoken), [None]):
        data = b"".join(made.to_ndarray().tobytes() for made in resampler.resample(frame))
        if data:
            yield data


def _muxed(spoken: Iterator[Pcm], rate_hz: int, audio_format: AudioFormat) -> Generator[bytes, None, None]:
    codec, container_format, options = _CODECS[audio_format]
    file = io.BytesIO()
    sent = 0
    with av.open(file, "w", format=container_format, options=options) as container:
        stream: Any = container.add_stream(codec, rate=PCM_HZ if audio_format == "opus" else rate_hz)
        stream.codec_context.layout = "mono"
        for stretch in spoken:
            container.mux(stream.encode(_frame(stretch, rate_hz)))
            if audio_format in STREAMABLE and file.tell() > sent:
                yield file.getvalue()[sent:]
                sent = file.tell()
        container.mux(stream.encode(None))
    yield file.getvalue()[sent:]


def stretched(pcm: Pcm, rate_hz: int, tempo: float) -> Pcm:
    """The same speech, `tempo` times as fast, at the same pitch. 0.5 ≤ tempo ≤ 4."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate_hz, format="s16", layout="mono", channels=1)
    bend = graph.add("atempo", f"{tempo:.4f}")
    shape = graph.add("aformat", "sample_fmts=s16:channel_layouts=mono")
    sink = graph.add("abuffersink")
    graph.link_nodes(source, bend, shape, sink).configure()
    source.push(_frame(pcm, rate_hz))
    source.push(None)
    made: list[Pcm] = []
    while True:
        try:
            made.append(sink.pull().to_ndarray().reshape(-1))
        except (av.error.EOFError, av.error.BlockingIOError):
            return np.concatenate(made) if made else np.zeros(0, np.int16)

"""The speech-to-text engine: OpenAI's `/audio/transcriptions`, and `/chat/completions` with a recording attached.

Knows: parameters, response formats. Does not know: Whisper (`hearing`), containers (`media`).
"""

import math
from collections.abc import Generator, Iterator, Mapping

import msgspec

from pointsman.backends.worker import media
from pointsman.backends.worker.chat import ChatBody, Teller, attachments
from pointsman.backends.worker.config import SttConfig
from pointsman.backends.worker.hearing import NAMES, Hearing, Listening, Segment, Wish, Word
from pointsman.backends.worker.server import EVENTS, JSON, Answer, Handler, Stop
from pointsman.backends.worker.wire import Body, Form, event, form_body, invalid, json_body
from pointsman.errors import RequestError
from pointsman.types import Value

FORMATS = {
    "json": JSON,
    "verbose_json": JSON,
    "text": "text/plain; charset=utf-8",
    "srt": "text/plain; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
GRANULARITIES = frozenset({"segment", "word"})


class Ask(Value, frozen=True):
    """One checked request."""

    data: bytes
    wish: Wish
    response_format: str
    granularities: frozenset[str]
    is_stream: bool


class SttEngine:
    """One Whisper model behind two routes."""

    def __init__(self, config: SttConfig) -> None:
        self.config = config
        self.hearing = Hearing(config)
        self.made_by = f"faster-whisper, {config.label}"

    def __repr__(self) -> str:
        return f"SttEngine({self.config.label})"

    def routes(self) -> Mapping[str, Handler]:
        return {"/audio/transcriptions": self.transcribe, "/chat/completions": self.chat}

    def transcribe(self, body: Body) -> Answer:
        """A recording in a form → its text, in the format asked for."""
        ask = self._checked(form_body(body))
        headers = (("x-made-by", self.made_by),)
        if ask.is_stream:
            return Answer(
                content_type=EVENTS, chunks=lambda stop: self._events(ask, stop), is_stream=True, headers=headers
            )
        content_type = FORMATS[ask.response_format]
        return Answer(content_type=content_type, chunks=lambda stop: self._whole(ask, stop), headers=headers)

    def chat(self, body: Body) -> Answer:
        """Recordings in the last user message → their text, as the assistant's message."""
        ask = json_body(body, ChatBody)
        recordings = attachments(ask)
        if not recordings:
            raise RequestError(
                "messages: hold no recording; attach one as an `input_audio` part",
                code="missing_field",
                param="messages",
            )
        wish = Wish(language=self.hearing.check_language(ask.language or ""))

        def said(stop: Stop) -> Iterator[str]:
            for index, recording in enumerate(recordings):
                if index:
                    yield "\n"
                yield from self._listen(recording.data, recording.param, wish, stop).text()

        return Teller(self.config.model_id, self.made_by).answer(ask, said)

    def _checked(self, form: Form) -> Ask:
        response_format = form.get("response_format") or "json"
        if response_format not in FORMATS:
            raise invalid("response_format", f"`{response_format}` is not one of {', '.join(FORMATS)}")
        granularities = frozenset(form.all("timestamp_granularities[]", "timestamp_granularities"))
        if unknown := granularities - GRANULARITIES:
            raise invalid("timestamp_granularities", f"`{min(unknown)}` is neither `segment` nor `word`")
        if granularities and response_format != "verbose_json":
            raise invalid("timestamp_granularities", "needs response_format verbose_json")
        is_stream = form.get("stream").lower() == "true"
        if is_stream and response_format not in {"json", "text"}:
            raise invalid("stream", f"works with json and text, not {response_format}; leave one of them out")
        wish = Wish(
            language=self.hearing.check_language(form.get("language")),
            prompt=form.get("prompt"),
            temperature=_temperature(form.get("temperature")),
            words="word" in granularities,
        )
        return Ask(
            data=form.file("file"),
            wish=wish,
            response_format=response_format,
            granularities=granularities or frozenset({"segment"}),
            is_stream=is_stream,
        )

    def _listen(self, data: bytes, param: str, wish: Wish, stop: Stop) -> Listening:
        return self.hearing.listen(media.pieces(data, param, self.config.max_audio_s), wish, stop)

    def _whole(self, ask: Ask, stop: Stop) -> Generator[bytes, None, None]:
        listening = self._listen(ask.data, "file", ask.wish, stop)
        segments = tuple(listening)
        yield written(ask, segments, listening, self.made_by)

    def _events(self, ask: Ask, stop: Stop) -> Generator[bytes, None, None]:
        listening = self._listen(ask.data, "file", ask.wish, stop)
        said = []
        for delta in listening.text():
            said.append(delta)
            yield event(_Delta(delta=delta))
        yield event(_Done(text="".join(said).strip(), usage=_Seconds(seconds=math.ceil(listening.duration_s))))


def load(config: bytes) -> SttEngine:
    return SttEngine(msgspec.json.decode(config, type=SttConfig))


def _temperature(text: str) -> float:
    try:
        value = float(text or 0)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise invalid("temperature", f"must be a number between 0 and 1, not `{text}`")
    return value


# ---------------------------------------------------------------- response formats


class _Seconds(msgspec.Struct, frozen=True, kw_only=True):
    type: str = "duration"
    seconds: int


class _Delta(msgspec.Struct, frozen=True, kw_only=True):
    type: str = "transcript.text.delta"
    delta: str


class _Done(msgspec.Struct, frozen=True, kw_only=True):
    type: str = "transcript.text.done"
    text: str
    usage: _Seconds


class _Plain(msgspec.Struct, frozen=True):
    text: str
    usage: _Seconds
    made_by: str = msgspec.field(name="x-made-by")


class _Verbose(msgspec.Struct, frozen=True, omit_defaults=True):
    task: str
    language: str
    duration: float
    text: str
    usage: _Seconds
    made_by: str = msgspec.field(name="x-made-by")
    segments: tuple[Segment, ...] | None = None
    words: tuple[Word, ...] | None = None


def written(ask: Ask, segments: tuple[Segment, ...], heard: Listening, made_by: str) -> bytes:
    """The body in the format asked for."""
    text = "".join(segment.text for segment in segments).strip()
    usage = _Seconds(seconds=math.ceil(heard.duration_s))
    if ask.response_format == "text":
        return f"{text}\n".encode()
    if ask.response_format == "srt":
        return subtitles(segments, ",", numbered=True).encode()
    if ask.response_format == "vtt":
        return f"WEBVTT\n\n{subtitles(segments, '.', numbered=False)}".encode()
    if ask.response_format == "json":
        return msgspec.json.encode(_Plain(text=text, usage=usage, made_by=made_by))
    bare = tuple(msgspec.structs.replace(segment, words=()) for segment in segments)
    return msgspec.json.encode(
        _Verbose(
            task="transcribe",
            language=NAMES.get(heard.language, heard.language),
            duration=round(heard.duration_s, 3),
            text=text,
            usage=usage,
            made_by=made_by,
            segments=bare if "segment" in ask.granularities else None,
            words=tuple(w for segment in segments for w in segment.words) if "word" in ask.granularities else None,
        )
    )


def subtitles(segments: tuple[Segment, ...], decimal: str, *, numbered: bool) -> str:
    """SubRip (numbered, decimal comma) or WebVTT cues."""
    cues = []
    for number, segment in enumerate(segments, 1):
        span = f"{_clock(segment.start, decimal)} --> {_clock(segment.end, decimal)}"
        text = segment.text.strip().replace("-->", "->")
        cues.append(f"{number}\n{span}\n{text}\n" if numbered else f"{span}\n{text}\n")
    return "\n".join(cues)


def _clock(at_s: float, decimal: str) -> str:
    ms = round(at_s * 1000)
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}{decimal}{ms % 1000:03d}"

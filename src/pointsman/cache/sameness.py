"""Whether two questions could be the same but for words that weigh nothing. Pure; says nothing of meaning.

An encoder of 384 numbers holds "from Delhi to Mumbai" and "from Mumbai to Delhi" for the same (cosine 0.999), as it
does 5 and 50, on and off, safe and unsafe. So a kept answer may serve another wording only where all of this holds:

1 Numbers are the same, in the same order. 2 So is whatever stands in quotation marks, and 3 every other mark: C++ is
not C#, nor 2 + 2 what 2 - 2 is. 4 As many words deny. 5 The words that ask ask the same. 6 Every other word that is no
filler is the same, in the same order; English ones may end otherwise, but for names. Other languages say with a word's
end who beat whom and whether it was or will be, so there it must be the same word.
"""

import re
import unicodedata

from pointsman.cache.words import WORDS, Words
from pointsman.types import Value

_SPLIT = re.compile(r"[\s.,;:!?।॥\"“”„«»()\[\]{}<>…/\\|+*=#–—-]+")
_QUOTED = re.compile(r"\"([^\"]*)\"|“([^”]*)”|«([^»]*)»|`([^`]*)`|(?<!\w)'([^']*)'(?!\w)|‘([^’]*)’")
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_IDENTIFIES = re.compile(r"\S@\S|\d{6}|https?:")
LEAST_STEM = 4
ENDINGS = frozenset({"", "s", "es", "e", "ing"})
"""How English words may differ: `manager` and `management`, `niger` and `nigeria`, `wrote` and `written` do not."""
_LEADING_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
END_OF_SENTENCE = ".?!।॥ "
WEIGHTLESS = frozenset(",'\u200c\u200d")
HOW, MEASURED = "how", frozenset({"many", "much", "long"})
"""`How many` asks for a number, not for a way."""


class Shape(Value, frozen=True):
    """What a question is made of. `words` in their order, each with whether only the same word will do."""

    numbers: tuple[str, ...]
    quoted: tuple[str, ...]
    marks: str
    denials: int
    askers: tuple[str, ...]
    words: tuple[tuple[str, bool], ...]

    def fixed(self) -> tuple[str, ...]:
        """What must be equal, as words to look it up by."""
        counts = (str(self.denials), str(len(self.words)))
        return (*counts, "numbers", *self.numbers, "quoted", *self.quoted, self.marks, "askers", *self.askers)


def shape_of(text: str, language: str) -> Shape | None:
    """None for a language whose words are not known, and for a question that speaks of whoever asks it."""
    known = WORDS.get(language)
    if known is None or _IDENTIFIES.search(text):
        return None
    plain = unicodedata.normalize("NFKC", text).replace("\u200c", "").replace("\u200d", "").replace("’", "'")
    tokens = [token.removesuffix("'s").strip("'") for token in _SPLIT.split(plain)]
    folded = [_LEADING_NUMBER.sub("", token.casefold()) for token in tokens]
    if known.own.intersection(folded):
        return None
    askers = dict(known.askers)
    asked = {askers[low] for low in folded if low in askers}
    words = tuple(
        (low, token[:1].isupper() and place > 0)
        for place, (token, low) in enumerate(zip(tokens, folded, strict=True))
        if low and low not in known.fillers and low not in askers
    )
    return Shape(
        numbers=tuple(_digits(number) for number in _NUMBER.findall(plain)),
        quoted=tuple(next(filter(None, found), "") for found in _QUOTED.findall(plain)),
        marks=_marks(plain),
        denials=_denials(folded, known),
        askers=tuple(sorted(asked - {HOW} if asked & MEASURED else asked)),
        words=words,
    )


def _digits(number: str) -> str:
    """Digits of any script as Latin ones."""
    return "".join(str(unicodedata.decimal(char, char)) for char in number)


def _marks(text: str) -> str:
    """Whatever is neither a letter nor a digit nor the end of a sentence, in its order."""
    return "".join(
        char
        for char in text.rstrip(END_OF_SENTENCE)
        if not (char.isalnum() or char.isspace() or char in WEIGHTLESS or unicodedata.category(char)[0] in "MC")
    )


def _denials(folded: list[str], known: Words) -> int:
    """A short denial is a word of its own, a longer one may be part of a word."""
    return sum(any(word == piece or (len(piece) > 2 and piece in word) for piece in known.denials) for word in folded)


def may_be_same(one: Shape, other: Shape) -> bool:
    """Whether nothing forbids it."""
    return one.fixed() == other.fixed() and all(
        _alike(mine, yours) for mine, yours in zip(one.words, other.words, strict=True)
    )


def _alike(mine: tuple[str, bool], yours: tuple[str, bool]) -> bool:
    (one, is_name), (other, is_name_too) = mine, yours
    if one == other:
        return True
    if is_name or is_name_too:
        return False
    shared = next((place for place, (mine, yours) in enumerate(zip(one, other, strict=False)) if mine != yours), -1)
    shared = min(len(one), len(other)) if shared < 0 else shared
    if {one[shared:], other[shared:]} == {"", "s"}:
        return True
    return shared >= LEAST_STEM and one.isascii() and one[shared:] in ENDINGS and other[shared:] in ENDINGS

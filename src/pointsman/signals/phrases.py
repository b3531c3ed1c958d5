"""Many phrases found in one pass.

Knows: which word each phrase waits for. Does not know: what a phrase speaks for.
Method: every phrase waits for one of its words, the one that fewest others have, and then for one more; only what waits
for words that were said is looked for. So a text costs the set of its words and a few searches, however many phrases.

A phrase is matched whole and caseless, word after word. `prov*` matches every word that starts with `prov`. Where words
are not separated (Chinese, Thai …), and for phrases without letters (`=>`), the phrase is found anywhere in the text.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from pointsman.signals.lexis import folded, words_of
from pointsman.signals.scripts import UNSEGMENTED, script_of

SHORTEST_STEM = 2
OPENING = 3  # letters of a word, by which stems are found
ALWAYS = ""


class Word(NamedTuple):
    """A word of a phrase; a stem stands for every word that begins so."""

    letters: str
    is_stem: bool

    @property
    def clue(self) -> str:
        """What is said wherever the word is."""
        if not self.is_stem:
            return self.letters
        return self.letters[:OPENING] if len(self.letters) >= OPENING else ALWAYS


class Awaiting(NamedTuple):
    """What a line of words, with a space on either side of each, holds where the phrase was said. `also`: a clue that
    is said too. `pattern`: where a word follows on a stem, `line` is but the beginning of it."""

    also: str
    line: str
    pattern: re.Pattern[str] | None
    number: int


class Phrases:
    """Compiled once, searched often. A phrase is known by its number, in the order given."""

    def __init__(self, phrases: Sequence[str]) -> None:
        self._anywhere: list[tuple[str, int]] = []
        self._awaiting: dict[str, list[Awaiting]] = {}
        clean = [folded(phrase).strip() for phrase in phrases]
        cut = [_cut(phrase) for phrase in clean]
        shared = Counter(word.clue for words in cut for word in words)
        for number, (phrase, words) in enumerate(zip(clean, cut, strict=True)):
            if words:
                first, *others = sorted(words, key=lambda word: (word.is_stem, shared[word.clue]))
                one = _awaiting(words, others[0].clue if others else ALWAYS, number)
                self._awaiting.setdefault(first.clue, []).append(one)
            elif phrase:
                self._anywhere.append((phrase.rstrip("*") or phrase, number))

    def __repr__(self) -> str:
        return f"Phrases({len(self._awaiting)} clues awaited, {len(self._anywhere)} phrases anywhere)"

    def find(self, words: Sequence[str], text: str) -> set[int]:
        """The numbers of all phrases in these words; `text` is the folded text they were cut from."""
        found = {number for phrase, number in self._anywhere if phrase in text}
        line = f" {' '.join(words)} "
        said = {ALWAYS, *words}
        said.update([word[:OPENING] for word in said])
        for clue in self._awaiting.keys() & said:
            for also, phrase, pattern, number in self._awaiting[clue]:
                if also in said and phrase in line and (pattern is None or pattern.search(line)):
                    found.add(number)
        return found


def _cut(phrase: str) -> list[Word]:
    """The words of a folded phrase; none where it is to be found anywhere."""
    words = words_of(phrase)
    if not words or script_of(words[0][0]) in UNSEGMENTED:
        return []
    cut, end = [], 0
    for word in words:
        end = phrase.index(word, end) + len(word)
        cut.append(Word(word, len(word) >= SHORTEST_STEM and phrase[end : end + 1] == "*"))
    return cut


def _awaiting(words: Sequence[Word], also: str, number: int) -> Awaiting:
    line = "".join(f" {word.letters}" for word in words) + ("" if words[-1].is_stem else " ")
    if not any(word.is_stem for word in words[:-1]):
        return Awaiting(also, line, None, number)
    pattern = "".join(f" {re.escape(letters)}{'[^ ]*' if is_stem else ''}" for letters, is_stem in words)
    return Awaiting(also, f" {words[0].letters}", re.compile(pattern if words[-1].is_stem else f"{pattern} "), number)

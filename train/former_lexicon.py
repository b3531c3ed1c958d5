"""Words, endings and letters that tell languages apart (`lexicon.yaml`), as additive log-odds.

Knows: how spellings of romanised words vary. Does not know: how evidence becomes a probability (`language`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import yaml

DATA = "lexicon.yaml"
ENGLISH = "en"
# Log-odds of one word. English function words weigh less than romanised ones: code-mixed text is full of English.
STRONG, SHARED, WEAK, STEM = 3.0, 2.0, 0.8, 1.5
ENGLISH_STRONG, ENGLISH_WEAK = 1.0, 0.35
LETTER, NATIVE_WORD = 3.5, 1.2
LEAST_BEFORE_ENDING, SHORTEST_STEM_CHARS = 2, 4
MAX_SPELLINGS = 24
_VARIED = (("aa", "a"), ("ee", "i"), ("oo", "u"), ("w", "v"), ("ph", "f"))


# A part of each piece → the pieces that have it, with their weights by language.
Pieces = dict[str, tuple[tuple[str, dict[str, float]], ...]]


class Tally(NamedTuple):
    """Log-odds by language; how many words are English function words, romanised ones, or known to nobody."""

    scores: dict[str, float]
    english: int
    romanised: int
    unknown: int


class Latin:
    """Words in Latin letters: English and the nine romanised languages."""

    def __init__(self, data: Mapping[str, Mapping[str, object]]) -> None:
        self.languages = tuple(data)
        english = data[ENGLISH]
        self._english = frozenset(_split(english["strong"]))
        self._known = self._english | frozenset(_split(english["weak"]))
        self._words: dict[str, dict[str, float]] = {}
        for language, entry in data.items():
            strong, weak = _split(entry["strong"]), _split(entry["weak"])
            if language == ENGLISH:
                self._add(language, strong, ENGLISH_STRONG)
                self._add(language, weak, ENGLISH_WEAK)
            else:
                self._add(language, strong, STRONG)
                self._add(language, (word for word in weak if word not in self._known), SHARED)
                self._add(language, (word for word in weak if word in self._known), WEAK)
        self._plain_english = {word: own[ENGLISH] for word, own in self._words.items() if tuple(own) == (ENGLISH,)}
        self._stems = self._stems_of()
        self._endings = _keyed(_by_piece(data, "endings"), lambda piece: piece[-2:])
        self._inside = _keyed(_by_piece(data, "inside"), lambda piece: piece[:2])

    def __repr__(self) -> str:
        return f"Latin({len(self._words)} spellings, {len(self.languages)} languages)"

    def _add(self, language: str, words: Iterable[str], weight: float) -> None:
        for word in words:
            self._words.setdefault(word, {})[language] = weight
            for spelling in () if language == ENGLISH else spellings(word):
                if spelling not in self._known:
                    self._words.setdefault(spelling, {}).setdefault(language, weight)

    def tally(self, words: Sequence[str]) -> Tally:
        """Each known word speaks for its languages; an unknown one by its ending and by what it contains."""
        scores = dict.fromkeys(self.languages, 0.0)
        english = romanised = unknown = 0
        for word in words:
            plain = self._plain_english.get(word)
            if plain is not None:
                scores[ENGLISH] += plain
                english += plain == ENGLISH_STRONG
                continue
            entry = self._words.get(word)
            if entry is None:
                entry = self._hints(word)
                unknown += ENGLISH not in entry
            elif word in self._english:
                english += 1
            elif ENGLISH not in entry:
                romanised += 1
            for language, weight in entry.items():
                scores[language] += weight
        return Tally(scores, english, romanised, unknown)

    def _stems_of(self) -> Pieces:
        """Most of these languages inflect by what they append: a listed word also begins unlisted ones."""
        stems: dict[str, dict[str, float]] = {}
        for word, owners in self._words.items():
            own = {name: STEM for name, weight in owners.items() if weight == STRONG and name != ENGLISH}
            if own and len(word) >= SHORTEST_STEM_CHARS:
                stems[word] = own
        return _keyed(stems, lambda word: word[:SHORTEST_STEM_CHARS])

    def _hints(self, word: str) -> dict[str, float]:
        """What an unlisted word's beginning, ending and inside speak for."""
        hints: dict[str, float] = {}
        for stem, weights in self._stems.get(word[:SHORTEST_STEM_CHARS], ()):
            if word.startswith(stem):
                hints.update(weights)
                break
        for ending, weights in self._endings.get(word[-2:], ()):
            if word.endswith(ending) and len(word) >= len(ending) + LEAST_BEFORE_ENDING:
                _add(hints, weights)
                break
        for at in range(len(word) - 1):
            for piece, weights in self._inside.get(word[at : at + 2], ()):
                if word.startswith(piece, at):
                    _add(hints, weights)
        return hints


class Native:
    """Words and letters of languages that share a script."""

    def __init__(self, data: Mapping[str, Mapping[str, str]]) -> None:
        self.languages = tuple(data)
        self._words: dict[str, tuple[str, ...]] = {}
        for language, entry in data.items():
            for word in entry["words"].split():
                self._words[word] = (*self._words.get(word, ()), language)
        self._letters = tuple((letter, language) for language, entry in data.items() for letter in entry["letters"])

    def tally(self, words: Sequence[str], text: str) -> dict[str, float]:
        scores = dict.fromkeys(self.languages, 0.0)
        for word in words:
            owners = self._words.get(word, ())
            for language in owners:
                scores[language] += NATIVE_WORD
        for letter, language in self._letters:
            if letter in text:
                scores[language] += LETTER
        return scores


class Lexicon(NamedTuple):
    latin: Latin
    native: dict[str, Native]


def load_lexicon() -> Lexicon:
    """The word lists of `lexicon.yaml`."""
    data = yaml.safe_load(Path(__file__).with_name(DATA).read_text(encoding="utf-8"))
    return Lexicon(Latin(data["latin"]), {script: Native(entry) for script, entry in data["native"].items()})


def spellings(word: str) -> list[str]:
    """How else people type a romanised word: `nahee` for `nahi` is typed `nahee`, `nahi`; `chhoti` also `choti`."""
    choices: list[tuple[str, ...]] = []
    at = 0
    while at < len(word):
        pair = word[at : at + 2]
        variants = next(((long, short) for long, short in _VARIED if word.startswith(long, at)), None)
        if variants is None and len(pair) == 2 and pair[0] == pair[1]:
            variants = (pair, pair[0])
        choices.append(variants or (word[at],))
        at += len(variants[0]) if variants else 1
    found = ["".join(parts) for parts, _ in zip(product(*choices), range(MAX_SPELLINGS), strict=False)]
    return [spelling for spelling in found if len(spelling) > 2]


def _split(words: object) -> list[str]:
    return str(words).split()


def _by_piece(data: Mapping[str, Mapping[str, object]], field: str) -> dict[str, dict[str, float]]:
    """`{language: {field: {piece: weight}}}` turned around: piece → language → weight."""
    pieces: dict[str, dict[str, float]] = {}
    for language, entry in data.items():
        found = entry[field]
        if isinstance(found, dict):
            for piece, weight in found.items():
                pieces.setdefault(str(piece), {})[language] = float(weight)
    return pieces


def _keyed(weights: Mapping[str, dict[str, float]], key: Callable[[str], str]) -> Pieces:
    """Pieces by a part of them that finds candidates in one look-up, the longest piece first."""
    rows: dict[str, list[tuple[str, dict[str, float]]]] = {}
    for piece in sorted(weights, key=len, reverse=True):
        rows.setdefault(key(piece), []).append((piece, weights[piece]))
    return {name: tuple(row) for name, row in rows.items()}


def _add(hints: dict[str, float], weights: Mapping[str, float]) -> None:
    for language, weight in weights.items():
        hints[language] = hints.get(language, 0.0) + weight

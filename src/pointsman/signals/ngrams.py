"""A linear model over words and their character n-grams: text → one score a label.

Knows: which words and pieces of words speak for which label. Does not know: what the labels mean, nor probabilities.
The score of a text is a sum over its words; a known word costs one look-up (its pieces were summed into its row when
it was trained), an unknown one a look-up a piece. Nothing is remembered between calls. Dividing by a power of their
number keeps a long text from certainty (words of one text are not independent).
Source: "bag of tricks" classifiers (Joulin et al. 2017), without the hidden layer, which 14 labels do not need.
"""

from collections.abc import Sequence
from itertools import filterfalse
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointsman.signals.lexis import spans

LONGEST_WORD_CHARS, MOST_WORDS = 28, 64
START, END = "\x02", "\x03"  # what stands before and behind a word: `\x02ka` is a beginning, `ka\x03` an ending
PIECE_POWER = -0.2  # of the number of a word's pieces, that multiplies each: a long word says little more
_NOTHING = 0  # the row of zeros


class Scales(NamedTuple):
    """`sizes`: lengths of the pieces in characters. `power`: of the number of words, that divides the sum.
    `sharpness`: multiplies the score, so that its softmax is a calibrated probability; one for every word count
    below the last, which serves all longer texts."""

    sizes: tuple[int, ...]
    power: float
    sharpness: tuple[float, ...]


class Weighed(NamedTuple):
    """`scores`: (labels,). `worth`: (contributions, labels); `owners`: the word of each, empty where none is known."""

    scores: NDArray[np.float32]
    worth: NDArray[np.float32]
    owners: list[str]

    def loudest(self, label: int) -> str:
        """The word that speaks loudest for a label; empty where none is known."""
        return self.owners[int(self.worth[:, label].argmax())] if self.owners else ""


class WordModel:
    """Read-only after construction; `weigh` is pure."""

    def __init__(
        self,
        labels: Sequence[str],
        words: Sequence[str],
        pieces: Sequence[str],
        weights: NDArray[np.float32],
        bias: NDArray[np.float32],
        scales: Scales,
        silent: Sequence[str] = (),
    ) -> None:
        """`weights`: (1 + words + pieces, labels); row 0 is zero, a word's row holds its pieces.
        `silent`: words that speak for no label, such as names."""
        self.labels = tuple(labels)
        self._sizes = scales.sizes
        self._pieces = {piece: row for row, piece in enumerate(pieces, 1 + len(words))}
        self._weights = weights
        self._words = {word: row for row, word in enumerate(words, 1)}
        self._silent = frozenset(silent)
        longest = len(scales.sharpness) - 1
        self._factors = [
            scales.sharpness[min(count, longest)] / max(count, 1) ** scales.power for count in range(MOST_WORDS + 1)
        ]
        self._biases = [bias * scales.sharpness[min(count, longest)] for count in range(MOST_WORDS + 1)]

    def __repr__(self) -> str:
        return f"WordModel({len(self._words)} words, {len(self._pieces)} pieces, {len(self.labels)} labels)"

    def __contains__(self, word: str) -> bool:
        return word in self._words

    def weigh(self, words: Sequence[str]) -> Weighed:
        """Log-odds, one a label, and who contributed what."""
        owners = list(words[:MOST_WORDS])
        if not self._silent.isdisjoint(owners):
            owners = [*filterfalse(self._silent.__contains__, owners)]
        count = len(owners)
        try:
            worth = self._weights.take([*map(self._words.__getitem__, owners)] or [_NOTHING], axis=0)
        except KeyError:
            worth, owners = self._in_pieces(owners)
        return Weighed(worth.sum(axis=0) * self._factors[count] + self._biases[count], worth, owners)

    def _in_pieces(self, words: Sequence[str]) -> tuple[NDArray[np.float32], list[str]]:
        """What the words contribute, and the owner of each contribution, where some are known by their pieces alone."""
        known, find = self._words.get, self._pieces.get
        rows: list[int] = []
        owners: list[str] = []
        shares: list[float] = []
        for word in words:
            if own := known(word):
                rows.append(own)
                owners.append(word)
                shares.append(1.0)
            elif found := [row for piece in pieces_of(word, self._sizes) if (row := find(piece))]:
                rows += found
                owners += [word] * len(found)
                shares += [len(found) ** PIECE_POWER] * len(found)
        worth = self._weights.take(rows or [_NOTHING], axis=0)
        return worth * np.array(shares or [0.0], np.float32)[:, None], owners


def pieces_of(word: str, sizes: tuple[int, ...]) -> list[str]:
    """Every run of so many characters in a word and its two ends. Marks (a first character below space) have none."""
    if word < " ":
        return []
    framed = f"{START}{word[:LONGEST_WORD_CHARS]}{END}"
    return [framed[start:end] for start, end in spans(len(framed), sizes)]

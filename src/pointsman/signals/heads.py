"""The learned heads: linear models over `features`, calibrated; what they say and which features spoke.

Knows: the weights that ship (`weights/heads.npz`, made by `train/heads.py`), how they become probabilities. Does not
know: requests, rules' meaning, settings.

Invariants: pure but for a bounded memory of words, which changes cost, never an answer; every probability lies in
[0, 1] and each question's add up to 1.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from math import exp
from operator import mul
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pointsman.signals.evidence import shown
from pointsman.signals.features import BUCKETS, LONGEST_CHARS, names, pieces
from pointsman.types import Complexity, Intent, UseCase

Floats = NDArray[np.float32]

DATA = "weights/heads.npz"
NOT_AGENT = tuple(str(label) for label in UseCase if label is not UseCase.AGENT)
INTENTS = tuple(map(str, Intent))
TASKS = (*NOT_AGENT, *INTENTS)  # an agent's request is known by its intent
HARDNESS = tuple(map(str, Complexity))
ANSWERS = ("short", "medium", "long")
# Columns of the weights, question by question.
TASK, HARD, TOOLS, ANSWER = slice(0, 8), slice(8, 11), slice(11, 12), slice(12, 15)
AGENT, STRANGE = slice(5, 8), 15
WIDTHS = (8, 3, 1, 3, 1)
COLUMNS = 16
MOST_STRANGE = 60  # words that novelty is judged by
REMEMBERED = 32_768  # words
TOLD = 3  # words named as evidence
LEAST_TOLD = 0.15  # log-odds that a word must add to be named


class Weights(NamedTuple):
    """`table`: BUCKETS × COLUMNS, whole numbers in units of `unit`; `row`: one line a number of `features.names` and
    then a rule; `heat`: what each question's log-odds are divided by; `floor`: the least margin between
    the two best tasks that is sure; `odd`: of `features.ODDITIES`, then the bias, for novelty."""

    table: NDArray[np.int8]
    unit: Floats
    row: Floats
    bias: Floats
    heat: Floats
    floor: float
    odd: Floats
    rules: tuple[str, ...]


class Said(NamedTuple):
    """What the heads say. `by_word`: words × COLUMNS, what each word adds to each label beside its question's mean."""

    task: list[float]  # TASKS
    hard: list[float]  # HARDNESS
    tools: float
    answer: list[float]  # ANSWERS
    by_word: Floats

    def answer_to(self, question: str) -> dict[str, float]:
        """Every label's probability: of `use_case`, of `intent` (were it an agent's matter), of `complexity`."""
        if question == "complexity":
            return dict(zip(HARDNESS, self.hard, strict=True))
        own = self.task[len(NOT_AGENT) :]
        agent = sum(own)
        if question == "intent":
            return {label: p / max(agent, 1e-9) for label, p in zip(INTENTS, own, strict=True)}
        return {**dict(zip(NOT_AGENT, self.task, strict=False)), str(UseCase.AGENT): agent}


class Heads:
    """Compiled once from the weights; `tell` is pure."""

    def __init__(self, weights: Weights, rules: Sequence[str]) -> None:
        """`rules`: the names of the built-in rules, in the order of the numbers that `tell` will be given."""
        self._weights = weights
        self._heat = np.repeat(np.append(weights.heat, 1.0), WIDTHS).astype(np.float32)
        self._odd = weights.odd.tolist()
        self._row = np.concatenate((weights.row[: len(names())], _rows_of(rules, weights)))
        self._known: dict[str, int] = {}
        self._memory: Floats = np.zeros((REMEMBERED, COLUMNS), np.float32)

    def __repr__(self) -> str:
        return f"Heads({BUCKETS} buckets, {len(names())} numbers, {len(self._known)} words known)"

    def tell(self, words: Sequence[str], weights: Sequence[float], numbers: Sequence[float]) -> Said:
        """`words` and how much each counts; `numbers`: those of `features.names`, then one a rule of `rules`."""
        by_word = self._by_word(words, weights)
        odds = by_word.sum(axis=0) + np.array(numbers, np.float32) @ self._row + self._weights.bias
        told = (odds / self._heat).tolist()
        return Said(
            task=_softmax(told[TASK]),
            hard=_softmax(told[HARD]),
            tools=_sigmoid(told[TOOLS][0]),
            answer=_softmax(told[ANSWER]),
            by_word=by_word,
        )

    def novelty(self, words: Sequence[str], oddities: Sequence[float]) -> float:
        """How little this is like a request in the ten languages: the probability that it is noise, another language
        or data without a question, as trained on noise made for it."""
        odds = sum(map(mul, self._odd, oddities)) + self._odd[-1]
        if places := self._places(words[:MOST_STRANGE]):
            odds += float(self._memory.take(places, axis=0)[:, STRANGE].sum()) / len(places)
        return _sigmoid(odds)

    def is_sure(self, said: Said) -> bool:
        """Whether the best task is far enough ahead of the next."""
        second, first = sorted(said.task)[-2:]
        return bool(first - second >= self._weights.floor)

    # ------------------------------------------------------------ words

    def _by_word(self, words: Sequence[str], weights: Sequence[float]) -> Floats:
        """Log-odds, words × COLUMNS; many words say together what few say alone (divided by a root)."""
        if not words:
            return np.zeros((0, COLUMNS), np.float32)
        share = np.array(weights, np.float32)
        share *= 1.0 / np.sqrt(np.dot(share, share))
        return self._memory.take(self._places(words), axis=0) * share[:, None]

    def _places(self, words: Sequence[str]) -> list[int]:
        """Where the memory has these words."""
        try:
            return list(map(self._known.__getitem__, words))
        except KeyError:  # one is new, or too long to be known in full
            words = [word[:LONGEST_CHARS] for word in words]
            self._learn(words)
            return list(map(self._known.__getitem__, words))

    def _learn(self, words: Sequence[str]) -> None:
        """Into the memory with those not yet in it."""
        new = [word for word in dict.fromkeys(words) if word not in self._known]
        if not new:
            return
        if len(self._known) + len(new) > REMEMBERED:
            self._known.clear()
            new = list(dict.fromkeys(words))[:REMEMBERED]
        found = [pieces(word) for word in new]
        sizes = np.array([len(one) for one in found])
        starts = np.cumsum(sizes) - sizes
        flat = [bucket for one in found for bucket in one]
        total = np.add.reduceat(self._weights.table[flat].astype(np.float32), starts, axis=0)
        at = len(self._known)
        total *= self._weights.unit / np.sqrt(sizes)[:, None]
        for question in (TASK, HARD):  # beside the mean: the same probabilities, and each number says what it adds
            total[:, question] -= total[:, question].mean(axis=1, keepdims=True)
        self._memory[at : at + len(new)] = total
        self._known.update(zip(new, range(at, at + len(new)), strict=True))


def spoke(said: Said, question: str, label: str, words: Sequence[str]) -> list[str]:
    """The words that spoke most for a label, in their order; none where none did."""
    at = _column(question, label)
    own = said.by_word[:, at] if at is not None else said.by_word[:, AGENT].max(axis=1)
    loudest = own.argsort(kind="stable")[-TOLD:].tolist()
    return list(dict.fromkeys(shown(words[place]) for place in sorted(loudest) if own[place] >= LEAST_TOLD))


def _column(question: str, label: str) -> int | None:
    """The label's column; None for the agent's use case, which has one for each intent."""
    if question == "complexity":
        return HARD.start + HARDNESS.index(label)
    return TASKS.index(label) if label in TASKS else None


@cache
def load_weights() -> Weights:
    """The weights that ship."""
    with files(__package__).joinpath(DATA).open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
        return Weights(
            table=kept["table"],
            unit=kept["unit"],
            row=kept["row"],
            bias=kept["bias"],
            heat=kept["heat"],
            floor=float(kept["floor"]),
            odd=kept["odd"],
            rules=tuple(map(str, kept["rules"])),
        )


def _rows_of(rules: Sequence[str], weights: Weights) -> Floats:
    """The weights of these rules; a rule that is new since the training has none."""
    places = {name: len(names()) + place for place, name in enumerate(weights.rules)}
    rows = np.zeros((len(rules), COLUMNS), np.float32)
    for at, name in enumerate(rules):
        if name in places:
            rows[at] = weights.row[places[name]]
    return rows


def _softmax(odds: Sequence[float]) -> list[float]:
    best = max(odds)
    raised = [exp(one - best) for one in odds]
    total = sum(raised)
    return [one / total for one in raised]


def _sigmoid(odds: float) -> float:
    return 1.0 / (1.0 + exp(-max(-30.0, min(30.0, odds))))

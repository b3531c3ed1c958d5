"""`python -m bench.semantic`: how often the semantic cache would give a wrong answer, and how often a right one.

Method: questions written by hand in ten languages, some that mean the same, more that nearly do (another number, name,
direction, an opposite, a denial). The threshold of a language is the highest cosine of two questions of the choosing
set that are about different things, rounded up: the encoder tells subjects apart, the rules of `cache.sameness` what
it cannot. Hits are then counted on the judging set, which nothing was chosen on. With `--check`, exit status 1 where
the thresholds in `cache.questions` are not those.
"""

import argparse
import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import yaml
from rich.console import Console
from rich.table import Table

from pointsman.cache.questions import THRESHOLDS
from pointsman.cache.sameness import may_be_same, shape_of
from pointsman.encoder.base import Encoder, Vector
from pointsman.encoder.e5 import E5

FOLDER = Path(__file__).resolve().parent.parent / "tests/cache"
LEAST_PRECISION = 0.98


class Group(msgspec.Struct, frozen=True):
    """`same`: one question in several wordings. `differ`: others that are nearly it."""

    same: tuple[str, ...]
    differ: tuple[str, ...] = msgspec.field(name="not")

    def all(self) -> tuple[str, ...]:
        return self.same + self.differ


Questions = dict[str, tuple[Group, ...]]


class Judged(msgspec.Struct, frozen=True):
    """Pairs and hits of one language: of the same meaning, nearly, and of another group."""

    same: int
    same_hits: int
    near: int
    near_hits: int
    near_by_cosine: int
    far: int
    far_hits: int

    @property
    def precision(self) -> float:
        hits = self.same_hits + self.near_hits + self.far_hits
        return self.same_hits / hits if hits else 0.0


def read(name: str) -> Questions:
    return msgspec.convert(yaml.safe_load((FOLDER / name).read_text(encoding="utf-8")), Questions)


class Bench:
    """Encodes every question once."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._vectors: dict[str, Vector] = {}

    def cosine(self, one: str, other: str) -> float:
        return float(self._vector(one) @ self._vector(other))

    def _vector(self, text: str) -> Vector:
        if text not in self._vectors:
            self._vectors[text] = self._encoder.encode(text)
        return self._vectors[text]

    def threshold(self, groups: tuple[Group, ...]) -> float:
        """Above every pair of different subjects, in steps of a hundredth."""
        return math.ceil(100 * max(self.cosine(one, other) for one, other in far(groups))) / 100

    def judge(self, language: str, groups: tuple[Group, ...], threshold: float) -> Judged:
        def hits(pairs: list[tuple[str, str]]) -> int:
            return sum(self.is_hit(language, one, other, threshold) for one, other in pairs)

        same, near, apart = list(alike(groups)), list(nearly(groups)), list(far(groups))
        return Judged(
            same=len(same),
            same_hits=hits(same),
            near=len(near),
            near_hits=hits(near),
            near_by_cosine=sum(self.cosine(one, other) >= threshold for one, other in near),
            far=len(apart),
            far_hits=hits(apart),
        )

    def is_hit(self, language: str, one: str, other: str, threshold: float) -> bool:
        mine, yours = shape_of(one, language), shape_of(other, language)
        if mine is None or yours is None or not may_be_same(mine, yours):
            return False
        return self.cosine(one, other) >= threshold


def alike(groups: tuple[Group, ...]) -> Iterator[tuple[str, str]]:
    return (pair for group in groups for pair in itertools.combinations(group.same, 2))


def nearly(groups: tuple[Group, ...]) -> Iterator[tuple[str, str]]:
    return (pair for group in groups for pair in itertools.product(group.same, group.differ))


def far(groups: tuple[Group, ...]) -> Iterator[tuple[str, str]]:
    for one, other in itertools.combinations(groups, 2):
        yield from itertools.product(one.all(), other.all())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    bench, chosen, judged = Bench(E5()), read("same_or_not.yaml"), read("same_or_not_judged.yaml")
    table = Table("", "threshold", "same, hit", "near, hit", "near, by cosine alone", "far, hit", "precision", box=None)
    thresholds: dict[str, float] = {}
    for language, groups in judged.items():
        threshold = bench.threshold(chosen[language])
        found = bench.judge(language, groups, threshold)
        if found.precision >= LEAST_PRECISION:
            thresholds[language] = threshold
        table.add_row(
            language,
            f"{threshold:.2f}",
            f"{found.same_hits} of {found.same}",
            f"{found.near_hits} of {found.near}",
            f"{found.near_by_cosine}",
            f"{found.far_hits} of {found.far}",
            f"{found.precision:.2f}" if found.same_hits else "no hits",
        )
    Console(width=120).print(table)
    if parser.parse_args().check and thresholds != THRESHOLDS:
        print(f"cache.questions.THRESHOLDS should be {thresholds}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

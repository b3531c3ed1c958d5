"""Two orders of the same passages made one. Pure.

Reciprocal rank fusion (Cormack, Clarke, Büttcher 2009): a passage gets 1 / (K + rank) from every order it stands in, so
that scores of different kinds need no common scale.
"""

from collections.abc import Hashable, Sequence
from typing import TypeVar

K = 60
T = TypeVar("T", bound=Hashable)


def fused(*orders: Sequence[T]) -> list[tuple[T, float]]:
    """All that stand in any order, the best first, each with its score; earlier orders break ties."""
    scores: dict[T, float] = {}
    for order in orders:
        for rank, one in enumerate(order):
            scores[one] = scores.get(one, 0.0) + 1 / (K + rank + 1)
    return sorted(scores.items(), key=lambda pair: -pair[1])

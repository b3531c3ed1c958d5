"""Which questions are asked, and in which order: every beginning of the order is balanced.

Knows: families, languages, complexities, a seed. Does not know: answers. Pure.
Invariant: the choice of n questions begins the choice of more, so a larger run takes over all of a smaller one.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from pointsman.calibration.items import Item

LEVELS = ("family", "language", "complexity")


def select(
    items: Sequence[Item],
    *,
    count: int | None = None,
    families: Iterable[str] = (),
    languages: Iterable[str] = (),
    seed: int = 0,
) -> tuple[Item, ...]:
    """`count` items (None: all) of the families and languages (empty: all), in the order in which to ask them."""
    wanted_families, wanted_languages = set(families), set(languages)
    pool = [
        item
        for item in items
        if (not wanted_families or item.family in wanted_families)
        and (not wanted_languages or item.language in wanted_languages)
    ]
    order = np.random.default_rng(seed).permutation(len(pool))
    return tuple(_balanced([pool[index] for index in order], LEVELS)[:count])


def _balanced(items: list[Item], levels: tuple[str, ...]) -> list[Item]:
    """Groups of the first level take turns in proportion to their size, each balanced by the levels below.

    The i-th of n members stands at (i + ½)/n of the whole.
    """
    if not levels:
        return items
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[getattr(item, levels[0])].append(item)
    placed = [
        ((index + 0.5) / len(members), name, item)
        for name, members in groups.items()
        for index, item in enumerate(_balanced(members, levels[1:]))
    ]
    return [item for *_, item in sorted(placed, key=lambda one: one[:2])]

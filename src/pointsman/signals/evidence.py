"""How evidence becomes a probability.

Knows: votes for labels of one question. Does not know: where they come from.

The scheme, on purpose one that fits in a head: votes for one label combine by noisy-or (`1 − Π(1 − strength)`), so that
two hints are worth more than one and none is worth more than certainty; each label's combined strength becomes odds
(`s / (1 − s)`) on top of its prior odds; the default label starts at odds 1; odds are normalised. One vote of strength
.8 against no other thus ends near .8, and the bands of `Scored.band` mean what a rule's author meant.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from operator import itemgetter
from typing import NamedTuple

from pointsman.types import Scored

STRONGEST = 0.98
NOTHING = "nothing spoke for another label"
LONGEST_SHOWN = 40  # characters of a word


class Vote(NamedTuple):
    """One piece of evidence: `strength` in [0, 1], `why` in words for an operator."""

    label: str
    strength: float
    why: str


def settle(votes: Iterable[Vote], default: str, priors: Mapping[str, float]) -> Scored:
    """The label with the best odds. `priors`: prior odds of every label but the default, whose odds start at 1."""
    default = str(default)
    missed = dict.fromkeys((default, *map(str, priors)), 1.0)
    whys: dict[str, list[str]] = {}
    for kind, strength, why in votes:
        label = str(kind)  # an enumeration's member stays where it was made
        missed[label] = missed.get(label, 1.0) * (1.0 - min(strength, STRONGEST))
        whys.setdefault(label, []).append(why)
    odds = {
        label: (1.0 if label == default else priors.get(label, 0.0)) + 1.0 / max(miss, 1.0 - STRONGEST) - 1.0
        for label, miss in missed.items()
    }
    return ranked(odds, lambda label: tuple(whys.get(label, ())) or (NOTHING,), is_complete=True)


def pooled(believed: Mapping[str, float], votes: Sequence[Vote]) -> dict[str, float]:
    """Probabilities after votes have been heard: a linear pool, in which a vote's strength is its share (Stone 1961,
    "The opinion pool"). So one vote of strength .9 leaves its label at no less than .9, whatever was believed."""
    if not votes:
        return dict(believed)
    missed: dict[str, float] = {}
    for kind, strength, _ in votes:
        missed[str(kind)] = missed.get(str(kind), 1.0) * (1.0 - min(strength, STRONGEST))
    share = 1.0 - prod(missed.values())
    total = sum(1.0 - miss for miss in missed.values())
    if total <= 0.0:
        return dict(believed)
    return {label: (1.0 - share) * p + share * (1.0 - missed.get(label, 1.0)) / total for label, p in believed.items()}


def ranked(
    odds: Mapping[str, float], evidence: Callable[[str], tuple[str, ...]], *, is_complete: bool = False
) -> Scored:
    """Odds normalised: best label first, behind it all others or those of at least 1 %. Ties go to the first named."""
    total = sum(odds.values())
    (label, best), *rest = sorted(odds.items(), key=itemgetter(1), reverse=True)
    if not is_complete:
        rest = [(name, value) for name, value in rest[:3] if value / total >= 0.01]
    return Scored(
        label=label,
        p=round(best / total, 4),
        alternatives=tuple([(name, round(value / total, 4)) for name, value in rest]),
        evidence=evidence(label),
    )


def shown(word: str) -> str:
    """A word as evidence: of a very long one the beginning."""
    return word if len(word) <= LONGEST_SHOWN else f"{word[:LONGEST_SHOWN]}…"


def certain(label: str, why: str) -> Scored:
    """A label nobody need guess."""
    return Scored(label=str(label), p=1.0, evidence=(why,))


def or_abstain(scored: Scored, floor: float, default: str) -> Scored:
    """The label, or the safe default where it is less sure than `floor`; what was given up stays visible."""
    if scored.p >= floor:
        return scored
    known = dict(((scored.label, scored.p), *scored.alternatives))
    others = tuple((label, p) for label, p in known.items() if label != default)
    why = f"abstained: {scored.label} at {scored.p:.2f} is below {floor:.2f}"
    return Scored(label=str(default), p=known.get(default, 0.0), alternatives=others, evidence=(why, *scored.evidence))

"""A contextual bandit over the candidates: what verdicts teach of each model, and when another than the best is tried.

Knows: the features of a request, a ridge regression a model, the chances. Does not know: where verdicts come from, who
keeps what they taught (`World.learned` brings it along).

Learned is by how much a model's answers are judged better or worse than its quality term said, linear in intent,
language, complexity, length of the prompt and that term itself: ridge regression as in LinUCB (Li et al. 2010) and
linear Thompson sampling (Agrawal & Goyal 2013), with a half-life. Without verdicts it is zero: the choice begins as the
quality profile makes it, and the ridge is strong, as a profile that fits is hard to beat (`docs/learning.md`). Prices
are known, so they are not learned: they stay what the strategy weighs them.

Chances are inverse gap weights (Abe & Long 1999; SquareCB, Foster & Rakhlin 2020): a model whose score is `gap` below
the best of K is first with 1 / (K + sharpness · √n · gap), n the verdicts on it, all of them together with at most
`epsilon_max`. Unlike Thompson's, which are an integral, and LinUCB's, which are 0 or 1, these probabilities are exact
in closed form: what off-policy evaluation divides by.

Invariants: the same request, world and settings give the same draw; who is tried is ready, within `margin` of the best.
"""

import hashlib
import math
from collections.abc import Collection, Iterable

import numpy as np
import numpy.typing as npt

from pointsman.settings_bandit import BanditSettings
from pointsman.types import Assignment, Breaker, Candidate, Complexity, Intent, Term, Tier, UseCase, Value, World
from pointsman.types_learned import Learned

NAME = "bandit"
SHARPNESS = 300.0
RIDGE, RIDGE_ALIKE = 300.0, 100.0  # so many verdicts must agree before a weight, or the one for all, has moved halfway
LABELS: tuple[str, ...] = (*Intent, *(use_case for use_case in UseCase if use_case is not UseCase.AGENT))
LANGUAGES = ("en", "hi", "ta", "te", "bn", "mr", "gu", "kn", "ml", "pa")
COMPLEXITIES: tuple[str, ...] = tuple(Complexity)
MANY_TOKENS = math.log1p(8192)
AT_LABEL = 1
AT_LANGUAGE = AT_LABEL + len(LABELS)
AT_COMPLEXITY = AT_LANGUAGE + len(LANGUAGES) + 1
AT_LENGTH = AT_COMPLEXITY + len(COMPLEXITIES)
SIZE = AT_LENGTH + 2

Floats = npt.NDArray[np.float64]
Features = tuple[tuple[int, float], ...]


def features_of(label: str, language: str, complexity: str, prompt_tokens: int, quality: float) -> Features:
    """A request and what its candidate is held to be good at, as the few features that are not zero: (place, value)."""
    found = [(0, 1.0)]
    if label in LABELS:
        found.append((AT_LABEL + LABELS.index(label), 1.0))
    place = LANGUAGES.index(language) if language in LANGUAGES else len(LANGUAGES)
    found.append((AT_LANGUAGE + place, 1.0))
    found.append((AT_COMPLEXITY + COMPLEXITIES.index(complexity if complexity in COMPLEXITIES else "medium"), 1.0))
    found.append((AT_LENGTH, min(math.log1p(max(prompt_tokens, 0)) / MANY_TOKENS, 1.0) - 0.5))
    found.append((AT_LENGTH + 1, quality - 0.5))
    return tuple(found)


def expected(learned: Learned, features: Features) -> float:
    """By how much the model's quality differs from what it is held to be, in [-1, 1]."""
    found = sum(learned.weights[place] * value for place, value in features)
    return min(1.0, max(-1.0, found))


def term_of(learned: Learned | None, features: Features, quality_weight: float) -> Term:
    """The score term: one half where nothing is known. Twice quality's weight, as it spans -1 to 1 where quality spans
    0 to 1."""
    if learned is None or not learned.n:
        return Term(name="learned", value=0.5, weight=2 * quality_weight, why="no verdicts yet")
    differs = expected(learned, features)
    why = f"{learned.n:.0f} verdicts say {differs:+.2f} on requests like this"
    return Term(name="learned", value=round((1 + differs) / 2, 6), weight=2 * quality_weight, why=why)


# ---------------------------------------------------------------- chances


def ready_in(world: World) -> frozenset[str]:
    """Deployments that could begin at once."""
    return frozenset(
        view.id
        for view in world.deployments
        if view.tier is Tier.HOT and not view.ready_in_s and view.breaker is Breaker.CLOSED
    )


def odds_of(
    ranked: tuple[Candidate, ...], ready: Collection[str], learned: Iterable[Learned], settings: BanditSettings
) -> tuple[tuple[str, float], ...]:
    """Every model that may be first, with its probability, best first; empty where there is nothing to choose."""
    best = ranked[0]
    tried = {best.model_id: 0.0}
    for one in ranked:
        if one.score >= best.score - settings.margin and one.deployment_id in ready:
            tried.setdefault(one.model_id, best.score - one.score)
    if len(tried) < 2 or not settings.epsilon_max:
        return ()
    known = {one.model_id: one.n for one in learned}
    chances = {
        model_id: 1 / (len(tried) + SHARPNESS * math.sqrt(known.get(model_id, 0.0)) * gap)
        for model_id, gap in tried.items()
        if model_id != best.model_id
    }
    share = min(1.0, settings.epsilon_max / sum(chances.values()))
    others = tuple((model_id, share * chance) for model_id, chance in chances.items())
    return ((best.model_id, 1.0 - sum(chance for _, chance in others)), *others)


def drawn(
    ranked: tuple[Candidate, ...], odds: tuple[tuple[str, float], ...], ready: Collection[str], seed: str
) -> tuple[tuple[Candidate, ...], Assignment]:
    """The ranking with the drawn model first, and what chance had to do with it."""
    model_id, chance = _arm(odds, seed)
    assignment = Assignment(experiment=NAME, arm=model_id, propensity=chance, odds=odds)
    if model_id == ranked[0].model_id:
        return ranked, assignment
    first = next(one for one in ranked if one.model_id == model_id and one.deployment_id in ready)
    return (first, *(one for one in ranked if one is not first)), assignment


def _arm(odds: tuple[tuple[str, float], ...], seed: str) -> tuple[str, float]:
    """The best comes last, so that what rounding leaves is its own."""
    left = int.from_bytes(hashlib.blake2b(seed.encode(errors="replace"), digest_size=8).digest()) / 2**64
    for one in reversed(odds):
        left -= one[1]
        if left < 0:
            return one
    return odds[0]


# ---------------------------------------------------------------- learning


class Evidence(Value, frozen=True):
    """All verdicts on one model: `gram` (SIZE, SIZE) of their features, `moment` (SIZE,) with what they differed by,
    `n` of them, old ones counting less."""

    model_id: str
    gram: Floats
    moment: Floats
    n: float = 0.0


def nothing(model_id: str) -> Evidence:
    return Evidence(model_id=model_id, gram=np.zeros((SIZE, SIZE)), moment=np.zeros(SIZE))


def evidence_of(model_id: str, gram: list[list[float]], moment: list[float], n: float) -> Evidence:
    """As it was written down. Raises ValueError where the shapes are others."""
    found = Evidence(model_id=model_id, gram=np.array(gram, np.float64), moment=np.array(moment, np.float64), n=n)
    if found.gram.shape != (SIZE, SIZE) or found.moment.shape != (SIZE,):
        raise ValueError(f"figures of {model_id} have another shape")
    return found


def taught(evidence: Evidence, features: Features, difference: float, half_life: float) -> Evidence:
    """With one more verdict, which differed by so much from the quality held. The cost does not depend on how many."""
    keep = 0.5 ** (1 / half_life)
    row = _row(features)
    return Evidence(
        model_id=evidence.model_id,
        gram=keep * evidence.gram + np.outer(row, row),
        moment=keep * evidence.moment + difference * row,
        n=keep * evidence.n + 1,
    )


def corrected(evidence: Evidence, features: Features, change: float) -> Evidence:
    """With a verdict that its giver has changed by so much."""
    moment = evidence.moment + change * _row(features)
    return Evidence(model_id=evidence.model_id, gram=evidence.gram, moment=moment, n=evidence.n)


def learned_of(evidence: Evidence) -> Learned:
    """What a decision reads. The ridge is never forgotten: without news a weight falls back to zero."""
    ridge = np.full(SIZE, RIDGE)
    ridge[0] = RIDGE_ALIKE
    weights = np.linalg.solve(evidence.gram + np.diag(ridge), evidence.moment)
    return Learned(model_id=evidence.model_id, weights=tuple(weights.tolist()), n=evidence.n)


def _row(features: Features) -> Floats:
    row = np.zeros(SIZE)
    for place, value in features:
        row[place] = value
    return row

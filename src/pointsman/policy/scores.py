"""Score terms: how well each deployment that may answer would do it; each is one function to [0, 1] with its reason.

Knows: the terms, the weights of each strategy. Does not know: gates, other deployments: a term looks at one deployment
alone, so a model that joins never reorders the others. A score is the weighted mean of the terms, in [0, 1].
"""

from collections.abc import Callable

from pointsman.policy.ask import Ask, answer_s, has_room, why_so_long
from pointsman.settings import RoutingSettings, StrategyWeights
from pointsman.types import Breaker, Candidate, Complexity, DeploymentView, ModelCard, Term, Tier

LATENCY_HALF_S = 10.0  # an answer expected after this long scores one half
READY_HALF_S = 5.0  # so does a deployment that is ready after this long
COST_HALF = 1.0  # and a price of this much a million tokens
MEASURED_STEPS = 20  # of a term that was measured: what differs by less is equal
NEUTRAL = 0.5
_ASSUMED = f"{NEUTRAL} assumed"

BALANCED, ROUND_ROBIN, FIXED, LAST_RESORT = "balanced", "round_robin", "fixed", "last_resort"

STATE_COLD = "cold"  # and not yet starting: a start that is under way has its memory already

Weights = tuple[float, ...]
Measure = Callable[[Ask, ModelCard, DeploymentView], tuple[float, str]]


def quality(ask: Ask, card: ModelCard, _: DeploymentView) -> tuple[float, str]:
    """What graded answers say of the model on requests like this; without any, the card's figure for the intent, else
    for the use case. Complexity decides how much it counts."""
    if (verdict := ask.judged.of(card.id)) is not None:
        return verdict.quality, verdict.why
    figures = dict(card.quality)
    value = figures.get(ask.label, figures.get(ask.use_case))
    if value is None:
        return NEUTRAL, f"no figure for {ask.label}: {_ASSUMED}"
    return value, f"{value:g} for {ask.label}"


def preference(ask: Ask, card: ModelCard, _: DeploymentView) -> tuple[float, str]:
    """Place in the use-case matrix. The default model gains a little where the labels are too unsure to be trusted."""
    if not ask.order:
        value, why = NEUTRAL, f"no order is configured for {ask.label}"
    elif card.id in ask.order:
        place = ask.order.index(card.id)
        value, why = 1 / (1 + place / 3), f"number {place + 1} for {ask.label}"
    else:
        value, why = 0.2, f"not listed for {ask.label}"
    if ask.default_model == card.id:
        return min(1.0, value + 0.15), f"{why}; the default model, as the labels are unsure"
    return value, why


def language(ask: Ask, card: ModelCard, _: DeploymentView) -> tuple[float, str]:
    """Whether the model is good for the language, as far as the language itself is sure."""
    if not ask.language:
        return NEUTRAL, "language not known"
    if not card.languages:
        return 0.9, f"any language, {ask.language} too"
    if ask.language in card.languages:
        return 1.0, f"good for {ask.language}"
    value = {"high": 0.1, "medium": 0.4}.get(ask.language_band, 0.7)
    return value, f"not meant for {ask.language} (sureness of the language: {ask.language_band})"


def cost(_: Ask, card: ModelCard, __: DeploymentView) -> tuple[float, str]:
    if not card.cost_per_mtok:
        return 1.0, "free"
    return 1 / (1 + card.cost_per_mtok / COST_HALF), f"{card.cost_per_mtok:g} a million tokens"


def latency(ask: Ask, card: ModelCard, view: DeploymentView) -> tuple[float, str]:
    """Expected seconds for the whole answer, queue included; the time to load is `readiness`. What was measured differs
    from answer to answer and from gateway to gateway: it counts in steps, so that equals stay equals, and the same
    query goes to the same model. Of whom nothing is known the best is believed: so it is tried, and measured."""
    expected_s = answer_s(ask, card, view)
    if expected_s is None:
        return 1.0, "speed not known yet"
    value = 1 / (1 + expected_s / LATENCY_HALF_S)
    if view.first_token_s is not None:
        value = round(value * MEASURED_STEPS) / MEASURED_STEPS
    return value, f"about {expected_s:.1f} s for the answer: {why_so_long(card, view)}"


def readiness(ask: Ask, _: ModelCard, view: DeploymentView) -> tuple[float, str]:
    """Hot 1; less the longer it takes to be ready, and less again where another model may have to leave for it."""
    if view.tier is Tier.HOT and not view.ready_in_s:
        return 1.0, "hot"
    value = _CEILING[view.tier] / (1 + view.ready_in_s / READY_HALF_S)
    why = f"{view.tier}, about {view.ready_in_s:.3g} s until ready"
    if view.state == STATE_COLD and view.is_managed and not has_room(ask, view):
        return 0.8 * value, f"{why}, and another model must leave memory for it"
    return value, why


def load(_: Ask, __: ModelCard, view: DeploymentView) -> tuple[float, str]:
    busy = view.in_flight + view.queued
    if not busy:
        return 1.0, "idle"
    return 1 / (1 + busy / max(view.slots, 1)), f"{view.in_flight} of {view.slots} slots busy, {view.queued} waiting"


def stickiness(ask: Ask, _: ModelCard, view: DeploymentView) -> tuple[float, str]:
    """Whoever answered the turn before has the prompt in its cache: leaving it costs a reading of all that was said."""
    if not ask.held_by:
        return 1.0, "no turn before"
    return (1.0, "answered the turn before") if view.id == ask.held_by else (0.0, f"{ask.held_by} answered before")


def health(_: Ask, __: ModelCard, view: DeploymentView) -> tuple[float, str]:
    """Open breakers come this far only as a last resort: the one that is tried again soonest failed longest ago."""
    if view.breaker in _CLOSED and not view.restarts and not view.last_error:
        return 1.0, "no failures"
    if view.breaker is Breaker.OPEN:
        return 0.3 / (1 + view.retry_in_s / 10), f"breaker open for another {view.retry_in_s:.0f} s"
    ceiling = 0.5 if view.breaker is Breaker.HALF_OPEN else 1.0
    value = ceiling * (0.8 if view.last_error else 1.0) / (1 + min(view.restarts, 10) / 10)
    return value, f"breaker {view.breaker}, restarts: {view.restarts}, last error: {view.last_error or 'none'}"


_CLOSED = (Breaker.CLOSED, Breaker.FORCED_CLOSED)
# How sure a place is to be reached in no time, where nobody could say how long it takes.
_CEILING = {Tier.HOT: 1.0, Tier.WARM: 0.9, Tier.COLD: 0.6}

TERMS: tuple[tuple[str, Measure], ...] = (
    ("quality", quality),
    ("preference", preference),
    ("language", language),
    ("cost", cost),
    ("latency", latency),
    ("readiness", readiness),
    ("load", load),
    ("health", health),
    ("stickiness", stickiness),
)

_BALANCED: dict[str, float] = StrategyWeights.model_construct().model_dump()
_NOTHING = dict.fromkeys(_BALANCED, 0.0)

WEIGHTS: dict[str, dict[str, float]] = {
    BALANCED: _BALANCED,
    "quality": _BALANCED | {"quality": 9, "preference": 0.2, "cost": 0, "latency": 0.1, "readiness": 0.2, "load": 0.2},
    "cost": _BALANCED | {"quality": 0.3, "preference": 0.3, "cost": 5, "latency": 0.2, "readiness": 0.5, "load": 0.2},
    "latency": _BALANCED | {"quality": 0.3, "preference": 0.3, "cost": 0, "latency": 4, "readiness": 3, "load": 1},
    # Turns and idleness decide among those that are ready and healthy: nobody is loaded merely because it is its turn.
    ROUND_ROBIN: _NOTHING | {"readiness": 2, "health": 1},
    "least_busy": _NOTHING | {"load": 2, "readiness": 2, "health": 0.5},
    FIXED: _NOTHING | {"preference": 1},
    LAST_RESORT: _NOTHING | {"health": 1},
}

# How much quality counts: a hard question needs it, a greeting hardly.
_QUALITY_BY_COMPLEXITY = {Complexity.LOW: 0.5, Complexity.MEDIUM: 1.0, Complexity.HIGH: 1.5}


def weights_by_strategy(routing: RoutingSettings) -> dict[tuple[str, Complexity], Weights]:
    """Weights in the order of TERMS; what the settings name replaces a strategy's default, the rest stays."""
    table: dict[tuple[str, Complexity], Weights] = {}
    for strategy, default in WEIGHTS.items():
        said = routing.weights.get(strategy)
        chosen = default | (said.model_dump(exclude_unset=True) if said else {})
        table.update(_by_complexity(strategy, chosen))
    for name, objective in routing.objectives.items():
        said = objective.weights
        chosen = WEIGHTS[objective.strategy] | (said.model_dump(exclude_unset=True) if said else {})
        table.update(_by_complexity(name, chosen))
    return table


def _by_complexity(name: str, weights: dict[str, float]) -> dict[tuple[str, Complexity], Weights]:
    return {
        (name, complexity): tuple(weights[term] * (factor if term == "quality" else 1.0) for term, _ in TERMS)
        for complexity, factor in _QUALITY_BY_COMPLEXITY.items()
    }


def score(ask: Ask, card: ModelCard, view: DeploymentView, weights: Weights, *extra: Term) -> Candidate:
    """One deployment with its terms and their weighted mean, rounded: equal means tie, whatever the summing did."""
    terms = []
    total, weight_sum = 0.0, sum(weights)
    for term in extra:
        total += term.value * term.weight
        weight_sum += term.weight
    for (name, measure), weight in zip(TERMS, weights, strict=True):
        value, why = measure(ask, card, view)
        total += value * weight
        terms.append(Term(name=name, value=value, weight=weight, why=why))
    return Candidate(
        deployment_id=view.id,
        model_id=card.id,
        score=round(total / weight_sum, 6) if weight_sum else 0.0,
        terms=(*terms, *extra),
    )

"""Hard gates: what a deployment must be able to do at all, and be in a state to do.

Knows: the gates, their fixed order, the closed vocabulary of rejections. Does not know: ranking.
Invariant: a deployment is rejected by its first failing gate; what a model can never do comes before what does not fit
this time, that before the state of the moment, and the open breaker last: who fails it alone could answer in need.
Most requests state nothing special and most deployments are up: one exact test each then spares them all their gates.
A new gate must be heeded there; a test compares both ways.
"""

from collections.abc import Callable
from enum import StrEnum

from pointsman.policy.ask import Ask, answer_s, why_so_long
from pointsman.types import Breaker, DeploymentView, ModelCard, Rejected, Tier

MB = 1_000_000


SURE_SHARE = 0.7  # of the estimated prompt: a tokenizer may need fewer tokens than the estimate, hardly less than this


class Gate(StrEnum):
    """Every code a `Rejected` can carry, in the order of the gates."""

    NOT_NAMED = "not_named"
    NOT_CONFIGURED = "not_configured"
    NOT_ALLOWED = "not_allowed"
    KIND = "kind"
    INPUT = "input_modality"
    NOTHING_TO_READ = "nothing_to_read"
    OUTPUT = "output_modality"
    TOOLS = "tools"
    LANGUAGE = "language"
    CONTEXT = "context_length"
    COST = "cost_limit"
    LATENCY = "latency_limit"
    DRAINING = "draining"
    FAILED = "failed"
    TOO_BIG = "too_big"
    RATE = "rate_limited"
    FORCED = "forced_open"
    BREAKER = "breaker_open"


UNSUITED = frozenset(
    {
        *(Gate.NOT_NAMED, Gate.NOT_CONFIGURED, Gate.NOT_ALLOWED),
        *(Gate.KIND, Gate.INPUT, Gate.NOTHING_TO_READ, Gate.OUTPUT, Gate.TOOLS),
    }
)
PASSING = frozenset({Gate.DRAINING, Gate.FAILED, Gate.TOO_BIG, Gate.RATE, Gate.FORCED, Gate.BREAKER})
STATE_READY, STATE_FAILED, STATE_DRAINING = "ready", "failed", "draining"


def rejection(ask: Ask, card: ModelCard, view: DeploymentView) -> Rejected | None:
    """The first gate this deployment fails, or None where it may answer."""
    for code, check in (() if is_plain(ask, card) else OF_REQUEST) + (() if is_up(ask, view) else OF_MOMENT):
        why = check(ask, card, view)
        if why is not None:
            return Rejected(deployment_id=view.id, model_id=card.id, code=code, why=why)
    return None


def is_plain(ask: Ask, card: ModelCard) -> bool:
    """Whether the model does what is asked, and the request states nothing else: no gate of OF_REQUEST stops it."""
    return (
        ask.kind in card.kinds
        and not (ask.is_spoken or card.requires)
        and (not ask.models or card.id in ask.models)
        and (card.tools or not ask.needs_tools)
        and {*ask.inputs}.issubset(card.inputs)
        and {*ask.outputs}.issubset(card.outputs)
        and (not card.context_tokens or ask.prompt_tokens + ask.room_tokens <= card.context_tokens)
        and ask.max_cost_per_mtok is None
        and ask.max_latency_s is None
    )


def is_up(ask: Ask, view: DeploymentView) -> bool:
    """Whether the deployment is ready and well, and no model at a limit: no gate of OF_MOMENT stops it."""
    return (
        view.state == STATE_READY
        and view.tier is Tier.HOT
        and view.breaker is Breaker.CLOSED
        and not view.is_tried
        and not ask.full
    )


def is_allowed(ask: Ask, card: ModelCard, _: DeploymentView) -> str | None:
    return "is not open to this API key" if ask.models and card.id not in ask.models else None


def serves_kind(ask: Ask, card: ModelCard, _: DeploymentView) -> str | None:
    if ask.kind in card.kinds:
        return None
    return f"serves {_listed(card.kinds)}, not {ask.kind}"


def takes_inputs(ask: Ask, card: ModelCard, _: DeploymentView) -> str | None:
    for modality in ask.inputs:
        if modality not in card.inputs:
            return f"takes {_listed(card.inputs)}, not {modality}"
    return None


def has_something_to_read(ask: Ask, card: ModelCard, _: DeploymentView) -> str | None:
    if not card.requires or any(modality in ask.inputs for modality in card.requires):
        return None
    return f"only reads {_listed(card.requires)}, and the request carries none"


def gives_outputs(ask: Ask, card: ModelCard, _: DeploymentView) -> str | None:
    for modality in ask.outputs:
        if modality not in card.outputs:
            return f"gives {_listed(card.outputs)}, not {modality}"
    return None


def offers_tools(ask: Ask, card: ModelCard, _: DeploymentView) -> str | None:
    return "cannot call tools" if ask.needs_tools and not card.tools else None


def speaks_language(ask: Ask, card: ModelCard, _: DeploymentView) -> str | None:
    """Only where sound is heard or made: an ear or voice for another language yields nonsense without complaint, while
    in chat a poor answer beats none, so there language is a score term."""
    if not ask.is_spoken or not card.languages or ask.language_band != "high":
        return None
    if not ask.language or ask.language in card.languages:
        return None
    return f"is for {_listed(card.languages)}, not {ask.language}"


def fits_context(ask: Ask, card: ModelCard, _: DeploymentView) -> str | None:
    """Only what surely does not fit is refused here; in doubt the engine, which has a tokenizer, decides."""
    sure_tokens = int(ask.prompt_tokens * SURE_SHARE) + ask.room_tokens
    if not card.context_tokens or sure_tokens <= card.context_tokens:
        return None
    return (
        f"needs about {ask.prompt_tokens:,} tokens for the prompt in a context of {card.context_tokens:,}: "
        f"shorten the prompt by about {ask.prompt_tokens + ask.room_tokens - card.context_tokens:,}"
    )


def within_cost(ask: Ask, card: ModelCard, _: DeploymentView) -> str | None:
    if ask.max_cost_per_mtok is None or card.cost_per_mtok <= ask.max_cost_per_mtok:
        return None
    return f"costs {card.cost_per_mtok:g} a million tokens, above the limit of {ask.max_cost_per_mtok:g}"


def within_latency(ask: Ask, card: ModelCard, view: DeploymentView) -> str | None:
    if ask.max_latency_s is None:
        return None
    answered_s = answer_s(ask, card, view)
    expected_s = view.ready_in_s + (answered_s or 0.0)
    if expected_s <= ask.max_latency_s:
        return None
    why = "" if answered_s is None else f" ({why_so_long(card, view)})"
    return f"would take about {expected_s:.1f} s, above the limit of {ask.max_latency_s:g} s{why}"


def is_not_draining(_: Ask, __: ModelCard, view: DeploymentView) -> str | None:
    return "is being shut down" if view.state == STATE_DRAINING else None


def has_not_failed(_: Ask, __: ModelCard, view: DeploymentView) -> str | None:
    if view.state != STATE_FAILED:
        return None
    return f"failed to {'start' if view.is_managed else 'answer'}: {view.last_error or 'no reason given'}"


def fits_memory(ask: Ask, _: ModelCard, view: DeploymentView) -> str | None:
    if not view.is_managed or view.tier is Tier.HOT:
        return None
    if 0 < ask.budget_bytes < view.memory_bytes:
        return f"needs {view.memory_bytes / MB:,.0f} MB, more than the whole budget of {ask.budget_bytes / MB:,.0f} MB"
    wanted = dict(view.gpu_bytes)
    for gpu, budget_bytes, _used_bytes in ask.gpus if wanted else ():
        if wanted.get(gpu, 0) > budget_bytes:
            whole = f"more than its whole budget of {budget_bytes / MB:,.0f} MB"
            return f"needs {wanted[gpu] / MB:,.0f} MB of GPU {gpu}, {whole}"
    return None


def is_within_limits(ask: Ask, card: ModelCard, _: DeploymentView) -> str | None:
    for model_id, retry_in_s in ask.full:
        if model_id == card.id:
            return f"is at its own limit; it has room in {retry_in_s:.1f} s"
    return None


def is_not_closed_off(_: Ask, __: ModelCard, view: DeploymentView) -> str | None:
    return "is closed off by an operator" if view.breaker is Breaker.FORCED_OPEN else None


def has_closed_breaker(_: Ask, __: ModelCard, view: DeploymentView) -> str | None:
    if view.breaker is Breaker.OPEN:
        return f"failed too often of late; tried again in {view.retry_in_s:.0f} s"
    return "failed too often of late, and is being tried" if view.is_tried else None


Gates = tuple[tuple[Gate, Callable[[Ask, ModelCard, DeploymentView], str | None]], ...]

OF_REQUEST: Gates = (
    (Gate.NOT_ALLOWED, is_allowed),
    (Gate.KIND, serves_kind),
    (Gate.INPUT, takes_inputs),
    (Gate.NOTHING_TO_READ, has_something_to_read),
    (Gate.OUTPUT, gives_outputs),
    (Gate.TOOLS, offers_tools),
    (Gate.LANGUAGE, speaks_language),
    (Gate.CONTEXT, fits_context),
    (Gate.COST, within_cost),
    (Gate.LATENCY, within_latency),
)
OF_MOMENT: Gates = (
    (Gate.DRAINING, is_not_draining),
    (Gate.FAILED, has_not_failed),
    (Gate.TOO_BIG, fits_memory),
    (Gate.RATE, is_within_limits),
    (Gate.FORCED, is_not_closed_off),
    (Gate.BREAKER, has_closed_breaker),
)
GATES: Gates = OF_REQUEST + OF_MOMENT


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(names) or "nothing"

"""An Outcome as one flat row. Pure.

Invariant: what a caller or an upstream wrote (evidence, error details, the prompt) is in the row only where prompts are
stored; every text is fit for any database (no NUL, of bounded length where a caller chose it).
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from pointsman.ledger.cost import Spent
from pointsman.ledger.lines import MAX_NAME_CHARS
from pointsman.types import Attempt, Candidate, Limits, Outcome, Plan, Scored, Signals, Term, World
from pointsman.types_record import Place, Present, Record, Wanted

UNSAID = "…"
_encode = msgspec.json.Encoder().encode


def record_of(outcome: Outcome, spent: Spent, seal: Callable[[str], str] = str) -> Record:
    """The row. Words are kept where the Outcome carries the prompt, which it does only by the operator's wish.

    `seal`: what a row that outlasts the process has instead of the conversation's plain digest.
    """
    with_words = bool(outcome.prompt)
    plan, attempts = outcome.plan, outcome.attempts
    assignment = plan.assignment if plan else None
    return Record(
        request_id=_clean(outcome.request_id),
        received_unix_s=outcome.received_unix_s,
        kind=outcome.kind.value,
        tenant=_clean(outcome.tenant),
        asked_model=_clean(outcome.asked_model),
        status=outcome.status,
        http_status=outcome.http_status,
        error=outcome.error,
        model_id=_clean(outcome.model_id),
        deployment_id=attempts[-1].deployment_id if attempts else "",
        strategy=plan.strategy if plan else "",
        experiment=assignment.experiment if assignment else "",
        arm=assignment.arm if assignment else "",
        propensity=assignment.propensity if assignment else None,
        fallback_from=outcome.fallback_from,
        attempts=len(attempts),
        cache=outcome.cache,
        cached_model=outcome.cached_model,
        prompt_tokens=outcome.usage.prompt_tokens,
        completion_tokens=outcome.usage.completion_tokens,
        tokens_estimated=outcome.usage.is_estimated,
        saved_prompt_tokens=outcome.saved.prompt_tokens,
        saved_completion_tokens=outcome.saved.completion_tokens,
        total_s=outcome.total_s,
        classify_s=outcome.classify_s,
        decide_s=outcome.decide_s,
        wait_s=outcome.wait_s,
        upstream_s=outcome.upstream_s,
        overhead_s=outcome.overhead_s,
        first_byte_s=outcome.first_byte_s,
        stream=outcome.stream,
        events=outcome.events,
        reply_bytes=outcome.reply_bytes,
        conversation=seal(outcome.conversation),
        cost=spent.cost,
        baseline_cost=spent.baseline_cost,
        gpu_s=spent.gpu_s,
        signals=_signals(outcome.signals, with_words),
        plan=_plan(plan, outcome.world, with_words),
        attempts_detail=_attempts(outcome, with_words),
        limits=_limits(outcome.limits),
        world=_world(outcome.world),
        prompt_digest=outcome.prompt_digest,
        prompt=outcome.prompt.replace("\0", ""),
        **_labels(outcome),
    )


def _labels(outcome: Outcome) -> dict[str, Any]:
    """The columns that say what it is."""
    signals = outcome.signals
    if signals is None:
        labels = dict.fromkeys(("use_case", "intent", "task", "language", "script", "complexity"), "")
        return {**labels, "confidence": None, "novelty": None, "stage": 0}
    return {
        "use_case": signals.use_case.label,
        "intent": signals.intent.label,
        "task": outcome.task,
        "language": signals.language.label,
        "script": signals.script,
        "complexity": signals.complexity.label,
        "confidence": signals.task.p,
        "novelty": signals.novelty,
        "stage": signals.stage,
    }


def _signals(signals: Signals | None, with_words: bool) -> str:
    if signals is None:
        return ""
    if with_words:
        return _json(signals)
    return _json(
        replace(
            signals,
            use_case=_wordless(signals.use_case),
            intent=_wordless(signals.intent),
            language=_wordless(signals.language),
            complexity=_wordless(signals.complexity),
        )
    )


def _wordless(scored: Scored) -> Scored:
    """Evidence quotes words of the prompt."""
    return Scored(label=scored.label, p=scored.p, alternatives=scored.alternatives)


def _plan(plan: Plan | None, world: World | None, with_words: bool) -> str:
    if plan is None:
        return ""
    said = (
        () if with_words or world is None else tuple(view.last_error for view in world.deployments if view.last_error)
    )
    return _json(_hushed(plan, said) if said else plan)


def _hushed(plan: Plan, said: tuple[str, ...]) -> Plan:
    """Without what deployments' last errors said: an upstream may quote the prompt."""

    def hush(why: str) -> str:
        for words in said:
            why = why.replace(words, UNSAID)
        return why

    def terms(candidate: Candidate) -> tuple[Term, ...]:
        return tuple(replace(term, why=hush(term.why)) for term in candidate.terms)

    return replace(
        plan,
        candidates=tuple(replace(candidate, terms=terms(candidate)) for candidate in plan.candidates),
        rejected=tuple(replace(rejected, why=hush(rejected.why)) for rejected in plan.rejected),
        reason=hush(plan.reason),
    )


def _attempts(outcome: Outcome, with_words: bool) -> str:
    return _json([_attempt(attempt, outcome.arrived_s, with_words) for attempt in outcome.attempts])


def _attempt(attempt: Attempt, arrived_s: float, with_words: bool) -> Attempt:
    return replace(
        attempt,
        started_s=round(attempt.started_s - arrived_s, 6),
        first_byte_s=None if attempt.first_byte_s is None else round(attempt.first_byte_s - arrived_s, 6),
        detail=attempt.detail if with_words else "",
    )


def _limits(limits: Limits) -> str:
    return "" if limits == Limits() else _json(msgspec.convert(limits, Wanted, from_attributes=True))


def _world(world: World | None) -> str:
    if world is None:
        return ""
    places = tuple(
        replace(
            msgspec.convert(view, Place, from_attributes=True), last_error=UNSAID if view.last_error else "", pid=None
        )
        for view in world.deployments
    )
    return _json(
        Present(
            deployments=places,
            budget_bytes=world.budget_bytes,
            used_bytes=world.used_bytes,
            gpus=world.gpus,
            ticket=world.ticket,
            held_by=world.held_by,
            full=world.full,
            experiments=world.experiments,
        )
    )


def _json(value: object) -> str:
    return _encode(value).decode()


def _clean(name: str) -> str:
    """What a caller chose, so that no database chokes on it."""
    return name[:MAX_NAME_CHARS].replace("\0", "")

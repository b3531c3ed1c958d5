"""What is known of a deployment from how calls of it went: its breaker, its limit, its usual latency. Pure.

Knows: what one outcome changes; how many more calls may be granted. Does not know: who calls, what a call is.
"""

import math
from typing import Any

from pointsman.fleet.breaker import force, is_slow_call, mode_at, record, trip
from pointsman.fleet.draft import Draft
from pointsman.fleet.events import BreakerMoved, Force, Report
from pointsman.fleet.limit import stepped
from pointsman.fleet.outliers import FEWEST, Figures, outliers
from pointsman.fleet.values import Deployment, Rules
from pointsman.types import Breaker

LATENCY_MEMORY_S = 10.0
"""A past latency counts 1/e after so long."""
JUDGED_EVERY_S = 10.0


def free_slots(d: Deployment, rules: Rules, now_s: float) -> int:
    """How many more calls may be granted to it when it is ready; 0 or less: none."""
    free = d.slots - d.in_flight
    breaker = d.breaker
    if breaker.forced is not None:
        return 0 if breaker.forced is Breaker.FORCED_OPEN else free
    if breaker.open_until_s is None:
        return free
    return free if now_s < breaker.open_until_s else min(free, rules.breaker.trials - trials_under_way(d))


def trials_under_way(d: Deployment) -> int:
    """Calls that began since its breaker is half open; those from before may be long streams and prove nothing."""
    since_s = d.breaker.open_until_s or 0.0
    return len(d.granted) + sum(taken_s >= since_s for taken_s in d.leases.values())


def heard(d: Deployment, rules: Rules, event: Report) -> dict[str, Any]:
    """The fields that one more outcome changes."""
    changes: dict[str, Any] = {}
    if d.limit is not None:
        is_slow = event.ok and is_slow_call(rules.breaker, event.first_byte_s)
        is_strained = event.is_overload or event.is_late or is_slow
        began_s = event.at_s if event.began_s is None else event.began_s
        limit = stepped(d.limit, event.at_s, d.in_flight, is_overloaded=is_strained, began_s=began_s)
        if limit is not d.limit:
            changes["limit"] = limit
        if event.is_overload and d.limit.slots > d.limit.low:  # who says so is not ill
            return changes
    breaker = record(d.breaker, rules.breaker, event.ok, event.at_s, event.first_byte_s)
    if breaker is not d.breaker:
        changes["breaker"] = breaker
    if event.first_byte_s is not None and not d.spec.is_managed:
        changes["latency_s"] = peak_mean_s(d.latency_s, event.at_s - d.latency_at_s, event.first_byte_s)
        changes["latency_at_s"] = event.at_s
    return changes


def peak_mean_s(known_s: float | None, age_s: float, took_s: float) -> float:
    """Peak-sensitive moving mean (Finagle's peak EWMA): a worse call is believed at once, better ones by and by."""
    if known_s is None or took_s >= known_s:
        return took_s
    return took_s + (known_s - took_s) * math.exp(-age_s / LATENCY_MEMORY_S)


def follows_from(d: Deployment, rules: Rules, changes: dict[str, Any], now_s: float) -> bool:
    """Whether more than these fields may change: the breaker moves, somebody waits, or it is time to compare."""
    breaker = changes.get("breaker", d.breaker)
    return bool(d.queue) or _is_due(d, rules, now_s) or mode_at(breaker, now_s) is not d.told


def _is_due(d: Deployment, rules: Rules, now_s: float) -> bool:
    """Whether it is time to compare it with the model's other instances."""
    return rules.outliers and d.spec.instances >= FEWEST and now_s - d.judged_s >= JUDGED_EVERY_S


def reported(draft: Draft, d: Deployment, event: Report) -> None:
    """One outcome, and now and then a comparison with the other instances."""
    d = draft.put(d, **heard(d, draft.rules, event))
    if _is_due(d, draft.rules, draft.now_s):
        _compare(draft, d.spec.model_id)


def _compare(draft: Draft, model_id: str) -> None:
    instances = [d for d in draft.deployments.values() if d.spec.model_id == model_id]
    figures = [_figures(d, draft.now_s) for d in instances]
    found = dict(outliers(figures, draft.rules.outlier_share))
    for d in instances:
        breaker, why = d.breaker, found.get(d.spec.id, "")
        if why:
            breaker = trip(breaker, draft.rules.breaker, draft.now_s, f"an outlier: {why}")
        draft.put(d, judged_s=draft.now_s, breaker=breaker)


def _figures(d: Deployment, now_s: float) -> Figures:
    breaker = d.breaker
    return Figures(
        id=d.spec.id,
        seen=breaker.seen,
        failed=breaker.failed.bit_count(),
        latency_s=d.latency_s,
        is_out=mode_at(breaker, now_s) not in (Breaker.CLOSED, Breaker.FORCED_CLOSED),
    )


def forced(draft: Draft, d: Deployment, event: Force) -> None:
    draft.put(d, breaker=force(event.state))


def tell(draft: Draft, d: Deployment) -> None:
    """The breaker's state is news where it is another than was last told."""
    mode = mode_at(d.breaker, draft.now_s)
    if mode is d.told:
        return
    draft.put(d, told=mode)
    draft.effects.append(
        BreakerMoved(
            deployment_id=d.spec.id,
            model_id=d.spec.model_id,
            before=d.told,
            after=mode,
            why=d.breaker.why,
            retry_in_s=max(0.0, (d.breaker.open_until_s or 0.0) - draft.now_s),
        )
    )

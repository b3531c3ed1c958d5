"""The contract's `/v1/model-routing/stats`, from sums. Pure.

Knows: what each figure means. Does not know: who asks, how the sums came about.

`baseline_latency_ms`, "what the large one alone would have taken": its own mean latency in this traffic, moved along
its own slope of seconds by tokens written (least squares, never below 0) from the length of its own answers to that of
all answers. It is null while the baseline model has given fewer than FEWEST answers, and it cannot know that a queue
would have been longer with every request in it.
"""

from typing import Any

import msgspec

from pointsman.ledger.intervals import Interval, normal, wilson
from pointsman.ledger.tally import UNKNOWN, Group, Groups, Sums, Tally
from pointsman.types import Value

FEWEST = 10
Pair = tuple[float, float]


class Facts(Value, frozen=True):
    """What the sums do not tell. `tenant`: whose rows may be shown among all tenants'; None: everybody's."""

    baseline_model: str
    routing_enabled: bool
    ab_test_ratio: float | None
    tenant: str | None = None
    in_flight: int = 0


class GroupReport(Value, frozen=True):
    """One group's share of the traffic. Intervals are of 95 %, at one look; shares in [0, 1], percentages in [0, 100].

    Latencies are of whole answers; `feedback` is a mean in [0, 1] of `verdicts`.
    """

    count: int
    percentage: float
    percentage_interval: Pair | None
    avg_latency_ms: float
    avg_latency_interval_ms: Pair | None
    success_rate: float | None
    success_rate_interval: Pair | None
    feedback: float | None
    feedback_interval: Pair | None
    verdicts: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    baseline_cost: float
    gpu_s: float


class Report(Value, frozen=True):
    """The contract's members first, in its order; null where there is nothing to say yet."""

    total_requests: int
    model_distribution: dict[str, GroupReport]
    average_latency_ms: float
    baseline_latency_ms: float | None
    latency_improvement_pct: float | None
    estimated_cost_savings_pct: float | None
    ab_test_ratio: float | None
    routing_enabled: bool
    since_unix_s: float
    in_flight: int
    baseline_model: str | None
    average_latency_interval_ms: Pair | None
    success_rate: float | None
    success_rate_interval: Pair | None
    by_status: dict[str, int]
    fallbacks: int
    intents: dict[str, GroupReport]
    languages: dict[str, GroupReport]
    experiments: dict[str, dict[str, GroupReport]]
    keys: dict[str, GroupReport]
    feedback: dict[str, Any]
    tokens: dict[str, int]
    cost: dict[str, float]
    cache: dict[str, float]


def report_of(tally: Tally, facts: Facts) -> Report:
    """Everything, as of now."""
    groups = tally.groups()
    total = groups.all
    baseline_s = _baseline_s(groups, facts.baseline_model)
    mean_s = total.latency_s / total.answers if total.answers else 0.0
    return Report(
        total_requests=total.requests,
        model_distribution=_groups(groups.models, total.requests, hidden=UNKNOWN),
        average_latency_ms=_ms(mean_s),
        baseline_latency_ms=None if baseline_s is None else _ms(baseline_s),
        latency_improvement_pct=_less(mean_s, baseline_s),
        estimated_cost_savings_pct=_less(total.cost, total.baseline_cost),
        ab_test_ratio=facts.ab_test_ratio,
        routing_enabled=facts.routing_enabled,
        since_unix_s=tally.since_unix_s,
        in_flight=facts.in_flight,
        baseline_model=facts.baseline_model or None,
        average_latency_interval_ms=_pair(normal(total.answers, total.latency_s, total.latency_s2), 1000),
        success_rate=_share(total.successes, total.requests),
        success_rate_interval=_pair(wilson(total.successes, total.requests)),
        by_status=dict(tally.by_status),
        fallbacks=tally.fallbacks,
        intents=_groups(groups.tasks, total.requests, is_all=False),
        languages=_groups(groups.languages, total.requests, is_all=False),
        experiments=_experiments(groups.arms),
        keys=_keys(groups.tenants, total.requests, facts.tenant),
        feedback={
            "count": total.verdicts,
            "mean": _share(total.verdict_sum, total.verdicts),
            "interval": _pair(wilson(total.verdict_sum, total.verdicts)),
        },
        tokens={"prompt": total.prompt_tokens, "completion": total.completion_tokens},
        cost={
            "total": total.cost,
            "baseline": total.baseline_cost,
            "savings": total.baseline_cost - total.cost,
            "gpu_s": total.gpu_s,
        },
        cache={**tally.by_cache, "saved_tokens": total.saved_tokens, "saved_cost": total.saved_cost},
    )


def _groups(groups: Group, total: int, *, is_all: bool = True, hidden: str = "") -> dict[str, GroupReport]:
    """`is_all`: also groups nobody asked for, but not the `hidden` one."""
    return {
        label: _group(sums, total)
        for label, sums in groups.items()
        if sums.requests or sums.verdicts or (is_all and label != hidden)
    }


def _group(sums: Sums, total: int) -> GroupReport:
    return GroupReport(
        count=sums.requests,
        percentage=round(100 * sums.requests / total, 2) if total else 0.0,
        percentage_interval=_pair(wilson(sums.requests, total), 100),
        avg_latency_ms=_ms(sums.latency_s / sums.answers) if sums.answers else 0.0,
        avg_latency_interval_ms=_pair(normal(sums.answers, sums.latency_s, sums.latency_s2), 1000),
        success_rate=_share(sums.successes, sums.requests),
        success_rate_interval=_pair(wilson(sums.successes, sums.requests)),
        feedback=_share(sums.verdict_sum, sums.verdicts),
        feedback_interval=_pair(wilson(sums.verdict_sum, sums.verdicts)),
        verdicts=sums.verdicts,
        prompt_tokens=sums.prompt_tokens,
        completion_tokens=sums.completion_tokens,
        cost=sums.cost,
        baseline_cost=sums.baseline_cost,
        gpu_s=sums.gpu_s,
    )


def _experiments(arms: Group) -> dict[str, dict[str, GroupReport]]:
    """By experiment, then by arm; an arm's percentage is of its experiment."""
    names = dict.fromkeys(label.partition(":")[0] for label in arms)
    return {name: _arms(arms, name) for name in names}


def _arms(arms: Group, name: str) -> dict[str, GroupReport]:
    own = {label.partition(":")[2]: sums for label, sums in arms.items() if label.partition(":")[0] == name}
    total = sum(sums.requests for sums in own.values())
    return {arm: _group(sums, total) for arm, sums in own.items()}


def _keys(tenants: Group, total: int, tenant: str | None) -> dict[str, GroupReport]:
    """Nobody sees what another spends."""
    return {name: _group(sums, total) for name, sums in tenants.items() if name and tenant in (None, name)}


def _baseline_s(groups: Groups, model_id: str) -> float | None:
    own, total = groups.models.get(model_id), groups.all
    if own is None or own.answers < FEWEST:
        return None
    n = own.answers
    mean_s, mean_tokens = own.latency_s / n, own.tokens / n
    spread = own.tokens2 / n - mean_tokens**2
    slope = max(0.0, own.tokens_latency / n - mean_tokens * mean_s) / spread if spread > 1e-9 else 0.0
    return max(0.0, mean_s + slope * (total.tokens / total.answers - mean_tokens))


def _less(value: float, than: float | None) -> float | None:
    """How much less, in percent."""
    return round(100 * (than - value) / than, 2) if than else None


def _ms(duration_s: float) -> float:
    return round(1000 * duration_s, 3)


def _share(part: float, total: int) -> float | None:
    return round(part / total, 6) if total else None


def _pair(interval: Interval | None, factor: float = 1.0) -> Pair | None:
    return None if interval is None else (round(factor * interval[0], 4), round(factor * interval[1], 4))


def as_json(report: Report) -> bytes:
    return msgspec.json.encode(report)

"""The totals that the information page and the console show, made of the one tally. Pure.

Knows: what of the sums they show. Does not know: the sums' making (`tally`), money and intervals (`report`).
"""

from pointsman.ledger.tally import Sums, Tally
from pointsman.types import Value


class ModelStatistics(Value, frozen=True):
    """One model's share of the traffic: `percentage` of all requests, mean latency of its answers."""

    model_id: str
    count: int
    percentage: float
    avg_latency_ms: float


class Statistics(Value, frozen=True):
    """Since `since_unix_s`; p50 and p95 are over the last `tally.WINDOW` answers. Latencies in milliseconds."""

    since_unix_s: float
    total_requests: int
    in_flight: int
    fallbacks: int
    by_status: tuple[tuple[str, int], ...]
    models: tuple[ModelStatistics, ...]
    average_latency_ms: float
    p50_latency_ms: float
    p95_latency_ms: float
    prompt_tokens: int
    completion_tokens: int


def statistics_of(tally: Tally, in_flight: int) -> Statistics:
    """The totals now. Sorts the window: for a page, not for every request."""
    groups = tally.groups()
    total, latencies_s = groups.all, sorted(tally.latencies_s)
    return Statistics(
        since_unix_s=tally.since_unix_s,
        total_requests=total.requests,
        in_flight=in_flight,
        fallbacks=tally.fallbacks,
        by_status=tuple(tally.by_status.items()),
        models=tuple(
            ModelStatistics(
                model_id=model_id,
                count=sums.requests,
                percentage=round(100 * sums.requests / total.requests, 2),
                avg_latency_ms=_mean_ms(sums),
            )
            for model_id, sums in groups.models.items()
            if sums.requests
        ),
        average_latency_ms=_mean_ms(total),
        p50_latency_ms=_quantile_ms(latencies_s, 0.5),
        p95_latency_ms=_quantile_ms(latencies_s, 0.95),
        prompt_tokens=total.prompt_tokens,
        completion_tokens=total.completion_tokens,
    )


def _mean_ms(sums: Sums) -> float:
    return round(1000 * sums.latency_s / sums.answers, 3) if sums.answers else 0.0


def _quantile_ms(ordered_s: list[float], share: float) -> float:
    """The value at rank ceil(share · n), ms; 0 where there is none."""
    if not ordered_s:
        return 0.0
    rank = max(1, -int(-share * len(ordered_s) // 1))
    return round(1000 * ordered_s[rank - 1], 3)

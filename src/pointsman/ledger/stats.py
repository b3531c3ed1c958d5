"""Rolling totals for the information page: what was asked and how fast it was answered, since the start.

Invariants: memory does not grow with traffic (counts by configured model, a window of the last latencies); reading is
a copy. Latencies are those of requests a model answered: a refusal or a kept answer is quick and says nothing of it.
"""

from collections import deque
from collections.abc import Callable, Iterable

from pointsman.ledger.reading import STATUSES
from pointsman.types import Outcome, Value

WINDOW = 1000
UNKNOWN = "unknown"


class ModelStatistics(Value, frozen=True):
    """One model's share of the traffic: `percentage` of all requests, mean latency of the successful ones."""

    model_id: str
    count: int
    percentage: float
    avg_latency_ms: float


class Statistics(Value, frozen=True):
    """Since `since_unix_s`; p50 and p95 are over the last thousand successes. Latencies in milliseconds."""

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


class _Tally:
    """Requests, successes and seconds of one model."""

    __slots__ = ("requests", "successes", "total_s")

    def __init__(self) -> None:
        self.requests = 0
        self.successes = 0
        self.total_s = 0.0

    def add(self, other: "_Tally") -> None:
        self.requests += other.requests
        self.successes += other.successes
        self.total_s += other.total_s

    @property
    def avg_latency_ms(self) -> float:
        return round(1000 * self.total_s / self.successes, 3) if self.successes else 0.0


class Stats:
    """A sink. `models` are the configured ids; anything else counts as `unknown`. `in_flight`: how many there are."""

    def __init__(self, models: Iterable[str], since_unix_s: float, in_flight: Callable[[], int] = int) -> None:
        self._since_unix_s = since_unix_s
        self._tallies = {model_id: _Tally() for model_id in (*models, UNKNOWN)}
        self._by_status = dict.fromkeys(STATUSES, 0)
        self._latencies_s: deque[float] = deque(maxlen=WINDOW)
        self._in_flight = in_flight
        self._fallbacks = 0
        self._prompt_tokens = 0
        self._completion_tokens = 0

    def know(self, models: Iterable[str]) -> None:
        """These are configured now; what others have done counts as `unknown`."""
        known = (*models, UNKNOWN)
        for model_id in self._tallies.keys() - set(known):
            self._tallies[UNKNOWN].add(self._tallies.pop(model_id))
        for model_id in known:
            self._tallies.setdefault(model_id, _Tally())

    def closed(self, outcome: Outcome) -> None:
        self._by_status[outcome.status] += 1
        tally = self._tallies.get(outcome.model_id) or self._tallies[UNKNOWN]
        tally.requests += 1
        self._prompt_tokens += outcome.usage.prompt_tokens
        self._completion_tokens += outcome.usage.completion_tokens
        self._fallbacks += bool(outcome.fallback_from)
        if outcome.status == "success" and not outcome.cached_model:
            tally.successes += 1
            tally.total_s += outcome.total_s
            self._latencies_s.append(outcome.total_s)

    def snapshot(self) -> Statistics:
        """The totals now. Sorts the window: for a page, not for every request."""
        total = sum(self._by_status.values())
        latencies_s = sorted(self._latencies_s)
        successes = sum(tally.successes for tally in self._tallies.values())
        total_s = sum(tally.total_s for tally in self._tallies.values())
        return Statistics(
            since_unix_s=self._since_unix_s,
            total_requests=total,
            in_flight=self._in_flight(),
            fallbacks=self._fallbacks,
            by_status=tuple(self._by_status.items()),
            models=tuple(
                ModelStatistics(
                    model_id=model_id,
                    count=tally.requests,
                    percentage=round(100 * tally.requests / total, 2),
                    avg_latency_ms=tally.avg_latency_ms,
                )
                for model_id, tally in self._tallies.items()
                if tally.requests
            ),
            average_latency_ms=round(1000 * total_s / successes, 3) if successes else 0.0,
            p50_latency_ms=_quantile_ms(latencies_s, 0.5),
            p95_latency_ms=_quantile_ms(latencies_s, 0.95),
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
        )

    def __repr__(self) -> str:
        return f"Stats({sum(self._by_status.values())} requests, {self._in_flight()} in flight)"


def _quantile_ms(ordered_s: list[float], share: float) -> float:
    """The value at rank ceil(share · n), ms; 0 where there is none."""
    if not ordered_s:
        return 0.0
    rank = max(1, -int(-share * len(ordered_s) // 1))
    return round(1000 * ordered_s[rank - 1], 3)

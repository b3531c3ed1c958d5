"""Traffic of the last hour in buckets of ten seconds: how many by model, task, language and status, and how fast.

Invariants: memory is bounded whatever callers send (`MOST` buckets, `MOST_KEYS` keys in each; what is beyond counts as
`other`); adding is a few dictionary updates. Latencies are kept as a histogram on a logarithmic scale, four bins an
octave, so that a quantile read off it is at most 9 % beside the true one.
"""

from collections import defaultdict, deque
from collections.abc import Iterable
from math import log2

from pointsman.types import Outcome, Value

STEP_S = 10
MOST = 360
MOST_KEYS = 128
BINS_PER_OCTAVE = 4
SMALLEST_S = 0.0001
OTHER = ("other", "unknown", "", "")

Key = tuple[str, str, str, str]


class BucketView(Value, frozen=True):
    """Ten seconds from `at_unix_s`. `counts`: pairs of an index into `SeriesView.keys` and a count, flat.

    `p50_ms`, `p95_ms`: of answers a model gave in full; None without one. `tokens`: written by models.
    """

    at_unix_s: int
    counts: tuple[int, ...]
    requests: int
    errors: int
    fallbacks: int
    hits: int
    tokens: int
    p50_ms: float | None
    p95_ms: float | None


class SeriesView(Value, frozen=True):
    """The last hour, oldest first, buckets without a request left out. A key is model, task, language, status."""

    step_s: int
    now_unix_s: float
    keys: tuple[Key, ...]
    buckets: tuple[BucketView, ...]


class _Bucket:
    __slots__ = ("at", "counts", "fallbacks", "hits", "latencies", "tokens")

    def __init__(self, at: int) -> None:
        self.at = at
        self.counts: defaultdict[Key, int] = defaultdict(int)
        self.latencies: defaultdict[int, int] = defaultdict(int)
        self.fallbacks = self.hits = self.tokens = 0


class Buckets:
    """Adding takes a microsecond or two; reading walks everything."""

    def __init__(self) -> None:
        self._buckets: deque[_Bucket] = deque((_Bucket(0),), MOST)

    def add(self, outcome: Outcome) -> None:
        """Count one Outcome where it ended. Whoever ends late counts in the newest bucket."""
        at = int(outcome.received_unix_s + outcome.total_s) // STEP_S
        bucket = self._buckets[-1]
        if at > bucket.at:
            bucket = _Bucket(at)
            self._buckets.append(bucket)
        signals, attempts = outcome.signals, outcome.attempts
        model = outcome.cached_model or (attempts[-1].model_id if attempts else _meant(outcome))
        key = (model, outcome.task, signals.language.label if signals else "", outcome.status)
        counts = bucket.counts
        if key not in counts and len(counts) >= MOST_KEYS:
            key = OTHER
        counts[key] += 1
        if outcome.cached_model:
            bucket.hits += 1
        elif outcome.answered_by:
            bucket.tokens += outcome.usage.completion_tokens
            bucket.fallbacks += bool(outcome.fallback_from)
            if outcome.status == "success":
                bucket.latencies[int(log2(max(outcome.total_s / SMALLEST_S, 1.0)) * BINS_PER_OCTAVE)] += 1

    def view(self, now_unix_s: float) -> SeriesView:
        """The last hour as of now."""
        oldest = int(now_unix_s) // STEP_S - MOST
        kept = [bucket for bucket in self._buckets if bucket.at > oldest and bucket.counts]
        index = {key: number for number, key in enumerate({key: None for bucket in kept for key in bucket.counts})}
        return SeriesView(
            step_s=STEP_S,
            now_unix_s=now_unix_s,
            keys=tuple(index),
            buckets=tuple(_view(bucket, index) for bucket in kept),
        )

    def __repr__(self) -> str:
        return f"Buckets({len(self._buckets)} of {MOST})"


def _meant(outcome: Outcome) -> str:
    """The model meant, never the name a caller chose: that could be anything."""
    return outcome.plan.meant if outcome.plan else ""


def _view(bucket: _Bucket, index: dict[Key, int]) -> BucketView:
    return BucketView(
        at_unix_s=bucket.at * STEP_S,
        counts=tuple(number for key, count in bucket.counts.items() for number in (index[key], count)),
        requests=sum(bucket.counts.values()),
        errors=sum(count for (*_, status), count in bucket.counts.items() if status in ("error", "refused")),
        fallbacks=bucket.fallbacks,
        hits=bucket.hits,
        tokens=bucket.tokens,
        p50_ms=_quantile_ms(bucket.latencies.items(), 0.5),
        p95_ms=_quantile_ms(bucket.latencies.items(), 0.95),
    )


def _quantile_ms(bins: Iterable[tuple[int, int]], share: float) -> float | None:
    """The geometric middle of the bin where the rank falls."""
    ordered = sorted(bins)
    left = share * sum(count for _, count in ordered)
    for bin_, count in ordered:
        left -= count
        if left <= 0:
            return round(1000 * SMALLEST_S * 2 ** ((bin_ + 0.5) / BINS_PER_OCTAVE), 3)
    return None

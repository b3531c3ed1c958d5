"""Stage 2 as Prometheus series: how often the encoder was asked, what came of it, what waiting for it cost.

Knows: the names. Does not know: what an encoder is. `asked` counts those that have ended:
answered and degraded.
"""

from prometheus_client import Counter, Histogram

from pointsman.ledger.series import Maker

WAIT_S = (0.0005, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.25, 1)


class EncoderMetrics:
    """Call a method when it happens. `reason` is a member of a closed vocabulary."""

    def __init__(self, make: Maker) -> None:
        registry = make.registry
        self._asked = Counter("pointsman_encoder_asked", "Requests the fast signals were unsure of", registry=registry)
        self._answered = Counter("pointsman_encoder_answered", "Of these, refined by the encoder", registry=registry)
        self._cached = Counter("pointsman_encoder_cached", "Of the answered, by a kept vector", registry=registry)
        self._degraded = make.counter(
            "pointsman_encoder_degraded", "Requests that went on without the encoder, and why", ("reason",)
        )
        self._wait_s = Histogram(
            "pointsman_encoder_latency_seconds",
            "What an answered request waited for the encoder",
            registry=registry,
            buckets=WAIT_S,
        )

    def answered(self, waited_s: float, *, cached: bool) -> None:
        self._asked.inc()
        self._answered.inc()
        self._cached.inc(cached)
        self._wait_s.observe(waited_s)

    def degraded(self, reason: str) -> None:
        self._asked.inc()
        self._degraded[reason,].inc()

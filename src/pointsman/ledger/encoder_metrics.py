"""Stage 2 as Prometheus series: how often the encoder was asked, what came of it, what waiting for it cost.

Knows: the names. Does not know: what an encoder is. `asked` counts those that have ended:
answered and degraded.
"""

from pointsman.ledger.series import Maker

WAIT_S = (0.0005, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.25, 1)


class EncoderMetrics:
    """Call a method when it happens. `reason` is a member of a closed vocabulary."""

    def __init__(self, make: Maker) -> None:
        self._asked = make.counter("pointsman_encoder_asked", "Requests the fast signals were unsure of")
        self._answered = make.counter("pointsman_encoder_answered", "Of these, refined by the encoder")
        self._cached = make.counter("pointsman_encoder_cached", "Of the answered, by a kept vector")
        self._degraded = make.counter(
            "pointsman_encoder_degraded", "Requests that went on without the encoder, and why", ("reason",)
        )
        self._wait_s = make.histogram(
            "pointsman_encoder_latency_seconds", "What an answered request waited for the encoder", (), WAIT_S
        )[()]

    def answered(self, waited_s: float, *, cached: bool) -> None:
        self._asked[()] += 1
        self._answered[()] += 1
        self._cached[()] += cached
        self._wait_s.observe(waited_s)

    def degraded(self, reason: str) -> None:
        self._asked[()] += 1
        self._degraded[reason,] += 1

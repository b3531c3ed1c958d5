"""What stage 2 did, as operators see it."""

from prometheus_client import CollectorRegistry

from pointsman.ledger.encoder_metrics import EncoderMetrics
from pointsman.ledger.series import Maker


def test_every_request_is_counted_once_and_by_what_came_of_it() -> None:
    registry = CollectorRegistry()
    metrics = EncoderMetrics(Maker(registry))
    metrics.answered(0.02, cached=False)
    metrics.answered(0.0001, cached=True)
    metrics.degraded("deadline")
    series = {
        "asked_total": 3.0,
        "answered_total": 2.0,
        "cached_total": 1.0,
        "latency_seconds_count": 2.0,
        "latency_seconds_sum": 0.0201,
    }
    assert {name: registry.get_sample_value(f"pointsman_encoder_{name}") for name in series} == series
    assert registry.get_sample_value("pointsman_encoder_degraded_total", {"reason": "deadline"}) == 1.0

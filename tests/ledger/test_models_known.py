"""Models that come and go: their series and totals do too."""

from msgspec.structs import replace
from tests.ledger.test_metrics import attempt, outcome

from pointsman.ledger.cost import Spent
from pointsman.ledger.latencies import Latencies
from pointsman.ledger.metrics import Metrics
from pointsman.ledger.stats import statistics_of
from pointsman.ledger.tally import Tally
from pointsman.types import World

BY_SMALL = outcome(replace(attempt("small"), first_byte_s=0.1))


def test_series_of_a_model_that_is_gone_end_and_memory_does_not_grow() -> None:
    metrics = Metrics(("small", "large"), World, "0")
    metrics.closed(BY_SMALL)
    metrics.fleet.loaded("small", 1.0)
    assert b'model="small"' in metrics.render()
    first = None
    for number in range(5):
        name = f"new-{number}"
        metrics.know(("large", name))
        metrics.fleet.loaded(name, 1.0)
        size = len(metrics.render().splitlines())
        first = first or size
        assert size == first, "one more model than before has series"
    page = metrics.render()
    assert b'"small"' not in page
    assert b"new-3" not in page
    assert b'agent_router_fallback_rate{model="new-4"} 0.0' in page
    metrics.know(("small",))
    assert b'agent_router_model_health{model="small"}' in metrics.render()


def test_what_a_model_that_is_gone_has_done_stays_in_the_sum() -> None:
    tally = Tally(("small",), lambda: 0.0)
    tally.closed(BY_SMALL, Spent(cost=0.0, baseline_cost=0.0, gpu_s=0.0))
    tally.know(("large",))
    seen = statistics_of(tally, 0)
    assert seen.total_requests == 1
    assert [(one.model_id, one.count) for one in seen.models] == [("small", 1)]


def test_latencies_of_deployments_that_are_gone_are_forgotten() -> None:
    latencies = Latencies()
    latencies.closed(BY_SMALL)
    assert repr(latencies) == "Latencies(1 deployments)"
    latencies.keep(("other",))
    assert repr(latencies) == "Latencies(0 deployments)"

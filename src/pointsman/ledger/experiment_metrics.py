"""Experiments as Prometheus series, read on every scrape.

Knows: the names. Does not know: how an experiment decides.
Invariant: labels are the names of configured experiments and words of closed sets.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pointsman.ledger.series import Maker

STATUSES = ("collecting", "review", "passed", "better", "rolled_back")


class ExperimentRow(NamedTuple):
    """One experiment. `arms`: (arm, requests and verdicts of this gateway, quality of all that share a store); `loss`:
    estimate and both bounds, where known."""

    name: str
    status: str
    ratio: float
    arms: tuple[tuple[str, int, int, float], ...]
    loss: tuple[float, float, float] | None


class ExperimentMetrics(Collector):
    """Gauges: what an experiment has gathered starts anew with each step of its rollout; and what was decided."""

    def __init__(self, registry: CollectorRegistry, rows: Callable[[], Iterable[ExperimentRow]]) -> None:
        self._rows = rows
        self._changes = Maker(registry).counter(
            "agent_router_experiment_changes", "What was decided, by anyone", ("experiment", "event")
        )
        registry.register(self)

    def changed(self, experiment: str, event: str) -> None:
        """Something was decided about an experiment."""
        self._changes[experiment, event] += 1

    def describe(self) -> tuple[Metric, ...]:
        """Nothing is read before the first scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        rows = tuple(self._rows())
        if not rows:
            return
        ratio = _gauge("ratio", "The treatment's share of the traffic", "experiment")
        status = _gauge("status", "1 for how the experiment stands", "experiment", "status")
        loss = _gauge("loss", "Relative loss of quality, with its confidence sequence", "experiment", "bound")
        requests = _gauge("requests", "Requests of the present step", "experiment", "arm")
        verdicts = _gauge("verdicts", "Verdicts of the present step", "experiment", "arm")
        quality = _gauge("quality", "Mean verdict of the present step", "experiment", "arm")
        for row in rows:
            ratio.add_metric([row.name], row.ratio)
            for word in STATUSES:
                status.add_metric([row.name, word], float(word == row.status))
            for arm, n_requests, n_verdicts, mean in row.arms:
                requests.add_metric([row.name, arm], n_requests)
                verdicts.add_metric([row.name, arm], n_verdicts)
                quality.add_metric([row.name, arm], mean)
            for bound, value in zip(("estimate", "low", "high"), row.loss or (), strict=False):
                loss.add_metric([row.name, bound], value)
        yield from (ratio, status, loss, requests, verdicts, quality)


def _gauge(name: str, what: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"agent_router_experiment_{name}", what, labels=labels)

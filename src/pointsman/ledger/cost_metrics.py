"""Money, verdicts and the ledger's own health as Prometheus series.

Knows: the names. Does not know: prices, stores.
Invariant: every label value is a configured model or key, or of a closed set.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Gauge, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from pointsman.ledger.cost import Spent
from pointsman.ledger.recorder import RecorderView
from pointsman.ledger.series import UNKNOWN, Maker
from pointsman.types import Outcome
from pointsman.types_feedback import Judged

GOOD = 0.5
"""A verdict of this much or more speaks for the answer."""


class CostMetrics:
    """`models` and `keys` are those configured."""

    def __init__(self, make: Maker, models: Iterable[str], keys: Iterable[str]) -> None:
        self._models = frozenset(models)
        self._keys = frozenset(keys)
        self._registry: CollectorRegistry = make.registry
        self._cost = make.counter("agent_router_cost", "Money spent, in the settings' currency", ("model",))
        self._gpu_s = make.counter("agent_router_gpu_seconds", "Time on GPUs, an even share of each", ("model",))
        self._key_cost = make.counter("agent_router_key_cost", "Money spent, by API key", ("key",))
        self._key_tokens = make.counter("agent_router_key_tokens", "Tokens, by API key", ("key", "direction"))
        self._saved = make.counter(
            "agent_router_cache_saved_cost", "Money kept answers saved, by the model that once gave them", ("model",)
        )
        self._verdicts = make.counter(
            "agent_router_feedback", "Verdicts of callers, changed ones anew", ("model", "source", "verdict")
        )
        self._baseline = make.counter("agent_router_baseline_cost", "What the same tokens cost at the baseline model")
        self._spent = 0.0
        Gauge(
            "agent_router_savings_ratio", "Share of the baseline cost that was not spent", registry=make.registry
        ).set_function(self._savings_ratio)

    def know(self, models: Iterable[str], keys: Iterable[str]) -> None:
        """These are configured, too."""
        self._models |= set(models)
        self._keys |= set(keys)

    def watch(self, view: Callable[[], RecorderView]) -> None:
        """From now on `view` is read on every scrape."""
        self._registry.register(_Rows(view))

    def closed(self, outcome: Outcome, spent: Spent) -> None:
        model, key = self._model(outcome.model_id), outcome.tenant
        self._spent += spent.cost
        self._cost[model,] += spent.cost
        self._baseline[()] += spent.baseline_cost
        if spent.gpu_s:
            self._gpu_s[model,] += spent.gpu_s
        if outcome.cached_model:
            self._saved[model,] += spent.saved_cost
        if key:
            key = key if key in self._keys else UNKNOWN
            self._key_cost[key,] += spent.cost
            self._key_tokens[key, "prompt"] += outcome.usage.prompt_tokens
            self._key_tokens[key, "completion"] += outcome.usage.completion_tokens

    def _savings_ratio(self) -> float:
        meant = self._baseline[()]
        return 1 - self._spent / meant if meant else 0.0

    def judged(self, judged: Judged) -> None:
        given = judged.feedback
        self._verdicts[self._model(judged.model_id), given.source, "good" if given.value >= GOOD else "bad"] += 1

    def _model(self, model_id: str) -> str:
        return model_id if model_id in self._models else UNKNOWN


class _Rows(Collector):
    def __init__(self, view: Callable[[], RecorderView]) -> None:
        self._view = view

    def describe(self) -> Iterable[Metric]:
        return _families(RecorderView())

    def collect(self) -> Iterable[Metric]:
        return _families(self._view())


def _families(view: RecorderView) -> Iterator[Metric]:
    rows = CounterMetricFamily("agent_router_ledger_rows", "Rows for the ledger's store", labels=("result",))
    for result in ("written", "dropped", "refused", "pruned"):
        rows.add_metric((result,), getattr(view, result))
    yield rows
    yield GaugeMetricFamily("agent_router_ledger_queued", "Rows that wait to be written", value=view.queued)
    yield GaugeMetricFamily("agent_router_ledger_up", "1 while the store takes rows", value=float(view.is_up))

"""The cache as Prometheus series: what looking came to, told as requests end, and what is held, read on every scrape.

Knows: the names. Does not know: what a key is, where answers lie.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from pointsman.ledger.series import Maker
from pointsman.types import Outcome
from pointsman.types_cache import CacheView


class CacheMetrics:
    """What looking came to. `watch` adds the series of what is held, where there is a cache."""

    def __init__(self, make: Maker) -> None:
        self._registry: CollectorRegistry = make.registry
        self._held: _Held | None = None
        self._requests = make.counter(
            "agent_router_cache_requests", "Requests by what looking into the cache came to", ("result",)
        )
        self._saved = make.counter(
            "agent_router_cache_saved_tokens", "Tokens of kept answers, by the model that once gave them", ("model",)
        )

    def watch(self, view: Callable[[], CacheView]) -> None:
        """From now on `view` is read on every scrape, and none before it."""
        if self._held is not None:
            self._registry.unregister(self._held)
        self._held = _Held(view)
        self._registry.register(self._held)

    def closed(self, outcome: Outcome, model: str) -> None:
        """`model` is a label of the closed set."""
        self._requests[outcome.cache,] += 1
        if outcome.cached_model:
            self._saved[model,] += outcome.saved.total_tokens


class _Held(Collector):
    def __init__(self, view: Callable[[], CacheView]) -> None:
        self._view = view

    def describe(self) -> Iterable[Metric]:
        return _families(CacheView())

    def collect(self) -> Iterable[Metric]:
        return _families(self._view())


def _families(view: CacheView) -> Iterator[Metric]:
    gauges = (
        ("entries", "Answers kept in this process", view.entries),
        ("bytes", "Memory they take", view.size_bytes),
        ("questions", "Questions remembered for answers to what means the same", view.questions),
        ("store_up", "1 while the store answers, 0 while it is left alone", float(view.is_up)),
    )
    for name, what, value in gauges:
        yield GaugeMetricFamily(f"agent_router_cache_{name}", what, value=value)
    counters = (
        ("puts", "Answers kept", view.puts),
        ("expired", "Answers that left for age", view.expired),
        ("evictions", "Answers that left for want of room", view.evicted),
        ("too_large", "Answers not kept because of their size", view.too_large),
        ("followed", "Requests that waited for an equal one and took its answer", view.followed),
        ("store_errors", "Calls of a shared store that failed or took too long", view.failed),
        ("store_skipped", "Calls of a shared store not made while it was left alone", view.skipped),
    )
    for name, what, value in counters:
        yield CounterMetricFamily(f"agent_router_cache_{name}", what, value=value)

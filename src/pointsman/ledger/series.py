"""Shared by the metric modules: plain numbers by label values, counts read when scraped, a share over a window.

Invariants: only the event loop counts, so nothing is locked, and a scrape reads a copy; a series is there from its
first count on, so callers may only use label values of closed sets.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Container, Iterable
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import INF, floatToGoString

UNKNOWN = "unknown"
MODELS = frozenset({"model", "from_model", "to_model"})
"""Labels whose values are ids of models."""
Labels = tuple[str, ...]
T = TypeVar("T")


class Histogram:
    """How many values were at most each bound and more than the one before; their sum."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class _Series(Collector, ABC, Generic[T]):
    """All series of one name, by label values. One without labels is there from the start."""

    def __init__(self, name: str, what: str, labels: Labels, new: Callable[[], T]) -> None:
        self._name, self._what, self._labels = name, what, labels
        self._models = tuple(place for place, label in enumerate(labels) if label in MODELS)
        self.values: defaultdict[Labels, T] = defaultdict(new, {} if labels else {(): new()})

    def describe(self) -> Iterable[Metric]:
        yield self._family({})

    def collect(self) -> Iterable[Metric]:
        yield self._family(dict(self.values))

    @abstractmethod
    def _family(self, values: dict[Labels, T]) -> Metric:
        """As the exposition tells them."""

    def forget(self, models: Container[str]) -> None:
        """No series of theirs any more."""
        for labels in [labels for labels in self.values if any(labels[place] in models for place in self._models)]:
            del self.values[labels]


class _Counters(_Series[float]):
    def _family(self, values: dict[Labels, float]) -> Metric:
        family = CounterMetricFamily(self._name, self._what, labels=self._labels)
        for labels, value in values.items():
            family.add_metric(labels, value)
        return family


class _Histograms(_Series[Histogram]):
    def __init__(self, name: str, what: str, labels: Labels, bounds: tuple[float, ...]) -> None:
        super().__init__(name, what, labels, lambda: Histogram(bounds))
        self._bounds = tuple(map(floatToGoString, (*bounds, INF)))

    def _family(self, values: dict[Labels, Histogram]) -> Metric:
        family = HistogramMetricFamily(self._name, self._what, labels=self._labels)
        for labels, one in values.items():
            family.add_metric(labels, tuple(zip(self._bounds, accumulate(one.counts), strict=True)), one.total)
        return family


class Maker:
    """Makes series in one registry, and ends those of models that are no longer configured."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._made: list[_Counters | _Histograms] = []

    def forget(self, models: Container[str]) -> None:
        for one in self._made:
            one.forget(models)

    def counter(self, name: str, what: str, labels: Labels = ()) -> defaultdict[Labels, float]:
        """Counts by label values, to be added to; the exposition adds `_total` to the name."""
        made = _Counters(name, what, labels, float)
        self._keep(made)
        return made.values

    def histogram(
        self, name: str, what: str, labels: Labels, bounds: tuple[float, ...]
    ) -> defaultdict[Labels, Histogram]:
        """Histograms by label values. `bounds` ascend."""
        made = _Histograms(name, what, labels, bounds)
        self._keep(made)
        return made.values

    def _keep(self, made: _Counters | _Histograms) -> None:
        self.registry.register(made)
        self._made.append(made)


class Counts(Collector):
    """A counter by `result` that somebody else keeps; read on every scrape. `read` gives (result, count)."""

    def __init__(self, name: str, what: str, read: Callable[[], Iterable[tuple[str, float]]]) -> None:
        self._name = name
        self._what = what
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """The name, without reading."""
        yield CounterMetricFamily(self._name, self._what, labels=("result",))

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(self._name, self._what, labels=("result",))
        for result, count in self._read():
            family.add_metric((result,), count)
        yield family


class Share:
    """How many of the last `size` flags were set."""

    __slots__ = ("_flags",)

    def __init__(self, size: int) -> None:
        self._flags: deque[bool] = deque(maxlen=size)

    def add(self, flag: bool) -> None:
        self._flags.append(flag)

    def value(self) -> float:
        """In [0, 1]; 0 before the first flag."""
        return sum(self._flags) / len(self._flags) if self._flags else 0.0

    def __repr__(self) -> str:
        return f"Share({sum(self._flags)} of the last {len(self._flags)})"

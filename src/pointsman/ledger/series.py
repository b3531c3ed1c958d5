"""Shared by the metric modules: series whose children are bound once, counts read on a scrape, a share over a window.

Invariant: `Children` grows by one for each label set, so callers may only use label values of closed sets.
"""

from collections.abc import Callable, Container, Iterable
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

UNKNOWN = "unknown"
MODELS = frozenset({"model", "from_model", "to_model"})
"""Labels whose values are ids of models."""
M = TypeVar("M", Counter, Histogram)


class Children(dict[tuple[str, ...], M]):
    """The children of one metric by label values, each bound on first use: a dict look-up instead of a lock."""

    def __init__(self, metric: M, labels: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._metric: M = metric
        self._models = tuple(place for place, label in enumerate(labels) if label in MODELS)

    def __missing__(self, labels: tuple[str, ...]) -> M:
        child = self[labels] = self._metric.labels(*labels)
        return child

    def forget(self, models: Container[str]) -> None:
        """No series of theirs any more."""
        for labels in [labels for labels in self if any(labels[place] in models for place in self._models)]:
            del self[labels]
            self._metric.remove(*labels)


class Maker:
    """Makes series in one registry, and ends those of models that are no longer configured."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._made: list[Children[Counter] | Children[Histogram]] = []

    def forget(self, models: Container[str]) -> None:
        for one in self._made:
            one.forget(models)

    def counter(self, name: str, what: str, labels: tuple[str, ...]) -> Children[Counter]:
        """A counter; the exposition adds `_total` to its name."""
        made = Children(Counter(name, what, labels, registry=self.registry), labels)
        self._made.append(made)
        return made

    def histogram(self, name: str, what: str, labels: tuple[str, ...], buckets: Iterable[float]) -> Children[Histogram]:
        made = Children(Histogram(name, what, labels, registry=self.registry, buckets=tuple(buckets)), labels)
        self._made.append(made)
        return made


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
    """How many of the last `size` flags were set. Constant memory and time."""

    __slots__ = ("_at", "_flags", "_set", "_size")

    def __init__(self, size: int) -> None:
        self._flags = bytearray()
        self._size = size
        self._at = 0
        self._set = 0

    def add(self, flag: bool) -> None:
        if len(self._flags) < self._size:
            self._flags.append(flag)
        else:
            self._set -= self._flags[self._at]
            self._flags[self._at] = flag
            self._at = (self._at + 1) % self._size
        self._set += flag

    def value(self) -> float:
        """In [0, 1]; 0 before the first flag."""
        return self._set / len(self._flags) if self._flags else 0.0

    def __repr__(self) -> str:
        return f"Share({self._set} of the last {len(self._flags)})"

"""The fleet as Prometheus series: what it is, read from a World on every scrape, and what it did, told as it happens.

Knows: the names. Does not know: how models are loaded or why one was evicted.
Invariant: a series exists for configured models and the fleet's own deployments only.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from pointsman.ledger.series import UNKNOWN, Maker
from pointsman.types import Breaker, DeploymentView, Tier, World

LOAD_S = (0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600)
NAP_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60)
AGE_S = (1, 5, 15, 60, 300, 900, 3600, 14400, 86400)
HEALTH = {
    Breaker.CLOSED: 1.0,
    Breaker.FORCED_CLOSED: 1.0,
    Breaker.HALF_OPEN: 0.5,
    Breaker.OPEN: 0.0,
    Breaker.FORCED_OPEN: 0.0,
}
GAUGES = (
    ("in_flight", "Requests a deployment is answering"),
    ("queued", "Requests that wait for a deployment"),
    ("slots", "Requests a deployment can answer at the same time"),
    ("memory_bytes", "Memory accounted to a deployment"),
    ("ready_in_seconds", "Estimated time until a deployment could answer; 0 where it could now"),
)


GpuMemory = tuple[int, int, int]
"""A GPU's index, the bytes that are taken or promised, its budget."""


class FleetMetrics:
    """What the fleet did. Call a method when it happens; model ids that are not configured count as `unknown`."""

    def __init__(self, make: Maker, models: Iterable[str], world: Callable[[], World]) -> None:
        self._models = frozenset(models)
        self._loads = make.counter("agent_router_fleet_loads", "Loads by model and result", ("model", "result"))
        self._load_s = make.histogram(
            "agent_router_fleet_load_seconds",
            "Time from the decision to load to the warm-up answer",
            ("model",),
            LOAD_S,
        )
        self._evictions = make.counter("agent_router_fleet_evictions", "Models unloaded to make room", ("model",))
        self._age_s = make.histogram(
            "agent_router_fleet_age_at_eviction_seconds", "How long an evicted model had been ready", ("model",), AGE_S
        )
        self._switch_s = make.histogram(
            "agent_router_fleet_switch_seconds",
            "From the first eviction before a load or a wake-up began to the warm-up answer",
            ("model",),
            LOAD_S,
        )
        self._moves = make.counter(
            "agent_router_breaker_transitions", "Breakers that went into a state, by model", ("model", "state")
        )
        self._naps = make.counter("agent_router_fleet_sleeps", "Models told to sleep, by result", ("model", "result"))
        self._nap_s = make.histogram(
            "agent_router_fleet_sleep_seconds", "How long it took until the memory was back", ("model",), NAP_S
        )
        self._wakes = make.counter("agent_router_fleet_wakes", "Models told to wake, by result", ("model", "result"))
        self._wake_s = make.histogram(
            "agent_router_fleet_wake_seconds", "Time from the decision to wake to the warm-up answer", ("model",), NAP_S
        )
        self._exits = make.counter("agent_router_fleet_exits", "Children that ended without being asked to", ("model",))
        self._changes = make.counter(
            "agent_router_admin_changes",
            "Changes an operator asked for, by result: ok or an error's code",
            ("action", "model", "result"),
        )
        self._registry = make.registry
        self._world = _World(tuple(sorted(self._models)), world)
        make.registry.register(self._world)

    def know(self, models: frozenset[str]) -> None:
        """These are configured now."""
        self._models = models
        self._world.models = tuple(sorted(models))

    def loaded(self, model_id: str, load_s: float) -> None:
        """A model has given its warm-up answer, `load_s` seconds after the start."""
        model = self._label(model_id)
        self._loads[model, "ok"] += 1
        self._load_s[model,].observe(load_s)

    def load_failed(self, model_id: str) -> None:
        self._loads[self._label(model_id), "failed"] += 1

    def evicted(self, model_id: str, age_s: float) -> None:
        """A model was unloaded to make room, `age_s` seconds after it became ready."""
        model = self._label(model_id)
        self._evictions[model,] += 1
        self._age_s[model,].observe(age_s)

    def switched(self, model_id: str, switch_s: float) -> None:
        """A model is ready for which another had to leave, `switch_s` seconds ago."""
        self._switch_s[self._label(model_id),].observe(switch_s)

    def slept(self, model_id: str, took_s: float) -> None:
        """A model sleeps, and its memory is back."""
        model = self._label(model_id)
        self._naps[model, "ok"] += 1
        self._nap_s[model,].observe(took_s)

    def sleep_failed(self, model_id: str) -> None:
        self._naps[self._label(model_id), "failed"] += 1

    def woke(self, model_id: str, took_s: float) -> None:
        """A model that slept has given its warm-up answer."""
        model = self._label(model_id)
        self._wakes[model, "ok"] += 1
        self._wake_s[model,].observe(took_s)

    def wake_failed(self, model_id: str) -> None:
        self._wakes[self._label(model_id), "failed"] += 1

    def exited(self, model_id: str) -> None:
        """A child ended without being asked to."""
        self._exits[self._label(model_id),] += 1

    def breaker_moved(self, model_id: str, state: Breaker) -> None:
        """A deployment's breaker is in another state."""
        self._moves[self._label(model_id), state.value] += 1

    def changed(self, action: str, model_id: str, result: str) -> None:
        """An operator's change has ended. Actions and results are closed sets."""
        self._changes[action, self._label(model_id), result] += 1

    def watch_gpus(self, gpus: Callable[[], tuple[GpuMemory, ...]]) -> None:
        """Read the GPUs' memory on every scrape."""
        self._registry.register(_Gpus(gpus))

    def _label(self, model_id: str) -> str:
        return model_id if model_id in self._models else UNKNOWN


class _Gpus(Collector):
    """Gauges of the GPUs' memory, read while they are being scraped."""

    def __init__(self, gpus: Callable[[], tuple[GpuMemory, ...]]) -> None:
        self._gpus = gpus

    def describe(self) -> Iterable[Metric]:
        """Names without reading anything."""
        return self._families(())

    def collect(self) -> Iterable[Metric]:
        return self._families(self._gpus())

    @staticmethod
    def _families(gpus: tuple[GpuMemory, ...]) -> Iterator[Metric]:
        used = GaugeMetricFamily(
            "agent_router_fleet_gpu_memory_used_bytes", "A GPU's memory accounted to managed models", labels=("gpu",)
        )
        budget = GaugeMetricFamily(
            "agent_router_fleet_gpu_memory_budget_bytes", "A GPU's memory all managed models may take", labels=("gpu",)
        )
        for index, used_bytes, budget_bytes in gpus:
            used.add_metric((str(index),), used_bytes)
            budget.add_metric((str(index),), budget_bytes)
        yield used
        yield budget


class _World(Collector):
    """Gauges read from a World while they are being scraped."""

    def __init__(self, models: tuple[str, ...], world: Callable[[], World]) -> None:
        self.models = models
        self._world = world

    def describe(self) -> Iterable[Metric]:
        """Names without reading the fleet, which may not exist yet when the registry asks."""
        return self._families(World())

    def collect(self) -> Iterable[Metric]:
        return self._families(self._world())

    def _families(self, world: World) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "agent_router_fleet_memory_used_bytes", "Memory accounted to all managed models", value=world.used_bytes
        )
        yield GaugeMetricFamily(
            "agent_router_fleet_memory_budget_bytes", "Memory all managed models may take", value=world.budget_bytes
        )
        yield self._health(world)
        deployments = world.deployments
        for name, what in GAUGES:
            gauge = GaugeMetricFamily(f"agent_router_deployment_{name}", what, labels=("deployment", "model"))
            for view in deployments:
                gauge.add_metric((view.id, view.model_id), _reading(view, name))
            yield gauge
        yield _tiers(deployments)
        yield _breakers(deployments)
        restarts = CounterMetricFamily(
            "agent_router_fleet_restarts", "Automatic restarts of a dead child", labels=("deployment", "model")
        )
        for view in deployments:
            restarts.add_metric((view.id, view.model_id), view.restarts)
        yield restarts

    def _health(self, world: World) -> Metric:
        """A model is as healthy as its best deployment; one without any deployment is not."""
        gauge = GaugeMetricFamily(
            "agent_router_model_health",
            "1: breaker closed, 0.5: half open, 0: open; of the model's best deployment",
            labels=("model",),
        )
        best = dict.fromkeys(self.models, 0.0)
        for view in world.deployments:
            best[view.model_id] = max(best.get(view.model_id, 0.0), HEALTH[view.breaker])
        for model, health in best.items():
            gauge.add_metric((model,), health)
        return gauge


def _reading(view: DeploymentView, name: str) -> float:
    readings = {
        "in_flight": view.in_flight,
        "queued": view.queued,
        "slots": view.slots,
        "memory_bytes": view.memory_bytes,
        "ready_in_seconds": view.ready_in_s,
    }
    return readings[name]


def _breakers(deployments: tuple[DeploymentView, ...]) -> Metric:
    gauge = GaugeMetricFamily(
        "agent_router_deployment_breaker", "1 for the state a breaker is in", labels=("deployment", "model", "state")
    )
    for view in deployments:
        for state in Breaker:
            gauge.add_metric((view.id, view.model_id, state.value), float(view.breaker == state))
    return gauge


def _tiers(deployments: tuple[DeploymentView, ...]) -> Metric:
    gauge = GaugeMetricFamily(
        "agent_router_deployment_tier", "1 for the tier a deployment is in", labels=("deployment", "model", "tier")
    )
    for view in deployments:
        for tier in Tier:
            gauge.add_metric((view.id, view.model_id, tier.value), float(view.tier == tier))
    return gauge

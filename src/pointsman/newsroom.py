"""The fleet's news as log lines and metrics: rooms of one level that may not know each other meet here."""

from collections.abc import Callable

from pointsman.clock import Clock, SystemClock
from pointsman.edge.admin import OK, Change
from pointsman.experiments import course
from pointsman.experiments.controller import Standing
from pointsman.fleet import events as fleet
from pointsman.fleet.values import Why
from pointsman.ledger.experiment_metrics import ExperimentRow
from pointsman.ledger.fleet_metrics import FleetMetrics
from pointsman.ledger.lines import Event, Level
from pointsman.ledger.log import Log
from pointsman.types import Breaker


class Newsroom:
    """Subscribes to the fleet. `is_attached`: whether one runs elsewhere, and nobody here loads or stops it."""

    def __init__(
        self,
        log: Log,
        metrics: FleetMetrics,
        is_attached: Callable[[str], bool] = lambda _: False,
        clock: Clock | None = None,
    ) -> None:
        self._log = log
        self._metrics = metrics
        self._is_attached = is_attached
        self._clock = clock or SystemClock()
        self._room_made_s: list[float] = []

    def hear(self, news: fleet.News) -> None:
        """Count the news and write it down."""
        if isinstance(news, fleet.Loaded | fleet.Unloading) and self._is_attached(news.deployment_id):
            if isinstance(news, fleet.Loaded):
                self._log.event(_answers(news.deployment_id))
            return
        self._count(news)
        self._log.event(event_of(news))

    def hear_change(self, change: Change) -> None:
        """Count what an operator changed and write it down, with where it was asked from."""
        self._metrics.changed(change.action.value, change.model_id, change.result)
        self._log.event(_of_change(change))

    def hear_experiment(self, change: course.Change) -> None:
        """Write down what was decided about an experiment, with its evidence."""
        self._log.event(_of_experiment(change))

    def hear_cache(self, is_up: bool, why: str) -> None:
        """Write down that the shared store of answers is left alone, or back."""
        if is_up:
            self._log.event(Event(name="cache_store_back", message="The shared cache answers again"))
        else:
            said = f"The shared cache is left alone for a while, requests go on without it: {why}"
            self._log.event(Event(name="cache_store_lost", level="warning", message=said))

    def hear_limits(self, is_up: bool, why: str) -> None:
        """Write down that the store of shared limits is left alone, or back."""
        if is_up:
            self._log.event(Event(name="limit_store_back", message="Limits are counted together again"))
        else:
            said = f"The store of shared limits is left alone for a while, this gateway counts by itself: {why}"
            self._log.event(Event(name="limit_store_lost", level="warning", message=said))

    def hear_company(self, is_up: bool, why: str) -> None:
        """Write down that other gateways' experiments are not heard of, or again."""
        if is_up:
            self._log.event(Event(name="experiment_store_back", message="Experiments go on together again"))
        else:
            said = f"The store that experiments are shared by does not answer, they go on by this gateway alone: {why}"
            self._log.event(Event(name="experiment_store_lost", level="warning", message=said))

    def hear_ledger(self, is_up: bool, why: str) -> None:
        """Write down that the ledger's store takes no rows, or takes them again."""
        if is_up:
            self._log.event(Event(name="ledger_store_back", message="The ledger's store takes rows again"))
        else:
            said = f"The ledger's store takes no rows, they wait or are dropped; requests go on: {why}"
            self._log.event(Event(name="ledger_store_lost", level="error", message=said))

    def _count(self, news: fleet.News) -> None:
        match news:
            case fleet.Loaded():
                self._metrics.loaded(news.model_id, news.load_s)
                self._count_switch(news.model_id, news.load_s)
            case fleet.Woke():
                self._metrics.woke(news.model_id, news.took_s)
                self._count_switch(news.model_id, news.took_s)
            case fleet.FellAsleep():
                self._metrics.slept(news.model_id, news.took_s)
            case fleet.Sleepless():
                self._metrics.sleep_failed(news.model_id)
            case fleet.WakeUpFailed():
                self._metrics.wake_failed(news.model_id)
            case fleet.LoadFailed():
                self._metrics.load_failed(news.model_id)
            case fleet.Died():
                self._metrics.exited(news.model_id)
            case fleet.BreakerMoved():
                self._metrics.breaker_moved(news.model_id, news.after)
            case fleet.Unloading(why=Why.EVICTED):
                self._metrics.evicted(news.model_id, news.age_s)
                self._room_made_s.append(self._clock.now())

    def _count_switch(self, model_id: str, took_s: float) -> None:
        """A load that began after an eviction is taken to be the one it was for."""
        now_s = self._clock.now()
        before = [at_s for at_s in self._room_made_s if at_s <= now_s - took_s]
        if before:
            self._metrics.switched(model_id, now_s - before[0])
        self._room_made_s = [at_s for at_s in self._room_made_s if at_s > now_s - took_s]


def _of_experiment(change: course.Change) -> Event:
    evidence, loss = change.evidence, change.evidence.loss
    details = (
        ("experiment", change.experiment),
        ("by", change.by),
        ("ratio_before", change.ratio_before),
        ("ratio", change.ratio),
        ("verdicts", evidence.control_verdicts + evidence.treatment_verdicts),
        ("loss", loss.value if loss else None),
        ("loss_low", loss.low if loss else None),
        ("loss_high", loss.high if loss else None),
    )
    ratios = f"{change.ratio_before:.0%} → {change.ratio:.0%}"
    said = f"{change.experiment} {change.event.replace('_', ' ')} ({change.by}), {ratios}: {change.why}"
    is_bad = change.event in {"rolled_back", "review"}
    level: Level = "warning" if is_bad else "info"
    return Event(name=f"experiment_{change.event}", message=said, level=level, details=details)


def row_of(standing: Standing) -> ExperimentRow:
    """An experiment for the metrics."""
    evidence, (control, treatment) = standing.evidence, standing.arms
    return ExperimentRow(
        name=standing.name,
        status=standing.status.value,
        ratio=standing.ratio,
        arms=(
            (control, standing.requests_here[0], standing.verdicts_here[0], evidence.control_quality),
            (treatment, standing.requests_here[1], standing.verdicts_here[1], evidence.treatment_quality),
        ),
        loss=(evidence.loss.value, evidence.loss.low, evidence.loss.high) if evidence.loss else None,
    )


def _of_change(change: Change) -> Event:
    what = f"{change.alias} → {change.model_id}" if change.alias else change.model_id
    said = f"an operator asked from {change.who or 'here'}: {change.action} {what}: {change.result}"
    details = (("action", change.action.value), ("model", change.model_id), ("result", change.result))
    return Event(name="administered", message=said, level="info" if change.result == OK else "warning", details=details)


def _answers(name: str) -> Event:
    return Event(name="model_reachable", message=f"{name} answers at its URL", details=(("deployment", name),))


def event_of(news: fleet.News) -> Event:
    """One line of the log."""
    name = news.deployment_id
    match news:
        case fleet.Loaded():
            said = f"{name} is ready after {news.load_s:.1f} s, {news.memory_bytes / 1e6:.0f} MB"
            return Event(name="model_loaded", message=said, details=(("deployment", name), ("load_s", news.load_s)))
        case fleet.LoadFailed():
            said = f"{name} did not start ({news.failures} in a row), next try in {news.retry_in_s:.1f} s: {news.why}"
            return Event(name="model_load_failed", level="error", message=said, details=(("deployment", name),))
        case fleet.Died():
            said = f"{name} died after {news.lived_s:.0f} s with {news.leases} requests under way: {news.why}"
            details = (("deployment", name), ("code", news.code), ("requests", news.leases))
            return Event(name="model_died", level="error", message=said, details=details)
        case fleet.Restarting():
            said = f"{name} is being restarted (number {news.restarts})"
            return Event(name="model_restarting", level="warning", message=said, details=(("deployment", name),))
        case fleet.Unloading():
            said = f"{name} is being stopped ({news.why.value}) after {news.age_s:.0f} s"
            return Event(name="model_unloading", message=said, details=(("deployment", name), ("why", news.why.value)))
        case _:
            return _of_the_rest(news)


def _of_breaker(news: fleet.BreakerMoved) -> Event:
    until = f", tried again in {news.retry_in_s:.0f} s" if news.retry_in_s else ""
    said = f"the breaker of {news.deployment_id} is {news.after.value.replace('_', ' ')}{until}"
    details = (("deployment", news.deployment_id), ("from", news.before.value), ("to", news.after.value))
    why = f" ({news.why})" if news.why else ""
    is_bad = news.after in (Breaker.OPEN, Breaker.FORCED_OPEN)
    return Event(name="breaker", message=said + why, level="warning" if is_bad else "info", details=details)


def _of_the_rest(news: fleet.News) -> Event:
    name = news.deployment_id
    match news:
        case fleet.BreakerMoved():
            return _of_breaker(news)
        case fleet.FellAsleep():
            said = f"{name} sleeps after {news.took_s:.1f} s; {news.freed_bytes / 1e6:.0f} MB are free"
            return Event(name="model_asleep", message=said, details=(("deployment", name), ("took_s", news.took_s)))
        case fleet.Woke():
            said = f"{name} is awake after {news.took_s:.1f} s, {news.memory_bytes / 1e6:.0f} MB"
            return Event(name="model_awake", message=said, details=(("deployment", name), ("took_s", news.took_s)))
        case fleet.Sleepless():
            said = f"{name} could not be put to sleep: {news.why}"
            return Event(name="model_sleepless", level="warning", message=said, details=(("deployment", name),))
        case fleet.WakeUpFailed():
            said = f"{name} did not wake and is stopped: {news.why}"
            return Event(name="model_wake_failed", level="error", message=said, details=(("deployment", name),))
        case _:
            return Event(name="fleet", message=repr(news), details=(("deployment", name),))

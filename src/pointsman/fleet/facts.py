"""What an event about one deployment changes, before anything is decided from it (rule 1 of `machine`). Pure.

Knows: which phase believes which event; word of another life is ignored. Does not know: what follows.
"""

import math
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from pointsman.fleet import estimates
from pointsman.fleet.breaker import hold, renewed
from pointsman.fleet.calls import forced, reported
from pointsman.fleet.draft import Draft
from pointsman.fleet.events import (
    Cancel,
    Died,
    Estimated,
    Event,
    Exited,
    FellAsleep,
    Force,
    Healthy,
    Loaded,
    LoadFailed,
    Measured,
    Release,
    Report,
    Rest,
    SleepFailed,
    Sleepless,
    Slept,
    Started,
    StartFailed,
    StopOverdue,
    Stopped,
    Unhealthy,
    Unload,
    WakeFailed,
    WakeUpFailed,
    Want,
    Woke,
    Woken,
)
from pointsman.fleet.memory import (
    HOST,
    Sizes,
    corrected,
    corrected_sizes,
    device_in_words,
    in_words,
    most,
    total,
)
from pointsman.fleet.values import WARM, Deployment, Phase, Waiter, Why

LIVING = WARM | {Phase.READY}
RESTABLE = frozenset({Phase.STARTING, Phase.READY, Phase.WAKING})
OUT_OF_MEMORY = "out_of_memory"
MORE = 1.25
"""What is reserved after a load ran out of memory, relative to before."""
HOLD_MEMORY = 0.8
LOAD_MEMORY = 0.7
"""Share of the old figure in the moving averages of how long a call holds its slot, how long a load takes."""


def want(draft: Draft, d: Deployment, event: Want) -> None:
    if d.spec.is_managed:
        draft.wants += 1
        d = draft.put(d, demand=d.demand.after(draft.wants))
    if len(d.queue) >= draft.rules.max_queue:
        why = f"{len(d.queue)} requests wait for `{d.spec.id}` already; try again later or name another model"
        draft.refuse(event.ticket, "queue_full", estimates.slot_in_s(d, draft.now_s), why)
        return
    waiter = Waiter(
        ticket=event.ticket,
        since_s=draft.now_s,
        deadline_s=event.deadline_s,
        for_load=event.for_load,
        may_evict=event.may_evict,
    )
    d = draft.put(d, queue=(*d.queue, waiter), next_deadline_s=min(d.next_deadline_s, event.deadline_s))
    if d.closing is Why.RESTED:  # whoever wants it outranks an earlier wish for rest
        d = draft.put(d, closing=None, to_sleep=False)
    if event.for_load and d.phase in (Phase.COLD, Phase.FAILED):  # an operator's load starts afresh
        draft.put(d, phase=Phase.COLD, failures=0, retry_at_s=0.0)


def cancel(draft: Draft, d: Deployment, event: Cancel) -> None:
    if event.ticket in d.granted:
        draft.put(d, granted=d.granted - {event.ticket}, idle_since_s=draft.now_s)
    else:
        draft.queue(d, tuple(waiter for waiter in d.queue if waiter.ticket != event.ticket))


def release(draft: Draft, d: Deployment, event: Release) -> None:
    draft.put(d, **released(d, event))


def released(d: Deployment, event: Release) -> dict[str, Any]:
    """The fields that a release changes."""
    leases = dict(d.leases)
    taken_s = leases.pop(event.ticket, None)
    if taken_s is None:
        return {}
    held_s = HOLD_MEMORY * d.hold_s + (1 - HOLD_MEMORY) * (event.at_s - taken_s) if event.ok else d.hold_s
    return {"leases": leases, "idle_since_s": event.at_s, "hold_s": held_s}


def started(draft: Draft, d: Deployment, event: Started) -> None:
    if d.phase is not Phase.STARTING or d.life != event.life:
        return
    took_s = draft.now_s - d.since_s
    load_s = _mean_load_s(d, took_s)
    d = _ready(draft, draft.put(d, load_s=load_s, missing_bytes=0, restart_wanted=False, ran_out=False), event)
    draft.effects.append(
        Loaded(
            deployment_id=d.spec.id,
            model_id=d.spec.model_id,
            load_s=took_s,
            memory_bytes=event.measured_bytes or d.footprint_bytes,
        )
    )


def _ready(draft: Draft, d: Deployment, event: Started | Woken) -> Deployment:
    """It has answered its warm-up."""
    d = _weighed(draft, d, event.measured_bytes, event.gpu_bytes)
    return draft.put(
        d,
        phase=Phase.READY,
        since_s=draft.now_s,
        ready_since_s=draft.now_s,
        idle_since_s=draft.now_s,
        closing=None if d.queue else d.closing,  # whoever waits outranks an earlier wish to unload
        to_sleep=d.to_sleep and not d.queue,
        last_error="",
        breaker=renewed(d.breaker),
    )


def _weighed(draft: Draft, d: Deployment, measured_bytes: int, gpu_bytes: Sizes) -> Deployment:
    """What it takes, corrected by what was measured."""
    footprint_bytes = corrected(d.footprint_bytes, measured_bytes, draft.budgets[HOST])
    if not (gpu_bytes or d.gpu_bytes):
        return draft.put(d, measured_bytes=measured_bytes, footprint_bytes=footprint_bytes)
    return draft.put(
        d,
        measured_bytes=measured_bytes,
        footprint_bytes=footprint_bytes,
        measured_gpu_bytes=gpu_bytes,
        gpu_bytes=corrected_sizes(d.gpu_bytes, gpu_bytes, draft.budgets),
    )


def _mean_load_s(d: Deployment, took_s: float) -> float | None:
    """A load that fetched first says little about the next."""
    return d.load_s if d.missing_bytes else _mean_s(d.load_s, took_s)


def _mean_s(known_s: float | None, took_s: float) -> float:
    return took_s if known_s is None else LOAD_MEMORY * known_s + (1 - LOAD_MEMORY) * took_s


def start_failed(draft: Draft, d: Deployment, event: StartFailed) -> None:
    if d.phase is not Phase.STARTING or d.life != event.life:
        return
    failures, why = d.failures + 1, event.why
    if event.code == OUT_OF_MEMORY:
        if not d.ran_out and any(waiter.may_evict for waiter in d.queue):  # once more, after others have left
            now_s = draft.now_s
            draft.put(d, phase=Phase.COLD, since_s=now_s, retry_at_s=now_s, ran_out=True, last_error=why)
            _tell_of_failure(draft, d, why, failures, retry_in_s=0.0)
            return
        d, why = _expecting_more(draft, d, why)
    pause_s = estimates.backoff_s(draft.rules, failures)
    has_given_up = failures >= draft.rules.max_failures
    d = draft.put(
        d,
        phase=Phase.FAILED if has_given_up else Phase.COLD,
        since_s=draft.now_s,
        failures=failures,
        retry_at_s=draft.now_s + pause_s,
        may_hurry=False,
        closing=None,
        to_sleep=False,
        ran_out=False,
        restart_wanted=(d.spec.preload or not d.spec.is_managed) and d.closing is None,
        last_error=why,
        error_code=event.code,
    )
    _tell_of_failure(draft, d, why, failures, retry_in_s=pause_s)
    if not d.spec.is_managed:  # whoever waits for a server that is not there is better served elsewhere
        draft.refuse_all(d, event.code, max(pause_s, estimates.MIN_RETRY_AFTER_S), f"`{d.spec.id}` is away: {why}")


def _tell_of_failure(draft: Draft, d: Deployment, why: str, failures: int, *, retry_in_s: float) -> None:
    draft.effects.append(
        LoadFailed(deployment_id=d.spec.id, model_id=d.spec.model_id, why=why, failures=failures, retry_in_s=retry_in_s)
    )


def _expecting_more(draft: Draft, d: Deployment, why: str) -> tuple[Deployment, str]:
    """The books were too low: more is reserved for it next time, and the figures are told."""
    raised, figures = [], []
    for device, size in d.crowded:
        budget_bytes = draft.budgets.get(device, 0)
        more = max(size, min(math.ceil(size * MORE), budget_bytes))
        raised.append((device, more))
        figures.append(
            f"{in_words(size)} of {device_in_words(device)} were reserved for it; next time {in_words(more)} of "
            f"{in_words(budget_bytes)} will be"
        )
    gpus = tuple(one for one in raised if one[0] != HOST)
    host_bytes = 0 if gpus else raised[0][1]
    d = draft.put(
        d,
        measured_bytes=max(d.measured_bytes, host_bytes),
        footprint_bytes=max(d.footprint_bytes, host_bytes),
        measured_gpu_bytes=most(d.measured_gpu_bytes, gpus),
        gpu_bytes=most(d.gpu_bytes, gpus),
    )
    return d, f"{why} ({', '.join(figures)})"


def slept(draft: Draft, d: Deployment, event: Slept) -> None:
    if d.phase is not Phase.FALLING_ASLEEP or d.life != event.life:
        return
    took_s, before_bytes = draft.now_s - d.since_s, total(d.takes)
    d = draft.put(
        d,
        phase=Phase.ASLEEP,
        since_s=draft.now_s,
        asleep_bytes=min(event.measured_bytes or d.asleep_bytes, draft.budgets[HOST]),
        measured_asleep_bytes=event.measured_bytes,
        asleep_gpu_bytes=event.gpu_bytes,
    )
    draft.effects.append(
        FellAsleep(
            deployment_id=d.spec.id,
            model_id=d.spec.model_id,
            took_s=took_s,
            memory_bytes=d.asleep_bytes,
            freed_bytes=max(0, before_bytes - total(d.holds)),
        )
    )


def sleep_failed(draft: Draft, d: Deployment, event: SleepFailed) -> None:
    """It is ready as if nothing had been tried, and is not asked again in this life."""
    if d.phase is not Phase.FALLING_ASLEEP or d.life != event.life:
        return
    d = draft.put(d, phase=Phase.READY, since_s=d.ready_since_s)
    draft.put(d, wakeful_until_life=d.life, last_error=f"cannot sleep: {event.why}")
    draft.effects.append(Sleepless(deployment_id=d.spec.id, model_id=d.spec.model_id, why=event.why))


def woken(draft: Draft, d: Deployment, event: Woken) -> None:
    if d.phase is not Phase.WAKING or d.life != event.life:
        return
    took_s = draft.now_s - d.since_s
    d = _ready(draft, draft.put(d, wake_s=_mean_s(d.wake_s, took_s)), event)
    memory_bytes = event.measured_bytes or d.footprint_bytes
    draft.effects.append(
        Woke(deployment_id=d.spec.id, model_id=d.spec.model_id, took_s=took_s, memory_bytes=memory_bytes)
    )


def wake_failed(draft: Draft, d: Deployment, event: WakeFailed) -> None:
    """It is stopped, started anew where somebody waits, and left awake in its next life."""
    if d.phase is not Phase.WAKING or d.life != event.life:
        return
    d = draft.put(d, wakeful_until_life=d.life + 1, last_error=f"did not wake: {event.why}")
    draft.effects.append(WakeUpFailed(deployment_id=d.spec.id, model_id=d.spec.model_id, why=event.why))
    draft.stop(d, Why.WAKE_FAILED)


def exited(draft: Draft, d: Deployment, event: Exited) -> None:
    """A start that fails and a stop that succeeds have events of their own."""
    if d.phase not in LIVING or d.life != event.life:
        return
    how = f"signal {-event.code}" if event.code < 0 else f"exit code {event.code}"
    draft.effects.append(
        Died(
            deployment_id=d.spec.id,
            model_id=d.spec.model_id,
            code=event.code,
            why=event.why,
            lived_s=draft.now_s - d.ready_since_s,
            leases=d.in_flight,
        )
    )
    said = f": {event.why}" if event.why else ""
    unwanted = d.closing is Why.UNLOADED or d.phase is not Phase.READY  # who was put to sleep was not needed
    d = draft.end_of_life(d)
    draft.put(
        d,
        phase=Phase.COLD,
        since_s=draft.now_s,
        closing=None,
        to_sleep=False,
        yields_to="",
        restart_wanted=d.restart_wanted and not unwanted,
        last_error=f"died ({how}){said}",
    )


def stopped(draft: Draft, d: Deployment, event: Stopped) -> None:
    if d.phase is not Phase.STOPPING or d.life != event.life:
        return
    fell_ill = d.closing is Why.UNHEALTHY
    d = draft.put(d, phase=Phase.COLD, since_s=draft.now_s, closing=None)
    if not fell_ill:
        draft.put(d, failures=0, retry_at_s=0.0, may_hurry=False)


def stop_overdue(draft: Draft, d: Deployment, event: StopOverdue) -> None:
    if d.phase is Phase.STOPPING and d.life == event.life:
        draft.put(d, last_error=event.why)


def measured(draft: Draft, d: Deployment, event: Measured) -> None:
    if d.phase is Phase.READY and d.life == event.life:
        _weighed(draft, d, event.measured_bytes, event.gpu_bytes)


def estimated(draft: Draft, d: Deployment, event: Estimated) -> None:
    """Not of one that holds memory, for what is reserved was granted; attached ones take none of ours."""
    if d.is_resident or not d.spec.is_managed:
        return
    if event.is_another:
        d = replace(d, measured_bytes=0, measured_gpu_bytes=(), measured_asleep_bytes=0, load_s=None, wake_s=None)
    estimate_bytes = event.footprint_bytes if d.spec.memory_bytes is None else d.spec.memory_bytes
    asleep_bytes = event.asleep_bytes and (d.measured_asleep_bytes or event.asleep_bytes)
    draft.put(
        d,
        footprint_bytes=corrected(estimate_bytes, d.measured_bytes, draft.budgets[HOST]),
        gpu_bytes=corrected_sizes(event.gpu_bytes, d.measured_gpu_bytes, draft.budgets),
        asleep_bytes=min(asleep_bytes, draft.budgets[HOST]),
        missing_bytes=event.missing_bytes,
        load_s=event.load_s if d.load_s is None else d.load_s,
        wake_s=event.wake_s if d.wake_s is None else d.wake_s,
    )


def unload(draft: Draft, d: Deployment, _: Unload) -> None:
    if not d.spec.is_managed:
        return
    if d.phase in LIVING or d.phase is Phase.STARTING:
        draft.put(d, closing=Why.UNLOADED, to_sleep=False)
    else:
        draft.put(d, restart_wanted=False)


def rest(draft: Draft, d: Deployment, _: Rest) -> None:
    """Not of one that somebody waits for, or that is to leave anyway."""
    if d.phase in RESTABLE and d.can_sleep and not d.queue and d.closing is None:
        draft.put(d, closing=Why.RESTED, to_sleep=True)


def unhealthy(draft: Draft, d: Deployment, event: Unhealthy) -> None:
    if d.phase is not Phase.READY or d.life != event.life:
        return
    if d.spec.is_managed:
        closing = Why.UNHEALTHY if d.closing in (None, Why.RESTED) else d.closing
        draft.put(d, closing=closing, to_sleep=False, last_error=event.why)
    else:
        until_s = draft.now_s + draft.rules.probe_hold_s
        draft.put(d, breaker=hold(d.breaker, until_s, event.why), last_error=event.why)


def healthy(draft: Draft, d: Deployment, event: Healthy) -> None:
    if d.phase is not Phase.READY or d.life != event.life:
        return
    closing = None if d.closing is Why.UNHEALTHY else d.closing
    breaker = d.breaker if d.spec.is_managed else renewed(d.breaker)
    draft.put(d, closing=closing, breaker=breaker, last_error="")


CHANGE: dict[type[Event], Callable[[Draft, Deployment, Any], None]] = {
    Want: want,
    Cancel: cancel,
    Release: release,
    Started: started,
    StartFailed: start_failed,
    Exited: exited,
    Stopped: stopped,
    StopOverdue: stop_overdue,
    Measured: measured,
    Estimated: estimated,
    Slept: slept,
    SleepFailed: sleep_failed,
    Woken: woken,
    WakeFailed: wake_failed,
    Unload: unload,
    Rest: rest,
    Unhealthy: unhealthy,
    Healthy: healthy,
    Report: reported,
    Force: forced,
}

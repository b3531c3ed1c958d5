"""What an event about one deployment changes, before anything is decided from it (rule 1 of `machine`). Pure.

Knows: which phase believes which event; word of another life is ignored. Does not know: what follows.
"""

from collections.abc import Callable
from typing import Any

from pointsman.fleet import estimates
from pointsman.fleet.breaker import CLOSED, trip
from pointsman.fleet.draft import Draft
from pointsman.fleet.memory import corrected
from pointsman.fleet.values import (
    Cancel,
    Deployment,
    Died,
    Estimated,
    Event,
    Exited,
    Healthy,
    Loaded,
    LoadFailed,
    Measured,
    Phase,
    Release,
    Started,
    StartFailed,
    StopOverdue,
    Stopped,
    Unhealthy,
    Unload,
    Waiter,
    Want,
    Why,
)

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
    taken_s = d.leases.get(event.ticket)
    if taken_s is None:
        return {}
    leases = {ticket: at_s for ticket, at_s in d.leases.items() if ticket != event.ticket}
    held_s = HOLD_MEMORY * d.hold_s + (1 - HOLD_MEMORY) * (event.at_s - taken_s) if event.ok else d.hold_s
    return {"leases": leases, "idle_since_s": event.at_s, "hold_s": held_s}


def started(draft: Draft, d: Deployment, event: Started) -> None:
    if d.phase is not Phase.STARTING or d.life != event.life:
        return
    took_s = draft.now_s - d.since_s
    d = draft.put(
        d,
        phase=Phase.READY,
        since_s=draft.now_s,
        idle_since_s=draft.now_s,
        load_s=_mean_load_s(d, took_s),
        missing_bytes=0,
        measured_bytes=event.measured_bytes,
        footprint_bytes=corrected(d.footprint_bytes, event.measured_bytes, draft.budget_bytes),
        closing=None if d.queue else d.closing,  # whoever waits outranks an earlier wish to unload
        restart_wanted=False,
        last_error="",
        breaker=CLOSED,
    )
    draft.effects.append(
        Loaded(
            deployment_id=d.spec.id,
            model_id=d.spec.model_id,
            load_s=took_s,
            memory_bytes=event.measured_bytes or d.footprint_bytes,
        )
    )


def _mean_load_s(d: Deployment, took_s: float) -> float | None:
    """A load that fetched first says little about the next."""
    if d.missing_bytes:
        return d.load_s
    return took_s if d.load_s is None else LOAD_MEMORY * d.load_s + (1 - LOAD_MEMORY) * took_s


def start_failed(draft: Draft, d: Deployment, event: StartFailed) -> None:
    if d.phase is not Phase.STARTING or d.life != event.life:
        return
    failures = d.failures + 1
    pause_s = estimates.backoff_s(draft.rules, failures)
    has_given_up = failures >= draft.rules.max_failures
    draft.put(
        d,
        phase=Phase.FAILED if has_given_up else Phase.COLD,
        since_s=draft.now_s,
        failures=failures,
        retry_at_s=draft.now_s + pause_s,
        may_hurry=False,
        closing=None,
        restart_wanted=(d.spec.preload or not d.spec.is_managed) and d.closing is None,
        last_error=event.why,
        error_code=event.code,
    )
    draft.effects.append(
        LoadFailed(
            deployment_id=d.spec.id,
            model_id=d.spec.model_id,
            why=event.why,
            failures=failures,
            retry_in_s=pause_s,
        )
    )


def exited(draft: Draft, d: Deployment, event: Exited) -> None:
    """Only of a ready one: a start that fails and a stop that succeeds have events of their own."""
    if d.phase is not Phase.READY or d.life != event.life:
        return
    how = f"signal {-event.code}" if event.code < 0 else f"exit code {event.code}"
    draft.effects.append(
        Died(
            deployment_id=d.spec.id,
            model_id=d.spec.model_id,
            code=event.code,
            why=event.why,
            lived_s=draft.now_s - d.since_s,
            leases=d.in_flight,
        )
    )
    said = f": {event.why}" if event.why else ""
    unwanted = d.closing is Why.UNLOADED
    d = draft.end_of_life(d)
    draft.put(
        d,
        phase=Phase.COLD,
        since_s=draft.now_s,
        closing=None,
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
        footprint_bytes = corrected(d.footprint_bytes, event.measured_bytes, draft.budget_bytes)
        draft.put(d, measured_bytes=event.measured_bytes, footprint_bytes=footprint_bytes)


def estimated(draft: Draft, d: Deployment, event: Estimated) -> None:
    """Not of one that holds memory, for what is reserved was granted; attached ones take none of ours."""
    if d.is_resident or not d.spec.is_managed:
        return
    estimate_bytes = event.footprint_bytes if d.spec.memory_bytes is None else d.spec.memory_bytes
    footprint_bytes = corrected(estimate_bytes, d.measured_bytes, draft.budget_bytes)
    if (footprint_bytes, event.missing_bytes) != (d.footprint_bytes, d.missing_bytes):
        draft.put(d, footprint_bytes=footprint_bytes, missing_bytes=event.missing_bytes)


def unload(draft: Draft, d: Deployment, _: Unload) -> None:
    if not d.spec.is_managed:
        return
    if d.phase in (Phase.READY, Phase.STARTING):
        draft.put(d, closing=Why.UNLOADED)
    else:
        draft.put(d, restart_wanted=False)


def unhealthy(draft: Draft, d: Deployment, event: Unhealthy) -> None:
    if d.phase is not Phase.READY or d.life != event.life:
        return
    if d.spec.is_managed:
        draft.put(d, closing=d.closing or Why.UNHEALTHY, last_error=event.why)
    else:
        draft.put(d, breaker=trip(draft.now_s + draft.rules.probe_hold_s), last_error=event.why)


def healthy(draft: Draft, d: Deployment, event: Healthy) -> None:
    if d.phase is not Phase.READY or d.life != event.life:
        return
    closing = None if d.closing is Why.UNHEALTHY else d.closing
    breaker = d.breaker if d.spec.is_managed else CLOSED
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
    Unload: unload,
    Unhealthy: unhealthy,
    Healthy: healthy,
}

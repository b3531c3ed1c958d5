"""What happens next to the fleet: `step(state, event) -> (state, effects)`. Pure and total.

Knows: every rule of who is granted, loaded, stopped, refused and when. Does not know: tasks, processes, clocks.
The loop sends events and performs effects; nothing else changes a State.

Decision tree (numbers stand in the code and in `settle`):
1. Facts: the event changes what is known (`facts`). Nothing more can follow from a grant on the fast path (ready, open,
   a slot free, nobody waiting), from one more want in a queue, from Taken, nor from a Release nobody waits for, nor
   from a Report that moves no breaker
2. Each deployment, in the configured order; where neither time nor memory has moved, those that the event touched:
   2.1 failed, and its back-off is over → cold
   2.2 its waiters, all: draining, removed, failed, or too big for ever → refused; one by one: deadline passed, or an
       operator forced its breaker open → refused
   2.3 ready: waiters are granted in order while slots are free (`calls.free_slots`: a half-open breaker lets few
       through); closed: none. A want for a load needs no slot
   2.4 draining, or it is removed: idle → Stop, whatever it is doing
       ready or asleep, and idle: closed to sleep → 2.5; closed, or unused for its TTL → Stop
       ready and idle: unused for `sleep_after_s` → Sleep, where it can and the memory that takes is free
   2.5 closed to sleep, and it can → Sleep; else Stop where that is an eviction, else it serves on
3. Memory (`admission`): loads and wakes that are due, the longest waiting first
4. What of a breaker is news is told; the next moment at which time alone changes something → WakeAt, where that is
   sooner than the one set; who was removed, and of whom nothing is left, is forgotten

Asleep, a deployment holds less; falling asleep and waking it holds what it takes awake or asleep, whichever is more.
What failed: no sleep → ready as before, and not asked again in this life; no wake → Stop, and a load where somebody
waits; no memory at a load → once more, after the idle ones have left (3.0), then as any failed load.

Invariants: Σ held ≤ budget on every device after every Start, Sleep and Wake · nothing with leases or untaken grants
is stopped or put to sleep · a ticket ends once: Grant and Taken, Refuse, or Cancel · one life at a time per deployment
· drained means no leases and no children.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from pointsman.fleet import estimates
from pointsman.fleet.admission import admit, hopeless, is_due
from pointsman.fleet.calls import follows_from, free_slots, heard, tell
from pointsman.fleet.draft import Draft
from pointsman.fleet.events import About, Cancel, Drain, Effect, Event, Force, Grant, Release, Report, Taken, Want
from pointsman.fleet.facts import CHANGE, released
from pointsman.fleet.memory import HOST, Sizes, in_words
from pointsman.fleet.room import LEAVABLE, Room, can_fall_asleep, extra_bytes
from pointsman.fleet.roster import ROSTER, forget, newborn, refuse_removed, unknown
from pointsman.fleet.values import (
    ABSENT,
    INFINITY,
    Deployment,
    DeploymentSpec,
    Phase,
    Rules,
    State,
    Waiter,
    Why,
    active,
)
from pointsman.types import Breaker

ENDABLE = frozenset(Phase) - ABSENT - {Phase.STOPPING}
Step = tuple[State, tuple[Effect, ...]]


def initial(specs: tuple[DeploymentSpec, ...], rules: Rules, budget_bytes: int, gpu_budgets: Sizes = ()) -> State:
    """Everything cold; attached deployments are due to be attached at the first step."""
    deployments = {spec.id: newborn(spec) for spec in specs}
    return State(
        rules=rules,
        budgets={HOST: budget_bytes, **dict(gpu_budgets)},
        deployments=deployments,
        active=active(deployments),
        pins=tuple(spec.id for spec in specs if spec.pin),
    )


def step(state: State, event: Event) -> Step:
    """The state after the event, and what must be done, in order."""
    if isinstance(event, About) and event.deployment_id not in state.deployments:
        return unknown(state, event)
    quick = QUICK.get(type(event))
    if quick is not None:
        done = quick(state, event)
        if done is not None:
            return done
    draft = Draft(state, event.at_s)
    if type(event) in ROSTER:
        ROSTER[type(event)](draft, event)
    elif isinstance(event, About):
        draft.touched[event.deployment_id] = None
        CHANGE[type(event)](draft, draft[event.deployment_id], event)
    elif isinstance(event, Drain):
        draft.is_draining = True
    settle(draft, everybody=draft.is_time or draft.is_draining or not isinstance(event, ALIKE))
    forget(draft)
    return draft.sealed()


# ---------------------------------------------------------------- 1. what nothing more can follow from


def _quick_want(state: State, event: Want) -> Step | None:
    d = state.deployments[event.deployment_id]
    is_open = d.phase is Phase.READY and d.closing is None and not d.queue and not state.is_draining
    has_slot = is_open and not event.for_load and free_slots(d, state.rules, event.at_s) > 0
    if has_slot and event.deadline_s > event.at_s:
        return _asked(state, replace(d, granted=d.granted | {event.ticket})), (Grant(ticket=event.ticket),)
    return _join(state, event, d)


def _join(state: State, event: Want, d: Deployment) -> Step | None:
    """One more in a queue that others stand in: no turn comes sooner or later for it, nor any moment of change."""
    is_plain = d.queue and d.queue[0].may_evict and event.may_evict and not event.for_load and not state.is_draining
    if d.breaker.forced is Breaker.FORCED_OPEN or event.deadline_s <= event.at_s:
        return None
    if not is_plain or len(d.queue) >= state.rules.max_queue:
        return None
    if not event.at_s < state.wake_at_s <= event.deadline_s:
        return None
    waiter = Waiter(ticket=event.ticket, since_s=event.at_s, deadline_s=event.deadline_s)
    soonest_s = min(d.next_deadline_s, event.deadline_s)
    return _asked(state, replace(d, queue=(*d.queue, waiter), next_deadline_s=soonest_s)), ()


def _asked(state: State, d: Deployment) -> State:
    """One more want is on record."""
    if not d.spec.is_managed:
        return _with(state, d)
    wants = state.wants + 1
    d = replace(d, demand=d.demand.after(wants))
    return replace(state, wants=wants, deployments={**state.deployments, d.spec.id: d})


def _quick_taken(state: State, event: Taken) -> Step:
    """A ticket that was not granted takes nothing."""
    d = state.deployments[event.deployment_id]
    if event.ticket not in d.granted:
        return state, ()
    leases = {**d.leases, event.ticket: event.at_s}
    return _with(state, replace(d, granted=d.granted - {event.ticket}, leases=leases)), ()


def _quick_release(state: State, event: Release) -> Step | None:
    d = state.deployments[event.deployment_id]
    if d.queue or d.closing or state.is_short or state.is_draining:
        return None
    d = replace(d, **released(d, event))
    leaves_at_s = _leaves_at_s(d)
    if leaves_at_s < INFINITY and not event.at_s < state.wake_at_s <= leaves_at_s:
        return None
    return _with(state, d), ()


def _quick_report(state: State, event: Report) -> Step | None:
    d = state.deployments[event.deployment_id]
    changes = heard(d, state.rules, event)
    if follows_from(d, state.rules, changes, event.at_s):
        return None
    return (_with(state, replace(d, **changes)) if changes else state), ()


def _with(state: State, d: Deployment) -> State:
    return replace(state, deployments={**state.deployments, d.spec.id: d})


QUICK: dict[type[Event], Callable[[State, Any], Step | None]] = {
    Want: _quick_want,
    Taken: _quick_taken,
    Release: _quick_release,
    Report: _quick_report,
}


ALIKE = (Want, Cancel, Release, Report, Force)
"""Events that leave memory as it is; admission aside, they concern one deployment."""

# ---------------------------------------------------------------- 2. – 4. what follows


def settle(draft: Draft, *, everybody: bool) -> None:
    """Rules 2 to 4, until nothing more follows: for everybody, or where memory and time stand still, for those whom the
    event touched and whom that touched."""
    while True:
        everybody = everybody or any(draft[n].spec.pin and draft[n].phase is Phase.STARTING for n in draft.touched)
        for name in draft.active if everybody else tuple(draft.touched):
            d = draft[name]
            if d.phase is Phase.FAILED:
                d = _thaw(draft, d)
            if d.queue:
                d = _grant(draft, _refuse(draft, d))
            if d.phase in ENDABLE and not d.granted and not d.leases:
                _leave(draft, d)
        may_load = everybody or draft.is_short or any(is_due(draft, draft[name]) for name in draft.touched)
        if not may_load or not admit(draft):
            break
    for name in draft.active if everybody else tuple(draft.touched):
        tell(draft, draft[name])
        _alarm(draft, draft[name])


def _thaw(draft: Draft, d: Deployment) -> Deployment:
    """2.1"""
    if d.retry_at_s <= draft.now_s:
        return draft.put(d, phase=Phase.COLD, since_s=draft.now_s)
    return d


def _refuse(draft: Draft, d: Deployment) -> Deployment:
    """2.2"""
    if draft.is_draining:
        why = "this server is shutting down and takes no new requests; try again shortly"
        return draft.refuse_all(d, "draining", estimates.DRAIN_RETRY_AFTER_S, why)
    if d.is_leaving:
        return refuse_removed(draft, d)
    if d.phase is Phase.FAILED:
        retry_s = estimates.ready_in_s(d, draft.now_s)
        why = f"`{d.spec.id}` failed to start {d.failures} times, the next try is in {retry_s:.0f} s: {d.last_error}"
        return draft.refuse_all(d, d.error_code, max(retry_s, estimates.MIN_RETRY_AFTER_S), why)
    if d.phase in (Phase.COLD, Phase.ASLEEP) and (why := hopeless(draft, d)):
        return draft.refuse_all(d, "out_of_memory_budget", estimates.HOPELESS_RETRY_AFTER_S, why)
    if d.breaker.forced is Breaker.FORCED_OPEN:
        d = _turn_away(draft, d)
    if d.next_deadline_s > draft.now_s:
        return d
    late = [waiter for waiter in d.queue if waiter.deadline_s <= draft.now_s]
    for waiter in late:
        why = f"waited {draft.now_s - waiter.since_s:.1f} s for `{d.spec.id}`, which {_state_in_words(draft, d)}"
        draft.refuse(waiter.ticket, "deadline_exceeded", estimates.slot_in_s(d, draft.now_s), why)
    return draft.queue(d, tuple(waiter for waiter in d.queue if waiter.deadline_s > draft.now_s))


def _turn_away(draft: Draft, d: Deployment) -> Deployment:
    """Who wants to call it; an operator may still have it loaded."""
    for waiter in d.queue:
        if not waiter.for_load:
            why = f"an operator keeps `{d.spec.id}` closed off; ask again later or name another model"
            draft.refuse(waiter.ticket, "upstream_unreachable", estimates.HOPELESS_RETRY_AFTER_S, why)
    return draft.queue(d, tuple(waiter for waiter in d.queue if waiter.for_load))


def _state_in_words(draft: Draft, d: Deployment) -> str:
    if d.phase is Phase.READY:
        return "is about to stop" if d.closing else f"has all of its {d.slots} slots busy"
    if d.phase is Phase.COLD and not is_due(draft, d):
        return f"is tried again in {max(0.0, d.retry_at_s - draft.now_s):.1f} s: {d.last_error}"
    if d.phase in (Phase.COLD, Phase.ASLEEP):
        return "waits for memory that busy models hold"
    return f"is {d.phase.value.replace('_', ' ')} since {draft.now_s - d.since_s:.1f} s"


def _grant(draft: Draft, d: Deployment) -> Deployment:
    """2.3"""
    if d.phase is not Phase.READY or not d.queue:
        return d
    free = 0 if d.closing else free_slots(d, draft.rules, draft.now_s)
    granted: list[int] = []
    left: list[Waiter] = []
    for waiter in d.queue:
        if waiter.for_load:
            draft.effects.append(Grant(ticket=waiter.ticket))
        elif len(granted) < free:
            granted.append(waiter.ticket)
            draft.effects.append(Grant(ticket=waiter.ticket))
        else:
            left.append(waiter)
    return draft.put(draft.queue(d, tuple(left)), granted=d.granted | set(granted))


def _leave(draft: Draft, d: Deployment) -> None:
    """2.4"""
    if draft.is_draining or d.is_leaving:
        draft.stop(d, Why.DRAINED if draft.is_draining else Why.REMOVED)
    elif d.phase not in LEAVABLE:
        return
    elif d.closing and d.to_sleep:
        _sleep(draft, d)
    elif d.closing:
        draft.stop(d, d.closing)
    elif not d.queue and _unused_until_s(d, d.spec.ttl_s) <= draft.now_s:
        draft.stop(d, Why.EXPIRED)
    elif not d.queue and _drowsy_at_s(d) <= draft.now_s and can_fall_asleep(d, _free_bytes(draft)):
        draft.sleep(d)


def _sleep(draft: Draft, d: Deployment) -> None:
    """2.5"""
    if can_fall_asleep(d, _free_bytes(draft)):
        draft.sleep(d)
    elif d.closing is Why.EVICTED:
        draft.stop(d, Why.EVICTED)
    else:
        why = f"cannot sleep now: that takes {in_words(extra_bytes(d))} more of memory than serving, and it is not free"
        draft.put(d, closing=None, to_sleep=False, last_error=why)


def _free_bytes(draft: Draft) -> int:
    return Room(draft).free[HOST]


def _unused_until_s(d: Deployment, limit_s: float | None) -> float:
    return INFINITY if limit_s is None or d.spec.pin else d.idle_since_s + limit_s


def _drowsy_at_s(d: Deployment) -> float:
    return _unused_until_s(d, d.spec.sleep_after_s) if d.phase is Phase.READY and d.can_sleep else INFINITY


def _leaves_at_s(d: Deployment) -> float:
    if d.spec.ttl_s is None and d.spec.sleep_after_s is None:
        return INFINITY
    return min(_unused_until_s(d, d.spec.ttl_s), _drowsy_at_s(d))


def _alarm(draft: Draft, d: Deployment) -> None:
    """4"""
    if d.next_deadline_s < INFINITY:
        draft.alarm(d.next_deadline_s)
    if d.breaker.open_until_s is not None:
        draft.alarm(d.breaker.open_until_s)
    if d.phase is Phase.FAILED or (d.phase is Phase.COLD and (d.queue or d.restart_wanted) and not is_due(draft, d)):
        draft.alarm(d.retry_at_s)
    elif d.phase in LEAVABLE and d.is_idle:
        draft.alarm(_leaves_at_s(d))

"""Which loads may begin, and who leaves for them (rule 3 of `machine`). Pure.

Loads that are due, the longest waiting first; for each:
3.1 it fits what is free → Start, which reserves its memory
3.2 enough memory is on its way back, or idle victims make it so → Stop them; it waits, and that memory is spoken for.
    Where busy ones are worth less than those victims, it waits for them first, as in 3.5, within bounds
3.3 it is polite (a preload or an unasked restart): nobody leaves for it → its waiters are refused, a restart waits
3.4 it has waited longer than max_wait_s → its victims, busy ones included, take no new wants (they finish what they
    have, then stop), and nobody behind it overtakes; but one with a queue serves
    it first while those who came earlier stand in it, or it was loaded less than max_wait_s and its load time ago
3.5 otherwise it waits, and others may overtake
Before all of them: where a measurement has overdrawn the budget, idle victims leave.
A victim that closed for somebody who no longer waits is open again.
"""

from msgspec.structs import replace

from pointsman.fleet import estimates
from pointsman.fleet.draft import Draft
from pointsman.fleet.eviction import POLICIES, Record
from pointsman.fleet.memory import Eviction, Resident, choose_victims, in_words
from pointsman.fleet.values import Deployment, Phase, Why


class Room:
    """Memory during one admission: `free`, and `coming` back from those that stop, neither yet spoken for."""

    def __init__(self, draft: Draft) -> None:
        held = [d for d in draft.stirring() if d.is_resident]
        self.free_bytes = draft.budget_bytes - sum(d.footprint_bytes for d in held)
        self.coming_bytes = sum(d.footprint_bytes for d in held if d.phase is Phase.STOPPING)
        self._residents: list[Resident] | None = None
        self._is_woken = False

    def residents(self, draft: Draft) -> list[Resident]:
        """Everybody who is ready, as a possible victim; the same for every load until somebody leaves or closes."""
        if self._residents is None:
            self._residents = _residents(draft)
        return self._residents

    def changed(self) -> None:
        """Somebody leaves or closes."""
        self._residents = None

    def wake_for_the_young(self, draft: Draft) -> None:
        """The guard of somebody ends: when loads may evict it, when those who starve may."""
        if self._is_woken:
            return
        self._is_woken = True
        for d in draft.stirring():
            if d.phase is Phase.READY:
                draft.alarm(_grown_at_s(draft, d))
                draft.alarm(_served_at_s(draft, d))

    def speak_for(self, short_bytes: int) -> None:
        """All that is free, and this much of what is coming."""
        self.free_bytes = min(self.free_bytes, 0)
        self.coming_bytes = max(0, self.coming_bytes - short_bytes)


def admit(draft: Draft) -> bool:
    """Start, evict, refuse. True where anything was done, so that all must be looked at once more."""
    draft.is_short = False
    done_before = len(draft.effects)
    room = Room(draft)
    if room.free_bytes + room.coming_bytes < 0:
        _pay_back(draft, room)
    due = [d for d in draft.stirring() if is_due(draft, d)]
    for d in sorted(due, key=_place_in_line):
        if not _place(draft, room, d):
            break
    return _reopen(draft) or len(draft.effects) > done_before


def is_due(draft: Draft, d: Deployment) -> bool:
    """Whether a load should begin, memory permitting."""
    if d.phase is not Phase.COLD or draft.is_draining or not (d.queue or d.restart_wanted):
        return False
    return d.retry_at_s <= draft.now_s or (d.may_hurry and bool(d.queue))


def hopeless(draft: Draft, d: Deployment) -> str:
    """Why it could never be loaded, in words; empty where it could."""
    pinned = [p for p in draft.stirring() if p.spec.pin and p.is_resident and p is not d]
    pinned_bytes = sum(p.footprint_bytes for p in pinned)
    if d.footprint_bytes <= draft.budget_bytes - pinned_bytes:
        return ""
    names = ", ".join(f"`{p.spec.id}`" for p in pinned)
    held = f", of which {in_words(pinned_bytes)} are pinned by {names}" if pinned else ""
    return (
        f"`{d.spec.id}` needs {in_words(d.footprint_bytes)} of memory and the budget is "
        f"{in_words(draft.budget_bytes)}{held}; raise fleet.memory_budget_gb or choose a smaller model"
    )


def _waiting_since(d: Deployment) -> float:
    return d.queue[0].since_s if d.queue else d.retry_at_s


def _place_in_line(d: Deployment) -> tuple[bool, float]:
    """Who takes no memory waits behind nobody."""
    return d.footprint_bytes > 0, _waiting_since(d)


def _place(draft: Draft, room: Room, d: Deployment) -> bool:
    """One load. False where nobody behind it may overtake."""
    short_bytes = d.footprint_bytes - room.free_bytes
    if short_bytes <= 0 or not d.footprint_bytes:  # 3.1  (nothing at all fits even an overdrawn budget)
        draft.start(d)
        room.free_bytes -= d.footprint_bytes
        return True
    draft.is_short = True
    missing_bytes = short_bytes - room.coming_bytes - _promised(draft, d)
    if missing_bytes > 0 and not _make_room(draft, room, d, missing_bytes):
        return _is_polite(d) or not _is_starved(draft, d)
    room.speak_for(short_bytes)  # 3.2
    return True


def _make_room(draft: Draft, room: Room, d: Deployment, missing_bytes: int) -> bool:
    """Whether victims could be told to stop for it at once."""
    eviction = choose_victims(room.residents(draft), missing_bytes)
    if eviction.is_enough and not _is_polite(d):
        wait_until_s = _waiting_since(d) + _patience_s(draft, room, eviction, missing_bytes)
        if wait_until_s <= draft.now_s:
            _evict(draft, room, eviction)
            return True
        draft.alarm(wait_until_s)
    elif _is_polite(d):  # 3.3
        if d.queue:
            draft.refuse_all(d, "out_of_memory_budget", estimates.HOPELESS_RETRY_AFTER_S, _no_room(draft, room, d))
    elif _is_starved(draft, d):  # 3.4
        room.wake_for_the_young(draft)
        room.changed()
        for name in choose_victims(_residents(draft, starved=d), missing_bytes, may_wait_for_busy=True).victims:
            victim = draft[name]
            victim = draft.put(victim, closing=victim.closing or Why.EVICTED, yields_to=d.spec.id)
            if victim.is_idle:
                draft.stop(victim, Why.EVICTED)
    else:  # 3.5
        draft.alarm(_starves_at_s(draft, d))
        room.wake_for_the_young(draft)
    return False


def _patience_s(draft: Draft, room: Room, eviction: Eviction, missing_bytes: int) -> float:
    """How long to wait for a busy one that is worth less than the idle ones: no longer than loading those again takes.

    The rule of who rents skis for as long as they would cost to buy: the wait never exceeds what it may save.
    """
    if not POLICIES[draft.rules.eviction].is_patient:
        return 0.0
    candidates = [replace(one, is_busy=bool(draft[one.id].queue)) for one in room.residents(draft)]
    better = choose_victims(candidates, missing_bytes)
    if set(better.victims) <= set(eviction.victims):
        return 0.0
    return min(draft.rules.max_wait_s, sum(estimates.load_s(draft[name]) for name in eviction.victims))


def _evict(draft: Draft, room: Room, eviction: Eviction) -> None:
    for name in eviction.victims:
        draft.stop(draft[name], Why.EVICTED)
    room.changed()
    room.coming_bytes += eviction.freed_bytes


def _pay_back(draft: Draft, room: Room) -> None:
    """A model proved larger than its estimate: bring the sum back below the budget as soon as somebody is idle."""
    eviction = choose_victims(room.residents(draft), -room.free_bytes - room.coming_bytes)
    draft.is_short = True
    if eviction.is_enough:
        _evict(draft, room, eviction)
    else:
        room.wake_for_the_young(draft)


def _promised(draft: Draft, d: Deployment) -> int:
    """Memory of busy victims that have closed for it and will stop when idle."""
    name = d.spec.id
    return sum(v.footprint_bytes for v in draft.stirring() if v.yields_to == name and v.phase is Phase.READY)


def _is_polite(d: Deployment) -> bool:
    return not any(waiter.may_evict for waiter in d.queue)


def _is_starved(draft: Draft, d: Deployment) -> bool:
    return bool(d.queue) and _starves_at_s(draft, d) <= draft.now_s


def _starves_at_s(draft: Draft, d: Deployment) -> float:
    return _waiting_since(d) + draft.rules.max_wait_s


def _residents(draft: Draft, *, starved: Deployment | None = None) -> list[Resident]:
    """Everybody who is ready, as a possible victim. For a starved one the churn guard falls."""
    return [
        Resident(
            id=d.spec.id,
            size_bytes=d.footprint_bytes,
            worth=_worth(draft, d),
            is_busy=not d.is_idle or (bool(d.queue) and starved is None),
            held_by=_held_by(draft, d, starved=starved),
        )
        for d in draft.stirring()
        if d.phase is Phase.READY and d.spec.is_managed
    ]


def _worth(draft: Draft, d: Deployment) -> float:
    record = Record(
        demand=d.demand,
        wants=draft.wants,
        idle_s=draft.now_s - d.idle_since_s,
        size_bytes=d.footprint_bytes,
        reload_s=estimates.load_s(d),
    )
    return POLICIES[draft.rules.eviction].worth(record)


def _held_by(draft: Draft, d: Deployment, *, starved: Deployment | None) -> str:
    if d.spec.pin:
        return "is pinned"
    if d.yields_to:
        return f"leaves for `{d.yields_to}`"
    if starved is None:
        is_young = draft.now_s < _grown_at_s(draft, d)
        return f"was loaded {draft.now_s - d.since_s:.1f} s ago" if is_young else ""
    is_first = bool(d.queue) and d.queue[0].since_s <= _waiting_since(starved)
    if is_first or (d.queue and draft.now_s < _served_at_s(draft, d)):
        return "serves those who waited for it"
    return ""


def _grown_at_s(draft: Draft, d: Deployment) -> float:
    """The moment itself is compared, never a difference: rounding must not lose the one tick that comes then."""
    return d.since_s + draft.rules.min_resident_s


def _served_at_s(draft: Draft, d: Deployment) -> float:
    """Until then a load serves its queue even where somebody starves: where all starve, loads that each served one
    request would serve nobody (gated polling)."""
    return d.since_s + draft.rules.max_wait_s + estimates.load_s(d)


def _no_room(draft: Draft, room: Room, d: Deployment) -> str:
    return (
        f"`{d.spec.id}` needs {in_words(d.footprint_bytes)} of memory; {in_words(max(room.free_bytes, 0))} of the "
        f"budget of {in_words(draft.budget_bytes)} are free, and a preload evicts nobody: raise fleet.memory_budget_gb "
        "or preload less"
    )


def _reopen(draft: Draft) -> bool:
    opened = False
    for v in draft.stirring():
        if v.yields_to and not _waits(draft[v.yields_to]):
            draft.put(v, closing=None if v.closing is Why.EVICTED else v.closing, yields_to="")
            opened = True
    return opened


def _waits(d: Deployment) -> bool:
    return d.phase is Phase.COLD and bool(d.queue)

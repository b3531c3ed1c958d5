"""Which loads and wakes may begin, and who leaves for them (rule 3 of `machine`). Pure.

Those that are due, the longest waiting first; for each:
3.0 its last start ran out of memory → every idle one on its devices stops, whatever the books say, and it waits until
    they are gone
3.1 it fits what is free on every device → Start or Wake, which reserves its memory
3.2 enough memory is on its way back, or idle victims make it so → they fall asleep where that frees enough, else Stop;
    it waits, and that memory is spoken for. Those asleep count as idle, even where somebody behind it waits for them.
    Where busy ones are worth less than those victims, it waits for them first, as in 3.5, within bounds
3.3 it is polite (a preload or an unasked restart): nobody leaves for it → its waiters are refused, a restart waits
3.4 it has waited longer than max_wait_s → its victims, busy ones included, take no new wants (they finish what they
    have, then sleep or stop), and nobody behind it overtakes; but one with a queue serves
    it first while those who came earlier stand in it, or it was loaded less than max_wait_s and its load time ago
3.5 otherwise it waits, and others may overtake
Before all of them: where a measurement has overdrawn a budget, idle victims leave.
A victim that closed for somebody who no longer waits is open again.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from pointsman.fleet import estimates
from pointsman.fleet.draft import Draft
from pointsman.fleet.eviction import POLICIES
from pointsman.fleet.memory import HOST, Eviction, Sizes, added, choose_victims, device_in_words, in_order, in_words
from pointsman.fleet.room import (
    LEAVABLE,
    Room,
    can_fall_asleep,
    extra_bytes,
    gains,
    needs,
    residents,
    waiting_since_s,
)
from pointsman.fleet.values import Deployment, Phase, Why


def admit(draft: Draft) -> bool:
    """Start, wake, evict, refuse. True where anything was done, so that all must be looked at once more."""
    draft.is_short = False
    done_before = len(draft.effects)
    room = Room(draft)
    if overdrawn := room.overdrawn():
        _pay_back(draft, room, overdrawn)
    waiting = [d for d in draft.stirring() if (d.queue or d.restart_wanted) and is_due(draft, d)]
    due = sorted(waiting, key=_place_in_line) if len(waiting) > 1 else waiting
    asleep = [d.spec.id for d in due if d.phase is Phase.ASLEEP]
    for d in due:
        if d.phase is Phase.ASLEEP:
            asleep = asleep[1:]
            if draft[d.spec.id] is not d:  # it had to stop for one before it
                continue
        if not _place(draft, room, d, behind=asleep):
            break
    return (bool(room.promised) and _reopen(draft)) or len(draft.effects) > done_before


def is_due(draft: Draft, d: Deployment) -> bool:
    """Whether a load or a wake should begin, memory permitting."""
    if d.phase is Phase.ASLEEP:
        return bool(d.queue) and not draft.is_draining
    if d.phase is not Phase.COLD or draft.is_draining or d.is_leaving or not (d.queue or d.restart_wanted):
        return False
    return d.retry_at_s <= draft.now_s or (d.may_hurry and bool(d.queue))


def hopeless(draft: Draft, d: Deployment) -> str:
    """Why it could never be loaded, in words; empty where it could."""
    pinned = [p for name in draft.pins if (p := draft[name]).is_resident and name != d.spec.id]
    held = dict(added([p.holds for p in pinned])) if pinned else {}
    for device, size in d.takes:
        if size > draft.budgets.get(device, 0) - held.get(device, 0):
            return _too_big(draft, d, device, size, [p for p in pinned if dict(p.holds).get(device)])
    return ""


def _too_big(draft: Draft, d: Deployment, device: int, size: int, pinned: list[Deployment]) -> str:
    if device not in draft.budgets:
        known = ", ".join(f"GPU {index}" for index in draft.budgets if index != HOST) or "no GPU"
        return f"`{d.spec.id}` is to use GPU {device}; there is {known} here: choose another in `gpus`"
    names = ", ".join(f"`{p.spec.id}`" for p in pinned)
    held_bytes = sum(dict(p.holds)[device] for p in pinned)
    of_which = f", of which {in_words(held_bytes)} are pinned by {names}" if names else ""
    return (
        f"`{d.spec.id}` needs {in_words(size)} of {device_in_words(device)} and the budget is "
        f"{in_words(draft.budgets[device])}{of_which}; raise {_budget_setting(device)} or choose a smaller model"
    )


def _budget_setting(device: int) -> str:
    return "fleet.memory_budget_gb" if device == HOST else "fleet.gpu_memory_budget_gb"


def _place_in_line(d: Deployment) -> tuple[bool, float]:
    """Who takes no memory waits behind nobody."""
    return d.footprint_bytes > 0 or bool(d.gpu_bytes), waiting_since_s(d)


def _place(draft: Draft, room: Room, d: Deployment, behind: Sequence[str]) -> bool:
    """One load or wake. False where nobody behind it may overtake."""
    need = needs(d)
    if d.ran_out and _clear(draft, d):  # 3.0
        return False
    short = room.short(need)
    if not short:
        room.take(need)
        if d.ran_out and _is_clearing(draft, d):
            draft.is_short = True
        elif d.phase is Phase.ASLEEP:  # 3.1
            draft.wake(d)
        else:
            draft.start(d)
        return True
    draft.is_short = True
    missing = room.missing(d.spec.id, short)
    if missing and not _make_room(draft, room, d, missing, behind):
        return _is_polite(d) or not _is_starved(draft, d)
    room.speak_for(need, short)  # 3.2
    return True


def _clear(draft: Draft, d: Deployment) -> bool:
    """Whether anybody was told to stop, so that all must be looked at once more."""
    idle = [
        v
        for v in _neighbours(draft, d)
        if v.phase in LEAVABLE and v.is_idle and not (v.queue or v.spec.pin) and v.spec.is_managed
    ]
    for v in idle:
        draft.stop(v, Why.EVICTED)
    return bool(idle)


def _is_clearing(draft: Draft, d: Deployment) -> bool:
    """Whether somebody who leaves its devices is not gone yet."""
    return any(v.phase in (Phase.STOPPING, Phase.FALLING_ASLEEP) for v in _neighbours(draft, d))


def _neighbours(draft: Draft, d: Deployment) -> list[Deployment]:
    """Who holds memory where it ran out."""
    crowded = dict(d.crowded)
    return [v for v in draft.stirring() if v.spec.id != d.spec.id and any(n and i in crowded for i, n in v.holds)]


def _make_room(draft: Draft, room: Room, d: Deployment, missing: Sizes, behind: Sequence[str]) -> bool:
    """Whether victims could be told to leave for it, at once or when they have finished."""
    if _is_polite(d):  # 3.3
        if d.queue:
            why = _no_room(draft, room, d, missing)
            draft.refuse_all(d, "out_of_memory_budget", estimates.HOPELESS_RETRY_AFTER_S, why)
        return False
    eviction, gentle = _victims(draft, room, missing, behind)
    if eviction.is_enough:
        wait_until_s = waiting_since_s(d) + _patience_s(draft, room, eviction, missing, gentle=gentle)
        if wait_until_s <= draft.now_s:
            _evict(draft, room, eviction, missing, _spare_bytes(room, d))
            return True
        draft.alarm(wait_until_s)
    elif _is_starved(draft, d):  # 3.4
        room.alarm_for_the_young(draft)
        return _close_for(draft, room, d, missing)
    else:  # 3.5
        draft.alarm(_starves_at_s(draft, d))
        room.alarm_for_the_young(draft)
    return False


def _victims(draft: Draft, room: Room, missing: Sizes, behind: Sequence[str] = ()) -> tuple[Eviction, bool]:
    """Who leaves, and whether it is enough that those sleep who can."""
    devices, sizes = _columns(missing)
    for gentle in (True, False) if room.has_sleepers else (False,):
        able = room.idle(draft, devices, gentle=gentle)
        if behind:
            all_of_them = room.residents(draft, devices, gentle=gentle)
            able = in_order([replace(one, is_busy=False) if one.id in behind else one for one in all_of_them])
        eviction = choose_victims(able, sizes)
        if eviction.is_enough:
            return eviction, gentle
    return eviction, False


def _columns(missing: Sizes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if len(missing) == 1:
        [(device, size)] = missing
        return (device,), (size,)
    return tuple([device for device, _ in missing]), tuple([size for _, size in missing])


def _patience_s(draft: Draft, room: Room, eviction: Eviction, missing: Sizes, *, gentle: bool) -> float:
    """How long to wait for a busy one that is worth less than the idle ones: no longer than having those back takes.

    The rule of who rents skis for as long as they would cost to buy: the wait never exceeds what it may save.
    """
    if not POLICIES[draft.rules.eviction].is_patient:
        return 0.0
    devices, sizes = _columns(missing)
    able = room.residents(draft, devices, gentle=gentle)
    better = choose_victims(in_order([replace(one, is_busy=bool(draft[one.id].queue)) for one in able]), sizes)
    if set(better.victims) <= set(eviction.victims):
        return 0.0
    back_in_s = estimates.wake_s if gentle else estimates.load_s
    return min(draft.rules.max_wait_s, sum(back_in_s(draft[name]) for name in eviction.victims))


def _spare_bytes(room: Room, d: Deployment) -> int:
    """Of the host, that those who fall asleep for it may take."""
    return room.free[HOST] - needs(d)[0][1]


def _sleepers(draft: Draft, eviction: Eviction, missing: Sizes, spare_bytes: int) -> frozenset[str]:
    """Of the victims, those for whom sleep is enough; the dearest are asked first."""
    surplus = dict(added([*(draft[name].holds for name in eviction.victims), _minus(missing)]))
    asleep = []
    for name in reversed(eviction.victims):
        d = draft[name]
        if not can_fall_asleep(d, spare_bytes):
            continue
        kept = dict(d.takes_asleep)
        if all(kept.get(device, 0) <= surplus[device] for device, _ in missing):
            surplus = {device: size - kept.get(device, 0) for device, size in surplus.items()}
            spare_bytes -= extra_bytes(d)
            asleep.append(name)
    return frozenset(asleep)


def _minus(sizes: Sizes) -> Sizes:
    return tuple((device, -size) for device, size in sizes)


def _evict(draft: Draft, room: Room, eviction: Eviction, missing: Sizes, spare_bytes: int) -> None:
    asleep = _sleepers(draft, eviction, missing, spare_bytes) if room.has_sleepers else frozenset()
    for name in eviction.victims:
        d = draft[name]
        room.comes(gains(d, gentle=name in asleep))
        room.free[HOST] -= extra_bytes(d) if name in asleep else 0
        _leave(draft, d, sleeps=name in asleep)
    room.changed()


def _leave(draft: Draft, d: Deployment, *, sleeps: bool) -> None:
    if sleeps:
        draft.sleep(d)
    else:
        draft.stop(d, Why.EVICTED)


def _close_for(draft: Draft, room: Room, d: Deployment, missing: Sizes) -> bool:
    """Whether there are victims: they take no more wants, and leave as they fall idle."""
    room.changed()
    devices, sizes = _columns(missing)
    for gentle in (True, False) if room.has_sleepers else (False,):
        able = residents(draft, room, devices, gentle=gentle, starved=d)
        eviction = choose_victims(in_order(able, may_wait_for_busy=True), sizes)
        if eviction.is_enough:
            break
    asleep = _sleepers(draft, eviction, missing, _spare_bytes(room, d)) if room.has_sleepers else frozenset()
    for name in eviction.victims:
        victim = draft[name]
        closing = Why.EVICTED if victim.closing in (None, Why.RESTED) else victim.closing
        sleeps = name in asleep and closing is Why.EVICTED
        victim = draft.put(victim, closing=closing, to_sleep=sleeps, yields_to=d.spec.id)
        if victim.is_idle:
            room.comes(gains(victim, gentle=sleeps))
            room.free[HOST] -= extra_bytes(victim) if sleeps else 0
            _leave(draft, victim, sleeps=sleeps)
    return eviction.is_enough


def _pay_back(draft: Draft, room: Room, overdrawn: Sizes) -> None:
    """A model proved larger than its estimate: bring the sum back below the budget as soon as somebody is idle."""
    draft.is_short = True
    eviction, _ = _victims(draft, room, overdrawn)
    if eviction.is_enough:
        _evict(draft, room, eviction, overdrawn, room.free[HOST])
    else:
        room.alarm_for_the_young(draft)


def _is_polite(d: Deployment) -> bool:
    return not d.queue or not (d.queue[0].may_evict or any(waiter.may_evict for waiter in d.queue))


def _is_starved(draft: Draft, d: Deployment) -> bool:
    return bool(d.queue) and _starves_at_s(draft, d) <= draft.now_s


def _starves_at_s(draft: Draft, d: Deployment) -> float:
    return waiting_since_s(d) + draft.rules.max_wait_s


def _no_room(draft: Draft, room: Room, d: Deployment, missing: Sizes) -> str:
    device = missing[0][0]
    free, budget = in_words(max(room.free[device], 0)), in_words(draft.budgets[device])
    return (
        f"`{d.spec.id}` needs {in_words(dict(needs(d))[device])} of {device_in_words(device)}; {free} of the budget of "
        f"{budget} are free, and a preload evicts nobody: raise {_budget_setting(device)} or preload less"
    )


def _reopen(draft: Draft) -> bool:
    opened = False
    for v in draft.stirring():
        if v.yields_to and not _waits(draft[v.yields_to]):
            is_evicted = v.closing is Why.EVICTED
            draft.put(
                v, closing=None if is_evicted else v.closing, to_sleep=v.to_sleep and not is_evicted, yields_to=""
            )
            opened = True
    return opened


def _waits(d: Deployment) -> bool:
    return d.phase in (Phase.COLD, Phase.ASLEEP) and bool(d.queue)

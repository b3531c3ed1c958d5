"""Memory during one admission: what is free on each device, who could leave, and what that would free. Pure.

Knows: what deployments hold, and how dear each is. Does not know: who wants memory, nor when anybody may leave for it
(`admission`). The sizes of residents and of what is missing stand in the order of the same devices.

A victim that can sleep is asked for as much only (`gentle`), where that is enough: it is back in a wake, not a load.
"""

from collections.abc import Mapping
from types import MappingProxyType

from pointsman.fleet import estimates
from pointsman.fleet.draft import Draft
from pointsman.fleet.eviction import POLICIES, Record
from pointsman.fleet.memory import HOST, Resident, Sizes, in_order
from pointsman.fleet.values import Deployment, Phase

NOTHING: Mapping[int, int] = MappingProxyType({})
LEAVABLE = frozenset({Phase.READY, Phase.ASLEEP})


class Room:
    """`free`, and `coming` back from those that stop or fall asleep, neither yet spoken for; by device."""

    def __init__(self, draft: Draft) -> None:
        self.free = dict(draft.budgets)
        self.coming: dict[int, int] = {}
        self.promised: dict[str, dict[int, int]] = {}
        self.has_sleepers = False
        self._residents: dict[tuple[tuple[int, ...], bool], list[Resident]] = {}
        self._idle: dict[tuple[tuple[int, ...], bool], list[Resident]] = {}
        self._is_alarmed = False
        for d in draft.stirring():
            if d.phase is Phase.COLD:
                continue
            for device, size in d.holds:
                self.free[device] = self.free.get(device, 0) - size
            if d.phase is Phase.READY:
                self.has_sleepers = self.has_sleepers or d.can_sleep
                if d.yields_to:
                    _add(self.promised.setdefault(d.yields_to, {}), gains(d, gentle=d.to_sleep))
            elif d.phase is Phase.STOPPING:
                _add(self.coming, d.holds)
            elif d.phase is Phase.FALLING_ASLEEP:
                _add(self.coming, gains(d, gentle=True))

    def comes(self, sizes: Sizes) -> None:
        """So much more is on its way back."""
        _add(self.coming, sizes)

    def take(self, sizes: Sizes) -> None:
        for device, size in sizes:
            self.free[device] = self.free.get(device, 0) - size

    def short(self, need: Sizes) -> Sizes:
        """What is not free. Nothing at all fits even an overdrawn device."""
        free = self.free
        return tuple(
            [(device, size - free.get(device, 0)) for device, size in need if size and size > free.get(device, 0)]
        )

    def missing(self, name: str, short: Sizes) -> Sizes:
        """What is short, and neither on its way back nor promised by victims that have closed for this one."""
        coming, promised = self.coming, self.promised.get(name, NOTHING)
        if not coming and not promised:
            return short
        left = [(device, size - coming.get(device, 0) - promised.get(device, 0)) for device, size in short]
        return tuple([(device, size) for device, size in left if size > 0])

    def overdrawn(self) -> Sizes:
        """What even all that comes back does not cover."""
        left = [(device, -size - self.coming.get(device, 0)) for device, size in self.free.items() if size < 0]
        return tuple([(device, size) for device, size in left if size > 0])

    def speak_for(self, need: Sizes, short: Sizes) -> None:
        """What is free of the need, and the rest of what is coming."""
        lacks = dict(short)
        for device, size in need:
            if device in lacks:
                self.free[device] = min(self.free.get(device, 0), 0)
                self.coming[device] = max(0, self.coming.get(device, 0) - lacks[device])
            else:
                self.free[device] = self.free.get(device, 0) - size

    def residents(self, draft: Draft, devices: tuple[int, ...], *, gentle: bool) -> list[Resident]:
        """Everybody who could leave, as a possible victim; the same for every load until somebody leaves or closes."""
        found = self._residents.get((devices, gentle))
        if found is None:
            found = self._residents[devices, gentle] = residents(draft, self, devices, gentle=gentle)
        return found

    def idle(self, draft: Draft, devices: tuple[int, ...], *, gentle: bool) -> list[Resident]:
        """Of those, who may leave at once, in order."""
        found = self._idle.get((devices, gentle))
        if found is None:
            found = self._idle[devices, gentle] = in_order(self.residents(draft, devices, gentle=gentle))
        return found

    def alarm_for_the_young(self, draft: Draft) -> None:
        """The guard of somebody ends: when loads may evict it, when those who starve may."""
        if self._is_alarmed:
            return
        self._is_alarmed = True
        for d in draft.stirring():
            if d.phase is Phase.READY:
                draft.alarm(grown_at_s(draft, d))
                draft.alarm(served_at_s(draft, d))

    def changed(self) -> None:
        """Somebody leaves or closes."""
        self._residents.clear()
        self._idle.clear()


def _add(sums: dict[int, int], sizes: Sizes) -> None:
    for device, size in sizes:
        sums[device] = sums.get(device, 0) + size


def needs(d: Deployment) -> Sizes:
    """What it needs beyond what it holds, to be ready."""
    if d.phase is Phase.COLD:
        return d.takes
    held = dict(d.holds)
    return tuple([(device, max(0, size - held.get(device, 0))) for device, size in d.takes])


def gains(d: Deployment, *, gentle: bool) -> Sizes:
    """What comes back when it falls asleep (`gentle`) or stops."""
    if not gentle:
        return d.holds
    asleep = dict(d.takes_asleep)
    return tuple([(device, max(0, size - asleep.get(device, 0))) for device, size in d.takes])


def extra_bytes(d: Deployment) -> int:
    """Of the host, that it takes more asleep than awake, as an engine does that parks a GPU's weights there."""
    return max(0, d.asleep_bytes - d.footprint_bytes)


def can_fall_asleep(d: Deployment, free_bytes: int) -> bool:
    """`free_bytes`: of the host."""
    return d.phase is Phase.READY and d.can_sleep and extra_bytes(d) <= max(0, free_bytes)


def residents(
    draft: Draft, room: Room, devices: tuple[int, ...], *, gentle: bool, starved: Deployment | None = None
) -> list[Resident]:
    """For a starved one the churn guard falls, and whoever came after it counts as not busy."""
    found = []
    for d in draft.stirring():
        if d.phase not in LEAVABLE or not d.spec.is_managed:
            continue
        sleeps = gentle and can_fall_asleep(d, room.free[HOST])
        freed = gains(d, gentle=sleeps)
        sizes = (freed[0][1],) if devices == (HOST,) else _on(freed, devices)
        found.append(
            Resident(
                id=d.spec.id,
                sizes=sizes,
                worth=_worth(draft, d, sum(sizes), _back_in_s(d, sleeps=sleeps)),
                is_busy=not d.is_idle or (bool(d.queue) and starved is None),
                held_by=_held_by(draft, d, starved=starved),
            )
        )
    return found


def _on(sizes: Sizes, devices: tuple[int, ...]) -> tuple[int, ...]:
    found = dict(sizes)
    return tuple([found.get(device, 0) for device in devices])


def _back_in_s(d: Deployment, *, sleeps: bool) -> float:
    """What its absence would cost whoever asks for it next, beyond what it costs now."""
    if sleeps:
        return estimates.wake_s(d)
    return estimates.load_s(d) - (estimates.wake_s(d) if d.phase is Phase.ASLEEP else 0.0)


def _worth(draft: Draft, d: Deployment, size_bytes: int, back_in_s: float) -> float:
    record = Record(
        demand=d.demand,
        wants=draft.wants,
        idle_s=draft.now_s - d.idle_since_s,
        size_bytes=size_bytes,
        reload_s=back_in_s,
    )
    return POLICIES[draft.rules.eviction].worth(record)


def _held_by(draft: Draft, d: Deployment, *, starved: Deployment | None) -> str:
    if d.spec.pin:
        return "is pinned"
    if d.yields_to:
        return f"leaves for `{d.yields_to}`"
    if starved is None:
        is_young = d.phase is Phase.READY and draft.now_s < grown_at_s(draft, d)
        return f"was loaded {draft.now_s - d.ready_since_s:.1f} s ago" if is_young else ""
    is_first = bool(d.queue) and d.queue[0].since_s <= waiting_since_s(starved)
    if is_first or (d.phase is Phase.READY and d.queue and draft.now_s < served_at_s(draft, d)):
        return "serves those who waited for it"
    return ""


def waiting_since_s(d: Deployment) -> float:
    return d.queue[0].since_s if d.queue else d.retry_at_s


def grown_at_s(draft: Draft, d: Deployment) -> float:
    """The moment itself is compared, never a difference: rounding must not lose the one tick that comes then."""
    return d.ready_since_s + draft.rules.min_resident_s


def served_at_s(draft: Draft, d: Deployment) -> float:
    """Until then a load serves its queue even where somebody starves: where all starve, loads that each served one
    request would serve nobody (gated polling)."""
    return d.ready_since_s + draft.rules.max_wait_s + estimates.load_s(d)

"""Which quantisation of a model to load: the best that fits. Pure.

Knows: what each would take, what could be free. Does not know: how any is loaded.
1. the best for which there can be room at once: on every device, what neither busy nor pinned models hold
2. else the best that would ever fit beside the pinned ones; it will wait
3. else the smallest, and the admission says in bytes why it is refused
"""

from collections.abc import Mapping, Sequence

from pointsman.fleet.memory import HOST, Sizes, in_words, total
from pointsman.fleet.values import Deployment, Phase, State
from pointsman.types import Value

Room = Mapping[int, int]


class Option(Value, frozen=True):
    """One quantisation and what it takes on each device."""

    name: str
    takes: Sizes


class Choice(Value, frozen=True):
    """`why` in words; empty where it is the first."""

    index: int
    why: str = ""


def choose(options: Sequence[Option], now: Room, ever: Room) -> Choice:
    """`options`: best first, at least one. `now`, `ever`: bytes by device."""
    for room in (now, ever):
        for index, option in enumerate(options):
            if not _lacking(option, room):
                return Choice(index=index, why=_why(options[:index], room))
    smallest = min(range(len(options)), key=lambda index: total(options[index].takes))
    return Choice(index=smallest, why=_why(options[:smallest], ever))


def room_for(state: State, deployment_id: str) -> tuple[Room, Room]:
    """What could be free for it at once, and what ever, by device."""
    ever = {HOST: state.budget_bytes, **dict(state.gpu_budgets)}
    now = dict(ever)
    for d in state.stirring():
        if d.spec.id == deployment_id or not d.is_resident:
            continue
        for device, size in d.holds:
            ever[device] = ever.get(device, 0) - (size if d.spec.pin else 0)
            now[device] = now.get(device, 0) - (size if d.spec.pin or _is_held(d) else 0)
    return now, ever


def _is_held(d: Deployment) -> bool:
    """Whether somebody uses it or waits for it."""
    return bool(d.queue) or not d.is_idle or d.phase is Phase.STARTING


def _why(passed_over: Sequence[Option], room: Room) -> str:
    said = []
    for option in passed_over:
        device, size = _lacking(option, room)[0]
        where = "" if device == HOST else f" on GPU {device}"
        said.append(f"{option.name} needs {in_words(size)}{where} and {in_words(max(0, room[device]))} can be had")
    return "; ".join(said)


def _lacking(option: Option, room: Room) -> Sizes:
    """The devices on which it does not fit; those without a budget are not ours to count."""
    return tuple((device, size) for device, size in option.takes if device in room and size > room[device])

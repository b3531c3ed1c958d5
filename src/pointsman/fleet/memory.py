"""Memory arithmetic: what fits, and who leaves to make room. Pure.

Knows: bytes on devices, and worths. Does not know: deployments' states, queues, how memory is measured.

Who is worth how much is an eviction policy's word (`eviction`); the least worth leaves first.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import add, sub

from pointsman.types import Value

GB = 1e9
MB = 1e6

Sizes = tuple[tuple[int, int], ...]
"""(device, bytes); a device is a GPU's index, or `HOST`."""
HOST = -1
"""The host's memory as a device."""


class Resident(Value, frozen=True):
    """One deployment that holds memory and could be asked to leave. `sizes`: what that frees on each of the devices in
    question; `worth`: of keeping it. `held_by`: why it may not; empty: it may.
    """

    id: str
    sizes: tuple[int, ...]
    worth: float
    is_busy: bool = False
    held_by: str = ""


class Eviction(Value, frozen=True):
    """Who leaves, what that frees, and whether it is enough."""

    victims: tuple[str, ...]
    freed: tuple[int, ...]
    is_enough: bool


def in_order(residents: Sequence[Resident], *, may_wait_for_busy: bool = False) -> list[Resident]:
    """Those who may leave and would free anything, the least worth first.

    `may_wait_for_busy`: busy ones too, after all idle ones; they leave when they have finished.
    """
    able = [one for one in residents if not one.held_by and any(one.sizes) and (may_wait_for_busy or not one.is_busy)]
    able.sort(key=lambda one: (one.is_busy, one.worth, -sum(one.sizes)))
    return able


def choose_victims(able: Sequence[Resident], need: tuple[int, ...]) -> Eviction:
    """Who of those `in_order` leaves, so that `need` is freed on every device; nobody, where that would not suffice.

    Who frees nothing where something is still missing stays.
    """
    chosen: list[Resident] = []
    missing = need
    for one in able:
        if max(map(min, missing, one.sizes)) > 0:
            chosen.append(one)
            missing = tuple(map(sub, missing, one.sizes))
            if max(missing) <= 0:
                break
    else:
        return Eviction(victims=(), freed=(0,) * len(need), is_enough=False)
    for one in sorted(chosen, key=lambda one: (not one.is_busy, -one.worth)) if len(chosen) > 1 else ():
        without = tuple(map(add, missing, one.sizes))
        if max(without) <= 0:  # not needed after all
            chosen.remove(one)
            missing = without
    victims = tuple([one.id for one in chosen])
    return Eviction(victims=victims, freed=tuple(map(sub, need, missing)), is_enough=True)


def corrected(estimate_bytes: int, measured_bytes: int, budget_bytes: int) -> int:
    """The figure to reserve. A measurement raises an estimate and never lowers it: pages of a cache that no request has
    touched yet are not resident, but they will be. What proves larger than the whole budget runs alone."""
    return max(estimate_bytes, min(measured_bytes, budget_bytes))


def corrected_sizes(estimate: Sizes, measured: Sizes, budgets: Mapping[int, int]) -> Sizes:
    """The same on each device; what is measured where nothing was expected counts too."""
    return most(estimate, tuple((device, min(size, budgets.get(device, 0))) for device, size in measured))


def most(one: Sizes, other: Sizes) -> Sizes:
    """The larger on each device."""
    if not other or one == other:
        return one
    found = dict(one)
    for device, size in other:
        found[device] = max(size, found.get(device, 0))
    return tuple(sorted(found.items()))


def least(one: Sizes, other: Sizes) -> Sizes:
    """The smaller on each device of both."""
    found = dict(other)
    return tuple((device, min(size, found[device])) for device, size in one if device in found)


def added(many: Iterable[Sizes]) -> Sizes:
    """The sum on each device."""
    found: dict[int, int] = {}
    for sizes in many:
        for device, size in sizes:
            found[device] = found.get(device, 0) + size
    return tuple(sorted(found.items()))


def total(sizes: Sizes) -> int:
    """Of all devices together."""
    return sum(size for _, size in sizes)


def in_words(size_bytes: float) -> str:
    """`1.20 GB` or `98 MB`."""
    return f"{size_bytes / GB:.2f} GB" if size_bytes >= GB else f"{size_bytes / MB:.0f} MB"


def device_in_words(device: int) -> str:
    """`memory` or `memory on GPU 1`."""
    return "memory" if device == HOST else f"memory on GPU {device}"

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
    """Who leaves, what that frees, whether it is enough, and why each of the others stays."""

    victims: tuple[str, ...]
    freed: tuple[int, ...]
    is_enough: bool
    spared: tuple[tuple[str, str], ...] = ()

    @property
    def why(self) -> str:
        """`a is busy, b is pinned`."""
        return ", ".join(f"`{name}` {reason}" for name, reason in self.spared)


def choose_victims(
    residents: Sequence[Resident], need: tuple[int, ...], *, may_wait_for_busy: bool = False
) -> Eviction:
    """Who leaves, the least worth first, so that `need` is freed on every device; nobody, where that would not suffice.

    Who frees nothing where something is still missing stays.
    `may_wait_for_busy`: busy ones count as victims too, after all idle ones; they leave when they have finished.
    """
    spared = [(one.id, one.held_by or "is busy") for one in residents if one.held_by or one.is_busy]
    able = [one for one in residents if not one.held_by and any(one.sizes) and (may_wait_for_busy or not one.is_busy)]
    able.sort(key=lambda one: (one.is_busy, one.worth, -sum(one.sizes)))
    chosen: list[Resident] = []
    missing = need
    for one in able:
        if max(missing) <= 0:
            break
        if max(map(min, missing, one.sizes)) > 0:
            chosen.append(one)
            missing = tuple(map(sub, missing, one.sizes))
    if max(missing) > 0:
        return Eviction(victims=(), freed=(0,) * len(need), is_enough=False, spared=tuple(spared))
    for one in sorted(chosen, key=lambda one: (not one.is_busy, -one.worth)):  # who is not needed after all stays
        without = tuple(map(add, missing, one.sizes))
        if max(without) <= 0:
            chosen.remove(one)
            missing = without
    victims = tuple(one.id for one in chosen)
    return Eviction(victims=victims, freed=tuple(map(sub, need, missing)), is_enough=True, spared=tuple(spared))


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

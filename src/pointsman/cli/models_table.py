"""The fleet as a table for people, 80 columns wide or more.

Knows: the rows of `GET /models`, rich's tables. Does not know: where rows come from.
"""

from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

TIERS = {"hot": "green", "warm": "yellow", "cold": "dim"}
STATES = {"falling_asleep": "dozing off", "failed": "failed", "draining": "draining"}
ERROR_CHARS = 300
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400


class Memory(msgspec.Struct):
    held_bytes: int = 0
    reserved_bytes: int = 0
    estimated_bytes: int = 0


class Row(msgspec.Struct):
    """What the table shows of a deployment."""

    id: str
    backend: str = ""
    tier: str = ""
    state: str = ""
    memory: Memory = msgspec.field(default_factory=Memory)
    slots: int = 1
    in_flight: int = 0
    queued: int = 0
    ready_in_s: float = 0.0
    idle_s: float | None = None
    last_error: str = ""
    leaving: str = ""
    breaker: str = ""
    pin: bool = False


class Gpu(msgspec.Struct):
    index: int
    budget_bytes: int
    used_bytes: int


class Budget(msgspec.Struct):
    budget_bytes: int = 0
    used_bytes: int = 0
    gpus: tuple[Gpu, ...] = ()


class Fleet(msgspec.Struct):
    """`GET /models`."""

    data: tuple[Row, ...]
    memory: Budget = msgspec.field(default_factory=Budget)


def fleet_of(answer: Any) -> Fleet:
    """Raises msgspec.ValidationError where it is no answer of `GET /models`."""
    return msgspec.convert(answer, Fleet)


def render(fleet: Fleet, url: str) -> Group:
    """Memory in one line, a row for each deployment, the last errors below."""
    parts: list[RenderableType] = [_memory(fleet.memory, url), _table(fleet.data)]
    parts += [
        Text.assemble((f"{row.id}: ", "bold red"), row.last_error[:ERROR_CHARS]) for row in fleet.data if row.last_error
    ]
    return Group(*parts)


def _table(rows: tuple[Row, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("model", overflow="fold", min_width=12)
    for name in ("backend", "tier", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("memory", "busy", "queue", "idle"):
        table.add_column(name, no_wrap=True, justify="right")
    for row in rows:
        memory = Text(gigabytes(row.memory.held_bytes or row.memory.reserved_bytes or row.memory.estimated_bytes))
        if not row.memory.held_bytes:
            memory.stylize("dim")
        table.add_row(
            Text(row.id, style="bold" if row.pin else ""),
            row.backend,
            Text(row.tier, style=TIERS.get(row.tier, "")),
            _state(row),
            memory,
            f"{row.in_flight}/{row.slots}",
            str(row.queued) if row.queued else "",
            duration(row.idle_s) if row.idle_s is not None else "",
        )
    return table


def _memory(memory: Budget, url: str) -> Text:
    said = [f"{gigabytes(memory.used_bytes)} of {gigabytes(memory.budget_bytes)}"] if memory.budget_bytes else []
    said += [f"GPU {one.index}: {gigabytes(one.used_bytes)} of {gigabytes(one.budget_bytes)}" for one in memory.gpus]
    return Text(" · ".join([f"Memory {said[0]}", *said[1:], url] if said else [url]), style="dim")


def _state(row: Row) -> Text:
    """One word, and how long it takes where that is what one waits for."""
    word = STATES.get(row.state, row.state)
    if row.state in ("starting", "waking") and row.ready_in_s:
        return Text(f"{word} {duration(row.ready_in_s)}", style="cyan")
    if row.breaker not in ("", "closed") and row.state == "ready":
        return Text(row.breaker.replace("_", " "), style="red")
    if row.leaving and row.state == "ready":
        return Text("leaving", style="cyan")
    return Text(word, style="red" if row.state == "failed" else "")


def gigabytes(size_bytes: int) -> str:
    """`1.20 GB`, `642 MB`; nothing for nothing."""
    if size_bytes >= 1e9:
        return f"{size_bytes / 1e9:.2f} GB"
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes else ""


def duration(time_s: float) -> str:
    """`8 s`, `3 min`, `2 h`, `5 d`: one unit, rounded down."""
    for unit_s, unit in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min")):
        if time_s >= unit_s:
            return f"{int(time_s // unit_s)} {unit}"
    return f"{int(time_s)} s"

"""The figures of a run, and the table that shows them. Pure but for the printing."""

import os
import platform
from pathlib import Path
from statistics import median
from typing import Self

import msgspec
from rich.console import Console
from rich.table import Table

from bench.servers import LONG_TOKENS, ROUTING, ROUTING_OFF, SHORT_TOKENS, Server

MEGABYTE = 1_000_000


class Measurement(msgspec.Struct, frozen=True):
    """One window."""

    requests: int
    cpu_us: float
    p50_ms: float
    p99_ms: float
    per_s: float


class Figures(msgspec.Struct, frozen=True):
    """One server, medians over the rounds; None where it was not asked for. `scatter` is the half range of the rounds'
    buffered figures over their median."""

    name: str
    buffered_us: float
    buffered_auto_us: float | None
    scatter: float
    buffered_per_s: float
    stream_us: float
    joined_event_us: float
    event_us: float
    paced_event_us: float
    added_p50_ms: float
    added_p99_ms: float
    idle_mb: float
    after_mb: float
    ready_s: float | None


class Target(msgspec.Struct, frozen=True):
    """What Pointsman promises: the field, the ceiling, in words, and the servers it is about."""

    field: str
    ceiling: float
    words: str
    servers: tuple[str, ...] = (ROUTING_OFF, ROUTING)


TARGETS = (
    Target("buffered_us", 450, "CPU of a buffered request without the classifier, µs", (ROUTING_OFF,)),
    Target("event_us", 15, "CPU of a stream event, µs"),
    Target("idle_mb", 120, "memory without engines, MB", (ROUTING_OFF,)),
    Target("idle_mb", 150, "memory without engines, with the classifier, MB", (ROUTING,)),
    Target("ready_s", 2, "start to ready, s"),
)
ROWS = (
    ("CPU of a buffered request, µs", "buffered_us", "{:.0f}"),
    ("  same, model chosen by the router", "buffered_auto_us", "{:.0f}"),
    ("  scatter between rounds", "scatter", "± {:.0%}"),
    ("  requests a second, 16 connections", "buffered_per_s", "{:.0f}"),
    (f"CPU of a stream of {SHORT_TOKENS} tokens, µs", "stream_us", "{:.0f}"),
    ("CPU of an event, µs: all at once", "joined_event_us", "{:.1f}"),
    ("  one by one without a pause", "event_us", "{:.1f}"),
    ("  1 ms apart", "paced_event_us", "{:.1f}"),
    ("latency added, one connection, p50 ms", "added_p50_ms", "{:.2f}"),
    ("latency added, one connection, p99 ms", "added_p99_ms", "{:.2f}"),
    ("memory idle, MB", "idle_mb", "{:.0f}"),
    ("memory after the load, MB", "after_mb", "{:.0f}"),
    ("start to ready, s", "ready_s", "{:.2f}"),
)


class Report(msgspec.Struct, frozen=True):
    """Everything `--json` writes."""

    machine: str
    python: str
    cores: int
    load_1m: float
    direct_p50_ms: float
    direct_p99_ms: float
    servers: list[Figures]
    misses: list[str]

    @classmethod
    def of(
        cls,
        servers: list[Server],
        kept: dict[str, dict[str, list[Measurement]]],
        idle: dict[str, int],
        after: dict[str, int],
        direct_p50_ms: float,
        direct_p99_ms: float,
    ) -> Self:
        figures = [
            figures_of(server, kept[server.name], idle[server.name], after[server.name], direct_p50_ms, direct_p99_ms)
            for server in servers
        ]
        return cls(
            machine=f"{_processor()}, {platform.system()} {platform.release()}",
            python=platform.python_version(),
            cores=os.cpu_count() or 0,
            load_1m=round(os.getloadavg()[0], 2),
            direct_p50_ms=direct_p50_ms,
            direct_p99_ms=direct_p99_ms,
            servers=figures,
            misses=[miss for figure in figures for miss in misses_of(figure)],
        )


def _processor() -> str:
    """The processor's name where the kernel tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def figures_of(
    server: Server,
    kept: dict[str, list[Measurement]],
    idle_bytes: int,
    after_bytes: int,
    direct_p50_ms: float,
    direct_p99_ms: float,
) -> Figures:
    """Medians of the rounds; slopes are taken round by round, so that a busy moment hits both ends of one."""
    buffered = [window.cpu_us for window in kept["buffered"]]
    auto = kept.get("buffered auto")
    return Figures(
        name=server.name,
        buffered_us=median(buffered),
        buffered_auto_us=median(window.cpu_us for window in auto) if auto else None,
        scatter=(max(buffered) - min(buffered)) / 2 / median(buffered),
        buffered_per_s=median(window.per_s for window in kept["buffered"]),
        stream_us=median(window.cpu_us for window in kept[f"stream 0 {SHORT_TOKENS}"]),
        joined_event_us=slope_us(kept, 0),
        event_us=slope_us(kept, 0.01),
        paced_event_us=slope_us(kept, 1),
        added_p50_ms=median(window.p50_ms for window in kept["latency"]) - direct_p50_ms,
        added_p99_ms=median(window.p99_ms for window in kept["latency"]) - direct_p99_ms,
        idle_mb=idle_bytes / MEGABYTE,
        after_mb=after_bytes / MEGABYTE,
        ready_s=server.ready_s,
    )


def slope_us(kept: dict[str, list[Measurement]], pace_ms: float) -> float:
    """Microseconds of CPU for one event more."""
    pairs = zip(kept[f"stream {pace_ms:g} {LONG_TOKENS}"], kept[f"stream {pace_ms:g} {SHORT_TOKENS}"], strict=True)
    return median((long.cpu_us - short.cpu_us) / (LONG_TOKENS - SHORT_TOKENS) for long, short in pairs)


def misses_of(figures: Figures) -> list[str]:
    """The targets it does not meet, in words."""
    found = []
    for target in TARGETS:
        value = getattr(figures, target.field)
        if figures.name in target.servers and value is not None and value > target.ceiling:
            found.append(f"{figures.name}: {target.words}: {value:.4g}, target ≤ {target.ceiling:g}")
    return found


def show(report: Report, console: Console) -> None:
    """The table: a column for each server, and its ratio to the first, which is the pass-through."""
    targets: dict[str, str] = {}
    for target in TARGETS:
        targets[target.field] = ", ".join(filter(None, (targets.get(target.field), f"≤ {target.ceiling:g}")))
    table = Table(
        title=f"{report.machine}, {report.cores} cores, load {report.load_1m}, Python {report.python}",
        title_justify="left",
    )
    table.add_column("")
    for figures in report.servers:
        table.add_column(figures.name, justify="right")
    table.add_column("target", justify="right")
    for words, field, form in ROWS:
        base = getattr(report.servers[0], field)
        cells = [
            _cell(getattr(figures, field), base, form, number > 0) for number, figures in enumerate(report.servers)
        ]
        table.add_row(words, *cells, targets.get(field, ""))
    console.print(table)
    for miss in report.misses:
        console.print(f"[red]missed[/] {miss}", highlight=False)


def _cell(value: float | None, base: float | None, form: str, with_ratio: bool) -> str:
    if value is None:
        return "–"
    is_comparable = with_ratio and base and base > 0 and "%" not in form
    return form.format(value) + (f"  ×{value / base:.2f}" if is_comparable and base else "")

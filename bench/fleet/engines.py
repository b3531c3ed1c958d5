"""What loading, switching and unloading cost, engine by engine: `python -m bench.fleet.engines` (`make bench-fleet`).

Every model of the packaged settings, on this machine, each figure the median of three:

load      told to load → a real answer came; "from disk": its file was dropped from the page cache before, "again":
          it was not
wake      asleep → a real answer came, where the engine can sleep
switch    another model is hot and there is room for one: a request for this model → its whole answer over HTTP;
          as memory allows, the other leaves or sleeps, and this one is loaded or woken
unload    told to unload → its process is gone
memory    estimated before it was ever started, and resident after a request, as if alone on the machine

Then five models are loaded at once and each answers. The tables go to docs/performance.md; a row's last column says
which targets its figures miss (`--judge`: those on the page, measuring nothing): a load below 5 s, a wake and a switch
below 2 s, every estimate within 10 %. Exits 1 where any is missed.
"""

import argparse
import asyncio
import platform
import sys
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

import pointsman
from bench.fleet.house import LONG, House, house
from bench.fleet.page import rewrite, said_on
from pointsman.settings import ManagedBase, Model, load

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
TIMES = 3
BUDGET_GB = 64.0
LOAD_S, WAKE_S, SWITCH_S, ERROR = 5.0, 2.0, 2.0, 0.10
FIVE = 5


@dataclass(frozen=True)
class Row:
    """One model's figures; None: it cannot do that, or it was not measured."""

    model: str
    engine: str
    load_s: float
    again_s: float
    wake_s: float | None
    switch_s: float | None
    unload_s: float
    estimated_bytes: int
    measured_bytes: int

    @property
    def error(self) -> float:
        """Of the estimate, as a share of what was measured."""
        return self.estimated_bytes / self.measured_bytes - 1


@dataclass(frozen=True)
class Resident:
    """Five models at once: how long they took to load side by side, and all their memory."""

    models: tuple[str, ...]
    load_s: float
    estimated_bytes: int
    measured_bytes: int


# ---------------------------------------------------------------- measuring


async def one_engine(one: House, model: Model) -> Row:
    """Everything but the switch."""
    fleet = one.app.fleet
    await one.forget_files(model)  # fetches what is not here yet: an estimate is of a file, not of a guess
    estimated_bytes = one.estimated_bytes(model)
    loads_s, agains_s, wakes_s, unloads_s, taken_bytes = [], [], [], [], []
    for _ in range(TIMES):
        await one.forget_files(model)
        loads_s.append(await one.timed(fleet.load(model.id)))
        await one.ask(model, LONG)
        taken_bytes.append(one.measured_bytes(model))
        if one.can_sleep(model):
            view = await fleet.rest(model.id)
            if view.state == "asleep":
                wakes_s.append(await one.timed(fleet.wake(model.id)))
        unloads_s.append(await one.timed(fleet.unload(model.id)))
        agains_s.append(await one.timed(fleet.load(model.id)))
        await fleet.unload(model.id)
    return Row(
        model=model.id,
        engine=model.backend,
        load_s=median(loads_s),
        again_s=median(agains_s),
        wake_s=median(wakes_s) if wakes_s else None,
        switch_s=None,
        unload_s=median(unloads_s),
        estimated_bytes=estimated_bytes,
        measured_bytes=int(median(taken_bytes)),
    )


async def switch_s(model: Model, other: Model) -> float:
    """`other` is hot, there is room for one, somebody asks for `model`."""
    async with house((model, other), memory_budget_gb=BUDGET_GB) as one:
        room_bytes = max(one.estimated_bytes(model), one.estimated_bytes(other)) * 1.15
    took_s = []
    async with house((model, other), memory_budget_gb=room_bytes / 1e9) as one:
        for _ in range(TIMES):
            await one.ask(other)
            took_s.append(await one.timed(one.ask(model)))
            hot = [view.id for view in one.app.fleet.world().deployments if view.state == "ready"]
            if hot != [model.id]:
                raise RuntimeError(f"{hot} are ready, not {model.id} alone: there was no switch")
    return median(took_s)


async def resident(models: tuple[Model, ...]) -> Resident:
    async with house(models, memory_budget_gb=BUDGET_GB) as one:
        loads = [one.app.fleet.load(model.id) for model in models]
        load_s = await one.timed(asyncio.wait_for(_all(loads), 600))
        for model in models:
            await one.ask(model)
        return Resident(
            models=tuple(model.id for model in models),
            load_s=load_s,
            estimated_bytes=sum(one.estimated_bytes(model) for model in models),
            measured_bytes=sum(one.measured_bytes(model) for model in models),
        )


async def _all(loads: Iterable[Awaitable[object]]) -> None:
    await asyncio.gather(*loads)


async def measure(models: tuple[Model, ...]) -> list[Row]:
    rows = []
    for model in models:
        async with house((model,), memory_budget_gb=BUDGET_GB) as one:
            row = await one_engine(one, model)
        other = next(each for each in models if each.id != model.id)
        rows.append(Row(**{**vars(row), "switch_s": await switch_s(model, other)}))
        print(line_of(rows[-1]), flush=True)
    return rows


# ---------------------------------------------------------------- the page


HEAD = (
    "| model | engine | load from disk, s | load again, s | wake, s | switch, s | unload, s "
    "| estimated MB | measured MB | error | targets |\n|---|---|---|---|---|---|---|---|---|---|---|"
)
TARGETS = (
    f"Targets: a load below {LOAD_S:g} s, from disk or again; a wake below {WAKE_S:g} s; a switch below "
    f"{SWITCH_S:g} s; an estimate at most {ERROR:.0%} off. The last column says whether they are met."
)
JUDGED = {
    2: ("load from disk", LOAD_S),
    3: ("load again", LOAD_S),
    4: ("wake", WAKE_S),
    5: ("switch", SWITCH_S),
    9: ("estimate", ERROR),
}
"""Column of a row → what it is called where it misses, and the limit, which only an estimate may reach."""
COLUMNS = 10  # before the verdict
MET, MISSES = "met", "misses "


def line_of(row: Row) -> str:
    def seconds(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    times = [seconds(one) for one in (row.load_s, row.again_s, row.wake_s, row.switch_s, row.unload_s)]
    sizes = [f"{size / 1e6:,.0f}" for size in (row.estimated_bytes, row.measured_bytes)]
    return judged(f"| {row.model} | {row.engine} | {' | '.join([*times, *sizes])} | {row.error:+.1%} |")


def judged(line: str) -> str:
    """The row with its verdict, old or none before, by the figures that stand in it."""
    cells = [cell.strip() for cell in line.strip("| \n").split("|")][:COLUMNS]
    missed = ", ".join(name for at, (name, limit) in JUDGED.items() if is_missed(cells[at], limit))
    return f"| {' | '.join(cells)} | {MISSES + missed if missed else MET} |"


def is_missed(cell: str, limit: float) -> bool:
    """–: it cannot do that, or it was not measured."""
    if cell == "–":
        return False
    return abs(float(cell.rstrip("%"))) > limit * 100 if cell.endswith("%") else float(cell) >= limit


def judged_again(said: str) -> str:
    """What stands on the page, every row with its verdict anew."""
    where, *lines = said.splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| model ")]
    return written(where, rows, lines[-1] if "resident" in lines[-1] else "")


def written(where: str, rows: Sequence[str], resident: str) -> str:
    return "\n".join((where, "", TARGETS, "", HEAD, *map(judged, rows), *(("", resident) if resident else ())))


def said_of(five: Resident) -> str:
    return (
        f"{len(five.models)} models resident at once ({', '.join(five.models)}): loaded side by side in "
        f"{five.load_s:.1f} s, then each answered; {five.measured_bytes / 1e6:,.0f} MB together, "
        f"{five.estimated_bytes / 1e6:,.0f} MB estimated."
    )


def machine() -> str:
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "CPU"
    )
    gb = psutil.virtual_memory().total / 1e9
    return (
        f"{psutil.cpu_count()} × {model}, {gb:.0f} GB of memory, Linux, Python {platform.python_version()}; load "
        f"average of the five minutes before {psutil.getloadavg()[1]:.1f}, niceness {psutil.Process().nice()}"
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


# ---------------------------------------------------------------- the command


def wanted(names: list[str], more: Path | None) -> tuple[Model, ...]:
    """Models of the packaged settings and of one's own file: all that we start ourselves, or those named."""
    models = load(Path(pointsman.__file__).with_name("pointsman.yaml")).models
    models += load(more).models if more else ()
    return tuple(model for model in models if isinstance(model, ManagedBase) and (not names or model.id in names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[], help="only this one, and another; may be repeated")
    parser.add_argument("--config", type=Path, help="settings whose models are measured too, such as vLLM's")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page whose tables are rewritten")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    parser.add_argument("--judge", action="store_true", help="measure nothing: say what the page's figures miss")
    given = parser.parse_args()
    said = judged_again(said_on(given.page, "engines")) if given.judge else measured(wanted(given.model, given.config))
    if not given.dry:
        rewrite(given.page, "engines", said)
    missed = said.count(MISSES)
    print(f"{missed} models miss a target" if missed else "every target is met")
    sys.exit(bool(missed))


def measured(models: tuple[Model, ...]) -> str:
    """What the page is to say."""
    where = f"Machine: {machine()}."
    print(HEAD)
    rows = [line_of(row) for row in asyncio.run(measure(models))]
    together = said_of(asyncio.run(resident(models[:FIVE]))) if len(models) >= FIVE else ""
    print(together)
    return written(where, rows, together)


if __name__ == "__main__":
    main()

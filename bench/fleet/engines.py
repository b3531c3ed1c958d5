"""What loading, switching and unloading cost, engine by engine: `python -m bench.fleet.engines` (`make bench-fleet`).

Every model of the packaged settings, on this machine, each figure the median of three:

load      told to load → a real answer came; "from disk": its file was dropped from the page cache before, "again":
          it was not
wake      asleep → a real answer came, where the engine can sleep
switch    another model is hot and there is room for one: a request for this model → its whole answer over HTTP;
          as memory allows, the other leaves or sleeps, and this one is loaded or woken
unload    told to unload → its process is gone
memory    estimated before it was ever started, and resident after a request, as if alone on the machine

Then five models are loaded at once and each answers. The tables go to docs/performance.md. Exits 1 where a target is
missed: a llama.cpp load below 5 s, a switch below 2 s, every estimate within 10 %.
"""

import argparse
import asyncio
import platform
import sys
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

import pointsman
from bench.fleet.house import LONG, House, house
from bench.fleet.page import rewrite
from pointsman.settings import ManagedBase, Model, load

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
TIMES = 3
BUDGET_GB = 64.0
LOAD_S, SWITCH_S, ERROR = 5.0, 2.0, 0.10
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

    def misses(self) -> list[str]:
        """Targets that it misses, in words."""
        found = []
        if self.engine == "llama_cpp" and self.again_s >= LOAD_S:
            found.append(f"{self.model}: loads in {self.again_s:.1f} s, target {LOAD_S:g}")
        if self.engine == "llama_cpp" and self.switch_s is not None and self.switch_s >= SWITCH_S:
            found.append(f"{self.model}: switches in {self.switch_s:.1f} s, target {SWITCH_S:g}")
        if abs(self.error) > ERROR:
            found.append(f"{self.model}: its memory is estimated {self.error:+.0%} off")
        return found


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
    "| estimated MB | measured MB | error |\n|---|---|---|---|---|---|---|---|---|---|"
)


def line_of(row: Row) -> str:
    def seconds(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    times = [seconds(one) for one in (row.load_s, row.again_s, row.wake_s, row.switch_s, row.unload_s)]
    sizes = [f"{size / 1e6:,.0f}" for size in (row.estimated_bytes, row.measured_bytes)]
    return f"| {row.model} | {row.engine} | {' | '.join([*times, *sizes])} | {row.error:+.1%} |"


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
    given = parser.parse_args()
    models = wanted(given.model, given.config)
    where = machine()
    print(HEAD)
    rows = asyncio.run(measure(models))
    said = [f"Machine: {where}.\n", HEAD, *map(line_of, rows), ""]
    if len(models) >= FIVE:
        said.append(said_of(asyncio.run(resident(models[:FIVE]))))
        print(said[-1])
    if not given.dry:
        rewrite(given.page, "engines", "\n".join(said))
    misses = [miss for row in rows for miss in row.misses()]
    print("\n".join(misses) or "every target is met")
    sys.exit(bool(misses))


if __name__ == "__main__":
    main()

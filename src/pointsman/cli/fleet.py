"""`pointsman fleet simulate`: what another budget or eviction policy would have made of a trace."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from pointsman.clock import SystemClock

if TYPE_CHECKING:
    from pointsman.fleet.simulate import Played
    from pointsman.fleet.trace import Reading

MISUSED = 2
DIGITS = 6


def simulate(
    trace: Annotated[
        Path,
        typer.Option(
            "--trace",
            help="Requests: *.parquet, *.csv or *.jsonl; t_s, model, service_s, load_s[, size_bytes, deadline_s].",
        ),
    ],
    *,
    slots: Annotated[
        int | None, typer.Option("--slots", min=1, help="Room for so many models, whatever their size.")
    ] = None,
    budget_bytes: Annotated[
        int | None, typer.Option("--budget-bytes", min=1, help="Memory for all models together; rows need size_bytes.")
    ] = None,
    policy: Annotated[str, typer.Option("--policy", help="Who is evicted: cost_aware, lfu or lru.")] = "",
    min_resident_s: Annotated[
        float,
        typer.Option(
            "--min-resident-s",
            min=0,
            help="Nobody leaves sooner after its load. 0 compares with plain caches; the fleet's own default is 5.",
        ),
    ] = 0,
    max_wait_s: Annotated[
        float | None,
        typer.Option("--max-wait-s", min=0.001, help="Who waits longer closes busy models; default: as the fleet, 30."),
    ] = None,
    parallel: Annotated[int, typer.Option("--parallel", min=1, help="Requests a model answers at the same time.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
) -> None:
    """Play a trace of requests through the fleet's own rules, in simulated time."""
    from pointsman.fleet.eviction import POLICIES
    from pointsman.fleet.simulate import play
    from pointsman.fleet.values import Rules
    from pointsman.settings import FleetSettings

    if (slots is None) == (budget_bytes is None):
        _refuse("give either --slots K or --budget-bytes N")
    if policy and policy not in POLICIES:
        _refuse(f"--policy: there is no policy {policy!r}; policies are {', '.join(POLICIES)}")
    reading = _read(trace, sized=budget_bytes is not None)
    rules = Rules.of(FleetSettings())
    rules = msgspec.structs.replace(
        rules,
        eviction=policy or rules.eviction,
        min_resident_s=min_resident_s,
        max_wait_s=max_wait_s or rules.max_wait_s,
    )
    clock = SystemClock()
    began_s = clock.now()
    played = play(reading.trace, slots or budget_bytes or 0, rules, slots=parallel)
    _show(played, clock.now() - began_s, as_json=as_json)


def _read(path: Path, *, sized: bool) -> "Reading":
    """The trace, its notes told. Exits 2 with what is wrong."""
    from pointsman.fleet.trace import TraceError, read

    try:
        reading = read(path, sized=sized)
    except TraceError as error:
        _refuse(*error.problems)
    except OSError as error:
        _refuse(f"{path}: cannot be read ({error.strerror})")
    for note in reading.notes:
        _err().print(f"{path}: {note}", markup=False, soft_wrap=True)
    return reading


class Figures(msgspec.Struct, frozen=True):
    """What is printed with --json; times in seconds, ratios from 0 to 1."""

    requests: int
    misses: int
    miss_ratio: float
    wait_s: dict[str, float]
    evictions: int
    refused: int
    events_per_s: float


def add_fleet(app: typer.Typer) -> None:
    """Hang the command under `fleet`."""
    fleet = typer.Typer(name="fleet", help="What the fleet would do.", no_args_is_help=True)
    fleet.callback()(_group)
    fleet.command()(simulate)
    app.add_typer(fleet)


def _group() -> None:
    """What the fleet would do: questions about memory that no running server is needed for."""


def _show(played: "Played", took_s: float, *, as_json: bool) -> None:
    wait_s = {name: round(s, DIGITS) for name, s in msgspec.structs.asdict(played.wait_s).items()}
    figures = Figures(
        requests=played.requests,
        misses=played.misses,
        miss_ratio=round(played.miss_ratio, DIGITS),
        wait_s=wait_s,
        evictions=played.evictions,
        refused=played.refused,
        events_per_s=round(played.events / max(took_s, 1e-9), 1),
    )
    if as_json:
        typer.echo(msgspec.json.encode(figures).decode())
        return
    table = Table("figure", "value", box=None, pad_edge=False, header_style="bold")
    for name, value in msgspec.structs.asdict(figures).items():
        said = ", ".join(f"{key} {s:.1f}" for key, s in value.items()) if isinstance(value, dict) else f"{value:,}"
        table.add_row(name, said)
    Console(highlight=False).print(table)


def _refuse(*problems: str) -> NoReturn:
    for problem in problems:
        _err().print(problem, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(MISUSED)


def _err() -> Console:
    return Console(stderr=True, highlight=False)

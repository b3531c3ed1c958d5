"""`pointsman pull`: bring models' weights onto this machine, and say what became of each."""

import asyncio
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from pointsman.cli.common import ConfigOption, load_or_exit
from pointsman.clock import SystemClock
from pointsman.errors import RequestError
from pointsman.sources.base import megabytes
from pointsman.sources.display import pull_with_display, summary
from pointsman.sources.pull import Check, PullReport, wanted_of
from pointsman.sources.store import WeightStore

FAILED, MISUSED, INTERRUPTED = 1, 2, 130


def pull(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL_ID]...", help="Models to fetch; default: those with `preload: true`."),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Fetch the weights of every model.")] = False,
    variants: Annotated[
        bool, typer.Option("--variants", help="Fetch models' variants too, for when the first does not fit.")
    ] = False,
    config: ConfigOption = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash again what is there, and fetch anew what is damaged.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Ask the hub whether its branches have moved, and fetch what is new.")
    ] = False,
) -> None:
    """Fetch models' weights: in parallel, resumed, checked against their pinned hashes."""
    console, names = Console(highlight=False), tuple(models or ())
    if verify and update:
        console.print("Give --verify or --update, one at a time.", style="red")
        raise typer.Exit(MISUSED)
    settings = load_or_exit(config)
    try:
        wanted = wanted_of(settings, names, everything=everything, variants=variants)
    except RequestError as error:
        console.print(Text(error.message, style="red"), soft_wrap=True)
        raise typer.Exit(MISUSED) from None
    if not wanted:
        console.print("Nothing to fetch: these models need no weights on this machine.")
        return
    how = tuple(flag for flag, given in (("--variants", variants), ("--verify", verify), ("--update", update)) if given)
    store = WeightStore.of(settings, SystemClock())
    check = Check.BYTES if verify else Check.REVISION if update else Check.PRESENCE
    try:
        report = asyncio.run(pull_with_display(store, wanted, console, check))
    except KeyboardInterrupt:
        again = _command(names, (*(("--all",) if everything else ()), *how), config)
        console.print(Text(f"Interrupted. What came is kept; to continue: {again}"), soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    _conclude(report, store, console, how, config)


def _conclude(
    report: PullReport, store: WeightStore, console: Console, how: tuple[str, ...], config: Path | None
) -> None:
    """The table, one line in sum, and what to do about failures."""
    console.print(summary(report))
    if report.fetched_bytes:
        size, speed = megabytes(report.fetched_bytes), megabytes(report.fetched_bytes / max(report.duration_s, 1e-3))
        console.print(f"Fetched {size} in {report.duration_s:.1f} s ({speed}/s).", style="bold")
    console.print(Text(f"In {store.cache_dir}"), style="dim", soft_wrap=True)
    if report.failed:
        names = tuple(dict.fromkeys(model_id for one in report.failed for model_id in one.wanted.model_ids))
        console.print(Text(f"To try again: {_command(names, how, config)}"), soft_wrap=True)
        raise typer.Exit(FAILED)


def _command(names: tuple[str, ...], flags: tuple[str, ...], config: Path | None) -> str:
    """The command line that continues."""
    return shlex.join(("pointsman", "pull", *names, *flags, *(("--config", str(config)) if config else ())))

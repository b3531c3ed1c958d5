"""A pull that people watch: bars on a terminal, plain lines in a log.

Knows: rich. Does not know: what is fetched or how. What is there already is passed over in silence.
"""

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from pointsman.clock import Clock
from pointsman.sources.base import Phase, Progress, megabytes
from pointsman.sources.pull import Check, Pulled, PullReport, State, Wanted, pull
from pointsman.sources.store import WeightStore

LINE_EVERY_S = 3.0
COLOURS = {State.FETCHED: "green", State.PRESENT: "dim", State.FAILED: "red"}


async def pull_with_display(
    store: WeightStore, wanted: tuple[Wanted, ...], console: Console, check: Check = Check.PRESENCE
) -> PullReport:
    """`pull`, shown on the console while it runs, failures last; silent where nothing is to be fetched."""
    if console.is_terminal:
        with rich_progress(console) as bars:
            report = await pull(store, wanted, Bars(bars).show, check=check)
    else:
        report = await pull(store, wanted, Lines(console, store.clock).show, check=check)
    for one in report.failed:
        console.print(Text(f"{one.wanted.name}: {one.error}", style="red"), soft_wrap=True)
    return report


def rich_progress(console: Console) -> RichProgress:
    """Name, bar, bytes, speed, time left, phase."""
    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.fields[phase]}"),
        console=console,
    )


class Bars:
    """One bar for each set of weights that is fetched."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._rows: dict[Wanted, TaskID] = {}

    def show(self, wanted: Wanted, progress: Progress) -> None:
        row = self._rows.get(wanted)
        if row is None:
            row = self._rows[wanted] = self._bars.add_task(wanted.name, total=None, phase="")
        is_over = progress.phase in (Phase.DONE, Phase.FAILED)
        total = progress.total_bytes or None
        if progress.phase is Phase.FAILED:
            self._bars.update(row, phase=str(progress.phase))
        else:
            self._bars.update(row, completed=progress.done_bytes, total=total, phase=str(progress.phase))
        if is_over:
            self._bars.stop_task(row)


class Lines:
    """A line at each change of phase, and every few seconds between."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._said: dict[Wanted, tuple[Phase, float]] = {}

    def show(self, wanted: Wanted, progress: Progress) -> None:
        now_s = self._clock.now()
        phase, when_s = self._said.get(wanted, (None, 0.0))
        if progress.phase is phase and now_s - when_s < LINE_EVERY_S:
            return
        self._said[wanted] = (progress.phase, now_s)
        self._console.print(Text(f"{wanted.name}: {line(progress)}"), soft_wrap=True)


def line(progress: Progress) -> str:
    """`downloading 45.0 MB of 92.9 MB (48 %)`."""
    if progress.phase not in (Phase.DOWNLOADING, Phase.DONE):
        return str(progress.phase)
    if progress.phase is Phase.DONE:
        return f"{progress.phase}, {megabytes(progress.done_bytes)}"
    if not progress.total_bytes:
        return f"{progress.phase} {megabytes(progress.done_bytes)}"
    percent = 100 * progress.done_bytes // progress.total_bytes
    return f"{progress.phase} {megabytes(progress.done_bytes)} of {megabytes(progress.total_bytes)} ({percent} %)"


def summary(report: PullReport) -> Table:
    """What became of each, as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("weights", "state"):
        table.add_column(column, no_wrap=True)
    for column in ("size", "time", "speed"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in report.pulled:
        table.add_row(one.wanted.name, Text(one.state, style=COLOURS[one.state]), *_figures(one))
    return table


def _figures(one: Pulled) -> tuple[str, str, str]:
    if one.state is not State.FETCHED:
        return (megabytes(one.size_bytes) if one.size_bytes else "", "", "")
    speed = f"{megabytes(one.size_bytes / one.duration_s)}/s" if one.duration_s else ""
    return megabytes(one.size_bytes), f"{one.duration_s:.1f} s", speed

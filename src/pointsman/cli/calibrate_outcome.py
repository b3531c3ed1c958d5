"""What remains of a calibration: rows, a quality profile, a report; and the few lines that a person reads at the end.

Knows: files of the folder, which rooms make them. Does not know: how anything is measured, fitted or drawn.
Invariant: what can be written is written; what cannot (no learner installed, too few questions) is said, here and in
the report.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from pointsman.clock import SystemClock
from pointsman.settings import RoutingSettings

if TYPE_CHECKING:
    from pointsman.calibration.measured import Measured
    from pointsman.calibration.routing import Simulation, Table

ROWS, PROFILE, REPORT, PLOTS = "rows.jsonl", "profile.msgpack", "report.md", "plots"
INSTALL = "install the learner with `pip install 'pointsman[learn]'` and run the same command again"
QUESTIONS_AT_LEAST = 60  # below, folds are too small to say anything


def conclude(measured: "Measured", routing: RoutingSettings, folder: Path, console: Console) -> None:
    """Write everything, then say what came out."""
    from pointsman.calibration.measured import table_of
    from pointsman.calibration.report import report

    console.print(_grid(measured))
    for failure in measured.failures:
        console.print(Text(f"{failure.model} failed: {failure.why}", style="red"), soft_wrap=True)
    if not measured.answers:
        _say(console, "No answer to report on.")
        return
    table = table_of(measured)
    _write_rows(measured, folder / ROWS)
    simulation, why = _simulated(measured, table, routing, console)
    _write_profile(measured, table, folder / PROFILE, console)
    date = datetime.fromtimestamp(SystemClock().unix(), UTC).strftime("%Y-%m-%d")
    (folder / REPORT).write_text(report(measured, simulation, why, date), encoding="utf-8")
    _draw(measured, simulation, folder / PLOTS, console)
    if why:
        _say(console, why)
    _say(console, f"Report: {folder / REPORT}")


def _write_rows(measured: "Measured", path: Path) -> None:
    """Every graded answer, as `pointsman quality fit` reads them."""
    from pointsman.calibration.measured import rows_of

    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows_of(measured)))


def _simulated(
    measured: "Measured", table: "Table", routing: RoutingSettings, console: Console
) -> "tuple[Simulation | None, str]":
    """What routing would have done, or why that cannot be said."""
    from pointsman.calibration.routing import simulate

    if len(table.models) < 2:
        return None, "Nothing can be said of routing: fewer than two models have answered."
    if len(table.items) < QUESTIONS_AT_LEAST:
        return None, (
            f"Nothing can be said of routing: {len(table.items)} questions were answered by every model, and at least "
            f"{QUESTIONS_AT_LEAST} are needed to hold some back."
        )
    try:
        from pointsman.cli.calibrate_learning import ProfileLearner, measured_labels

        _say(console, "Fitting profiles on parts of the answers, to try them on the others …")
        return simulate(table, ProfileLearner(measured_labels(routing)), measured.seed), ""
    except ImportError as error:
        return None, f"Nothing can be said of routing: {error.name} is not installed; {INSTALL}."


def _write_profile(measured: "Measured", table: "Table", path: Path, console: Console) -> None:
    """The profile of all answers, for `routing.profile` of the settings."""
    from pointsman.calibration.measured import rows_of

    if len(table.items) < QUESTIONS_AT_LEAST:
        _say(console, f"No profile: at least {QUESTIONS_AT_LEAST} questions answered by every model are needed.")
        return
    try:
        from pointsman.cli.calibrate_learning import profile_of

        path.write_bytes(profile_of(rows_of(measured), measured.seed))
    except ImportError as error:
        _say(console, f"No profile: {error.name} is not installed; {INSTALL}.")
        return
    _say(console, f"Profile: {path}   To route by it: `routing: {{profile: {path}}}`")


def _draw(measured: "Measured", simulation: "Simulation | None", folder: Path, console: Console) -> None:
    try:
        from pointsman.calibration.plots import draw

        draw(measured, simulation, folder)
    except ImportError as error:
        _say(console, f"No plots: {error.name} is not installed; {INSTALL}.")


def _grid(measured: "Measured") -> Grid:
    """One line a model."""
    from pointsman.calibration.measured import overall, speeds

    grid = Grid(box=None, pad_edge=False, header_style="bold")
    grid.add_column("model")
    for name in ("answers", "right", "95 %", "tokens/s", "errors"):
        grid.add_column(name, justify="right")
    errors = {target.model: count for target, count in zip(measured.targets, measured.errors, strict=True)}
    for cell, speed in zip(overall(measured), speeds(measured), strict=True):
        score = cell.score
        grid.add_row(
            cell.model,
            f"{score.n:,}",
            f"{100 * score.mean:.1f} %",
            f"{100 * score.low:.1f} – {100 * score.high:.1f}",
            f"{speed.tokens_per_s:.0f}",
            str(errors[cell.model] or ""),
        )
    return grid


def _say(console: Console, what: str) -> None:
    console.print(Text(what), soft_wrap=True)

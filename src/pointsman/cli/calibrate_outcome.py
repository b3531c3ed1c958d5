"""What remains of a calibration: rows, a quality profile, a report; and the few lines that a person reads at the end.

Knows: files of the folder, which rooms make them. Does not know: how anything is measured, fitted or drawn.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

if TYPE_CHECKING:
    from pointsman.calibration.measured import Measured

ROWS, PROFILE, REPORT = "rows.jsonl", "profile.msgpack", "report.md"


def conclude(measured: "Measured", folder: Path, console: Console) -> None:
    """Write everything, then say what came out."""
    console.print(_grid(measured))


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
    for failure in measured.failures:
        grid.add_row(failure.model, Text(f"failed: {failure.why}", style="red"))
    return grid

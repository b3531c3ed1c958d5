"""`pointsman experiments`: how every experiment stands, and an operator's word on one."""

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pointsman.cli.common import ConfigOption, load_or_exit
from pointsman.cli.remote import NoServer, Remote, UrlOption
from pointsman.errors import PointsmanError

FAILED = 1
COLOURS = {"rolled_back": "red", "review": "yellow", "passed": "green", "better": "green"}


def experiments(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this one, with its changes.")] = None,
    *,
    ratio: Annotated[float | None, typer.Option("--ratio", min=0, max=1, help="Set the treatment's share.")] = None,
    action: Annotated[str | None, typer.Option("--do", metavar="ACTION", help="pause, resume or rollback.")] = None,
    config: ConfigOption = None,
    url: UrlOption = None,
) -> None:
    """How every experiment of a running server stands; with a name and an option, change it."""
    console, remote = Console(highlight=False), Remote.of(load_or_exit(config), url)
    try:
        if name is not None and (ratio is not None or action is not None):
            body = {"ratio": ratio} if action is None else {"action": action}
            remote.ask("POST", "v1", "experiments", name, body=body)
        rows = remote.ask("GET", "v1", "experiments")["data"]
    except (NoServer, PointsmanError) as error:
        said = error.message if isinstance(error, PointsmanError) else str(error)
        Console(stderr=True, highlight=False).print(said, style="red", markup=False, soft_wrap=True)
        raise typer.Exit(FAILED) from None
    shown = [row for row in rows if name in {None, row["name"]}]
    if not shown:
        console.print("No experiment is under way." if name is None else f"There is no experiment {name}.")
        return
    console.print(_table(shown))
    for change in shown[0]["changes"] if name is not None else ():
        ratios = f"{change['ratio_before']:.0%} → {change['ratio']:.0%}"
        console.print(f"{change['event']} ({change['by']}), {ratios}: {change['why']}", markup=False)


def _table(rows: list[dict[str, Any]]) -> Table:
    names = ("experiment", "kind", "status", "treatment", "control", "ratio", "verdicts", "loss", "errors", "latency")
    table = Table(*names, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        evidence = row["evidence"]
        status = "paused" if row["is_paused"] else row["status"]
        table.add_row(
            row["name"],
            row["kind"],
            f"[{COLOURS.get(status, 'default')}]{status}[/]",
            row["treatment"],
            row["control"],
            f"{row['ratio']:.0%}",
            f"{evidence['treatment_verdicts']} / {evidence['control_verdicts']}",
            _percent(evidence["loss"]),
            _percent(evidence["errors"], "+"),
            _times(evidence["latency"]),
        )
    return table


def _percent(found: dict[str, float] | None, sign: str = "") -> str:
    if found is None:
        return "–"
    return f"{found['value']:{sign}.1%} ({found['low']:{sign}.1%} to {found['high']:{sign}.1%})"


def _times(found: dict[str, float] | None) -> str:
    return "–" if found is None else f"×{found['value']:.2f} ({found['low']:.2f} to {found['high']:.2f})"

"""`pointsman outcomes export | show`: what the ledger's store holds, into a file or onto the screen."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from pointsman.cli.common import ConfigOption, complain, load_or_exit, show_problems, written_whole
from pointsman.errors import ConfigError

if TYPE_CHECKING:
    from pointsman.ledger.store.base import Store
    from pointsman.types_record import Record

FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
T = TypeVar("T")


def export(
    target: Annotated[Path, typer.Argument(metavar="OUT", help="*.parquet (needs the extra `learn`) or *.jsonl.")],
    *,
    since: Annotated[datetime | None, typer.Option("--since", formats=FORMATS, help="From here on, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option("--until", formats=FORMATS, help="Before this, UTC.")] = None,
    config: ConfigOption = None,
) -> None:
    """Write rows into a file, oldest first."""
    from pointsman.ledger.export import SUFFIXES, ExportError, write
    from pointsman.ledger.store.base import Query

    if target.suffix not in SUFFIXES:
        complain([f"{target}: an export is *{' or *'.join(SUFFIXES)}"])
    query = Query(since_unix_s=_unix_s(since) or 0.0, until_unix_s=_unix_s(until))
    _, store = store_or_exit(config)
    try:
        with written_whole(target) as file:
            count = _asked(lambda: write(store.read(query), file, target.suffix))
    except ExportError as error:
        complain([f"{target}: {error}"])
    Console(highlight=False).print(f"{count} rows in {target}.", markup=False, soft_wrap=True)


def show(
    request_id: Annotated[str, typer.Argument(help="As `x-request-id` of the answer said.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="The row as it is kept.")] = False,
    config: ConfigOption = None,
) -> None:
    """One request's story: what it was, who was chosen and why, how it went."""
    import msgspec

    from pointsman.ledger.store.base import Query

    _, store = store_or_exit(config)
    rows = _asked(lambda: list(store.read(Query(request_id=request_id, latest_first=True, limit=1))))
    if not rows:
        complain([f"the store knows no request `{request_id}`; it may be too old, or not written yet"])
    if as_json:
        typer.echo(msgspec.json.encode(rows[0]))
        return
    _tell(rows[0], Console(highlight=False))


def _tell(record: "Record", console: Console) -> None:
    from pointsman.types_record import attempts_in, plan_in

    when = datetime.fromtimestamp(record.received_unix_s, UTC).isoformat(timespec="milliseconds")
    tokens = f"{record.prompt_tokens} → {record.completion_tokens} tokens"
    said = "" if record.feedback is None else f", judged {record.feedback:g} ({record.feedback_source})"
    for line in (
        f"{record.request_id}  {when}  {record.kind}, asked for {record.asked_model or 'what nobody could read'}",
        f"{record.status} {record.http_status} {record.error}".strip() + f" by {record.model_id or 'nobody'}{said}",
        f"{record.total_s:.3f} s, {tokens}, cost {record.cost:g} (baseline {record.baseline_cost:g})",
        f"{record.use_case}/{record.intent}, {record.language}, {record.complexity}, cache {record.cache}",
    ):
        console.print(line, markup=False, soft_wrap=True)
    plan = plan_in(record)
    if plan is not None:
        console.print(f"{plan.strategy}: {plan.reason}", markup=False, soft_wrap=True)
        table = Table("deployment", "score", "why", box=None, pad_edge=False, header_style="bold")
        for one in plan.candidates:
            table.add_row(
                one.deployment_id, f"{one.score:.3f}", "; ".join(f"{t.name} {t.value:.2f}" for t in one.terms)
            )
        for out in plan.rejected:
            table.add_row(out.deployment_id, "–", f"{out.code}: {out.why}")
        console.print(table)
    for attempt in attempts_in(record):
        console.print(
            f"{attempt.started_s:8.3f} s  {attempt.deployment_id}: {attempt.error or 'answered'}", markup=False
        )


def store_or_exit(config: Path | None) -> "tuple[str, Store]":
    """The settings' store and its URL, where there is one already; exit 2 otherwise."""
    from pointsman.ledger.build import FILE, store_of

    settings = load_or_exit(config)
    url = settings.ledger.url or f"sqlite:{settings.cache_path() / FILE}"
    path = Path(url.removeprefix("sqlite:").removeprefix("//")).expanduser()
    if url.startswith("sqlite:") and not path.is_file():
        complain([f"{path}: there is no ledger yet; `pointsman serve` writes one"])
    try:
        return url, store_of(settings.ledger, settings.cache_path(), os.environ)
    except ConfigError as error:
        show_problems(error)
        raise typer.Exit(2) from None


def _asked(read: Callable[[], T]) -> T:
    from pointsman.ledger.store.base import StoreError

    try:
        return read()
    except StoreError as error:
        complain([f"the store cannot be read: {error}"])


def _unix_s(moment: datetime | None) -> float | None:
    return None if moment is None else moment.replace(tzinfo=UTC).timestamp()


def add_outcomes(app: typer.Typer) -> None:
    """Register the group."""
    group = typer.Typer(help="What the ledger keeps of every request.", no_args_is_help=True)
    group.command()(export)
    group.command()(show)
    app.add_typer(group, name="outcomes")

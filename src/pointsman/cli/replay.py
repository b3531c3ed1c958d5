"""`pointsman replay`: what a logged day would have come to under other settings. Reads, decides again, calls nobody."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from pointsman.cli.common import ConfigOption, complain, load_or_exit, profile_or_exit, written_whole
from pointsman.clock import SystemClock

if TYPE_CHECKING:
    from pointsman.types_learned import Learned

DAYS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


def replay(
    outcomes: Annotated[
        str | None,
        typer.Argument(
            help="The log: the ledger's file, its PostgreSQL URL, or an export (Parquet, JSON lines); default: the "
            "ledger of the configuration, and of it the last whole day, UTC, unless --since or --until say otherwise."
        ),
    ] = None,
    *,
    policy: Annotated[Path, typer.Option("--policy", help="The settings to try.")],
    config: ConfigOption = None,
    since: Annotated[datetime | None, typer.Option("--since", formats=DAYS, help="From here on, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option("--until", formats=DAYS, help="Before this, UTC.")] = None,
    learned: Annotated[
        Path | None, typer.Option("--learned", help="What verdicts taught (`learned.json`); default: nothing.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write it there instead.")] = None,
) -> None:
    """Decide a logged day again under other settings: who would have answered, at what cost, how fast, how well.

    The same log and settings give the same report, byte for byte. Figures are estimates with intervals;
    `docs/replay.md` says what they rest on.
    """
    from pointsman.app import world_after_start
    from pointsman.cli.outcomes import store_or_exit
    from pointsman.cli.replay_log import records_in, records_of
    from pointsman.cli.replay_text import render
    from pointsman.learning.replay import Replayer, report_of

    settings = load_or_exit(policy)
    profile = profile_or_exit(settings)
    replayer = Replayer(settings, world_after_start(settings).deployments, profile, _learned(learned))
    if outcomes is None:
        since, until = (since, until) if since or until else last_day(SystemClock().unix())
        url, store = store_or_exit(config)
        source, records = url, records_in(store, _unix_s(since) or 0.0, _unix_s(until))
        typer.echo(f"{source}: rows{_when(since, until)}", err=True)
    else:
        source, records = outcomes, records_of(outcomes, _unix_s(since) or 0.0, _unix_s(until))
    report = report_of(records, replayer, profile=profile is not None)
    if not report.rows:
        complain([f"{source}: no rows{_when(since, until)}"])
    if as_json:
        text = msgspec.json.format(msgspec.json.encode(report)) + b"\n"
    else:
        text = render(report, source, str(policy), _when(since, until)).encode()
    if out is None:
        typer.echo(text, nl=False)
    else:
        with written_whole(out) as file:
            file.write(text)


def last_day(now_unix_s: float) -> tuple[datetime, datetime]:
    """The last day that is over, UTC: from, before."""
    until = datetime.fromtimestamp(now_unix_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return until - timedelta(days=1), until


def _when(since: datetime | None, until: datetime | None) -> str:
    """Of what time rows are, in words; empty: of any."""
    ends = (("from", since), ("before", until))
    said = "".join(f" {word} {moment:%Y-%m-%d %H:%M:%S}" for word, moment in ends if moment)
    return f"{said} UTC" if said else ""


def _unix_s(moment: datetime | None) -> float | None:
    return None if moment is None else moment.replace(tzinfo=UTC).timestamp()


def _learned(path: Path | None) -> "tuple[Learned, ...]":
    from pointsman.ledger.learner import evidence_in
    from pointsman.policy.bandit import learned_of

    if path is None:
        return ()
    try:
        return tuple(map(learned_of, evidence_in(path.read_bytes()).values()))
    except (OSError, ValueError) as error:
        complain([f"{path}: {error}; name `learned.json` of the server's `cache_dir`"])

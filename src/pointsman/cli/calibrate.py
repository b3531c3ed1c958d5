"""`pointsman calibrate`: measure your own models, then say which is good for what."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from pointsman.cli.calibrate_outcome import conclude
from pointsman.cli.common import ConfigOption, load_or_exit
from pointsman.clock import Clock
from pointsman.errors import PointsmanError, RequestError
from pointsman.settings import Settings
from pointsman.types import Value

if TYPE_CHECKING:
    from pointsman.calibration.items import Item
    from pointsman.calibration.journal import Journal, Standing
    from pointsman.calibration.measured import Measured
    from pointsman.calibration.runner import Asker, Target, Watcher

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
FOLDER = "calibration"


class Options(Value, frozen=True):
    """What was asked for on the command line."""

    models: tuple[str, ...]
    items: int | None
    families: tuple[str, ...]
    languages: tuple[str, ...]
    concurrency: int | None
    url: str | None
    api_key_env: str | None
    seed: int
    timeout_s: float
    regrade: bool
    report_only: bool


def calibrate(
    config: ConfigOption = None,
    model: Annotated[list[str] | None, typer.Option(help="A model to measure; may be repeated. Default: all.")] = None,
    items: Annotated[int | None, typer.Option(min=1, help="How many questions, balanced. Default: all.")] = None,
    family: Annotated[list[str] | None, typer.Option(help="Only these kinds of questions; may be repeated.")] = None,
    language: Annotated[list[str] | None, typer.Option(help="Only these languages; may be repeated.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Questions at once. Default: the slots.")] = None,
    url: Annotated[str | None, typer.Option(help="Measure what answers at this URL instead of starting it.")] = None,
    api_key_env: Annotated[str | None, typer.Option(help="Variable that holds the key for --url.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of journal and report. Default: in the cache.")] = None,
    seed: Annotated[int, typer.Option(help="Fixes the choice of questions, folds and resamples.")] = 0,
    resume: Annotated[bool, typer.Option("--resume/--fresh", help="Take over earlier answers, or begin anew.")] = True,
    regrade: Annotated[
        bool, typer.Option("--regrade", help="Grade earlier answers again, as today's graders do.")
    ] = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Ask nothing: report on the answers that are there.")
    ] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds a model may take to answer.")] = 300,
) -> None:
    """Measure your models on a built-in suite of checkable tasks; write a quality profile and a report.

    Stop it any time: the same command continues where it was.
    """
    console = Console(highlight=False)
    options = Options(
        models=tuple(model or ()),
        items=items,
        families=tuple(family or ()),
        languages=tuple(language or ()),
        concurrency=concurrency,
        url=url,
        api_key_env=api_key_env,
        seed=seed,
        timeout_s=timeout_s,
        regrade=regrade,
        report_only=report_only,
    )
    settings = load_or_exit(config)
    folder = out or settings.cache_path() / FOLDER
    from pointsman.calibration.journal import JournalInUseError, opened

    try:
        with opened(folder, is_fresh=not resume) as journal:
            measured = asyncio.run(_calibrate(settings, options, journal, console))
            conclude(measured, settings.routing, folder, console)
    except KeyboardInterrupt:
        _say(console, f"Interrupted. The answers are kept in {folder}; the same command goes on from there.")
        raise typer.Exit(INTERRUPTED) from None
    except PointsmanError as error:
        _say(console, error.message, "red")
        raise typer.Exit(MISUSED) from None
    except JournalInUseError as error:
        _say(console, str(error), "red")
        raise typer.Exit(FAILED) from None
    raise typer.Exit(FAILED if measured.failures else 0)


async def _calibrate(settings: Settings, options: Options, journal: "Journal", console: Console) -> "Measured":
    """Ask all that is not answered yet."""
    from pointsman.calibration import journal as book
    from pointsman.calibration.items import content_version
    from pointsman.calibration.measured import Measured
    from pointsman.calibration.runner import Run, Runner
    from pointsman.clock import SystemClock

    suite, items = _suite(options)
    version = content_version(suite)
    async with AsyncExitStack() as stack:
        asker, targets = await _reach(settings, options, stack, console)
        prints = {target.model: target.model_print for target in targets}
        by_id = {item.id: item for item in suite}
        walls = await _rehearse(items, console)
        before = book.standing(*book.read(journal.path), by_id, prints)
        for remark in before.remarks():
            _say(console, remark, "yellow")
        if options.regrade:
            await _regrade(before, by_id, journal, console)
        clock = SystemClock()
        with _watching(console, clock) as watcher:
            runner = Runner(asker, journal, watcher, clock, options.timeout_s)
            run = Run(items=items, suite=version, answers=before.answers)
            failures = await runner.run(run, () if options.report_only else targets)
    after = book.standing(*book.read(journal.path), by_id, prints)
    chosen = {item.id for item in items}
    errors = Counter(one.model for one in after.failed if one.item in chosen)
    return Measured(
        items=items,
        targets=targets,
        answers=tuple(one for one in after.answers if one.item in chosen),
        errors=tuple(errors[target.model] for target in targets),
        failures=failures,
        suite=version,
        remarks=(*before.remarks(), *walls),
        seed=options.seed,
    )


async def _rehearse(items: "tuple[Item, ...]", console: Console) -> tuple[str, ...]:
    """What the sandbox for generated code lacks here, said aloud. Raises RequestError where it does not work at all."""
    from pointsman.calibration.graders import needs_sandbox
    from pointsman.calibration.sandbox import SandboxError, rehearse

    if not any(map(needs_sandbox, items)):
        return ()
    try:
        remarks = tuple(f"The sandbox for generated code is not closed: {wall}" for wall in await rehearse())
    except SandboxError as error:
        raise RequestError(f"{error}; leave out code: name the other families with --family") from None
    for remark in remarks:
        _say(console, remark, "yellow")
    return remarks


async def _regrade(before: "Standing", items: "Mapping[str, Item]", journal: "Journal", console: Console) -> None:
    """Write down anew what is graded otherwise today."""
    from pointsman.calibration.runner import regraded

    changed = 0
    async for one in regraded(before.answers, items):
        journal.append(one)
        changed += 1
    _say(console, f"{changed} of {len(before.answers)} earlier answers are graded otherwise today.")


def _suite(options: Options) -> "tuple[tuple[Item, ...], tuple[Item, ...]]":
    """All questions, and those to ask in their order. Raises RequestError for a choice that is empty."""
    from pointsman.calibration.items import FAMILIES, LANGUAGES, load_suite
    from pointsman.calibration.select import select

    for given, known, what in ((options.families, FAMILIES, "family"), (options.languages, LANGUAGES, "language")):
        for name in given:
            if name not in known:
                raise RequestError(f"--{what} {name}: there are {', '.join(known)}")
    suite = load_suite()
    chosen = select(
        suite, count=options.items, families=options.families, languages=options.languages, seed=options.seed
    )
    if not chosen:
        raise RequestError("no question of the suite is of that family in that language; ask for less")
    return suite, chosen


async def _reach(
    settings: Settings, options: Options, stack: AsyncExitStack, console: Console
) -> "tuple[Asker, tuple[Target, ...]]":
    """Who asks, and the models. Raises PointsmanError where there are none."""
    from pointsman.cli import calibrate_doors as doors
    from pointsman.clock import SystemClock

    clock = SystemClock()
    if options.url is None:
        targets = doors.targets_of(settings, options.models, options.concurrency)
        if not targets:
            raise RequestError("the configuration has no chat model to measure; give --config, or --url")
        if not options.report_only:
            await doors.fetch_missing(settings, targets, console)
        # Anew: a print is taken of the weights, which may have come only now.
        targets = doors.targets_of(settings, options.models, options.concurrency)
        return doors.FleetAsker(settings, clock, options.seed), targets
    asker = await stack.enter_async_context(
        doors.UrlAsker(options.url, clock, options.seed, api_key=doors.api_key_of(options.api_key_env))
    )
    names = options.models or doors.chat_models(settings, await asker.models())
    return asker, doors.url_targets(settings, options.url, names, options.concurrency)


@contextmanager
def _watching(console: Console, clock: Clock) -> "Iterator[Watcher]":
    from pointsman.cli.calibrate_screen import Bars, Lines, bars_of

    if not console.is_terminal:
        yield Lines(console, clock)
        return
    with bars_of(console) as bars:
        yield Bars(bars, clock)


def _say(console: Console, what: str, style: str = "") -> None:
    console.print(Text(what, style=style), soft_wrap=True)

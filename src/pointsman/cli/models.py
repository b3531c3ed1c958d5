"""`pointsman models`: what a running server's fleet does; without one, what the file and the disk say."""

import asyncio
from typing import Annotated

import msgspec
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pointsman.cli.common import ConfigOption, load_or_exit
from pointsman.cli.models_table import fleet_of, gigabytes, render
from pointsman.cli.remote import NoServer, Remote, UrlOption
from pointsman.clock import SystemClock
from pointsman.errors import PointsmanError
from pointsman.settings import Settings
from pointsman.sources.pull import needed_of
from pointsman.sources.store import WeightStore

REFRESH_S = 1.0
FAILED, INTERRUPTED = 1, 130


def models(
    config: ConfigOption = None,
    *,
    url: UrlOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep the table up to date until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="What `GET /models` answers.")] = False,
    catalogue: Annotated[bool, typer.Option("--catalogue", help="List the packaged weights instead.")] = False,
) -> None:
    """Show the fleet of a running server: tiers, memory, requests, errors; else what is configured and on disk."""
    settings, console = load_or_exit(config), Console(highlight=False)
    store = WeightStore.of(settings, SystemClock())
    if catalogue:
        console.print(_catalogue(store))
        return
    remote = Remote.of(settings, url)
    try:
        if watch and console.is_terminal and not as_json:
            asyncio.run(_watch(remote, console))
        else:
            _once(remote, console, as_json=as_json)
    except NoServer as error:
        if url or as_json or watch:
            _fail(str(error))
        console.print(_configured(settings, store))
        console.print(Text(f"{error}: this is what the file and the disk say.", style="dim"), soft_wrap=True)
    except PointsmanError as error:
        _fail(error.message)
    except msgspec.ValidationError:
        _fail(f"{remote.url} is no Pointsman of this version")
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _once(remote: Remote, console: Console, *, as_json: bool) -> None:
    answer = remote.ask("GET", "models")
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(answer)).decode())
    else:
        console.print(render(fleet_of(answer), remote.url))


async def _watch(remote: Remote, console: Console) -> None:
    """A server that is gone may come back: it is waited for. One that was never there is an error."""
    clock, shown = SystemClock(), None
    with Live(console=console, auto_refresh=False) as live:
        while True:
            try:
                fleet = fleet_of(await asyncio.to_thread(remote.ask, "GET", "models"))
                shown = render(fleet, remote.url)
                live.update(shown, refresh=True)
            except NoServer as error:
                if shown is None:
                    raise
                live.update(Group(shown, Text(str(error), style="red")), refresh=True)
            await clock.sleep(REFRESH_S)


def _fail(said: str) -> None:
    Console(stderr=True, highlight=False).print(Text(said, style="red"), soft_wrap=True)
    raise typer.Exit(FAILED)


def _configured(settings: Settings, store: WeightStore) -> Table:
    table = Table("model", "backend", "weights", "preload", "name", box=None, pad_edge=False, header_style="bold")
    for model in settings.models:
        sources = [source for _, source in needed_of(model)]
        present = sum(store.present(source) is not None for source in sources)
        size = gigabytes(sum(store.size_bytes(source) for source in sources))
        if not sources:
            weights = "none needed"
        else:
            weights = ", ".join(filter(None, (size, "on disk" if present == len(sources) else "to be fetched")))
        preload = "yes" if getattr(model, "preload", False) else ""
        table.add_row(model.id, model.backend, weights, preload, model.name or "")
    return table


def _catalogue(store: WeightStore) -> Table:
    table = Table(
        "packaged name", "download", "licence", "on disk", "what", box=None, pad_edge=False, header_style="bold"
    )
    for entry in store.catalogue():
        on_disk = "yes" if entry.path else ""
        table.add_row(entry.name, f"{entry.download_bytes / 1e6:.0f} MB", entry.licence, on_disk, entry.description)
    return table

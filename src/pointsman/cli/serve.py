"""`pointsman serve`: weights, then the server, then a banner once the models are ready."""

import asyncio
import gc
import signal
import socket
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from pointsman.cli.common import ConfigOption, config_path, environ_of, load_or_exit, profile_or_exit, show_problems
from pointsman.errors import ConfigError
from pointsman.settings import Settings

if TYPE_CHECKING:
    from pointsman.app import App


COLLECT_AFTER = (10_000, 10, 10)
"""New objects before the youngest are looked through, and how many of these looks before the next older ones are."""


def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of the configured one.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, instead of the configured one.")] = None,
    pull: Annotated[bool, typer.Option(help="Fetch missing weights of preloaded models first.")] = True,
) -> None:
    """Run the gateway until it is told to stop."""
    settings = load_or_exit(config, host=host, port=port)
    profile_or_exit(settings)
    console = Console(highlight=False, soft_wrap=True)
    listener = _listen(settings, console)
    import uvloop

    from pointsman.app import App
    from pointsman.reload import ConfigFile

    try:
        app = App(settings, config=ConfigFile(config_path(config), environ_of(host, port)))
    except ConfigError as error:
        listener.close()
        show_problems(error)
        raise typer.Exit(2) from None
    with listener:
        try:
            if pull:
                uvloop.run(_pull(app, console))
            uvloop.run(_run(app, listener, console, str(config_path(config))))
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def _listen(settings: Settings, console: Console) -> socket.socket:
    """The listening socket, taken before anything costly starts. Exits 1 where the address is not to be had."""
    server = settings.server
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((server.host, server.port))
    except OSError as error:
        listener.close()
        console.print(
            f"Cannot listen on {server.host}:{server.port} ({error.strerror}): stop what holds it, or give --port",
            style="red",
        )
        raise typer.Exit(1) from None
    return listener


async def _pull(app: "App", console: Console) -> None:
    """Fetch what preloaded models lack. A failure is shown; the server starts all the same, and tries again."""
    from pointsman.sources.display import pull_with_display
    from pointsman.sources.pull import wanted_of

    missing = tuple(wanted for wanted in wanted_of(app.settings) if app.weights.present(wanted.source) is None)
    if missing:
        await pull_with_display(app.weights, missing, console)


async def _run(app: "App", listener: socket.socket, console: Console, config_name: str) -> None:
    server = app.server()
    server.take_signals()
    async with app.running():
        _settle()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app.reloader.begin, "SIGHUP")
        banner = asyncio.create_task(_banner(app, listener, console, config_name))
        try:
            await server.serve(sockets=[listener])
        finally:
            banner.cancel()
            await asyncio.gather(banner, return_exceptions=True)


def _settle() -> None:
    """What the start has made stays, so that nobody looks for garbage in it again; and looking is rarer from here on.

    By default it walks the classifier's weights again and again, for every thousand requests or so.
    What reference counts free is freed as before, the tree that a reload replaces too.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def _banner(app: "App", listener: socket.socket, console: Console, config_name: str) -> None:
    """What was loaded and in how long, and the line to try."""
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    console.print(f"Pointsman listens on {url} ({config_name}); loading models …")
    report = await app.fleet.wait_preloaded()
    if report.loads:
        table = Table("model", "ready in", "memory", box=None, pad_edge=False, header_style="bold")
        for load in report.loads:
            if load.error:
                table.add_row(load.deployment_id, "failed", load.error)
            else:
                table.add_row(load.deployment_id, f"{load.load_s:.1f} s", f"{load.memory_bytes / 1e6:.0f} MB")
        console.print(table)
    console.print(f"Ready. Console: {url}/console   Documentation: {url}/docs   Try:\n")
    console.print(
        f"  curl -s {url}/v1/chat/completions -H 'content-type: application/json' \\\n"
        """    -d '{"model":"auto","messages":[{"role":"user","content":"Hello!"}]}'\n""",
        markup=False,
    )

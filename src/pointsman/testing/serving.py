"""A whole gateway on a free port, in the caller's event loop: for tests and for trying things from a script."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pointsman.app import App
from pointsman.clock import Clock
from pointsman.reload import ConfigFile
from pointsman.settings import Settings


def without_ledger(settings: Settings) -> Settings:
    """What is tried out is not written into anybody's books."""
    return settings.model_copy(update={"ledger": settings.ledger.model_copy(update={"enabled": False})})


def _has_a_ledger(settings: Settings) -> bool:
    """Whether the settings ask for one on disk: the statistics' baseline is no word of that."""
    return "ledger" in settings.model_fields_set and settings.ledger.model_fields_set != {"baseline_model"}


@asynccontextmanager
async def serving(
    settings: Settings, clock: Clock | None = None, config: ConfigFile | None = None
) -> AsyncIterator[tuple[App, str]]:
    """The app and its base URL (`http://127.0.0.1:PORT`) while the context is open. The configured port is ignored, and
    there is no ledger on disk unless the settings speak of one."""
    app = App(settings if _has_a_ledger(settings) else without_ledger(settings), clock, config)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = app.server()
    async with app.running():
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                await asyncio.sleep(0.005)
            yield app, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
            listener.close()

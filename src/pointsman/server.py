"""The HTTP server: uvicorn as we run it, and how it leaves.

Knows: uvicorn, signals, the steps of leaving. Does not know: requests (`edge.leaving` holds them), children.

On the first SIGTERM or SIGINT: 1 `/ready` says 503 at once. 2 after `drain_delay_s`, in which everybody is still
served, it listens no more; who still comes on an open connection is refused with `draining`. 3 what is under way may
take `drain_timeout_s`. 4 what is left is cut short, each with its error. A second signal goes to 4 at once.
"""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from pointsman.clock import Clock
from pointsman.edge.leaving import Leaving
from pointsman.edge.site import Asgi
from pointsman.settings import ServerSettings
from pointsman.wire import Wire

BACKLOG = 2048
KEEP_ALIVE_S = 75
LAST_WORDS_S = 1.0
"""What those who are cut short have for saying so."""


class Server(uvicorn.Server):
    """`settings` is asked when it leaves; `hurry` hears of a second signal."""

    def __init__(
        self,
        site: Asgi,
        leaving: Leaving,
        clock: Clock,
        settings: Callable[[], ServerSettings],
        hurry: Callable[[], None],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                site,
                loop="none",
                http=Wire,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=int(settings().drain_timeout_s + 2 * LAST_WORDS_S),
            )
        )
        self._leaving = leaving
        self._clock = clock
        self._settings = settings
        self._hurry = hurry
        self._loop: asyncio.AbstractEventLoop | None = None
        self._steps: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Until it has left."""
        self._loop = asyncio.get_running_loop()
        try:
            await super().serve(sockets)
        finally:
            if self._steps is not None:
                self._steps.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._steps

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # a signal handler's signature
        """Uvicorn's own name for what a signal calls; it runs between any two instructions of the loop."""
        if self._loop is None:
            self.should_exit = True
        else:
            self._loop.call_soon_threadsafe(self.leave)

    def take_signals(self) -> None:
        """From now on, so that one that comes before or after `serve` leaves no child behind either."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.handle_exit)

    def leave(self) -> None:
        """Begin to; a second time: at once."""
        if self._steps is None:
            self._steps = asyncio.get_running_loop().create_task(self._leave(), name="leave")
            return
        self._hurry()
        self._steps.cancel()
        self._steps = asyncio.get_running_loop().create_task(self._cut(), name="leave at once")

    async def _leave(self) -> None:
        settings = self._settings()
        self._leaving.begin()  # 1
        await self._clock.sleep(settings.drain_delay_s)
        self._leaving.close()  # 2
        self.should_exit = True
        self.config.timeout_graceful_shutdown = int(settings.drain_timeout_s + 2 * LAST_WORDS_S)
        await self._clock.sleep(settings.drain_timeout_s)  # 3
        await self._cut()

    async def _cut(self) -> None:
        """4"""
        self._leaving.cut()
        self.should_exit = True
        await self._clock.sleep(LAST_WORDS_S)
        self.force_exit = True

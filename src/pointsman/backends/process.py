"""One child process: started, heard, ended.

Knows: processes, sockets, log files. Does not know: engines, HTTP, models.
The child is tied to this process by `worker.lifeline`, in whose words both talk: one socket pair as the child's
standard input carries the configuration down and the port up; closing it asks the child to leave. Its output goes
straight to the log file.

Invariants: whatever interrupts `spawn`, no child is left; `exited()` ends exactly when the child does; `stop()` returns
only then. Spawn from the event loop's thread: the kernel ties the child to the *thread* that forked it.
"""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import msgspec

from pointsman.backends.worker.keeper import descendants
from pointsman.clock import Clock
from pointsman.errors import UpstreamError
from pointsman.redact import SECRET_NAME, Redactor
from pointsman.types import Exit

TAIL_BYTES = 4096
TAIL_LINES = 20
DYING_S = 1.0
MAX_LOG_BYTES = 16 * 1024 * 1024
OUT_OF_MEMORY = re.compile(
    r"(?i)out of memory|OutOfMemory|bad_alloc|MemoryError|insufficient memory|No available memory"
    r"|(cannot|can't|unable to|failed to|could not) allocate|cudaMalloc failed|less than desired GPU memory"
)


class _Announcement(msgspec.Struct):
    port: int


class _Done(msgspec.Struct):
    error: str


class ChildProcess:
    """A running child. Made by `spawn`."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        cord: socket.socket,
        log_path: Path,
        hide: Redactor | None = None,
        was_starved: Callable[[], bool | None] = lambda: None,
    ) -> None:
        self.pid = process.pid
        self.port = 0
        self.ready_in_s = 0.0
        self._process = process
        self._cord = cord
        self._log_path = log_path
        self._hide = hide or Redactor()
        self._was_starved = was_starved
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        threading.Thread(target=self._wait, name=f"wait-{self.pid}", daemon=True).start()

    @classmethod
    async def spawn(
        cls,
        argv: tuple[str, ...],
        config: bytes,
        *,
        log_path: Path,
        clock: Clock,
        ready_timeout_s: float,
        env: tuple[tuple[str, str], ...] = (),
        oom_kills: Callable[[], int | None] = lambda: None,
    ) -> Self:
        """A child that has announced its port. `config` is JSON on one line; `env` is added to this process's own;
        `oom_kills`: see `Toolbox`.

        Raises UpstreamError `loading_failed` with the child's last words where it ends or stays silent.
        """
        started_s = clock.now()
        hide = Redactor.of(os.environ)
        hide.learn(dict(env))
        was_starved = _starved_since_now(oom_kills)
        child = cls(*_popen(argv, log_path, env), log_path, hide, was_starved)
        try:
            async with asyncio.timeout(ready_timeout_s):
                await child._handshake(config)
        except TimeoutError:
            await child.stop(0)
            raise UpstreamError(
                f"{log_path.stem}: not listening after {ready_timeout_s:g} s; "
                f"raise `fleet.load_timeout_s` or see {_log_of(log_path)}",
                code="loading_failed",
            ) from None
        except BaseException:  # cancellation too: the caller has no handle yet, so nobody else could end it
            child.kill()
            await child.exited()
            raise
        child.ready_in_s = clock.now() - started_s
        return child

    async def exited(self) -> Exit:
        """How the child ended, once it has. Any number may wait."""
        return await asyncio.shield(self._exit)

    async def stop(self, grace_s: float) -> None:
        """Ask it to leave, kill it after `grace_s`, return when it is gone. Idempotent."""
        self._cord.close()
        try:
            async with asyncio.timeout(grace_s):
                await self.exited()
        except TimeoutError:
            self.kill()
            await self.exited()
        except BaseException:  # cancelled: do not wait, but do not leave it either
            self.kill()
            raise

    async def order(self, word: str, limit_s: float) -> None:
        """Say one word to a child that takes orders, and return when it is done; one order at a time.

        Raises UpstreamError with the child's reason, or where it ends or stays silent. Who does not wait for the answer
        (the limit, a cancellation) ends the child: nobody could tell that answer from the next one.
        """
        try:
            async with asyncio.timeout(limit_s):
                said = await self._converse(word.encode())
        except TimeoutError:
            self.kill()
            raise UpstreamError(f"{self._log_path.stem}: did not {word} within {limit_s:g} s") from None
        except BaseException:
            self.kill()
            raise
        if not said.endswith(b"\n"):
            raise UpstreamError(f"{self._log_path.stem}: ended when told to {word}; see {_log_of(self._log_path)}")
        if problem := msgspec.json.decode(said, type=_Done).error:
            raise UpstreamError(f"{self._log_path.stem}: could not {word}: {problem}")

    def kill(self) -> None:
        """End it now, and what it started; `exited()` says when it is gone."""
        self._cord.close()
        if not self._exit.done():
            kin = descendants(self.pid)  # some may have left the group
            _kill_group(self.pid)
            self._process.kill()
            for pid in kin:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def log_tail(self) -> str:
        """The last lines it wrote, without secrets. What is told of them to whom: see `Exit`."""
        try:
            with self._log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
                lines = log.read().decode("utf-8", "replace").splitlines()
        except OSError as error:
            return f"(no log: {error})"
        return self._hide("\n".join(lines[-TAIL_LINES:]))

    def trim_log(self) -> None:
        """Keep a long-lived child's log bounded: past the limit it becomes the previous log and starts anew."""
        with contextlib.suppress(OSError):  # a full disk or a deleted file must not look like a sick child
            if self._log_path.stat().st_size > MAX_LOG_BYTES:
                _previous(self._log_path).write_bytes(self._log_path.read_bytes())
                os.truncate(self._log_path, 0)

    def __repr__(self) -> str:
        state = f"exit {self._exit.result().code}" if self._exit.done() else f"port {self.port or '?'}"
        return f"ChildProcess({self._log_path.stem}, pid {self.pid}, {state})"

    async def _handshake(self, config: bytes) -> None:
        said = await self._converse(config.replace(b"\n", b" "))
        if not said.endswith(b"\n"):
            await self.stop(DYING_S)
            ended = await self.exited()
            raise UpstreamError(_last_words(self._log_path, ended), code=load_problem(ended))
        self.port = msgspec.json.decode(said, type=_Announcement).port

    async def _converse(self, line: bytes) -> bytes:
        """Say a line, hear one; what was heard does not end a line where the child hung up."""
        said = b""
        with contextlib.suppress(OSError):  # a child that died at once resets the socket; its exit tells why
            await self._loop.sock_sendall(self._cord, line + b"\n")
            while not said.endswith(b"\n") and (piece := await self._loop.sock_recv(self._cord, 4096)):
                said += piece
        return said

    def _wait(self) -> None:
        """In its own thread, which works on every kernel and under every event loop. Who outlives a child in its group
        is ended before the child is buried: until then nobody else can have its number."""
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            _kill_group(self.pid)
        code = self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._gone, code)

    def _gone(self, code: int) -> None:
        self._cord.close()
        self._exit.set_result(Exit(code=code, log_tail=self.log_tail(), was_starved=self._was_starved()))


def _starved_since_now(oom_kills: Callable[[], int | None]) -> Callable[[], bool | None]:
    before = oom_kills()

    def was_starved() -> bool | None:
        now = oom_kills()
        return None if before is None or now is None else now > before

    return was_starved


def load_problem(ended: Exit) -> str:
    """Why a start failed: `out_of_memory` where the kernel killed the child for it or its last words say so.

    Where the kernel does not count whom it kills, a SIGKILL is believed to be its own: hardly anybody else sends one to
    a child that starts.
    """
    was_killed = ended.code == -signal.SIGKILL and ended.was_starved is not False
    is_short = was_killed or OUT_OF_MEMORY.search(ended.log_tail)
    return "out_of_memory" if is_short else "loading_failed"


def _popen(
    argv: tuple[str, ...], log_path: Path, env: tuple[tuple[str, str], ...]
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Synchronous: between the fork and the handle nothing can be cancelled."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    try:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        if log_path.exists():
            log_path.replace(_previous(log_path))
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = subprocess.Popen(
                argv,
                stdin=theirs.fileno(),
                stdout=log,
                stderr=log,
                env={**_without_secrets(), **dict(env)},
                process_group=0,
            )
        finally:
            os.close(log)
    except OSError as error:
        ours.close()
        raise UpstreamError(f"{log_path.stem}: cannot start {argv[0]}: {error}", code="loading_failed") from error
    finally:
        theirs.close()
    return process, ours


def _kill_group(leader: int) -> None:
    """A child leads a group of its own: what it started, unless that left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _without_secrets() -> dict[str, str]:
    """Our environment, less what looks like a credential: an engine needs no key of a remote model."""
    return {name: value for name, value in os.environ.items() if not SECRET_NAME.search(name)}


def _previous(log_path: Path) -> Path:
    return log_path.with_name(log_path.name + ".1")


def _last_words(log_path: Path, ended: Exit) -> str:
    how = f"signal {-ended.code}" if ended.code < 0 else f"exit code {ended.code}"
    said = ended.last_words or "without a word"
    return f"{log_path.stem}: ended while starting ({how}), see {_log_of(log_path)}: {said}"


def _log_of(log_path: Path) -> str:
    """Where an operator reads all of it; nobody else need know of our folders."""
    return f"`GET /models/{log_path.stem}/logs`"

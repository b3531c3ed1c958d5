"""Child processes of a benchmark, and what a process tree has cost.

Invariants: every process started here is ended here, and no other; CPU time is the kernel's own count in nanoseconds,
over the process and all its descendants.
"""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

CPUCLOCK_SCHED = 2


class NotReadyError(Exception):
    """A server did not come up; the message ends with what it wrote."""


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def tree(pid: int) -> list[int]:
    """The process and its living descendants."""
    try:
        root = psutil.Process(pid)
        return [pid, *(child.pid for child in root.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def cpu_s(pid: int) -> float:
    """CPU seconds of the process tree, user and system, ended threads included, by each process's CPU-time clock."""
    total_s = 0.0
    for each in tree(pid):
        try:
            total_s += time.clock_gettime((~each << 3) | CPUCLOCK_SCHED)
        except OSError:  # it ended meanwhile
            continue
    return total_s


def rss_bytes(pid: int) -> int:
    """Resident memory of the process tree; shared pages count once for each process."""
    total = 0
    for each in tree(pid):
        try:
            total += int(psutil.Process(each).memory_info().rss)
        except psutil.NoSuchProcess:
            continue
    return total


def pid_listening_on(port: int) -> int:
    """The process that listens there: the topmost one where workers share the socket."""
    owners = set()
    for connection in psutil.net_connections("tcp"):
        is_there = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        if is_there and connection.pid:
            owners.add(connection.pid)
    for pid in sorted(owners):
        if psutil.Process(pid).ppid() not in owners:
            return pid
    raise NotReadyError(f"nothing that we may look at listens on port {port}")


class Child:
    """A process in a session of its own, ended with its descendants when the context is left."""

    def __init__(self, name: str, arguments: list[str], log: Path, environ: dict[str, str] | None = None) -> None:
        self.name = name
        self._log = log
        self.began_s = time.perf_counter()
        books = {"POINTSMAN_LEDGER__URL": f"sqlite:{log.absolute().with_suffix('.sqlite')}"}  # nobody's own
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env=os.environ | books | (environ or {}),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self, url: str, timeout_s: float = 30.0) -> float:
        """Seconds from start to the first 200 of `url`. Raises NotReadyError."""
        while time.perf_counter() - self.began_s < timeout_s:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(url, timeout=2) as response:
                    if response.status == 200:
                        return time.perf_counter() - self.began_s
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.01)
        tail = self._log.read_text(errors="replace")[-2000:]
        raise NotReadyError(f"{self.name} is not ready at {url} (exit code {self._process.poll()}): {tail}")

    def end(self, limit_s: float) -> int | None:
        """Ask it to end; its exit code, or None where it has not ended after `limit_s`."""
        self._process.terminate()
        try:
            return self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        descendants = self._descendants()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in descendants:
            with suppress(psutil.NoSuchProcess):  # it ended by itself, as it should
                process.kill()
        psutil.wait_procs(descendants, timeout=5)

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

"""Lines to a file descriptor that may be stuck, from a thread of its own.

Knows: bytes and a descriptor. Does not know: what a line means.
Invariants: `put` never blocks and never raises; the queue is bounded and a line too many is dropped and counted;
lines keep their order and are never torn by us; a writer that hangs cannot hold up `close` or the process's end.
"""

import os
import select
import threading
from collections import deque

from pointsman.types import Value

CAPACITY_LINES = 4096
BATCH_S = 0.05
PATIENCE_MS = 200


class WriterStatistics(Value, frozen=True):
    """Lines since the start. `lost` were handed to a descriptor that refused them."""

    queued: int
    written: int
    dropped: int
    lost: int


class LineWriter:
    """Gathers lines for `batch_s`, then writes them in one call: a line costs the event loop well under a microsecond.

    The descriptor stays the caller's: it is not closed here.
    """

    def __init__(self, fd: int, capacity: int = CAPACITY_LINES, batch_s: float = BATCH_S) -> None:
        self._fd = fd
        self._capacity = capacity
        self._batch_s = batch_s
        self._lines: deque[bytes] = deque()
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._written = self._lost = 0
        self.dropped = 0

    @property
    def has_room(self) -> bool:
        return len(self._lines) < self._capacity and not self._closing.is_set()

    def put(self, line: bytes) -> None:
        """Queue one line, its newline included."""
        if not self.has_room:
            self.dropped += 1
            return
        self._lines.append(line)
        if not self._awake.is_set():
            self._wake()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
            self._thread.start()
        self._awake.set()

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what is queued, for `timeout_s` at most. Idempotent; later lines are dropped."""
        self._closing.set()
        self._awake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closing.is_set() or self._lines:
            self._awake.wait()
            self._closing.wait(self._batch_s)
            self._awake.clear()
            self._write([self._lines.popleft() for _ in range(len(self._lines))])

    def _write(self, lines: list[bytes]) -> None:
        """Blocks this thread, never the caller of `put`."""
        rest = memoryview(b"".join(lines))
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # someone made the shared descriptor non-blocking
                self._wait_until_writable()
            except OSError:
                self._lost += len(lines)
                return
        self._written += len(lines)

    def _wait_until_writable(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        poll.poll(PATIENCE_MS)

    def statistics(self) -> WriterStatistics:
        return WriterStatistics(queued=len(self._lines), written=self._written, dropped=self.dropped, lost=self._lost)

    def __repr__(self) -> str:
        return f"LineWriter(fd {self._fd}, {len(self._lines)} queued, {self._written} written, {self.dropped} dropped)"

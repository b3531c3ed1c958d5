"""One holder of a name on this machine, among processes. The kernel lets go when the holder dies."""

import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from pointsman.clock import Clock

POLL_S = 0.1


@asynccontextmanager
async def held(path: Path, clock: Clock, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    """Hold the lock file while the context is open; `on_wait` is called at each look while another process holds it.

    The file stays: removing it would let two holders lock two files of one name.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        while not _take_nowait(descriptor):
            on_wait()
            await clock.sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)


def _take_nowait(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

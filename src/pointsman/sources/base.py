"""What an origin of weights is, and what it says while it fetches.

Knows: the protocol and its values. Does not know: any origin, the store that drives them.
"""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pointsman.errors import UpstreamError
from pointsman.types import Value


class Phase(StrEnum):
    """What a fetch is doing, in words a person reads."""

    WAITING = "waiting for another process"
    DOWNLOADING = "downloading"
    CHECKING = "checking"
    DONE = "done"
    FAILED = "failed"


class Progress(Value, frozen=True):
    """How far a fetch is. `total_bytes` is 0 where unknown."""

    phase: Phase
    done_bytes: int = 0
    total_bytes: int = 0


OnProgress = Callable[[Progress], None]
FreeBytes = Callable[[Path], int]


class Home(Value, frozen=True):
    """Where one set of weights lives: `folder` for what is whole, `staging` for what is under way. One file system."""

    folder: Path
    staging: Path


class Origin(Protocol):
    """One place that one set of weights comes from."""

    @property
    def key(self) -> str:
        """A file name, unique among origins: the folder in the cache, the name of the lock."""
        ...

    def present(self, home: Home) -> Path | None:
        """What an engine opens, if it is whole. Cheap: no hashing."""
        ...

    def size_bytes(self, home: Home) -> int:
        """Size on disk once fetched; 0 where unknown."""
        ...

    async def learn_size(self, home: Home) -> None:
        """Ask how large it is and note it, so that `size_bytes` knows before a fetch. Nothing where that is known.

        Raises UpstreamError `fetch_failed`, OSError.
        """
        ...

    async def fetch(self, home: Home, on_progress: OnProgress) -> Path:
        """Make it whole and say what an engine opens. The caller holds the lock of `key`.

        Raises UpstreamError `fetch_failed`, or OSError where the disk refuses. On any exception, cancellation included,
        no process is left and nothing lies under a final name that was not checked.
        """
        ...


def fetch_failed(message: str) -> UpstreamError:
    """The one error of this room: what, where, what to do."""
    return UpstreamError(message, code="fetch_failed")


def megabytes(size_bytes: float) -> str:
    """`491.4 MB`, decimal as disks are sold."""
    return f"{size_bytes / 1e6:,.1f} MB"

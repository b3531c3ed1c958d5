"""What lies in a folder of weights, written last: without it the folder is not whole.

Knows: names, sizes, hashes of the files and which one an engine opens. Does not know: how they got there.
"""

from pathlib import Path
from threading import Event

import msgspec

from pointsman.sources import disk
from pointsman.types import Value

NAME = ".pointsman.json"
ANNOUNCED = "size.json"


class Stamp(Value, frozen=True):
    """One checked file. `name` is relative to the folder, or absolute for files that live elsewhere."""

    name: str
    size_bytes: int
    sha256: str
    mtime_ns: int = 0


class Manifest(Value, frozen=True):
    """`opens` is what an engine is given: a file's name, or `.` for the folder. `commit`: of a hub's repository."""

    opens: str
    files: tuple[Stamp, ...]
    commit: str = ""

    @property
    def size_bytes(self) -> int:
        return sum(stamp.size_bytes for stamp in self.files)


def read(folder: Path) -> Manifest | None:
    """The folder's manifest; None where there is none or it is unreadable, which both mean: not whole."""
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None


def write(folder: Path, manifest: Manifest) -> None:
    """Declare the folder whole."""
    folder.mkdir(parents=True, exist_ok=True)
    disk.write_atomically(folder / NAME, msgspec.json.encode(manifest))


class _Announced(Value, frozen=True):
    size_bytes: int = 0


def announce(staging: Path, size_bytes: int) -> None:
    """Note how large it will be, beside what a fetch has so far."""
    staging.mkdir(parents=True, exist_ok=True)
    disk.write_atomically(staging / ANNOUNCED, msgspec.json.encode(_Announced(size_bytes=size_bytes)))


def size_bytes(folder: Path, staging: Path) -> int:
    """Of the whole folder; of one that is to come, as announced; 0 where nobody has said."""
    if found := read(folder):
        return found.size_bytes
    try:
        return msgspec.json.decode((staging / ANNOUNCED).read_bytes(), type=_Announced).size_bytes
    except (OSError, msgspec.DecodeError):
        return 0


def forget(folder: Path) -> None:
    """Declare the folder not whole; its files stay and are checked at the next fetch."""
    (folder / NAME).unlink(missing_ok=True)


def whole(folder: Path) -> Manifest | None:
    """The manifest, if every file it names is there with its size (and its time, where that was noted)."""
    manifest = read(folder)
    if manifest is None or not all(_untouched(folder, stamp) for stamp in manifest.files):
        return None
    return manifest


def damaged(folder: Path, stop: Event) -> tuple[str, ...]:
    """Names of files whose bytes are no longer those that were checked. Reads everything."""
    manifest = read(folder)
    stamps = manifest.files if manifest else ()
    return tuple(stamp.name for stamp in stamps if not same_bytes(folder / stamp.name, stamp, stop))


def same_bytes(path: Path, stamp: Stamp, stop: Event) -> bool:
    """Whether the file has the size and the hash of the stamp."""
    return path.is_file() and path.stat().st_size == stamp.size_bytes and disk.sha256_of(path, stop) == stamp.sha256


def _untouched(folder: Path, stamp: Stamp) -> bool:
    try:
        found = (folder / stamp.name).stat()
    except OSError:
        return False
    return found.st_size == stamp.size_bytes and stamp.mtime_ns in (0, found.st_mtime_ns)

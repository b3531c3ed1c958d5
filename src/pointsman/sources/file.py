"""Weights that are on this machine already: a file or a folder, which is never written to.

Knows: how to look, and how to check a pinned hash once. Does not know: who put the file there.
A pinned file is hashed at the first fetch; the result is noted in the cache with the file's size and time, and stands
until either changes.
"""

from functools import partial
from pathlib import Path

from pointsman.sources import disk, manifest
from pointsman.sources.base import Home, OnProgress, Phase, Progress, fetch_failed
from pointsman.sources.manifest import Manifest, Stamp


class FileOrigin:
    """A path; `sha256` pins a file, not a folder."""

    def __init__(self, path: Path, sha256: str | None, key: str) -> None:
        self.path = path
        self.sha256 = sha256
        self.key = key

    def __repr__(self) -> str:
        return f"FileOrigin({self.path})"

    def present(self, home: Home) -> Path | None:
        if not self.path.exists():
            return None
        if self.sha256 is None:
            return self.path
        found = manifest.whole(home.folder)
        return self.path if found and found.files[0].sha256 == self.sha256 else None

    def size_bytes(self, home: Home) -> int:  # noqa: ARG002  # it lies elsewhere
        if self.path.is_dir():
            return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())
        return self.path.stat().st_size if self.path.exists() else 0

    async def learn_size(self, home: Home) -> None:
        """The disk knows it."""

    async def fetch(self, home: Home, on_progress: OnProgress) -> Path:
        if not self.path.exists():
            raise fetch_failed(f"{self.path}: there is no such file; correct `source.file`")
        if self.sha256 is None:
            return self.path
        if self.path.is_dir():
            raise fetch_failed(f"{self.path}: is a folder, which `sha256` cannot pin; name a file or drop the pin")
        found = self.path.stat()
        on_progress(Progress(phase=Phase.CHECKING, total_bytes=found.st_size))
        digest = await disk.in_thread(partial(disk.sha256_of, self.path))
        if digest != self.sha256:
            raise fetch_failed(
                f"{self.path}: has sha256 {digest}, pinned is {self.sha256}; correct the file or the pin"
            )
        stamp = Stamp(name=str(self.path), size_bytes=found.st_size, sha256=digest, mtime_ns=found.st_mtime_ns)
        manifest.write(home.folder, Manifest(opens=str(self.path), files=(stamp,)))
        return self.path

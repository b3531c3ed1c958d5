"""Weights from a URL: one file, transferred, checked, renamed.

Knows: where the file goes, its pin. Does not know: how bytes travel (`transfer`), what the file means.
Invariant: the final name appears when size, pinned hash and magic are right. Without a pin the hash that came is noted.
"""

import hashlib
import re
import shutil
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Event
from urllib.parse import unquote, urlsplit

import aiohttp

from pointsman.clock import Clock
from pointsman.errors import UpstreamError
from pointsman.sources import disk, manifest, transfer
from pointsman.sources.base import FreeBytes, Home, OnProgress, Phase, Progress, fetch_failed
from pointsman.sources.manifest import Manifest, Stamp
from pointsman.sources.transfer import Transfer, shown, size_of

UNNAMED = "weights.bin"


class UrlOrigin:
    """One file behind a URL, pinned where `sha256` is given."""

    def __init__(self, url: str, sha256: str | None, clock: Clock, free_bytes: FreeBytes) -> None:
        self.url = url
        self.sha256 = sha256
        self._clock = clock
        self._free_bytes = free_bytes
        self.name = file_name(url)
        self.shown = shown(url)

    def __repr__(self) -> str:
        return f"UrlOrigin({self.shown})"

    @property
    def key(self) -> str:
        """By URL and pin, so that neither a change of host nor of pin finds another's file."""
        return f"url-{hashlib.sha256(f'{self.url} {self.sha256}'.encode()).hexdigest()[:12]}-{self.name}"

    def present(self, home: Home) -> Path | None:
        return home.folder / self.name if manifest.whole(home.folder) else None

    def size_bytes(self, home: Home) -> int:
        return manifest.size_bytes(home.folder, home.staging)

    async def learn_size(self, home: Home) -> None:
        if self.size_bytes(home):
            return

        async def ask() -> int:
            async with http.head(self.url, allow_redirects=True, max_redirects=transfer.MAX_REDIRECTS) as answer:
                return (answer.content_length or 0) if answer.status == 200 else 0

        async with transfer.session() as http:
            if size_bytes := await transfer.patiently(ask, self.shown, self._clock):
                manifest.announce(home.staging, size_bytes)

    async def fetch(self, home: Home, on_progress: OnProgress) -> Path:
        home.folder.mkdir(parents=True, exist_ok=True)

        def tell(done_bytes: int, total_bytes: int) -> None:
            on_progress(Progress(phase=Phase.DOWNLOADING, done_bytes=done_bytes, total_bytes=total_bytes))

        async with transfer.session() as http:
            await Transfer(self.url, home.staging, self._clock, self._free_bytes, remedy).run(http, tell)
        await self._keep(home, on_progress)
        shutil.rmtree(home.staging, ignore_errors=True)
        return home.folder / self.name

    async def _keep(self, home: Home, on_progress: OnProgress) -> None:
        """Check what came, then give it its name."""
        body = home.staging / "body"
        total_bytes = size_of(body)
        on_progress(Progress(phase=Phase.CHECKING, done_bytes=total_bytes, total_bytes=total_bytes))
        try:
            await disk.in_thread(partial(self._check, body, home.folder))
        except UpstreamError:
            shutil.rmtree(home.staging, ignore_errors=True)  # wrong bytes are not worth keeping
            raise

    def _check(self, body: Path, folder: Path, stop: Event) -> None:
        disk.sync_file(body)
        digest = disk.sha256_of(body, stop)
        if self.sha256 not in (None, digest):
            raise fetch_failed(
                f"{self.shown}: came with sha256 {digest}, pinned is {self.sha256}; correct the URL or the pin"
            )
        disk.check_magic(body, self.name, self.shown)
        body.replace(folder / self.name)
        stamp = Stamp(name=self.name, size_bytes=(folder / self.name).stat().st_size, sha256=digest)
        manifest.write(folder, Manifest(opens=self.name, files=(stamp,)))


def file_name(url: str) -> str:
    """The last step of the path, as a plain file name."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")[-100:] or UNNAMED


def remedy(answer: aiohttp.ClientResponse) -> str:
    if answer.status in (401, 403):
        return "it asks for permission: name a URL that needs none"
    if answer.status in (404, 410):
        return "there is no such file: correct `source.url`"
    return "try the URL with another program"

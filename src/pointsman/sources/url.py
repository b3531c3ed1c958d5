"""Weights from a URL: one file, resumed where it broke off, checked, renamed.

Knows: HTTP ranges and validators. Does not know: who serves it, what the file means.
Invariants: bytes of two versions are never mixed (a range is used only under the validator its first bytes came with);
the final name appears when size, pinned hash and magic are right. Without a pin the hash that came is noted.

What an answer means, numbered as in `_take`:
1. 206, from where we stand, same validator: append
2. 200: the server sends all of it; begin anew
3. 206 of another version or place, 416: drop what we have, ask again without a range
4. 408, 425, 429, 5xx: try later
5. anything else: fail, trying again does not help
"""

import hashlib
import re
import shutil
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Event
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import aiohttp
import msgspec

from pointsman.clock import Clock
from pointsman.errors import UpstreamError
from pointsman.sources import disk, manifest
from pointsman.sources.base import FreeBytes, Home, OnProgress, Phase, Progress, fetch_failed
from pointsman.sources.manifest import Manifest, Stamp
from pointsman.types import Value

TRIES_WITHOUT_PROGRESS = 5
BACKOFF_S = 0.5
BACKOFF_MAX_S = 30.0
MAX_REDIRECTS = 5
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
LATER = frozenset({408, 425, 429})
CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+|\*)$")
UNNAMED = "weights.bin"


class Started(Value, frozen=True):
    """What the first bytes came with. `validator` is empty where the server gave none fit for resuming."""

    validator: str = ""
    total_bytes: int = 0


class Broken(Exception):  # noqa: N818  # not an error of ours: one try that broke off, the next may continue
    """A try ended early; `why` in words."""

    def __init__(self, why: str, retry_after_s: float = 0.0) -> None:
        super().__init__(why)
        self.why = why
        self.retry_after_s = retry_after_s


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
        found = manifest.read(home.folder)
        return found.size_bytes if found else 0

    async def fetch(self, home: Home, on_progress: OnProgress) -> Path:
        home.folder.mkdir(parents=True, exist_ok=True)
        home.staging.mkdir(parents=True, exist_ok=True)
        await self._download(home.staging, on_progress)
        await self._keep(home, on_progress)
        shutil.rmtree(home.staging, ignore_errors=True)
        return home.folder / self.name

    async def _download(self, staging: Path, on_progress: OnProgress) -> None:
        """Try until all of it is there, as long as tries get further."""
        body, tries, most_bytes = staging / "body", 0, 0
        timeout, headers = TIMEOUT, {"Accept-Encoding": "identity"}
        async with aiohttp.ClientSession(
            timeout=timeout, headers=headers, trust_env=True, auto_decompress=False
        ) as http:
            while True:
                most_bytes = max(most_bytes, size_of(body))
                try:
                    await self._try(http, staging, on_progress)
                except (aiohttp.TooManyRedirects, aiohttp.InvalidURL):
                    raise fetch_failed(f"{self.shown}: redirects too often or nowhere; name the final URL") from None
                except (aiohttp.ClientError, TimeoutError) as error:
                    broken = Broken(words_of(error))
                except Broken as error:
                    broken = error
                else:
                    return
                tries = 1 if size_of(body) > most_bytes else tries + 1
                if tries >= TRIES_WITHOUT_PROGRESS:
                    raise fetch_failed(
                        f"{self.shown}: {broken.why}; what came is kept, run the same command again to continue"
                    )
                backoff_s = min(BACKOFF_MAX_S, BACKOFF_S * 2 ** (tries - 1))
                await self._clock.sleep(max(backoff_s, min(broken.retry_after_s, BACKOFF_MAX_S)))

    async def _try(self, http: aiohttp.ClientSession, staging: Path, on_progress: OnProgress) -> None:
        body = staging / "body"
        started = read_started(staging)
        have_bytes = size_of(body) if started.validator else 0
        if have_bytes and have_bytes == started.total_bytes:
            return
        headers = {"Range": f"bytes={have_bytes}-", "If-Range": started.validator} if have_bytes else {}
        async with http.get(self.url, headers=headers, max_redirects=MAX_REDIRECTS) as answer:
            self._check_hops(answer)
            from_bytes, began = self._take(answer, have_bytes, started, staging)
            disk.check_room(staging, began.total_bytes - from_bytes, self._free_bytes)
            write_started(staging, began)
            with body.open("ab") as file:
                file.truncate(from_bytes)
                await self._copy(answer, file, from_bytes, began.total_bytes, on_progress)
        if began.total_bytes and size_of(body) != began.total_bytes:
            raise Broken(f"{size_of(body)} of {began.total_bytes} bytes came")

    def _take(
        self, answer: aiohttp.ClientResponse, have_bytes: int, started: Started, staging: Path
    ) -> tuple[int, Started]:
        """From which byte on the answer is to be written, and under which validator."""
        status = answer.status
        if status == 206 and have_bytes:
            place = CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
            same = validator_of(answer) in ("", started.validator)
            if place and int(place[1]) == have_bytes and place[3] in ("*", str(started.total_bytes)) and same:
                return have_bytes, started  # 1
        if status == 200:  # 2
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise fetch_failed(
                    f"{self.shown}: comes compressed although that was declined; name a URL of the plain file"
                )
            return 0, Started(validator=validator_of(answer), total_bytes=answer.content_length or 0)
        if status in (206, 416) and have_bytes:  # 3
            shutil.rmtree(staging)
            staging.mkdir()
            raise Broken("the file changed on the server while it was fetched")
        if status in LATER or status >= 500:  # 4
            raise Broken(f"the server answered {status}", retry_after_s(answer))
        raise fetch_failed(f"{self.shown}: the server answered {status}; {remedy(status)}")  # 5

    def _check_hops(self, answer: aiohttp.ClientResponse) -> None:
        if urlsplit(self.url).scheme == "https" and any(hop.url.scheme != "https" for hop in (*answer.history, answer)):
            raise fetch_failed(f"{self.shown}: redirects to an unencrypted address; name the final URL if you trust it")

    async def _copy(
        self, answer: aiohttp.ClientResponse, file: BinaryIO, done_bytes: int, total_bytes: int, on_progress: OnProgress
    ) -> None:
        """The body onto the disk, a chunk at a time in a thread: the event loop has requests to serve meanwhile."""
        pending = bytearray()

        async def flush() -> None:
            nonlocal done_bytes
            block = bytes(pending)
            pending.clear()
            await disk.in_thread(lambda _: file.write(block))
            done_bytes += len(block)
            on_progress(Progress(phase=Phase.DOWNLOADING, done_bytes=done_bytes, total_bytes=total_bytes))

        try:
            async for piece in answer.content.iter_any():
                pending += piece
                if len(pending) >= disk.CHUNK_BYTES:
                    await flush()
        finally:
            file.write(pending)  # what came before a break counts too

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


def shown(url: str) -> str:
    """The URL without what may be secret in it: user, password, query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def words_of(error: Exception) -> str:
    """A library's exception in words; those about an answer would print the whole URL."""
    said = "" if isinstance(error, aiohttp.ClientResponseError) else str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def read_started(staging: Path) -> Started:
    try:
        return msgspec.json.decode((staging / "started.json").read_bytes(), type=Started)
    except (OSError, msgspec.DecodeError):
        return Started()


def write_started(staging: Path, started: Started) -> None:
    disk.write_atomically(staging / "started.json", msgspec.json.encode(started))


def validator_of(answer: aiohttp.ClientResponse) -> str:
    """A strong ETag, or else the time of the last change; a weak ETag promises no equal bytes (RFC 9110, 13.1.5)."""
    etag = answer.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return "" if etag else answer.headers.get("Last-Modified", "")


def retry_after_s(answer: aiohttp.ClientResponse) -> float:
    said = answer.headers.get("Retry-After", "")
    return float(said) if said.isdigit() else 0.0


def remedy(status: int) -> str:
    if status in (401, 403):
        return "it asks for permission: name a URL that needs none"
    if status in (404, 410):
        return "there is no such file: correct `source.url`"
    return "try the URL with another program"

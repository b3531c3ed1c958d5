"""One file over HTTP into one folder, resumed where it broke off.

Knows: HTTP ranges and validators. Does not know: who serves the file, what it means, whether it is right.
Invariant: bytes of two versions are never mixed: a range is used only under the validator its first bytes came with.

    <staging>/body           what came so far
    <staging>/started.json   what the first bytes came with

What an answer means, numbered as in `_take`:
1. 206, from where we stand, same validator: append
2. 200: the server sends all of it; begin anew
3. 206 of another version or place, 416: drop what we have, ask again without a range
4. 408, 425, 429, 5xx: try later
5. anything else: fail, trying again does not help
"""

import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from pointsman.clock import Clock
from pointsman.sources import disk
from pointsman.sources.base import FreeBytes, fetch_failed
from pointsman.types import Value

TRIES_WITHOUT_PROGRESS = 5
BACKOFF_S = 0.5
BACKOFF_MAX_S = 30.0
MAX_REDIRECTS = 5
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
LATER = frozenset({408, 425, 429})
CONTENT_RANGE = re.compile(r"^bytes (\d+)-(\d+)/(\d+|\*)$")

T = TypeVar("T")
OnBytes = Callable[[int, int], None]
"""Told how many bytes are there, of how many (0: unknown)."""
Remedy = Callable[[aiohttp.ClientResponse], str]
"""What to do about an answer that trying again does not change."""


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


def session() -> aiohttp.ClientSession:
    """A client for files: patient, heeding the proxies of the environment, taking bytes as they are. It follows an
    address letter by letter: large files lie behind signed ones, which are refused when tidied up."""
    return aiohttp.ClientSession(
        timeout=TIMEOUT,
        headers={"Accept-Encoding": "identity"},
        trust_env=True,
        auto_decompress=False,
        requote_redirect_url=False,
    )


class Transfer:
    """`url` into `staging`. `headers` go to the URL's own host only, not to where it redirects."""

    def __init__(
        self,
        url: str,
        staging: Path,
        clock: Clock,
        free_bytes: FreeBytes,
        remedy: Remedy,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.url = url
        self.body = staging / "body"
        self.shown = shown(url)
        self._staging = staging
        self._clock = clock
        self._free_bytes = free_bytes
        self._remedy = remedy
        self._headers = dict(headers)

    def __repr__(self) -> str:
        return f"Transfer({self.shown})"

    async def run(self, http: aiohttp.ClientSession, on_bytes: OnBytes) -> None:
        """Return when all of `body` is there. Raises UpstreamError `fetch_failed`, OSError where the disk refuses."""
        self._staging.mkdir(parents=True, exist_ok=True)
        await patiently(lambda: self._try(http, on_bytes), self.shown, self._clock, lambda: size_of(self.body))

    async def _try(self, http: aiohttp.ClientSession, on_bytes: OnBytes) -> None:
        started = read_started(self._staging)
        have_bytes = size_of(self.body) if started.validator else 0
        if have_bytes and have_bytes == started.total_bytes:
            return
        asked = {"Range": f"bytes={have_bytes}-", "If-Range": started.validator} if have_bytes else {}
        async with http.get(self.url, headers=self._headers | asked, max_redirects=MAX_REDIRECTS) as answer:
            self._check_hops(answer)
            from_bytes, began = self._take(answer, have_bytes, started)
            disk.check_room(self._staging, began.total_bytes - from_bytes, self._free_bytes)
            write_started(self._staging, began)
            with self.body.open("ab") as file:
                file.truncate(from_bytes)
                await self._copy(answer, file, from_bytes, began.total_bytes, on_bytes)
        if began.total_bytes and size_of(self.body) != began.total_bytes:
            raise Broken(f"{size_of(self.body)} of {began.total_bytes} bytes came")

    def _take(self, answer: aiohttp.ClientResponse, have_bytes: int, started: Started) -> tuple[int, Started]:
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
            shutil.rmtree(self._staging)
            self._staging.mkdir()
            raise Broken("the file changed on the server while it was fetched")
        check_status(answer, self.shown, self._remedy)  # 4, 5
        raise fetch_failed(f"{self.shown}: the server answered {status} unasked; try the URL with another program")

    def _check_hops(self, answer: aiohttp.ClientResponse) -> None:
        if urlsplit(self.url).scheme == "https" and any(hop.url.scheme != "https" for hop in (*answer.history, answer)):
            raise fetch_failed(f"{self.shown}: redirects to an unencrypted address; name the final URL if you trust it")

    async def _copy(
        self, answer: aiohttp.ClientResponse, file: BinaryIO, done_bytes: int, total_bytes: int, on_bytes: OnBytes
    ) -> None:
        """The body onto the disk, a chunk at a time in a thread: the event loop has requests to serve meanwhile."""
        pending = bytearray()

        async def flush() -> None:
            nonlocal done_bytes
            block = bytes(pending)
            pending.clear()
            await disk.in_thread(lambda _: file.write(block))
            done_bytes += len(block)
            on_bytes(done_bytes, total_bytes)

        try:
            async for piece in answer.content.iter_any():
                pending += piece
                if len(pending) >= disk.CHUNK_BYTES:
                    await flush()
        finally:
            file.write(pending)  # what came before a break counts too


async def patiently(
    work: Callable[[], Awaitable[T]], shown: str, clock: Clock, progress: Callable[[], int] = lambda: 0
) -> T:
    """The work's result, tried again where it broke off, as long as tries get further. Raises `fetch_failed`."""
    tries, most = 0, 0
    while True:
        most = max(most, progress())
        try:
            return await work()
        except (aiohttp.TooManyRedirects, aiohttp.InvalidURL):
            raise fetch_failed(f"{shown}: redirects too often or nowhere; name the final URL") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            broken = Broken(words_of(error))
        except Broken as error:
            broken = error
        tries = 1 if progress() > most else tries + 1
        if tries >= TRIES_WITHOUT_PROGRESS:
            raise fetch_failed(f"{shown}: {broken.why}; what came is kept, run the same command again to continue")
        backoff_s = min(BACKOFF_MAX_S, BACKOFF_S * 2 ** (tries - 1))
        await clock.sleep(max(backoff_s, min(broken.retry_after_s, BACKOFF_MAX_S)))


def check_status(answer: aiohttp.ClientResponse, shown: str, remedy: Remedy) -> None:
    """Nothing where it is a success; else raises Broken where a later try may help, `fetch_failed` where it cannot."""
    if answer.status in LATER or answer.status >= 500:
        raise Broken(f"the server answered {answer.status}", retry_after_s(answer))
    if answer.status >= 300:
        raise fetch_failed(f"{shown}: the server answered {answer.status}; {remedy(answer)}")


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

"""Weights from a URL, against a server that misbehaves in the known ways."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pointsman.clock import SystemClock
from pointsman.errors import UpstreamError
from pointsman.settings import Source
from pointsman.sources.base import Home, Phase, Progress
from pointsman.sources.disk import free_bytes
from pointsman.sources.store import WeightStore, ignore
from pointsman.sources.transfer import shown
from pointsman.sources.url import UrlOrigin, file_name

BODY = b"GGUF" + os.urandom(3_000_000)
OTHER = b"GGUF" + os.urandom(3_000_000)
Handler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


class QuickClock(SystemClock):
    """Back-offs pass at once and are noted."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    async def sleep(self, duration_s: float) -> None:
        self.slept_s.append(duration_s)
        await asyncio.sleep(0)


class FileServer:
    """Serves `body` with ranges; `cut_after` breaks each of the first `cuts` answers off after so many bytes."""

    def __init__(self, body: bytes = BODY, etag: str = '"one"', cuts: int = 0) -> None:
        self.body = body
        self.etag = etag
        self.cuts = cuts
        self.cut_after = 1_200_000
        self.knows_ranges = True
        self.heeds_if_range = True
        self.status: int | None = None
        self.on_cut: Callable[[], None] = lambda: None
        self.ranges: list[str] = []
        self.gate: asyncio.Event | None = None

    def starts(self) -> list[int]:
        """From which byte on each request asked."""
        return [int(asked.removeprefix("bytes=").rstrip("-") or 0) for asked in self.ranges]

    async def get(self, request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("Range", "")
        self.ranges.append(asked)
        if self.status:
            return web.Response(status=self.status, headers={"Retry-After": "7"})
        start = self._start(request, asked)
        answer = web.StreamResponse(status=206 if start else 200)
        if self.etag:
            answer.headers["ETag"] = self.etag
        if start:
            answer.headers["Content-Range"] = f"bytes {start}-{len(self.body) - 1}/{len(self.body)}"
        answer.content_length = len(self.body) - start
        await answer.prepare(request)
        await self._send(request, answer, start)
        return answer

    def _start(self, request: web.Request, asked: str) -> int:
        fresh = not self.heeds_if_range or request.headers.get("If-Range") == self.etag
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.knows_ranges and fresh else 0

    async def _send(self, request: web.Request, answer: web.StreamResponse, start: int) -> None:
        cut = self.cuts > 0
        self.cuts -= 1
        await answer.write(self.body[start : start + self.cut_after] if cut or self.gate else self.body[start:])
        if self.gate:
            await self.gate.wait()
        if cut and request.transport:
            self.on_cut()
            request.transport.close()


@asynccontextmanager
async def serving(handler: Handler, path: str = "/tiny.gguf") -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{rest:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}{path}"
    finally:
        await runner.cleanup()


def fetch(
    tmp_path: Path, server: FileServer, *, sha256: str | None = None, clock: QuickClock | None = None
) -> tuple[bytes, list[Progress]]:
    """What arrives and what was said on the way."""
    said: list[Progress] = []

    async def scenario() -> bytes:
        store = WeightStore(tmp_path, clock or QuickClock())
        async with serving(server.get) as url:
            source = Source(url=url, sha256=sha256)
            path = await store.fetch(source, said.append)
            assert store.present(source) == path
            assert path.name == "tiny.gguf"
            assert store.size_bytes(source) == len(server.body)
            return path.read_bytes()

    return asyncio.run(scenario()), said


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_a_plain_download_is_whole_and_told(tmp_path: Path) -> None:
    body, said = fetch(tmp_path, FileServer(), sha256=hashlib.sha256(BODY).hexdigest())
    assert body == BODY
    assert said[-1] == Progress(phase=Phase.CHECKING, done_bytes=len(BODY), total_bytes=len(BODY))
    counts = [progress.done_bytes for progress in said if progress.phase is Phase.DOWNLOADING]
    assert counts == sorted(counts)
    assert 0 < counts[0] < len(BODY)
    assert kept(tmp_path) == [".pointsman.json", "tiny.gguf"]


def test_a_cut_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    server = FileServer(cuts=2)
    body, _ = fetch(tmp_path, server)
    assert body == BODY
    assert [start // 1_000_000 for start in server.starts()] == [0, 1, 2]


def test_a_server_without_ranges_starts_over(tmp_path: Path) -> None:
    server = FileServer(cuts=1)
    server.knows_ranges = False
    body, _ = fetch(tmp_path, server)
    assert body == BODY
    assert [start // 1_000_000 for start in server.starts()] == [0, 1]


def test_without_a_validator_nothing_is_resumed(tmp_path: Path) -> None:
    server = FileServer(cuts=1, etag="")
    assert fetch(tmp_path, server)[0] == BODY
    assert server.ranges == ["", ""]


@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_versions_are_never_mixed(tmp_path: Path, heeds_if_range: bool) -> None:  # a parameter of pytest
    server = FileServer(cuts=1)
    server.heeds_if_range = heeds_if_range

    def change() -> None:
        server.body, server.etag = OTHER, '"two"'

    server.on_cut = change
    assert fetch(tmp_path, server)[0] == OTHER


def test_a_weak_etag_is_no_ground_to_resume(tmp_path: Path) -> None:
    server = FileServer(cuts=1, etag='W/"one"')
    assert fetch(tmp_path, server)[0] == BODY
    assert server.ranges == ["", ""]


def test_a_wrong_hash_is_refused_and_nothing_kept(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match="pinned is aaaa") as caught:
        fetch(tmp_path, FileServer(), sha256="a" * 64)
    assert caught.value.code == "fetch_failed"
    assert kept(tmp_path) == []


def test_a_page_instead_of_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match="no GGUF file"):
        fetch(tmp_path, FileServer(body=b"<html>please log in</html>"))
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "said"), [(404, "correct `source.url`"), (403, "permission"), (418, "another program")]
)
def test_what_trying_again_cannot_help_fails_at_once(tmp_path: Path, status: int, said: str) -> None:
    server = FileServer()
    server.status = status
    with pytest.raises(UpstreamError, match=f"answered {status}; .*{said}"):
        fetch(tmp_path, server)
    assert len(server.ranges) == 1


def test_a_busy_server_is_asked_again_later(tmp_path: Path) -> None:
    server, clock = FileServer(), QuickClock()
    server.status = 503
    with pytest.raises(UpstreamError, match="answered 503; what came is kept"):
        fetch(tmp_path, server, clock=clock)
    assert clock.slept_s == [7.0] * 4
    assert len(server.ranges) == 5


def test_tries_that_get_further_are_not_counted_out(tmp_path: Path) -> None:
    server = FileServer(cuts=20)
    server.cut_after = 150_000
    assert fetch(tmp_path, server)[0] == BODY
    assert len(server.ranges) == 21


def test_nobody_there_is_told_without_secrets(tmp_path: Path) -> None:
    origin = UrlOrigin("http://user:hunter2@127.0.0.1:9/tiny.gguf?token=hunter3", None, QuickClock(), free_bytes)
    home = Home(folder=tmp_path / "models", staging=tmp_path / "staging")
    with pytest.raises(UpstreamError, match=r"http://127\.0\.0\.1:9/tiny\.gguf: .*Connect") as caught:
        asyncio.run(origin.fetch(home, ignore))
    assert "hunter" not in caught.value.message + repr(origin) + origin.key


def test_redirects_are_followed_so_far(tmp_path: Path) -> None:
    hops: list[str] = []

    async def endless(request: web.Request) -> web.StreamResponse:
        hops.append(request.path)
        raise web.HTTPFound(f"/{len(hops)}?token=hunter2")

    async def scenario() -> None:
        async with serving(endless) as url:
            await WeightStore(tmp_path, QuickClock()).fetch(Source(url=url))

    with pytest.raises(UpstreamError, match="redirects too often") as caught:
        asyncio.run(scenario())
    assert len(hops) <= 7
    assert "hunter" not in caught.value.message


def test_a_full_disk_is_told_before_the_body(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = WeightStore(tmp_path, QuickClock(), free_bytes=lambda _: 1_000_000)
        async with serving(FileServer().get) as url:
            await store.fetch(Source(url=url))

    with pytest.raises(UpstreamError, match=r"1\.0 MB free"):
        asyncio.run(scenario())


def test_cancelled_midway_the_next_store_continues(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = FileServer()
        server.gate = asyncio.Event()
        async with serving(server.get) as url:
            said: list[Progress] = []
            fetching = asyncio.create_task(WeightStore(tmp_path, QuickClock()).fetch(Source(url=url), said.append))
            for _ in range(1000):
                await asyncio.sleep(0.01)
                if said:
                    break
            fetching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetching
            assert kept(tmp_path) == ["body", "started.json"]
            server.gate = None
            path = await WeightStore(tmp_path, QuickClock()).fetch(Source(url=url))
            assert path.read_bytes() == BODY
            assert server.ranges[1].startswith("bytes=1")

    asyncio.run(scenario())


def test_names_are_safe_and_secrets_unseen() -> None:
    assert file_name("https://example.org/a/b%2F..%2Fmodel.gguf?x=1") == "model.gguf"
    assert file_name("https://example.org/") == "weights.bin"
    assert file_name("https://example.org/..") == "weights.bin"
    assert file_name("https://example.org/.hidden") == "hidden"
    assert shown("https://u:p@example.org/a?token=1") == "https://example.org/a"

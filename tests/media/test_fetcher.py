"""The fetcher against a real server, and against addresses it must not reach."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from pointsman.errors import RequestError
from pointsman.media.fetch import Fetcher
from pointsman.settings import MediaSettings

PNG = b"\x89PNG" + bytes(100)


async def _png(request: web.Request) -> web.Response:
    return web.Response(body=PNG, content_type="image/png")


async def _html(request: web.Request) -> web.Response:
    return web.Response(text="<html>", content_type="text/html")


async def _big(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "image/png"})
    await response.prepare(request)
    for _ in range(40):
        await response.write(bytes(65536))
    return response


async def _slow(request: web.Request) -> web.Response:
    await asyncio.sleep(30)
    return await _png(request)


async def _away(request: web.Request) -> web.Response:
    raise web.HTTPFound(request.query["to"])


async def _loop(request: web.Request) -> web.Response:
    raise web.HTTPFound(str(request.url))


@asynccontextmanager
async def site() -> AsyncIterator[str]:
    app = web.Application()
    for path, handler in (
        ("png", _png),
        ("html", _html),
        ("big", _big),
        ("slow", _slow),
        ("to", _away),
        ("loop", _loop),
    ):
        app.router.add_get(f"/{path}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def body(*urls: str) -> bytes:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return json.dumps({"messages": [{"role": "user", "content": parts}]}).encode()


def play(scene: Callable[[Fetcher, str], Awaitable[None]], **more: Any) -> None:
    async def run() -> None:
        tree: dict[str, Any] = {"fetch": True, "allowed_hosts": ("localhost",), "max_mb": 1.0}
        settings = MediaSettings(**tree | more)
        async with site() as url, Fetcher(settings) as fetcher:
            await scene(fetcher, url)

    asyncio.run(run())


async def told(fetcher: Fetcher, *urls: str) -> str:
    with pytest.raises(RequestError) as caught:
        await fetcher.inlined(body(*urls))
    assert caught.value.code == "invalid_media"
    assert str(caught.value.param).startswith("messages[0].content[")
    return caught.value.message


def test_a_link_becomes_data() -> None:
    async def scene(fetcher: Fetcher, url: str) -> None:
        out = json.loads(await fetcher.inlined(body(f"{url}/png", f"{url}/to?to={url}/png")))
        for part in out["messages"][0]["content"]:
            assert part["image_url"]["url"].startswith("data:image/png;base64,iVBORw")

    play(scene)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("html", "text/html"),
        ("big", "1 MiB"),
        ("slow", "within 0.3 s"),
        ("loop", "redirects"),
        ("missing", "HTTP 404"),
        ("to?to=http://127.0.0.1:1/", "allowed_hosts"),
        ("to?to=file:///etc/passwd", "host"),
        ("to?to=http://169.254.169.254/latest/meta-data", "allowed_hosts"),
    ],
)
def test_what_is_refused(path: str, words: str) -> None:
    async def scene(fetcher: Fetcher, url: str) -> None:
        assert words in await told(fetcher, f"{url}/{path}")

    play(scene, timeout_s=0.3)


def test_too_many_links_and_one_bad_among_good() -> None:
    async def scene(fetcher: Fetcher, url: str) -> None:
        assert "at most 2" in await told(fetcher, *(f"{url}/png?{at}" for at in range(3)))
        assert "text/html" in await told(fetcher, f"{url}/png", f"{url}/html")

    play(scene, max_links=2)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433", "169.254.169.254"])
def test_without_hosts_of_the_operators_this_machine_is_not_reached(host: str) -> None:
    async def scene(fetcher: Fetcher, url: str) -> None:
        assert "public network" in await told(fetcher, f"http://{host}/png")

    play(scene, allowed_hosts=())


def test_switched_off_nothing_is_touched() -> None:
    async def run() -> None:
        async with Fetcher(MediaSettings()) as fetcher:
            untouched = body("http://127.0.0.1:1/x.png")
            assert await fetcher.inlined(untouched) is untouched

    asyncio.run(run())

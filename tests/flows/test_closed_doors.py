"""What docs/security.md says of who may come in, asked of every path there is."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pointsman.admission.keys import hash_of, new_key
from pointsman.app import App
from pointsman.errors import TABLE
from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

KEY, BOSS = new_key(), new_key()
OPEN = {"/health", "/ready"}
DOCUMENT = json.loads((Path(__file__).resolve().parents[2] / "docs" / "openapi.json").read_text("utf-8"))
OPERATIONS = sorted((path, method) for path, item in DOCUMENT["paths"].items() for method in item)
Scene = Callable[[App, str, aiohttp.ClientSession], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Scene], None]:
    monkeypatch.setenv("BOSS", BOSS)

    def run(scene: Scene) -> None:
        async def scened() -> None:
            async with FaultUpstream() as upstream, aiohttp.ClientSession() as session:
                tree: dict[str, Any] = {
                    "server": {"admin_key_env": "BOSS"},
                    "cache_dir": str(tmp_path),
                    "log": {"requests": False},
                    "keys": [{"name": "caller", "sha256": hash_of(KEY)}],
                    "models": [{"id": "a", "backend": "openai", "url": upstream.url, "model": "mock-n2"}],
                }
                async with serving(parse(json.dumps(tree))) as (app, url):
                    await scene(app, url, session)

        asyncio.run(scened())

    return run


async def asked(session: aiohttp.ClientSession, method: str, url: str, **headers: str) -> tuple[int, str, str]:
    """Status, error code, and which origin may read it."""
    sent = {"content-type": "application/json"} | headers
    async with session.request(method, url, data=b"{}", headers=sent, allow_redirects=False) as response:
        text = await response.text()
        code = json.loads(text)["error"]["code"] if text.startswith('{"error"') else ""
        return response.status, code, response.headers.get("access-control-allow-origin", "")


def filled(path: str) -> str:
    """With a name in the place of each parameter."""
    return "/".join("a" if part.startswith("{") else part for part in path.split("/"))


def test_without_a_key_every_path_but_two_is_shut(play: Callable[[Scene], None]) -> None:
    async def scene(app: App, url: str, session: aiohttp.ClientSession) -> None:
        paths = [(filled(path), method) for path, method in OPERATIONS if path not in OPEN]
        for path, method in [*paths, ("/no-such-path", "get")]:
            for headers in ({}, {"authorization": "Bearer wrong", "x-api-key": "pm-wrong"}):
                status, _, _ = await asked(session, method, url + path, **headers)
                assert status == 401, f"{method} {path} {headers}"

    play(scene)


def test_the_manual_is_everybodys_and_says_nothing_of_this_server(play: Callable[[Scene], None]) -> None:
    async def scene(app: App, url: str, session: aiohttp.ClientSession) -> None:
        async with session.get(f"{url}/openapi.json") as document, session.get(f"{url}/docs") as page:
            told, text = await document.json(), await page.text()
        assert told == DOCUMENT | {"info": told["info"]}
        assert all(path in text for path in DOCUMENT["paths"])
        assert (await asked(session, "get", f"{url}/docs/"))[0] == 401
        assert (await asked(session, "get", f"{url}/docs", host="elsewhere.example"))[:2] == (403, "permission_denied")

    play(scene)


def test_a_caller_is_no_operator_and_an_operator_no_caller(play: Callable[[Scene], None]) -> None:
    async def scene(app: App, url: str, session: aiohttp.ClientSession) -> None:
        caller, operator = {"authorization": f"Bearer {KEY}"}, {"authorization": f"Bearer {BOSS}"}
        for method, path in (
            ("post", "/models/a/load"),
            ("put", "/aliases/b"),
            ("get", "/models"),
            ("get", "/aliases"),
        ):
            assert (await asked(session, method, url + path, **caller))[:2] == (401, "invalid_api_key"), path
            assert (await asked(session, method, url + path, **operator))[1] != "invalid_api_key", path
        for method, path in (("post", "/v1/chat/completions"), ("get", "/metrics"), ("get", "/router/info")):
            assert (await asked(session, method, url + path, **operator))[:2] == (401, "invalid_api_key"), path
            assert (await asked(session, method, url + path, **caller))[1] != "invalid_api_key", path

    play(scene)


def test_no_page_of_another_origin_may_read_an_answer(play: Callable[[Scene], None]) -> None:
    async def scene(app: App, url: str, session: aiohttp.ClientSession) -> None:
        page = {"origin": "https://evil.example", "authorization": f"Bearer {KEY}"}
        for path, method in OPERATIONS:
            assert not (await asked(session, method, url + filled(path), **page))[2], path
        preflight = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        for path in ("/v1/chat/completions", "/models", "/health"):
            status, code, origin = await asked(session, "options", url + path, **preflight)
            assert (status in {401, 405}, code in TABLE, origin) == (True, True, ""), path

    play(scene)

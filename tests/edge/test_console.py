"""The console over HTTP: its files for everybody and for good, what it shows for those who may see it, and no words."""

import asyncio
import gzip
import hashlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pointsman import edge
from pointsman.admission.keys import hash_of
from pointsman.app import App
from pointsman.edge.console.routes import MOST_LISTENERS, POLICY
from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

STATIC = Path(edge.__file__).with_name("console") / "static"
ADMIN, CALLER = "an-admin-key-that-is-long", "pm-caller-caller-caller-caller"
SECRET = "velociraptors in the zephyrblossom"


def document(url: str, **more: Any) -> dict[str, Any]:
    models = [{"id": name, "backend": "openai", "url": f"{url}/v1", "model": "mock-n4"} for name in ("a", "b")]
    return {"log": {"level": "error", "requests": False}, "models": models} | more


Use = Callable[[App, str, aiohttp.ClientSession], Awaitable[None]]


def run(use: Use, **more: Any) -> None:
    async def whole() -> None:
        async with FaultUpstream() as upstream:
            settings = parse(json.dumps(document(upstream.url, **more)))
            plain = {"accept-encoding": "identity"}
            async with (
                serving(settings) as (app, url),
                aiohttp.ClientSession(headers=plain, auto_decompress=False) as session,
            ):
                await use(app, url, session)

    asyncio.run(whole())


async def ask(session: aiohttp.ClientSession, url: str, text: str = "Hello", **headers: str) -> str:
    """The id of a request that has been answered."""
    told = {"model": "auto", "messages": [{"role": "user", "content": text}]}
    async with session.post(f"{url}/v1/chat/completions", json=told, headers=headers) as response:
        assert response.status == 200, await response.text()
        return response.headers["x-request-id"]


async def get(session: aiohttp.ClientSession, url: str, key: str = "", **headers: str) -> tuple[int, Any]:
    if key:
        headers["authorization"] = f"Bearer {key}"
    async with session.get(url, headers=headers) as response:
        return response.status, await response.json(content_type=None)


@asynccontextmanager
async def news_of(session: aiohttp.ClientSession, url: str) -> AsyncIterator[AsyncIterator[Any]]:
    """The messages of the live stream."""
    async with session.get(f"{url}/console/api/live") as response:
        assert response.status == 200
        yield (json.loads(line.removeprefix(b"data: ")) async for line in response.content if line.strip())


# ---------------------------------------------------------------- files


def test_the_page_and_all_it_names_are_served_and_kept() -> None:
    async def use(_: App, url: str, session: aiohttp.ClientSession) -> None:
        async with session.get(f"{url}/console") as response:
            page = (await response.read()).decode()
            assert response.headers["content-security-policy"] == POLICY
            assert response.headers["cache-control"] == "no-cache"
        named = re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page)
        assert len(named) > 6
        for path in named:
            async with session.get(url + path, headers={"accept-encoding": "gzip"}) as response:
                assert response.status == 200, path
                assert "immutable" in response.headers["cache-control"]
                assert response.headers["x-content-type-options"] == "nosniff"
                body, packed = await response.read(), response.headers.get("content-encoding")
                etag = response.headers["etag"]
            own = STATIC / path.split("/", 4)[4]
            assert (gzip.decompress(body) if packed else body) == own.read_bytes()
            async with session.get(url + path, headers={"if-none-match": etag}) as response:
                assert (response.status, await response.read()) == (304, b"")
        digest = named[0].split("/")[3]
        for path in ("0123456789abcdef/js/main.js", f"{digest}/../routes.py", f"{digest}/%2e%2e/routes.py"):
            status, answer = await get(session, f"{url}/console/static/{path}")
            assert (status, answer["error"]["code"]) == (404, "not_found")

    run(use)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page), "the policy forbids what is inline"
    for file in STATIC.rglob("*"):
        if file.suffix in {".js", ".css", ".html"} and "vendor" not in file.parts:
            text = file.read_text(encoding="utf-8")
            elsewhere = re.findall(r"""https?://[^"'\s)]+""", text)
            assert not elsewhere, file
            assert len(text.splitlines()) <= 300, file


def test_what_others_wrote_is_as_it_came() -> None:
    rows = (STATIC / "vendor/THIRD_PARTY.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `([^`]+)` .*`([0-9a-f]{64})` \|$", rows, re.MULTILINE))
    here = {file.name: file for file in (STATIC / "vendor").iterdir() if file.name != "THIRD_PARTY.md"}
    assert told.keys() == here.keys()
    for name, digest in told.items():
        assert hashlib.sha256(here[name].read_bytes()).hexdigest() == digest, name


TEXT = (
    *((ink, paper) for ink in ("ink", "ink-2", "ink-3") for paper in ("bg", "surface", "sunken", "raised")),
    *((tone, paper) for tone in ("ok", "warn", "bad", "info", "accent") for paper in ("surface", f"{tone}-soft")),
    ("idle", "idle-soft"),
    ("accent-ink", "accent"),
)


def luminance(colour: str) -> float:
    """Relative, as WCAG 2 defines it; of #rrggbb."""
    shares = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_text_can_be_read(mode: int) -> None:
    """Contrast of at least 4.5 (WCAG 2 AA) for text, of 3 for the colours of a plot."""
    css = (STATIC / "css/tokens.css").read_text(encoding="utf-8")
    pairs = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", css)
    light = {name: luminance(modes[mode]) for name, *modes in pairs}
    drawn = [(f"kind-{number}", "surface") for number in range(1, 10)]
    for needed, these in ((4.5, TEXT), (3.0, drawn)):
        for one, other in these:
            bright, dim = max(light[one], light[other]), min(light[one], light[other])
            contrast = (bright + 0.05) / (dim + 0.05)
            assert contrast >= needed, f"{one} on {other}: {contrast:.2f}"


# ---------------------------------------------------------------- who may look


READ = ("state", "requests", "series", "experiments", "statistics", "live")


def test_without_keys_this_machine_may_look_and_no_page_of_another_name() -> None:
    async def use(_: App, url: str, session: aiohttp.ClientSession) -> None:
        for name in READ[:-1]:
            assert (await get(session, f"{url}/console/api/{name}"))[0] == 200, name
        for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}, {"x-forwarded-for": "10.0.0.1"}):
            status, body = await get(session, f"{url}/console/api/requests", **headers)
            assert (status, body["error"]["code"]) == (403, "permission_denied"), headers

    run(use)


KEYS = [{"name": "caller", "sha256": hash_of(CALLER)}]


def test_with_callers_keys_alone_one_of_them_is_asked_for() -> None:
    async def use(_: App, url: str, session: aiohttp.ClientSession) -> None:
        async with session.get(f"{url}/console") as response:
            assert response.status == 200
        for name in READ:
            assert (await get(session, f"{url}/console/api/{name}"))[0] == 401, name
        assert (await get(session, f"{url}/console/api/requests", CALLER))[0] == 200
        await ask(session, url, authorization=f"Bearer {CALLER}")
        assert (await get(session, f"{url}/console/api/statistics", CALLER))[1]["keys"] == {}

    run(use, keys=KEYS)


def test_with_an_admin_key_only_that_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSOLE_ADMIN", ADMIN)

    async def use(_: App, url: str, session: aiohttp.ClientSession) -> None:
        async with session.get(f"{url}/console") as response:
            assert response.status == 200
        for name in READ:
            for key in ("", CALLER):
                assert (await get(session, f"{url}/console/api/{name}", key))[0] == 401, (name, key)
        assert (await get(session, f"{url}/console/api/requests", ADMIN))[0] == 200
        await ask(session, url, authorization=f"Bearer {CALLER}")
        books = (await get(session, f"{url}/console/api/statistics", ADMIN))[1]
        assert books["keys"]["caller"]["count"] == 1
        order = {"action": "pause"}
        headers = {"authorization": f"Bearer {ADMIN}"}
        async with session.post(f"{url}/v1/experiments/none", json=order, headers=headers) as response:
            assert response.status == 404, "the operator's key opens the operator's path"
        async with session.post(
            f"{url}/v1/experiments/none", json=order, headers={"authorization": f"Bearer {CALLER}"}
        ) as response:
            assert response.status == 401

    run(use, keys=KEYS, server={"admin_key_env": "CONSOLE_ADMIN"})


# ---------------------------------------------------------------- what is shown


def test_a_request_is_told_and_its_story_holds_no_words() -> None:
    async def use(app: App, url: str, session: aiohttp.ClientSession) -> None:
        request_id = await ask(session, url, f"Write a poem about {SECRET}")
        found = (await get(session, f"{url}/console/api/requests"))[1]
        [row] = found["rows"]
        assert (found["last"], row["number"], row["request_id"], row["status"]) == (1, 1, request_id, "success")
        status, story = await get(session, f"{url}/console/api/requests/{request_id}")
        assert status == 200
        assert story["record"]["model_id"] == row["model_id"] == story["plan"]["candidates"][0]["model_id"]
        assert story["signals"]["language"]["label"] == row["language"] == "en"
        assert [one["deployment_id"] for one in story["attempts"]] == [row["model_id"]]
        assert not [word for word in SECRET.split() if word in json.dumps([story, found]) and len(word) > 3]
        assert app.recent.in_flight() == 0
        series = (await get(session, f"{url}/console/api/series"))[1]
        assert [bucket["requests"] for bucket in series["buckets"]] == [1]
        books = (await get(session, f"{url}/console/api/statistics"))[1]
        assert books["total_requests"] == 1
        assert (await get(session, f"{url}/console/api/requests/nobody"))[0] == 404

    run(use)


def test_older_requests_are_read_from_the_store(tmp_path: Path) -> None:
    kept = {"cache_dir": str(tmp_path), "ledger": {"url": f"sqlite:{tmp_path}/books.sqlite"}}
    asked: list[str] = []

    async def before(_: App, url: str, session: aiohttp.ClientSession) -> None:
        asked.append(await ask(session, url))

    async def after(app: App, url: str, session: aiohttp.ClientSession) -> None:
        status, story = await get(session, f"{url}/console/api/requests/{asked[0]}")
        assert (app.recent.outcomes.last, status) == (0, 200)
        assert story["record"]["status"] == "success"
        assert story["plan"]["candidates"]

    run(before, **kept)
    run(after, **kept)


def test_who_listens_hears_of_a_request_and_leaves_nothing_behind() -> None:
    async def use(app: App, url: str, session: aiohttp.ClientSession) -> None:
        async with news_of(session, url) as news:
            first = await anext(news)
            assert (first["last"], len(first["fleet"]["deployments"])) == (0, 2)
            request_id = await ask(session, url)
            told = next(one for one in [await anext(news) for _ in range(2)] if one.get("rows"))
            assert [row["request_id"] for row in told["rows"]] == [request_id]
            assert told["last"] == 1
        while app.console.listeners:
            await asyncio.sleep(0.01)

    run(use)


def test_so_many_may_listen_and_no_more() -> None:
    async def use(_: App, url: str, __: aiohttp.ClientSession) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            held = [await session.get(f"{url}/console/api/live") for _ in range(MOST_LISTENERS)]
            for response in held:
                await response.content.readline()
            status, body = await get(session, f"{url}/console/api/live")
            assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
            for response in held:
                response.close()

    run(use)


def test_listeners_do_not_keep_the_gateway_from_leaving() -> None:
    """`serving` waits for the server, and that for its streams."""

    async def whole() -> None:
        async with asyncio.timeout(20), FaultUpstream() as upstream, aiohttp.ClientSession() as session:
            async with serving(parse(json.dumps(document(upstream.url)))) as (_, url):
                response = await session.get(f"{url}/console/api/live")
                await response.content.readline()
            response.close()

    asyncio.run(whole())

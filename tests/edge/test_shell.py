"""The cold routes: who is waited for, what is told of bodies that are none and of defects, and HEAD."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pointsman.app import App
from pointsman.edge.shell import waited_for
from pointsman.settings import Settings, parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream
from pointsman.types import DeploymentView, ModelCard, Tier, World

FILE = """
models:
  - {id: first, backend: llama_cpp, source: {file: a.gguf}, preload: true}
  - {id: later, backend: llama_cpp, source: {file: b.gguf}}
"""
Scene = Callable[[App, str, aiohttp.ClientSession], Awaitable[None]]


class Desk:
    """Of one preloaded model and one that is not."""

    settings: Settings = parse(FILE)
    cards: tuple[ModelCard, ...] = ()

    def __init__(self, state: str) -> None:
        self.state = state

    def world(self) -> World:
        tier = Tier.HOT if self.state == "ready" else Tier.COLD
        return World(
            deployments=(
                DeploymentView(id="first", model_id="first", tier=tier, state=self.state),
                DeploymentView(id="later", model_id="later", tier=Tier.COLD, state="cold"),
            )
        )

    def metrics(self) -> bytes:
        return b""

    def statistics(self) -> object:
        return None


def test_only_preloaded_models_are_waited_for() -> None:
    assert waited_for(Desk("loading")) == {"first": "loading"}
    assert waited_for(Desk("ready")) == {}
    assert waited_for(Desk("failed")) == {}
    assert waited_for(Desk("loading"), frozenset({"first"})) == {}


def play(cache: Path, scene: Scene) -> None:
    async def run() -> None:
        async with FaultUpstream() as upstream, aiohttp.ClientSession() as session:
            models = [{"id": name, "backend": "openai", "url": upstream.url, "model": "mock-n2"} for name in "ab"]
            split = {"name": "split", "kind": "small_large", "control": "a", "treatment": "b"}
            tree: dict[str, Any] = {"cache_dir": str(cache), "models": models, "experiments": [split]}
            async with serving(parse(json.dumps(tree))) as (app, url):
                await scene(app, url, session)

    asyncio.run(asyncio.wait_for(run(), 30))


@pytest.mark.parametrize("body", [b"\xff\xfe", b'{"\xff": 1}', b'{"a": "\xff"}', b'{"a": ' + b"[" * 3000])
def test_a_body_that_is_no_json_is_told_so(tmp_path: Path, body: bytes) -> None:
    async def scene(app: App, url: str, session: aiohttp.ClientSession) -> None:
        for method, path in (("POST", "/models/a/breaker"), ("PUT", "/aliases/b"), ("POST", "/v1/experiments/split")):
            async with session.request(method, url + path, data=body) as response:
                code = (await response.json())["error"]["code"]
                assert (response.status, code[:8]) == (400, "invalid_"), path  # invalid_value: no such member

    play(tmp_path, scene)


def test_what_nobody_foresaw_is_the_one_object_and_written_down(tmp_path: Path) -> None:
    async def scene(app: App, url: str, session: aiohttp.ClientSession) -> None:
        async def broken() -> None:
            raise KeyError("a heron")

        app.shell.add_api_route("/broken", broken)
        for sent in ({}, {"x-request-id": "mine"}):
            async with session.get(f"{url}/broken", headers=sent) as response:
                answer, request_id = await response.json(), response.headers["x-request-id"]
            assert (response.status, answer["error"]["code"]) == (500, "internal_error")
            assert request_id == sent.get("x-request-id", request_id)
            assert request_id in answer["error"]["message"]
            (_, told) = app.recent.events.after(0, 100)[-1]
            assert (told.event.name, dict(told.event.details)["request_id"]) == ("unforeseen_error", request_id)
            assert "heron" not in str(told) + str(answer)

    play(tmp_path, scene)


def test_head_is_get_without_the_body(tmp_path: Path) -> None:
    async def scene(app: App, url: str, session: aiohttp.ClientSession) -> None:
        for path in ("/health", "/ready", "/console", "/v1/models", "/health"):  # one after another on one connection
            async with session.head(url + path) as response:
                assert (response.status, await response.read()) == (200, b""), path
                assert int(response.headers["content-length"]) > 10, path
        async with session.head(f"{url}/metrics") as response:
            assert response.status == 200
        for path, status in (("/nowhere", 404), ("/v1/chat/completions", 405), ("/v1/feedback", 405)):
            async with session.head(url + path) as response:
                assert response.status == status, path

    play(tmp_path, scene)


def test_info_and_console_name_the_model_that_auto_means(tmp_path: Path) -> None:
    async def run() -> None:
        async with FaultUpstream() as upstream, aiohttp.ClientSession() as session:
            remote = {"backend": "openai", "url": upstream.url, "model": "mock-n2"}
            models = [remote | {"id": "vectors", "kinds": ["embedding"]}, remote | {"id": "chat"}]
            async with serving(parse(json.dumps({"cache_dir": str(tmp_path), "models": models}))) as (_, url):
                for path in ("/router/info", "/console/api/state"):
                    async with session.get(url + path) as response:
                        assert (await response.json())["default_model"] == "chat"

    asyncio.run(asyncio.wait_for(run(), 30))


def test_every_page_counts_the_same_and_a_reset_is_one_for_all(tmp_path: Path) -> None:
    async def scene(app: App, url: str, session: aiohttp.ClientSession) -> None:
        async def counts() -> set[int]:
            found = set()
            for path in ("/router/info", "/console/api/state", "/console/api/statistics", "/v1/model-routing/stats"):
                async with session.get(url + path) as response:
                    page = await response.json()
                    found.add(page.get("statistics", page)["total_requests"])
            return found

        asked = {"model": "a", "messages": [{"role": "user", "content": "Hello"}]}
        for count in range(1, 4):
            async with session.post(f"{url}/v1/chat/completions", json=asked) as response:
                assert response.status == 200
            assert await counts() == {count}
        async with session.post(f"{url}/v1/model-routing/reset") as response:
            assert response.status == 200
        assert await counts() == {0}

    play(tmp_path, scene)

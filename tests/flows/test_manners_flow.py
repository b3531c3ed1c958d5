"""A model's sampling defaults and system prompt, from the caller's door to what its server sees; changed in place."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from pointsman.app import App
from pointsman.reload import ConfigFile
from pointsman.settings import load
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

PROMPT = "Speak like a station master."
SAMPLING = {"temperature": 0.25, "top_k": 40}
HI = {"role": "user", "content": "Hi"}
SAID = {"messages": [HI], "max_tokens": 3}
DOORS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": SAID,
    "/v1/messages": SAID,
    "/v1/responses": {"input": "Hi"},
    "/v1/generate": {"query": "Hi"},
}
OWN: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "developer", "content": "Mine."}, HI]},
    "/v1/messages": SAID | {"system": "Mine."},
    "/v1/responses": {"input": "Hi", "instructions": "Mine."},
}


class Scene:
    def __init__(self, app: App, url: str, session: aiohttp.ClientSession, upstream: FaultUpstream, path: Path) -> None:
        self.app = app
        self._url = url
        self._session = session
        self._upstream = upstream
        self._path = path

    async def seen(self, door: str, **body: Any) -> dict[str, Any]:
        """What the server was asked when the gateway was."""
        async with self._session.post(self._url + door, json={"model": "m", **body}) as answer:
            said = await answer.text()
            assert answer.status == 200, said
        told: dict[str, Any] = json.loads(self._upstream.seen[-1].body)
        return told

    async def reload(self, **more: Any) -> str:
        write(self._path, self._upstream, **more)
        return str(await self.app.reloader.reload("the test"))


def write(path: Path, upstream: FaultUpstream, **more: Any) -> None:
    model = {"id": "m", "backend": "openai", "url": upstream.url, "model": "mock-n2", "sampling": SAMPLING}
    tree = {
        "cache_dir": str(path.parent),
        "log": {"level": "error"},
        "models": [model | {"system_prompt": PROMPT} | more],
    }
    path.write_text(json.dumps(tree | {"routing": {"encoder": {"enabled": False}}, "ledger": {"enabled": False}}))


@asynccontextmanager
async def scene_in(folder: Path) -> AsyncIterator[Scene]:
    path = folder / "pointsman.yaml"
    async with FaultUpstream() as upstream, aiohttp.ClientSession() as session:
        write(path, upstream)
        async with serving(load(path, {}), config=ConfigFile(path, {})) as (app, url):
            yield Scene(app, url, session, upstream, path)


def test_they_reach_the_server_by_every_door(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene_in(tmp_path) as scene:
            for door, body in DOORS.items():
                for stream in (False, True):
                    told = await scene.seen(door, **body, stream=stream)
                    assert told["messages"] == [{"role": "system", "content": PROMPT}, HI], door
                    assert (told["temperature"], told["top_k"]) == (0.25, 40), door
                    assert told.get("stream", False) is stream
            told = await scene.seen("/v1/completions", prompt="Hi", temperature=1)
            assert (told["temperature"], told["top_k"]) == (1, 40)
            for door, body in OWN.items():
                told = await scene.seen(door, **body, temperature=0)
                assert [one["content"] for one in told["messages"]] == ["Mine.", "Hi"], door
                assert (told["temperature"], told["top_k"]) == (0, 40), door

    asyncio.run(asyncio.wait_for(run(), 60))


def test_another_word_counts_from_the_next_request_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene_in(tmp_path) as scene:
            assert (await scene.seen("/v1/chat/completions", **SAID))["temperature"] == 0.25
            changes = await scene.reload(
                sampling={"temperature": 0.75}, system_prompt="Sing.", name="A singer", limits={"max_concurrent": 3}
            )
            assert changes == "with other terms: m"
            told = await scene.seen("/v1/chat/completions", **SAID)
            assert (told["temperature"], "top_k" in told) == (0.75, False)
            assert told["messages"][0]["content"] == "Sing."

    asyncio.run(asyncio.wait_for(run(), 60))

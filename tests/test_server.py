"""How the server leaves, step by step; the signals are in `flows/test_reload`."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from pointsman.app import App
from pointsman.server import Server
from pointsman.settings import parse
from pointsman.testing.upstream import FaultUpstream

Scene = Callable[["Stage"], Awaitable[None]]


class Stage:
    def __init__(self, app: App, server: Server, url: str, session: aiohttp.ClientSession) -> None:
        self.app, self.server, self.url, self.session = app, server, url, session

    async def ask(self, model: str, *, stream: bool = False) -> tuple[int, bytes, str]:
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}
        async with self.session.post(f"{self.url}/v1/chat/completions", json=body) as answer:
            return answer.status, await answer.read(), answer.headers.get("retry-after", "")

    async def load(self, model: str) -> tuple[int, str]:
        async with self.session.post(f"{self.url}/models/{model}/load?wait_s=60") as answer:
            return answer.status, (await answer.json())["error"]["code"]

    async def ready(self) -> int:
        async with self.session.get(f"{self.url}/ready") as answer:
            return answer.status


def play(folder: Path, scene: Scene, **server: Any) -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            await serve(nobody)

    async def serve(nobody: socket.socket) -> None:
        async with FaultUpstream() as upstream, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as session:
            remote = {"backend": "openai", "url": upstream.url}
            scripts = (
                ("quick", "mock-n3"),
                ("slow", "mock-t400-n3"),
                ("endless", "mock-i10-n100000"),
                ("mute", "mock-hang"),
            )
            models = [{"id": name, "model": script, **remote} for name, script in scripts]
            mute_url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
            models.append({"id": "away", "backend": "openai", "url": mute_url})
            tree = {"cache_dir": str(folder), "log": {"requests": False}, "ledger": {"enabled": False}}
            app = App(parse(json.dumps(tree | {"models": models, "server": server})))
            with socket.socket() as listener:
                listener.bind(("127.0.0.1", 0))
                own = app.server()
                async with app.running():
                    serving = asyncio.create_task(own.serve([listener]))
                    while not own.started:
                        await asyncio.sleep(0.005)
                    await scene(Stage(app, own, f"http://127.0.0.1:{listener.getsockname()[1]}", session))
                    await asyncio.wait_for(serving, 10)

    asyncio.run(asyncio.wait_for(run(), 40))


def test_what_is_under_way_is_finished_and_new_requests_are_refused(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        assert await stage.ready() == 200
        slow = asyncio.create_task(stage.ask("slow"))
        await asyncio.sleep(0.1)
        stage.app.leaving.close()  # as it is between two looks of the server at the time
        status, body, retry_after = await stage.ask("quick")
        assert (status, json.loads(body)["error"]["code"], retry_after) == (503, "draining", "5")
        assert await stage.ready() == 503
        stage.server.leave()
        assert (await slow)[0] == 200

    play(tmp_path, scene)


def test_what_takes_too_long_hears_one_error(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        asked = (("endless", True), ("mute", False))
        endless = [asyncio.create_task(stage.ask(model, stream=stream)) for model, stream in asked]
        loading = asyncio.create_task(stage.load("away"))
        await asyncio.sleep(0.2)
        stage.server.leave()
        (status, stream, _), (other_status, other, retry_after) = await asyncio.gather(*endless)
        last = json.loads(stream.rstrip().rpartition(b"data:")[2])
        assert (status, last["error"]["code"], last["error"]["delivered_events"] > 3) == (200, "draining", True)
        assert stream.count(b'"error"') == 1
        assert b"[DONE]" not in stream
        assert (other_status, json.loads(other)["error"]["code"], retry_after) == (503, "draining", "5")
        assert await loading == (503, "draining")
        statuses = dict(stage.app.statistics().by_status)
        assert (statuses["refused"], statuses["client_closed"]) == (2, 0)

    play(tmp_path, scene, drain_timeout_s=0.2)


def test_told_twice_it_leaves_at_once(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        endless = asyncio.create_task(stage.ask("endless", stream=True))
        await asyncio.sleep(0.1)
        began_s = asyncio.get_running_loop().time()
        stage.server.leave()
        await asyncio.sleep(0.05)
        assert not stage.app.leaving.is_closed
        stage.server.leave()
        assert b'"draining"' in (await endless)[1]
        assert asyncio.get_running_loop().time() - began_s < 5

    play(tmp_path, scene, drain_delay_s=60, drain_timeout_s=60)

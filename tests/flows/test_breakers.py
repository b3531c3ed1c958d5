"""Edge to edge: breakers on the wire, a last resort, an operator's hand, slots that are learned from 429."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from pointsman.app import App
from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

TRIALS, OPEN_S = 2, 3.0


class Client:
    def __init__(self, app: App, url: str, session: aiohttp.ClientSession) -> None:
        self.app, self.url, self.session = app, url, session

    async def chat(self, model: str = "auto") -> tuple[int, dict[str, Any]]:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
        async with self.session.post(f"{self.url}/v1/chat/completions", json=body) as response:
            return response.status, await response.json()

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        async with self.session.post(self.url + path, json=body) as response:
            return dict(await response.json())

    async def get(self, path: str) -> Any:
        async with self.session.get(self.url + path) as response:
            return await (response.json() if response.content_type == "application/json" else response.text())

    async def breaker(self, name: str) -> str:
        """As everybody who shows it shows it."""
        [row] = (await self.get(f"/models/{name}"))["data"]
        health = (await self.get("/health"))["models"][name]
        assert health["breaker"] == row["breaker"]
        line = f'agent_router_deployment_breaker{{deployment="{name}",model="{name}",state="{row["breaker"]}"}} 1.0'
        assert line in await self.get("/metrics")
        return str(row["breaker"])


@asynccontextmanager
async def gateway(cache: Path, *models: dict[str, Any], **more: Any) -> AsyncIterator[Client]:
    tree = {
        "cache_dir": str(cache),
        "log": {"requests": False},
        "retry": {"backoff_s": 0.01, "max_attempts": 5},
        "fleet": {"breaker": {"open_s": OPEN_S, "trials": TRIALS}},
        "models": models,
    } | more
    async with aiohttp.ClientSession() as session, serving(parse(json.dumps(tree))) as (app, url):
        yield Client(app, url, session)


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(400):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("never so")


def test_a_breaker_opens_is_a_last_resort_and_closes_by_trials(tmp_path: Path) -> None:
    async def scene() -> None:
        async with (
            FaultUpstream() as upstream,
            gateway(tmp_path, {"id": "m", "backend": "openai", "url": upstream.url, "model": "mock-n3"}) as client,
        ):
            assert (await client.chat())[0] == 200
            assert await client.breaker("m") == "closed"
            await upstream.down()
            assert (await client.chat())[0] == 502  # five attempts, five failures
            assert await client.breaker("m") == "open"
            [row] = (await client.get("/models/m"))["data"]
            assert row["breaker_why"] == "5 calls in a row failed"
            assert 0 < row["retry_in_s"] <= OPEN_S
            await upstream.up()
            plan = (await client.post("/v1/route", model="auto", messages=[{"role": "user", "content": "Hello"}]))[
                "plan"
            ]
            assert plan["strategy"] == "last_resort"
            assert (await client.chat())[0] == 200
            assert await client.breaker("m") == "open"  # an answer from need proves nothing
            await asyncio.sleep(OPEN_S)
            assert await client.breaker("m") == "half_open"
            for _ in range(TRIALS):
                assert (await client.chat())[0] == 200
            assert await client.breaker("m") == "closed"
            exposition = await client.get("/metrics")
            for state in ("open", "half_open", "closed"):
                assert f'agent_router_breaker_transitions_total{{model="m",state="{state}"}} 1.0' in exposition

    asyncio.run(scene())


def test_slow_answers_open_it_where_slow_is_said_what_is(tmp_path: Path) -> None:
    async def scene() -> None:
        model = {"id": "m", "backend": "openai", "model": "mock-t60-n3"}
        fleet = {"breaker": {"slow_call_s": 0.05, "window": 4}}
        async with (
            FaultUpstream() as upstream,
            gateway(tmp_path, model | {"url": upstream.url}, fleet=fleet) as client,
        ):
            for _ in range(4):
                assert (await client.chat())[0] == 200
            [row] = (await client.get("/models/m"))["data"]
            assert row["breaker"] == "open"
            assert "4 of the last 4 calls took longer than 0.05 s" in row["breaker_why"]
            assert row["latency_s"] >= 0.06

    asyncio.run(scene())


def test_who_is_closed_off_is_not_even_a_last_resort(tmp_path: Path) -> None:
    async def scene() -> None:
        async with FaultUpstream() as upstream:
            models = [
                {"id": name, "backend": "openai", "url": upstream.url, "model": f"mock-n{n}"}
                for n, name in enumerate(("a", "b"), 3)
            ]
            async with gateway(tmp_path, *models) as client:
                await client.post("/models/a/breaker", state="forced_open")
                assert await client.breaker("a") == "forced_open"
                status, body = await client.chat("a")
                assert (status, body["error"]["code"]) == (502, "upstream_unreachable")
                assert "closed off by an operator" in body["error"]["message"]
                status, body = await client.chat("auto")
                assert (status, body["x-routing-metadata"]["model_id"]) == (200, "b")
                await client.post("/models/a/breaker", state="auto")
                assert (await client.chat("a"))[0] == 200

    asyncio.run(scene())


class Narrow:
    """A server that takes four calls at once, 20 ms each, and says 429 to more."""

    def __init__(self) -> None:
        self.inside = self.refused = self.answered = 0

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": []})

    async def handle(self, _: web.Request) -> web.Response:
        if self.inside >= 4:
            self.refused += 1
            return web.json_response({"error": {"message": "too many"}}, status=429)
        self.inside += 1
        try:
            await asyncio.sleep(0.02)
        finally:
            self.inside -= 1
        self.answered += 1
        return web.json_response({"choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}}]})


def test_slots_are_learned_from_429(tmp_path: Path) -> None:
    async def scene() -> None:
        narrow, app = Narrow(), web.Application()
        app.router.add_post("/v1/chat/completions", narrow.handle)
        app.router.add_get("/v1/models", narrow.models)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        model = {"id": "m", "backend": "openai", "url": url, "slots": 64, "min_slots": 1}
        async with gateway(tmp_path, model) as client:
            statuses: list[int] = []

            async def caller() -> None:
                statuses.extend([(await client.chat("m"))[0] for _ in range(20)])

            await asyncio.gather(*(caller() for _ in range(12)))
            [row] = (await client.get("/models/m"))["data"]
            assert set(statuses) == {200}
            assert 1 <= row["slots"] <= 8
            assert row["max_slots"] == 64
            assert narrow.refused < 0.4 * narrow.answered
            assert await client.breaker("m") == "closed"
        await runner.cleanup()

    asyncio.run(scene())

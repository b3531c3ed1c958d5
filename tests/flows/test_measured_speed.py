"""Edge to edge: who was slow is not asked where latency comes first, and no caller's limit lets it through."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp

from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

SCRIPTS = {"slow": "mock-n3-t700", "fast": "mock-n3-t1"}


def test_latency_first_goes_by_what_was_measured(tmp_path: Path) -> None:
    async def scene() -> None:
        async with FaultUpstream() as upstream:
            models = [
                {"id": name, "backend": "openai", "url": upstream.url, "model": SCRIPTS[name]} for name in SCRIPTS
            ]
            tree = {"cache_dir": str(tmp_path), "log": {"requests": False}, "models": models}
            settings = parse(json.dumps(tree | {"routing": {"strategy": "latency"}}))
            async with aiohttp.ClientSession() as session, serving(settings) as (_, url):

                async def ask(path: str, model: str, **more: Any) -> Any:
                    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}]} | more
                    async with session.post(url + path, json=body) as response:
                        return await (response.text() if more.get("stream") else response.json())

                for name in SCRIPTS:
                    await ask("/v1/chat/completions", name, stream=True)
                for seed in range(4):  # a tie would be shared out by the words
                    said = f"Question {seed}"
                    answer = await ask("/v1/chat/completions", "auto", messages=[{"role": "user", "content": said}])
                    assert answer["x-routing-metadata"]["model_id"] == "fast"
                plan = (await ask("/v1/route", "auto", **{"x-routing": {"max_latency_s": 0.5}}))["plan"]
                [refused] = plan["rejected"]
                assert (refused["deployment_id"], refused["code"]) == ("slow", "latency_limit")
                assert "s to begin (measured)" in refused["why"]

    asyncio.run(scene())

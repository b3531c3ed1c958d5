"""An alias is moved while callers use it: nobody meets a model that is not ready, and no request is lost."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream


def file(upstream: FaultUpstream, folder: Path) -> str:
    models = [
        {"id": name, "backend": "openai", "url": url, "model": script, "slots": 64}
        for name, url, script in (
            ("old", upstream.url, "mock-n3"),
            ("new", upstream.url, "mock-n3"),
            ("gone", "http://127.0.0.1:9/v1", "mock-n3"),
        )
    ]
    tree = {"cache_dir": str(folder), "log": {"level": "error"}, "aliases": {"mine": "old"}, "models": models}
    return json.dumps(tree)


def test_callers_go_over_to_the_new_model_without_a_gap(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            FaultUpstream() as upstream,
            serving(parse(file(upstream, tmp_path))) as (app, url),
            aiohttp.ClientSession() as session,
        ):

            async def ask(number: int) -> str:
                words = f"Hello number {number}"
                body = {"model": "mine", "messages": [{"role": "user", "content": words}]}
                async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
                    assert answer.status == 200
                    return str((await answer.json())["x-routing-metadata"]["model_id"])

            async def point(model: str) -> tuple[int, Any]:
                async with session.put(f"{url}/aliases/mine", json={"model": model}) as answer:
                    return answer.status, await answer.json()

            assert [await ask(number) for number in range(3)] == ["old"] * 3
            asking = [asyncio.create_task(ask(100 + number)) for number in range(20)]
            assert (await point("new"))[0] == 200
            assert set(await asyncio.gather(*asking)) <= {"old", "new"}
            assert [await ask(number) for number in range(200, 203)] == ["new"] * 3
            status, refused = await point("gone")
            assert (status, refused["error"]["code"]) == (503, "loading_failed")
            assert [await ask(number) for number in range(300, 303)] == ["new"] * 3
            async with session.get(f"{url}/v1/models/mine") as answer:
                assert (await answer.json())["alias_of"] == "new"
            assert app.settings.aliases == {"mine": "new"}

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_model_answers_to_the_name_a_hub_gives_it(tmp_path: Path) -> None:
    name = "Qwen/Qwen2.5-7B-Instruct"

    async def run() -> None:
        async with FaultUpstream() as upstream:
            tree = json.loads(file(upstream, tmp_path)) | {"aliases": {name: "old"}}
            tree["routing"] = {"use_cases": {"general": [name, "new"]}}
            async with (
                serving(parse(json.dumps(tree))) as (_, url),
                openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
            ):
                said = await client.chat.completions.create(model=name, messages=[{"role": "user", "content": "Hello"}])
                assert (said.model_extra or {})["x-routing-metadata"]["model_id"] == "old"
                assert (await client.models.retrieve(name)).to_dict()["alias_of"] == "old"
                assert name in [model.id async for model in client.models.list()]
                listed = await client.get("/models/", cast_to=dict[str, Any])
                assert listed["object"] == "list"
                with pytest.raises(openai.NotFoundError, match="no model `Qwen/nobody`"):
                    await client.models.retrieve("Qwen/nobody")

    asyncio.run(asyncio.wait_for(run(), 60))

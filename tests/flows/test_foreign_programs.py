"""Foreign programs behind a whole gateway: loaded on demand, swapped within a budget, restarted when killed."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import psutil
import uvloop

from pointsman.app import App
from pointsman.settings import Settings, parse
from pointsman.testing.serving import serving


def command(name: str) -> dict[str, Any]:
    argv = [sys.executable, "-m", "pointsman.testing.upstream", "--port", "{port}"]
    return {"id": name, "backend": "command", "argv": argv, "model": "mock-t1-n3", "memory_gb": 1}


def settings_of(folder: Path, *models: dict[str, Any], **fleet: Any) -> Settings:
    tree = {
        "cache_dir": str(folder),
        "models": models,
        "fleet": {"memory_budget_gb": 1.5, "min_resident_s": 0, **fleet},
        "routing": {"encoder": {"enabled": False}},
    }
    return parse(msgspec.json.encode(tree).decode())


class Talk:
    """A caller of one gateway."""

    def __init__(self, app: App, url: str, session: aiohttp.ClientSession) -> None:
        self.app = app
        self._url = url
        self._session = session

    async def ask(self, model: str) -> str:
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
        async with self._session.post(f"{self._url}/v1/chat/completions", json=body) as answer:
            said = await answer.json()
            assert answer.status == 200, said
            return str(said["x-routing-metadata"]["model_id"])

    def tiers(self) -> dict[str, str]:
        return {view.id: str(view.tier) for view in self.app.world().deployments}


@asynccontextmanager
async def talking(settings: Settings) -> AsyncIterator[Talk]:
    async with serving(settings) as (app, url), aiohttp.ClientSession() as session:
        yield Talk(app, url, session)
    assert programs() == []


def programs() -> list[psutil.Process]:
    return [one for one in psutil.Process().children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]


def test_two_programs_share_the_room_of_one(tmp_path: Path) -> None:
    async def scene() -> None:
        async with talking(settings_of(tmp_path, command("a"), command("b"))) as talk:
            for name, other in (("a", "b"), ("b", "a"), ("a", "b")):
                assert await talk.ask(name) == name
                assert talk.tiers() == {name: "hot", other: "cold"}
                assert len(programs()) == 2, "a keeper and its program"

    uvloop.run(scene())


def test_a_killed_program_is_started_again(tmp_path: Path) -> None:
    async def scene() -> None:
        async with talking(settings_of(tmp_path, command("a"))) as talk:
            await talk.ask("a")
            (program,) = [one for one in programs() if "pointsman.testing.upstream" in one.cmdline()]
            program.kill()
            while talk.tiers()["a"] == "hot":
                await asyncio.sleep(0.01)
            assert await talk.ask("a") == "a"
            assert program not in programs()

    uvloop.run(scene())

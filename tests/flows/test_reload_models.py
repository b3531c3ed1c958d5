"""Models with processes of their own, while the configuration changes: who stays, who takes over, who is kept."""

import asyncio
import sys
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import psutil
import pytest

from pointsman.app import App
from pointsman.errors import ConfigError
from pointsman.reload import ConfigFile
from pointsman.settings import load
from pointsman.testing.serving import serving

PROGRAM = ("-m", "pointsman.testing.upstream", "--port", "{port}")


def command(name: str, model: str = "mock-t1-n3", **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "backend": "command",
        "argv": [sys.executable, *PROGRAM],
        "model": model,
        "memory_gb": 1,
        **more,
    }


class Talk:
    """A caller and operator of one gateway whose file can be rewritten."""

    def __init__(self, app: App, url: str, session: aiohttp.ClientSession, path: Path) -> None:
        self.app = app
        self.path = path
        self._url = url
        self._session = session

    async def ask(self, model: str) -> str:
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
        async with self._session.post(f"{self._url}/v1/chat/completions", json=body) as answer:
            said = await answer.json()
            assert answer.status == 200, said
            return str(said["choices"][0]["message"]["content"])

    async def reload(self, *models: dict[str, Any], **more: Any) -> str:
        write(self.path, *models, **more)
        return str(await self.app.reloader.reload("the test"))

    async def post(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        async with self._session.post(self._url + path, headers=headers) as answer:
            return answer.status, await answer.json()

    async def settled(self) -> None:
        """Return when no replacement is under way and nobody is leaving."""
        for _ in range(600):
            names = {view.id for view in self.app.fleet.world().deployments}
            if not self.app.reloader.status.replacing and names == self.app.rooms.names:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(self.app.fleet.status())

    def pids(self) -> dict[str, int | None]:
        return {view.model_id: view.pid for view in self.app.world().deployments}


def write(path: Path, *models: dict[str, Any], budget_gb: float = 9, **more: Any) -> None:
    fleet = {"memory_budget_gb": budget_gb, "min_resident_s": 0, "restart_backoff_s": 0.01}
    tree = {"cache_dir": str(path.parent), "fleet": fleet, "models": models, "log": {"level": "error"}}
    own = {"routing": {"encoder": {"enabled": False}}, "ledger": {"enabled": False}}
    path.write_text(msgspec.json.encode(tree | own | more).decode())


@asynccontextmanager
async def talking(folder: Path, *models: dict[str, Any], **more: Any) -> AsyncIterator[Talk]:
    path = folder / "pointsman.yaml"
    write(path, *models, **more)
    async with (
        serving(load(path, {}), config=ConfigFile(path, {})) as (app, url),
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session,
    ):
        yield Talk(app, url, session, path)
    assert [one for one in psutil.Process().children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE] == []


def test_who_changed_is_replaced_and_who_did_not_keeps_its_process(tmp_path: Path) -> None:
    async def scene() -> None:
        async with talking(tmp_path, command("still"), command("other"), command("going")) as talk:
            await asyncio.gather(*(talk.ask(name) for name in ("still", "other", "going")))
            before = talk.pids()
            terms = {"ttl_s": 900, "name": "Still", "languages": ["en"], "limits": {"max_concurrent": 9}}
            still = command("still", sampling={"temperature": 0.5}, system_prompt="Be still.") | terms
            changes = await talk.reload(still, command("other", "mock-n5"), command("new"))
            assert changes == "models added: new; removed: going; replaced: other; with other terms: still"
            answers = [await talk.ask("other")]
            while talk.app.reloader.status.replacing:
                answers.append(await talk.ask("other"))
            await talk.settled()
            answers.append(await talk.ask("other"))
            assert {len(answer.split()) for answer in answers[:1]} == {3}
            assert len(answers[-1].split()) == 5
            after = talk.pids()
            assert after["still"] == before["still"]
            assert after["other"] not in (None, before["other"])
            assert not psutil.pid_exists(before["going"] or 0)
            assert not psutil.pid_exists(before["other"] or 0)
            assert await talk.ask("new")

    asyncio.run(asyncio.wait_for(scene(), 90))


def test_a_replacement_that_does_not_start_leaves_the_old_one_in_place_and_says_so(tmp_path: Path) -> None:
    async def scene() -> None:
        async with talking(tmp_path, command("one")) as talk:
            await talk.ask("one")
            before = talk.pids()
            broken = command("one") | {"argv": [sys.executable, "-c", "raise SystemExit('no such engine')"]}
            assert await talk.reload(broken) == "replaced: one"
            await talk.settled()
            assert await talk.ask("one")
            assert talk.pids() == before
            assert "the old process stays" in talk.app.reloader.status.last_error
            assert await talk.reload(command("one"), aliases={"uno": "one"}) == "replaced: one; aliases changed"
            await talk.settled()
            assert await talk.ask("uno")
            assert talk.pids() == before

    asyncio.run(asyncio.wait_for(scene(), 90))


def test_without_memory_for_both_the_old_one_leaves_first(tmp_path: Path) -> None:
    async def scene() -> None:
        async with talking(tmp_path, command("one"), budget_gb=1.5) as talk:
            await talk.ask("one")
            [before] = talk.pids().values()
            await talk.reload(command("one", "mock-n5"), budget_gb=1.5)
            answers = await asyncio.gather(*(talk.ask("one") for _ in range(3)))
            assert {len(answer.split()) for answer in answers} <= {3, 5}
            await talk.settled()
            assert len((await talk.ask("one")).split()) == 5
            assert talk.pids() != {"one": before}

    asyncio.run(asyncio.wait_for(scene(), 90))


def test_without_memory_for_both_one_that_does_not_start_is_put_back(tmp_path: Path) -> None:
    async def scene() -> None:
        async with talking(tmp_path, command("one"), budget_gb=1.5) as talk:
            await talk.ask("one")
            broken = command("one") | {"argv": [sys.executable, "-c", "raise SystemExit('no such engine')"]}
            await talk.reload(broken, budget_gb=1.5)
            for _ in range(300):
                if talk.app.reloader.status.last_error:
                    break
                await asyncio.sleep(0.05)
            await talk.settled()
            assert await talk.ask("one")
            assert talk.app.settings.models[0] == load(talk.path, {}).models[0].model_copy(
                update={"argv": (sys.executable, *PROGRAM)}
            )

    asyncio.run(asyncio.wait_for(scene(), 90))


def test_a_file_that_cannot_be_used_changes_nothing_and_every_problem_is_told(tmp_path: Path) -> None:
    async def scene() -> None:
        async with talking(tmp_path, command("one")) as talk:
            with pytest.raises(ConfigError) as caught:
                await talk.reload(command("one", slots=0), command("one"))
            assert "models[0].slots" in caught.value.message
            assert "models[1].id" in caught.value.message
            assert talk.app.reloader.status.last_error == caught.value.message
            assert talk.app.settings.models[0].slots == 1
            status, said = await talk.post("/admin/reload")
            assert (status, said["error"]["message"]) == (400, caught.value.message)
            before = weakref.ref(talk.app.rooms)
            talk.app.reloader.point("uno", "one")
            assert talk.app.settings.aliases == {"uno": "one"}
            await asyncio.sleep(0.05)
            assert before() is None, "rooms that nobody is in stay in memory until they are collected"
            assert await talk.reload(command("one")) == "aliases changed"
            assert talk.app.settings.aliases == {}
            status, said = await talk.post("/admin/reload")
            assert (status, said["said"], said["config"]["last_error"]) == (200, "nothing changed", "")
            assert (await talk.post("/admin/reload", {"x-forwarded-for": "10.0.0.1"}))[0] == 403

    asyncio.run(asyncio.wait_for(scene(), 60))

"""Edge to edge: while any candidate lives, the caller gets its answer; where none does, the error that helps."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from pointsman.app import App
from pointsman.settings import parse
from pointsman.testing.serving import serving

WELL, DEAD = 200, 502


class Says:
    """What a model of `Upstreams` says to one call; the last of its list to all that follow."""

    def __init__(self, status: int = WELL, message: str = "", *, retry_after: str = "", after_s: float = 0.0) -> None:
        self.status = status
        self.message = message
        self.headers = {"retry-after": retry_after} if retry_after else {}
        self.after_s = after_s


class Upstreams:
    """One server that plays every model."""

    def __init__(self, models: Mapping[str, Sequence[Says]]) -> None:
        self.calls: list[str] = []
        self._plays = {name: list(says) for name, says in models.items()}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> str:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": []})

    async def _answer(self, request: web.Request) -> web.Response:
        name = (await request.json())["model"]
        self.calls.append(name)
        plays = self._plays[name]
        says = plays.pop(0) if len(plays) > 1 else plays[0]
        await asyncio.sleep(says.after_s)
        if says.status != WELL:
            error = {"message": says.message, "type": "server_error"}
            return web.json_response({"error": error}, status=says.status, headers=says.headers)
        return web.json_response({"choices": [{"index": 0, "message": {"role": "assistant", "content": name}}]})


class Stage:
    """One gateway before them."""

    def __init__(self, app: App, url: str, session: aiohttp.ClientSession, upstreams: Upstreams) -> None:
        self.app, self.upstreams = app, upstreams
        self._url, self._session = url, session
        self.retry_after = ""

    async def chat(self, model: str = "auto", **routing: Any) -> tuple[int, Any]:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "x-routing": routing}
        async with self._session.post(f"{self._url}/v1/chat/completions", json=body) as response:
            self.retry_after = response.headers.get("retry-after", "")
            return response.status, await response.json()

    async def answered_by(self, model: str = "auto", **routing: Any) -> str:
        status, body = await self.chat(model, **routing)
        assert status == WELL, body
        return str(body["choices"][0]["message"]["content"])

    async def error(self) -> tuple[int, Any]:
        status, body = await self.chat()
        return status, body["error"]

    async def settled(self) -> None:
        """No lease is held and nobody waits, within a second."""
        for _ in range(100):
            if all(view.in_flight == view.queued == 0 for view in self.app.world().deployments):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("leases left")


def play(
    cache: Path, models: Mapping[str, Sequence[Says]], scene: Callable[[Stage], Awaitable[None]], **more: Any
) -> None:
    async def run() -> None:
        upstreams = Upstreams(models)
        async with upstreams as url, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as session:
            slots, twins = more.pop("slots", {}), more.pop("twins", ())
            tree = {
                "cache_dir": str(cache),
                "log": {"requests": False},
                "retry": {"backoff_s": 0.01, "max_attempts": 5},
                "models": [
                    {"id": name, "backend": "openai", "model": name, "slots": slots.get(name, 8)}
                    | ({"urls": [url, url.replace("127.0.0.1", "localhost")]} if name in twins else {"url": url})
                    for name in models
                ],
                "routing": {"strategy": "fixed", "use_cases": {"general": list(models)}} | more.pop("routing", {}),
            }
            async with serving(parse(json.dumps(tree | more))) as (app, gateway):
                stage = Stage(app, gateway, session, upstreams)
                await scene(stage)
                await stage.settled()

    asyncio.run(asyncio.wait_for(run(), 30))


# ---------------------------------------------------------------- who is asked again


def test_the_last_candidate_does_not_eat_the_repeats(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        assert await stage.answered_by() == "hiccups"
        assert stage.upstreams.calls == ["hiccups", "dead", "hiccups"]

    play(tmp_path, {"hiccups": [Says(503), Says()], "dead": [Says(DEAD)]}, scene)


def test_repeats_go_round_until_they_are_used_up(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        status, error = await stage.error()
        assert (status, error["code"]) == (502, "plan_exhausted")
        assert stage.upstreams.calls == ["dead", "dead-too", "dead", "dead-too", "dead"]

    play(tmp_path, {"dead": [Says(DEAD)], "dead-too": [Says(DEAD)]}, scene)


def test_who_cannot_take_it_does_not_outweigh_who_may_yet(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        assert await stage.answered_by() == "hiccups"

    short = Says(400, "This model's maximum context length is 8 tokens.")
    play(tmp_path, {"hiccups": [Says(503), Says()], "short": [short]}, scene)

    async def dead(stage: Stage) -> None:
        status, error = await stage.error()
        assert (status, error["code"]) == (502, "plan_exhausted")
        assert {one["error"] for one in error["attempts"]} == {"upstream_error", "context_length_exceeded"}

    play(tmp_path, {"dead": [Says(DEAD)], "short": [short]}, dead)


def test_five_dead_ones_do_not_hide_the_sixth(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        assert await stage.answered_by() == "alive"
        assert Counter(stage.upstreams.calls) == dict.fromkeys([*dead, "alive"], 1)

    dead = {f"dead-{n}": [Says(DEAD)] for n in range(5)}
    play(tmp_path, dead | {"alive": [Says()]}, scene)


# ---------------------------------------------------------------- who declines


def test_what_one_engine_does_not_take_another_may(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        assert await stage.answered_by() == "able"
        assert stage.upstreams.calls == ["unable", "able"]

    play(tmp_path, {"unable": [Says(400, "response_format: unknown")], "able": [Says()]}, scene)


def test_where_all_decline_the_first_is_heard_and_no_breaker_moves(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        for _ in range(6):
            status, error = await stage.error()
            assert (status, error["code"]) == (400, "upstream_rejected")
            assert "`first` refused the request: no such temperature" in error["message"]
        assert stage.upstreams.calls == ["first", "second"] * 6
        assert {str(view.breaker) for view in stage.app.world().deployments} == {"closed"}

    declines = {"first": [Says(400, "no such temperature")], "second": [Says(422, "temperature is out of range")]}
    play(tmp_path, declines, scene)


def test_another_instance_of_a_model_that_declined_is_not_asked(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        assert (await stage.error())[0] == 400
        assert stage.upstreams.calls == ["twins"]

    play(tmp_path, {"twins": [Says(400, "no")]}, scene, twins=("twins",))


# ---------------------------------------------------------------- who is asked too much


def test_a_limit_upstream_is_told_as_one(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        status, error = await stage.error()
        assert (status, error["code"], stage.retry_after) == (429, "rate_limit_exceeded", "60")
        assert "a: upstream_error" in error["message"]

    limits = {"a": [Says(429, retry_after="7")], "b": [Says(429, retry_after="3600")]}
    play(tmp_path, limits, scene, server={"request_timeout_s": 5})


def test_servers_that_are_full_are_told_as_that(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        status, error = await stage.error()
        assert (status, error["code"], stage.retry_after) == (503, "queue_full", "7")

    full = {"a": [Says(503, retry_after="7")], "b": [Says(429)]}
    play(tmp_path, full, scene, server={"request_timeout_s": 5})


# ---------------------------------------------------------------- who waits in line

SLOW = {"a": [Says(after_s=2.5)], "b": [Says()]}


def test_a_line_is_left_for_a_candidate_that_is_free(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        began_s = asyncio.get_running_loop().time()
        holding = asyncio.create_task(stage.chat("a"))
        while not stage.upstreams.calls:
            await asyncio.sleep(0.01)
        status, body = await stage.chat("a", deadline_s=5)
        metadata = body["x-routing-metadata"]
        assert (status, metadata["model_id"], metadata["fallback_used"]) == (200, "b", True)
        assert asyncio.get_running_loop().time() - began_s < 3
        assert await stage.answered_by("a", deadline_s=0.8) == "b"  # no time to hope for a turn
        assert {view.id: view.queued for view in stage.app.world().deployments} == {"a": 0, "b": 0}
        holding.cancel()
        await asyncio.wait({holding})

    play(tmp_path, SLOW, scene, slots={"a": 1}, routing={"fallbacks": {"a": ["b"]}})


def test_without_another_candidate_the_line_is_kept(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        holding = asyncio.create_task(stage.chat("a"))
        while not stage.upstreams.calls:
            await asyncio.sleep(0.01)
        status, body = await stage.chat("a", deadline_s=1.5)
        assert (status, body["error"]["code"]) == (504, "deadline_exceeded")
        holding.cancel()
        await asyncio.wait({holding})

    play(tmp_path, SLOW, scene, slots={"a": 1})


def test_who_left_a_line_for_a_dead_one_comes_back(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        holding = asyncio.create_task(stage.chat("a"))
        while not stage.upstreams.calls:
            await asyncio.sleep(0.01)
        assert await stage.answered_by("a", deadline_s=10) == "a"
        assert stage.upstreams.calls.count("dead") >= 1
        assert (await holding)[0] == 200

    slow = {"a": [Says(after_s=3), Says()], "dead": [Says(DEAD)]}
    play(tmp_path, slow, scene, slots={"a": 1}, routing={"fallbacks": {"a": ["dead"]}})


def test_a_short_line_is_kept_though_another_is_free(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        answers = await asyncio.gather(*(stage.answered_by("a") for _ in range(4)))
        assert answers == ["a"] * 4
        assert not stage.upstreams.calls.count("b")

    brief = {"a": [Says(after_s=0.1)], "b": [Says()]}
    play(tmp_path, brief, scene, slots={"a": 1}, routing={"fallbacks": {"a": ["b"]}})


def test_two_full_lines_are_no_reason_to_go_to_and_fro(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        names = [name for _ in range(4) for name in ("a", "b")]
        answers = await asyncio.gather(*(stage.answered_by(name, deadline_s=6) for name in names))
        assert len(answers) == 8
        assert stage.upstreams.calls == names

    full = {"a": [Says(after_s=0.6)], "b": [Says(after_s=0.6)]}
    chains = {"fallbacks": {"a": ["b"], "b": ["a"]}}
    play(tmp_path, full, scene, slots={"a": 1, "b": 1}, routing=chains)

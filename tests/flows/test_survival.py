"""Edge to edge: slow, crawling and cut upstreams behind hedging, the pace guard and continuation."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pointsman.app import App
from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream, Seen
from pointsman.testing.upstream_script import words

Scene = Callable[["Stage"], Awaitable[None]]


class Stage:
    """One gateway before one upstream that plays every model."""

    def __init__(self, app: App, url: str, upstream: FaultUpstream, session: aiohttp.ClientSession) -> None:
        self.app = app
        self.upstream = upstream
        self._url = url
        self._session = session

    async def chat(self, **more: Any) -> tuple[int, bytes]:
        body = {"model": "auto", "messages": [{"role": "user", "content": "Hello there"}], **more}
        async with self._session.post(f"{self._url}/v1/chat/completions", json=body) as response:
            return response.status, await response.read()

    async def stream(self, **more: Any) -> list[Any]:
        status, body = await self.chat(stream=True, **more)
        assert status == 200, body
        lines = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
        return ["[DONE]" if line == b"[DONE]" else json.loads(line) for line in lines]

    def calls(self) -> list[Seen]:
        return [seen for seen in self.upstream.seen if seen.method == "POST"]

    async def settled(self) -> None:
        for _ in range(100):
            if all(view.in_flight == view.queued == 0 for view in self.app.world().deployments):
                return
            await asyncio.sleep(0.01)
        raise AssertionError("leases left")


def play(
    models: dict[str, str], cache: Path, scene: Scene, retry: dict[str, Any] | None = None, continues: str = "prefill"
) -> None:
    async def run() -> None:
        async with FaultUpstream() as upstream, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as session:
            tree = {
                "cache_dir": str(cache),
                "log": {"requests": False},
                "retry": {"first_byte_timeout_s": 2, "idle_timeout_s": 1, "backoff_s": 0.01} | (retry or {}),
                "models": [
                    {"id": name, "backend": "openai", "url": upstream.url, "model": script, "continues": continues}
                    for name, script in models.items()
                ],
                "routing": {"strategy": "fixed", "use_cases": {"general": list(models)}},
            }
            async with serving(parse(json.dumps(tree))) as (app, url):
                stage = Stage(app, url, upstream, session)
                await scene(stage)
                await stage.settled()

    asyncio.run(run())


def said(events: list[Any]) -> str:
    """What a client that knows nothing of continuations has read."""
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events[:-1] if event["choices"])


# ---------------------------------------------------------------- hedging

HEDGE = {"hedge": True, "hedge_after_s": 0.1}


@pytest.mark.parametrize("stream", [False, True])
def test_a_silent_first_is_overtaken_and_cancelled(stream: bool, tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        status, body = await stage.chat(stream=stream)
        assert status == 200
        assert b'"model_id":"quick"' in body
        assert loop.time() - began_s < 0.8
        slow, quick = stage.calls()
        await asyncio.wait_for(slow.ended.wait(), 1)
        assert (slow.end, quick.end) == ("left", "answered")

    play({"slow": "mock-t1500-n3", "quick": "mock-n3"}, tmp_path, scene, HEDGE)


def test_a_first_that_answers_in_time_costs_one_call(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        for _ in range(3):
            assert b'"model_id":"first"' in (await stage.chat())[1]
        assert [seen.model for seen in stage.calls()] == ["mock-t20-n3"] * 3

    play({"first": "mock-t20-n3", "second": "mock-n4"}, tmp_path, scene, HEDGE)


def test_the_first_may_still_win_the_race(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        assert b'"model_id":"first"' in (await stage.chat())[1]
        first, second = stage.calls()
        await asyncio.wait_for(second.ended.wait(), 1)
        assert (first.end, second.end) == ("answered", "left")

    play({"first": "mock-t250-n3", "second": "mock-t1500-n4"}, tmp_path, scene, HEDGE)


def test_where_both_fail_the_third_is_asked(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        status, body = await stage.chat()
        metadata = json.loads(body)["x-routing-metadata"]
        assert (status, metadata["model_id"], metadata["attempts"]) == (200, "good", 3)

    play({"bad": "mock-t200-e1-s500", "worse": "mock-e1-s503", "good": "mock-n3"}, tmp_path, scene, HEDGE)


def test_without_hedging_nobody_is_asked_twice(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        assert b'"model_id":"first"' in (await stage.chat())[1]
        assert len(stage.calls()) == 1

    play({"first": "mock-t300-n3", "second": "mock-n4"}, tmp_path, scene)


def test_a_caller_that_leaves_ends_both_calls_of_a_race(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        asking = asyncio.create_task(stage.chat())
        while len(stage.calls()) < 2:
            await asyncio.sleep(0.01)
        asking.cancel()
        for seen in stage.calls():
            await asyncio.wait_for(seen.ended.wait(), 1)
            assert seen.end == "left"

    play({"slow": "mock-t1500-n3", "slower": "mock-t1600-n3"}, tmp_path, scene, HEDGE)


# ---------------------------------------------------------------- a stream that says nothing, or too little


def test_a_stream_of_empty_deltas_falls_back_after_the_first_token_limit(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        events = await stage.stream()
        assert events[0]["x-routing-metadata"]["model_id"] == "good"

    play({"mute": "mock-silent", "good": "mock-n3"}, tmp_path, scene, {"first_token_timeout_s": 0.2})


def test_a_crawling_stream_ends_with_a_typed_error(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        events = await stage.stream()
        assert events[-1]["error"]["code"] == "upstream_timeout"
        assert "min_events_per_s" in events[-1]["error"]["message"]

    play({"snail": "mock-i100-n50"}, tmp_path, scene, {"min_events_per_s": 50, "pace_window_s": 0.3})


def test_a_brisk_stream_passes_the_guard(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        events = await stage.stream()
        assert events[-1] == "[DONE]"

    play({"hare": "mock-i5-n100"}, tmp_path, scene, {"min_events_per_s": 20, "pace_window_s": 0.1})


# ---------------------------------------------------------------- continuation


@pytest.mark.parametrize("cut", ["mock-a1-A7-n20-i2", "mock-a1-A7-n20-fin", "mock-errorevent-A7-n20-i2"])
def test_a_cut_answer_is_continued_without_a_seam(cut: str, tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        events = await stage.stream(max_tokens=100, stream_options={"include_usage": True})
        assert events[-1] == "[DONE]"
        assert said(events) == "".join(words(20))
        assert not any("error" in event for event in events[:-1])
        assert len({event["id"] for event in events[:-1]}) == 1
        told = [event["x-routing-continuation"] for event in events[:-1] if "x-routing-continuation" in event]
        after = told[0]["after_tokens"]
        assert told == [{"model_id": "good", "deployment_id": "good", "after_tokens": after}]
        assert after in {6, 7}  # an error event may take the last token along
        roles = [event for event in events[:-1] if event["choices"] and event["choices"][0]["delta"].get("role")]
        assert len(roles) == 1
        usage = next(event["usage"] for event in events[:-1] if event.get("usage"))
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (9, 20)
        second = json.loads(stage.calls()[1].body)
        assert second["messages"][-1] == {"role": "assistant", "content": "".join(words(after))}
        assert second["max_tokens"] == 100 - after

    play({"cut": cut, "good": "mock-n20"}, tmp_path, scene, {"continuation": True})


def test_an_answer_cut_twice_is_continued_twice(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        events = await stage.stream()
        assert said(events) == "".join(words(20))
        told = [event["x-routing-continuation"] for event in events[:-1] if "x-routing-continuation" in event]
        assert [one["after_tokens"] for one in told] == [4, 12]

    models = {"cut": "mock-a1-A4-n20", "cut-too": "mock-a1-A8-n20", "good": "mock-n20"}
    play(models, tmp_path, scene, {"continuation": True})


def test_the_caller_may_ask_for_it_or_against_it(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        assert said(await stage.stream(**{"x-routing": {"continuation": True}})) == "".join(words(20))
        assert "error" in (await stage.stream())[-1]

    play({"cut": "mock-a1-A7-n20", "good": "mock-n20"}, tmp_path, scene)

    async def against(stage: Stage) -> None:
        assert "error" in (await stage.stream(**{"x-routing": {"continuation": False}}))[-1]

    play({"cut": "mock-a1-A7-n20", "good": "mock-n20"}, tmp_path, against, {"continuation": True})


@pytest.mark.parametrize("form", [{"response_format": {"type": "json_object"}}, {"n": 2}])
def test_what_is_no_plain_text_is_not_continued(form: dict[str, Any], tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        events = await stage.stream(**form)
        assert "error" in events[-1]
        assert "[DONE]" not in events
        assert len(stage.calls()) == 1

    play({"cut": "mock-a1-A7-n20", "good": "mock-n20"}, tmp_path, scene, {"continuation": True})


def test_where_nobody_can_go_on_the_cut_itself_is_told(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        events = await stage.stream()
        assert events[-1]["error"]["code"] == "upstream_cut"

    models = {"cut": "mock-a1-A7-n20", "dead": "mock-e1-s500", "dead-too": "mock-reset"}
    play(models, tmp_path, scene, {"continuation": True})
    play(models, tmp_path, scene, {"continuation": True}, continues="")


def test_a_caller_that_leaves_a_continued_answer_ends_it(tmp_path: Path) -> None:
    async def scene(stage: Stage) -> None:
        asking = asyncio.create_task(stage.stream())
        while len(stage.calls()) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.wait_for(stage.calls()[1].ended.wait(), 1)
        assert stage.calls()[1].end == "left"

    play({"cut": "mock-a1-A7-n2000", "good": "mock-n2000-i20"}, tmp_path, scene, {"continuation": True})

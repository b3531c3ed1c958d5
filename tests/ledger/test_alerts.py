"""Webhooks hear of events: signed, redacted, never twice in a hurry, and a dead one holds nobody up."""

import ast
import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

import pointsman
from pointsman.clock import Clock, SystemClock
from pointsman.dispatch.http import AiohttpClient
from pointsman.errors import ConfigError
from pointsman.ledger.alerts import Alerts, AlertStatistics
from pointsman.ledger.lines import Event, Level
from pointsman.redact import Redactor
from pointsman.settings_telemetry import EVENTS, AlertSettings
from pointsman.testing.clock import FakeClock

SECRET = "correct horse battery"
EXPERIMENT_EVENTS = "started step passed better review rolled_back ratio paused resumed".split()


def died(deployment: str = "m#0", level: Level = "error", message: str = "m#0 died: killed") -> Event:
    return Event(name="model_died", message=message, level=level, details=(("deployment", deployment), ("code", -9)))


class Webhook:
    """A real HTTP server that keeps what it is sent; `answers` are the statuses it gives, the last one for ever."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers = [200]
        self.hang = asyncio.Event()
        self.hang.set()

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        await self.hang.wait()
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(status=status, headers={"location": "http://127.0.0.1:1/"} if status == 302 else {})

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Webhook, str]]:
    hook = Webhook()
    application = web.Application()
    application.router.add_post("/hook", hook.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield hook, f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    finally:
        hook.hang.set()
        await runner.cleanup()


def play(scene: Callable[[Alerts, Webhook, FakeClock], Awaitable[None]], **settings: Any) -> AlertStatistics:
    """The counts after a scene with one webhook, which is told on a clock of its own."""

    async def run() -> AlertStatistics:
        clock = FakeClock()
        async with listening() as (hook, url), AiohttpClient() as http:
            alerts = of(http, clock, AlertSettings(url=url, **settings))
            async with alerts:
                await scene(alerts, hook, clock)
            return alerts.statistics()

    return asyncio.run(asyncio.wait_for(run(), 20))


def of(http: AiohttpClient, clock: Clock, *hooks: AlertSettings) -> Alerts:
    return Alerts(hooks, http, clock, environ={"HOOK": SECRET}, source="box", redact=Redactor("the-admin-key"))


async def until(condition: Callable[[], bool], clock: FakeClock | None = None) -> None:
    async with asyncio.timeout(5):
        while not condition():
            if clock is not None:
                await clock.advance(0.5)
            await asyncio.sleep(0.005)


def test_an_event_arrives_as_json_with_a_text_for_people_and_a_signature() -> None:
    async def scene(alerts: Alerts, hook: Webhook, clock: FakeClock) -> None:
        alerts.hear(died(message="m#0 died: --api-key the-admin-key"))
        await until(lambda: alerts.statistics().sent == 1)
        headers, body = hook.got[0]
        told = json.loads(body)
        assert (told["event"], told["severity"], told["source"]) == ("model_died", "error", "box")
        assert told["details"] == {"deployment": "m#0", "code": -9}
        assert told["text"] == "box error: " + told["message"]
        assert b"the-admin-key" not in body
        at, _, digest = headers["X-Pointsman-Signature"].partition(",v1=")
        signed = hmac.new(SECRET.encode(), at.removeprefix("t=").encode() + b"." + body, hashlib.sha256)
        assert hmac.compare_digest(digest, signed.hexdigest())

    play(scene, secret_env="HOOK", text="{source} {severity}: {message}")


def test_it_hears_what_it_asked_for() -> None:
    async def scene(alerts: Alerts, hook: Webhook, clock: FakeClock) -> None:
        for event in (Event(name="model_loaded"), Event(name="cache_store_lost", level="warning"), died()):
            alerts.hear(event)
        await until(lambda: bool(hook.got))
        await asyncio.sleep(0.05)

    assert play(scene, severity="info").sent == 3
    assert play(scene, severity="warning").sent == 2
    assert play(scene).sent == 2
    assert play(scene, events=("model_loaded",)).sent == 1


def test_the_events_that_can_be_asked_for_are_those_that_are_told() -> None:
    """Read from the source: a name that nobody tells would be an alarm that never rings."""
    source = Path(pointsman.__file__).parent
    told = {f"experiment_{name}" for name in EXPERIMENT_EVENTS}
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"Event", "self._say"}:
                named = [keyword.value for keyword in node.keywords if keyword.arg == "name"] or node.args[:1]
                told |= {word.value for word in named if isinstance(word, ast.Constant) and isinstance(word.value, str)}
    assert told - {"library_message", "fleet"} == set(EVENTS)
    with pytest.raises(ValidationError):
        AlertSettings(url="http://127.0.0.1/", events=("model_dyed",))


def test_the_same_of_the_same_model_is_told_once_in_a_while_and_says_how_often() -> None:
    async def scene(alerts: Alerts, hook: Webhook, clock: FakeClock) -> None:
        for _ in range(5):
            alerts.hear(died())
        alerts.hear(died("other#0"))
        await until(lambda: len(hook.got) == 2)
        await clock.advance(61)
        alerts.hear(died())
        await until(lambda: len(hook.got) == 3)
        assert [message["suppressed"] for message in hook.messages()] == [0, 0, 4]

    assert play(scene, quiet_s=60).suppressed == 4


def test_a_storm_is_cut_and_counted() -> None:
    async def scene(alerts: Alerts, hook: Webhook, clock: FakeClock) -> None:
        for number in range(50):
            alerts.hear(died(f"m#{number}"))
        await until(lambda: len(hook.got) == 10)
        await clock.advance(61)
        alerts.hear(died("late"))
        await until(lambda: len(hook.got) == 11)

    counts = play(scene, per_minute=10)
    assert (counts.sent, counts.dropped) == (11, 40)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_webhook_that_is_ill_is_asked_again(status: int) -> None:
    async def scene(alerts: Alerts, hook: Webhook, clock: FakeClock) -> None:
        hook.answers = [status, status, 204]
        alerts.hear(died())
        await until(lambda: alerts.statistics().sent == 1, clock)
        assert len(hook.got) == 3
        assert len({body for _, body in hook.got}) == 1

    play(scene)


@pytest.mark.parametrize(("status", "asked"), [(400, 1), (404, 1), (302, 1), (500, 5)])
def test_a_refusal_is_final_and_patience_has_an_end(status: int, asked: int) -> None:
    async def scene(alerts: Alerts, hook: Webhook, clock: FakeClock) -> None:
        hook.answers = [status]
        alerts.hear(died())
        await until(lambda: alerts.statistics().failed == 1, clock)
        assert len(hook.got) == asked

    play(scene)


def test_one_that_hangs_holds_up_neither_the_server_nor_another() -> None:
    async def run() -> None:
        async with listening() as (stuck, stuck_url), listening() as (well, well_url), AiohttpClient() as http:
            stuck.hang.clear()
            hooks = (AlertSettings(url=stuck_url, per_minute=1000), AlertSettings(url=well_url, per_minute=1000))
            alerts, clock = of(http, SystemClock(), *hooks), SystemClock()
            async with alerts:
                began_s = clock.now()
                for number in range(150):
                    alerts.hear(died(f"m#{number}"))
                assert clock.now() - began_s < 1
                await until(lambda: len(well.got) == 100)
            assert clock.now() - began_s < 5
            counts = alerts.statistics()
            assert (counts.sent, counts.dropped, counts.failed) == (100, 100, 100)

    asyncio.run(asyncio.wait_for(run(), 20))


def test_an_event_may_come_from_any_thread_and_from_before_the_beginning() -> None:
    async def run() -> None:
        async with listening() as (hook, url), AiohttpClient() as http:
            alerts = of(http, SystemClock(), AlertSettings(url=url))
            alerts.hear(died("early"))
            async with alerts:
                await until(lambda: len(hook.got) == 1)
                await asyncio.to_thread(alerts.hear, died("from elsewhere"))
                await until(lambda: len(hook.got) == 2)
            alerts.hear(died("late"))

    asyncio.run(asyncio.wait_for(run(), 20))


def test_a_url_may_be_a_secret_too() -> None:
    async def run() -> None:
        async with listening() as (hook, url), AiohttpClient() as http:
            settings = (AlertSettings(url_env="WHERE"),)
            async with Alerts(settings, http, SystemClock(), environ={"WHERE": url}) as alerts:
                alerts.hear(died())
                await until(lambda: len(hook.got) == 1)
            with pytest.raises(ConfigError, match="WHERE"):
                Alerts(settings, http, SystemClock(), environ={})

    asyncio.run(asyncio.wait_for(run(), 20))


def test_nobody_there_is_counted() -> None:
    async def scene(alerts: Alerts, hook: Webhook, clock: FakeClock) -> None:
        alerts.hear(died())
        await until(lambda: alerts.statistics().failed == 1, clock)

    async def run() -> None:
        clock = FakeClock()
        async with AiohttpClient() as http:
            alerts = of(http, clock, AlertSettings(url="http://127.0.0.1:9/hook"))
            async with alerts:
                await scene(alerts, Webhook(), clock)

    asyncio.run(asyncio.wait_for(run(), 20))

"""The fleet in an operator's hands: the real fleet and routes, scripted engines, requests as HTTP clients send them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import pytest

from pointsman.clock import SystemClock
from pointsman.edge.admin import Admin, Change
from pointsman.edge.admin_routes import add_admin_routes
from pointsman.edge.gate import Gate
from pointsman.edge.shell import build_shell
from pointsman.errors import Refused
from pointsman.fleet.hardware import Gpu
from pointsman.fleet.loop import DeploymentSpec, Fleet
from pointsman.redact import Redactor
from pointsman.settings import FleetSettings, Settings, parse
from pointsman.testing.backend import ScriptedBackend, ScriptedStart
from pointsman.testing.hardware import FakeHardware
from pointsman.testing.sleeper import ScriptedSleeper
from pointsman.types import ModelCard, World

FILE = """
aliases: {small: tiny}
routing: {objectives: {thrifty: {strategy: cost}}}
models:
  - {id: tiny, backend: llama_cpp, source: {file: tiny.gguf}}
  - {id: large, backend: llama_cpp, source: {file: large.gguf}, slots: 2, ttl_s: 60}
  - {id: far, backend: openai, url: 'http://127.0.0.1:9/v1'}
  - {id: pair, backend: openai, urls: ['http://127.0.0.1:9/a', 'http://127.0.0.1:9/b']}
"""
MB = 1_000_000


class Office:
    """Desk and office of an app: settings, who means whom, where logs are."""

    def __init__(self, folder: Path) -> None:
        self.settings: Settings = parse(FILE)
        self.cards: tuple[ModelCard, ...] = ()
        self.folder = folder
        self.changes: list[Change] = []

    def world(self) -> World:
        return World()

    def metrics(self) -> bytes:
        return b""

    def statistics(self) -> object:
        return None

    def point(self, alias: str, model_id: str) -> None:
        self.settings = self.settings.model_copy(update={"aliases": {**self.settings.aliases, alias: model_id}})

    def estimated_bytes(self, deployment_id: str) -> int:
        return 90 * MB if deployment_id == "tiny" else 0

    def log_path(self, deployment_id: str) -> Path | None:
        return None if deployment_id == "far" else self.folder / f"{deployment_id}.log"

    def administered(self, change: Change) -> None:
        self.changes.append(change)


class Answer(msgspec.Struct):
    status: int
    body: Any
    headers: dict[str, str]


class Yard:
    """A fleet with room for one of its two models of 100 MB."""

    def __init__(self, folder: Path, key: str = "") -> None:
        clock = SystemClock()
        self.office = Office(folder)
        self.hardware = FakeHardware(10**9, gpus=(Gpu(index=0, name="A", total_bytes=1000 * MB, used_bytes=0),))
        self.large = ScriptedSleeper(
            clock, self.hardware, "large", footprint_bytes=100 * MB, gpu_bytes=((0, 400 * MB),), asleep_bytes=20 * MB
        )
        self.backends: dict[str, ScriptedBackend] = {
            "tiny": ScriptedBackend(clock, "tiny", footprint_bytes=100 * MB),
            "large": self.large,
            "far": ScriptedBackend(clock, "far", is_managed=False),
            "pair#0": ScriptedBackend(clock, "pair#0", is_managed=False),
            "pair#1": ScriptedBackend(clock, "pair#1", is_managed=False),
        }
        models = {model.id: model for model in self.office.settings.models}
        specs = tuple(DeploymentSpec.of(name, models[name.partition("#")[0]]) for name in self.backends)
        settings = FleetSettings(memory_budget_gb=0.15, restart_backoff_s=0.01, min_resident_s=0)
        self.fleet = Fleet(specs, self.backends, settings, clock, self.hardware, drain_timeout_s=1)
        self.admin = Admin(self.office, self.fleet, Gate(key), Redactor("s3cret-value"))
        self.shell = build_shell(self.office)
        add_admin_routes(self.shell, self.admin)
        self.now = clock.now

    async def ask(
        self, method: str, target: str, body: bytes = b"", client: str = "127.0.0.1", **headers: str
    ) -> Answer:
        """What the shell answers, as JSON where it is JSON."""
        parts, sent = urlsplit(target), []
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in ({"host": "localhost"} | headers).items()],
            "client": (client, 1),
            "server": ("127.0.0.1", 8001),
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.shell(scope, receive, send)
        received = b"".join(message.get("body", b"") for message in sent)
        heads = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        is_json = heads["content-type"].startswith("application/json")
        return Answer(sent[0]["status"], json.loads(received) if is_json else received.decode(), heads)

    async def states(self) -> dict[str, str]:
        return {row["id"]: row["state"] for row in (await self.ask("GET", "/models")).body["data"]}

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        for _ in range(400):
            if await holds():
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"never so: {await self.states()}")


Scene = Callable[[Yard], Awaitable[None]]


def play(folder: Path, scene: Scene, key: str = "", yard: Yard | None = None) -> Yard:
    yard = yard or Yard(folder, key)

    async def run() -> None:
        async with yard.fleet, yard.admin:
            await scene(yard)

    asyncio.run(run())
    assert not any(backend.misuse for backend in yard.backends.values())
    return yard


def test_every_deployment_is_shown_in_full(tmp_path: Path) -> None:
    async def scene(yard: Yard) -> None:
        await yard.ask("POST", "/models/tiny/load")
        async with yard.fleet.lease("tiny", yard.now() + 5):
            shown = (await yard.ask("GET", "/models")).body
        tiny, large, far, *pair = shown["data"]
        assert [(one["id"], one["model_id"], one["backend"]) for one in pair] == [
            ("pair#0", "pair", "openai"),
            ("pair#1", "pair", "openai"),
        ]
        assert shown["memory"] == {
            "budget_bytes": 150 * MB,
            "used_bytes": 100 * MB,
            "gpus": [{"index": 0, "budget_bytes": 800 * MB, "used_bytes": 0}],
        }
        assert (tiny["backend"], tiny["tier"], tiny["state"], tiny["aliases"]) == (
            "llama_cpp",
            "hot",
            "ready",
            ["small"],
        )
        assert (tiny["in_flight"], tiny["slots"], tiny["idle_s"]) == (1, 1, None)
        assert (tiny["memory"]["held_bytes"], tiny["memory"]["estimated_bytes"]) == (100 * MB, 90 * MB)
        assert tiny["pid"] >= 50_000
        assert 0 <= tiny["age_s"] < 5
        assert (large["state"], large["memory"]["held_bytes"], large["memory"]["reserved_bytes"]) == (
            "cold",
            0,
            100 * MB,
        )
        assert (large["slots"], large["ttl_s"]) == (2, 60)
        assert not far["is_managed"]
        [row] = (await yard.ask("GET", "/models/small")).body["data"]
        assert row["id"] == "tiny"
        assert row["idle_s"] >= 0

    play(tmp_path, scene)


def test_loads_and_unloads(tmp_path: Path) -> None:
    async def scene(yard: Yard) -> None:
        loaded = await yard.ask("POST", "/models/small/load")
        assert (loaded.status, loaded.body["done"], loaded.body["model"]) == (200, True, "tiny")
        assert loaded.body["deployments"][0]["state"] == "ready"
        assert (await yard.ask("POST", "/models/large/load")).status == 200  # the other leaves for it
        states = await yard.states()
        assert (states["tiny"], states["large"]) == ("cold", "ready")
        unloaded = await yard.ask("POST", "/models/large/unload")
        assert (unloaded.status, unloaded.body["deployments"][0]["state"]) == (200, "cold")
        assert (await yard.ask("POST", "/models/large/unload")).status == 200  # it is so already

    yard = play(tmp_path, scene)
    assert [(change.action, change.model_id, change.result) for change in yard.office.changes] == [
        ("load", "tiny", "ok"),
        ("load", "large", "ok"),
        ("unload", "large", "ok"),
        ("unload", "large", "ok"),
    ]
    assert {change.who for change in yard.office.changes} == {"127.0.0.1"}


def test_a_busy_model_is_unloaded_when_it_is_idle(tmp_path: Path) -> None:
    async def scene(yard: Yard) -> None:
        async with yard.fleet.lease("tiny", yard.now() + 5):
            accepted = await yard.ask("POST", "/models/tiny/unload?wait_s=0.05")
            assert (accepted.status, accepted.body["done"]) == (202, False)
            [status] = accepted.body["deployments"]
            assert (status["state"], status["in_flight"], status["leaving"]) == ("ready", 1, "unloaded")
            assert not yard.office.changes
            waiting = asyncio.create_task(yard.ask("POST", "/models/tiny/unload"))
            await asyncio.sleep(0.05)
            assert not waiting.done()
        assert (await waiting).body["deployments"][0]["state"] == "cold"
        await asyncio.sleep(0)
        assert len(yard.office.changes) == 2

    play(tmp_path, scene)


def test_sleeps_and_wakes(tmp_path: Path) -> None:
    async def scene(yard: Yard) -> None:
        await yard.ask("POST", "/models/large/load")
        asleep = await yard.ask("POST", "/models/large/sleep")
        assert (asleep.status, asleep.body["deployments"][0]["state"]) == (200, "asleep")
        shown = (await yard.ask("GET", "/models")).body
        large = shown["data"][1]
        assert (large["tier"], large["memory"]["held_bytes"], large["memory"]["asleep_bytes"]) == (
            "warm",
            20 * MB,
            20 * MB,
        )
        assert large["memory"]["gpus"] == [{"index": 0, "reserved_bytes": 400 * MB, "measured_bytes": 400 * MB}]
        assert shown["memory"]["gpus"][0]["used_bytes"] == 0
        woken = await yard.ask("POST", "/models/large/wake")
        assert (woken.status, woken.body["deployments"][0]["state"]) == (200, "ready")
        assert (await yard.ask("GET", "/models")).body["memory"]["gpus"][0]["used_bytes"] == 400 * MB
        assert (await yard.ask("POST", "/models/tiny/sleep")).status == 200  # it is cold, and stays so

    yard = play(tmp_path, scene)
    assert (yard.large.sleep_count, yard.large.wake_count) == (1, 1)


def test_a_sleep_that_frees_nothing_is_a_failure(tmp_path: Path) -> None:
    async def scene(yard: Yard) -> None:
        await yard.ask("POST", "/models/large/load")
        yard.large.sleep_problem = "the engine will not"
        answer = await yard.ask("POST", "/models/large/sleep")
        assert (answer.status, answer.body["error"]["code"]) == (503, "sleep_failed")
        assert "the engine will not" in answer.body["error"]["message"]
        await yard.ask("POST", "/models/tiny/load")
        answer = await yard.ask("POST", "/models/tiny/sleep")
        assert (answer.status, answer.body["error"]["code"]) == (409, "conflict")
        assert "cannot sleep; unload it instead" in answer.body["error"]["message"]

    play(tmp_path, scene)


def test_a_slow_load_goes_on_when_nobody_waits(tmp_path: Path) -> None:
    async def scene(yard: Yard) -> None:
        yard.backends["tiny"].load_s = 0.2
        accepted = await yard.ask("POST", "/models/tiny/load?wait_s=0")
        assert (accepted.status, accepted.body["deployments"][0]["state"]) == (202, "starting")

        async def is_ready() -> bool:
            return (await yard.states())["tiny"] == "ready"

        await yard.until(is_ready)
        assert yard.backends["tiny"].start_count == 1

    play(tmp_path, scene)


def test_a_model_is_loaded_where_one_of_its_instances_is(tmp_path: Path) -> None:
    async def scene(yard: Yard) -> None:
        answer = await yard.ask("POST", "/models/pair/load")
        assert (answer.status, answer.body["done"]) == (200, True)
        assert sorted(one["state"] for one in answer.body["deployments"]) == ["cold", "ready"]
        [one] = (await yard.ask("GET", "/models/pair%231")).body["data"]
        assert (one["id"], one["state"]) == ("pair#1", "ready")
        assert (await yard.ask("POST", "/models/pair%230/load")).status == 503

    yard = Yard(tmp_path)
    yard.backends["pair#0"].starts.extend([ScriptedStart(error="nobody there")] * 99)
    play(tmp_path, scene, yard=yard)


def test_a_failed_load_says_why(tmp_path: Path) -> None:
    async def scene(yard: Yard) -> None:
        yard.backends["tiny"].starts.extend([ScriptedStart(error="tiny: out of luck")] * 9)
        answer = await yard.ask("POST", "/models/tiny/load")
        assert (answer.status, answer.body["error"]["code"]) == (503, "loading_failed")
        assert "out of luck" in answer.body["error"]["message"]
        assert int(answer.headers["retry-after"]) >= 1
        [row] = (await yard.ask("GET", "/models/tiny")).body["data"]
        assert row["last_error"] == "tiny: out of luck"
        assert yard.office.changes[0].result == "loading_failed"

    play(tmp_path, scene)


def test_breakers_are_forced_and_see_for_themselves_again(tmp_path: Path) -> None:
    async def scene(yard: Yard) -> None:
        await yard.ask("POST", "/models/pair/load")
        answer = await yard.ask("POST", "/models/pair/breaker", b'{"state": "forced_open"}')
        assert answer.status == 200
        assert [one["breaker"] for one in answer.body["deployments"]] == ["forced_open"] * 2
        with pytest.raises(Refused, match="an operator keeps `pair#1` closed off"):
            async with yard.fleet.lease("pair#1", yard.now() + 5):
                pass
        [row] = (await yard.ask("GET", "/models/pair%231")).body["data"]
        assert (row["breaker"], row["breaker_why"]) == ("forced_open", "an operator said so")
        answer = await yard.ask("POST", "/models/pair%231/breaker", b'{"state": "auto"}')
        assert [one["breaker"] for one in answer.body["deployments"]] == ["closed"]
        async with yard.fleet.lease("pair#1", yard.now() + 5):
            pass
        for body, param in ((b'{"state": "ajar"}', "state"), (b"{}", "state"), (b"nothing", None)):
            refused = await yard.ask("POST", "/models/pair/breaker", body)
            assert (refused.status, refused.body["error"]["param"]) == (400, param)

    yard = play(tmp_path, scene)
    assert [(change.action, change.model_id) for change in yard.office.changes if change.action == "breaker"] == [
        ("breaker", "pair")
    ] * 2


# ---------------------------------------------------------------- hot swap


def put(model: str) -> bytes:
    return json.dumps({"model": model}).encode()


def test_an_alias_moves_when_the_new_model_is_ready(tmp_path: Path) -> None:
    async def scene(yard: Yard) -> None:
        yard.backends["large"].load_s = 0.2
        swap = asyncio.create_task(yard.ask("PUT", "/aliases/small", put("large")))
        await asyncio.sleep(0.05)
        [row] = (await yard.ask("GET", "/aliases")).body["data"]
        assert row == {"id": "small", "model": "tiny", "moving_to": "large", "last_error": ""}
        other = await yard.ask("PUT", "/aliases/small", put("far"))
        assert (other.status, other.body["error"]["code"]) == (409, "conflict")
        assert (await yard.ask("PUT", "/aliases/small", put("large"))).status == 200  # joins
        answer = await swap
        assert (answer.status, answer.body["alias"], answer.body["model"]) == (200, "small", "large")
        assert yard.office.settings.aliases == {"small": "large"}
        assert yard.backends["large"].start_count == 1
        assert (await yard.ask("PUT", "/aliases/brand-new", put("small"))).body["model"] == "large"

    yard = play(tmp_path, scene)
    assert [(change.alias, change.model_id) for change in yard.office.changes] == [
        ("small", "large"),
        ("brand-new", "large"),
    ]


def test_an_alias_may_be_a_name_of_several_parts(tmp_path: Path) -> None:
    async def scene(yard: Yard) -> None:
        assert (await yard.ask("PUT", "/aliases/org/name", put("large"))).body["alias"] == "org/name"
        assert (await yard.ask("POST", "/models/org/name/load")).body["model"] == "large"

    assert play(tmp_path, scene).office.settings.aliases["org/name"] == "large"


def test_a_failed_load_leaves_the_alias_as_it_is(tmp_path: Path) -> None:
    async def scene(yard: Yard) -> None:
        yard.backends["large"].starts.extend([ScriptedStart(after_s=0.02, error="large: no such weights")] * 9)
        answer = await yard.ask("PUT", "/aliases/small", put("large"))
        assert (answer.status, answer.body["error"]["code"]) == (503, "loading_failed")
        assert "no such weights" in answer.body["error"]["message"]
        [row] = (await yard.ask("GET", "/aliases")).body["data"]
        assert (row["model"], row["moving_to"]) == ("tiny", "")
        assert "no such weights" in row["last_error"]
        yard.backends["large"].starts.clear()
        assert (await yard.ask("PUT", "/aliases/small", put("large"))).status == 200
        [row] = (await yard.ask("GET", "/aliases")).body["data"]
        assert (row["model"], row["last_error"]) == ("large", "")

    play(tmp_path, scene)


def test_a_swap_nobody_waits_for_still_happens(tmp_path: Path) -> None:
    async def scene(yard: Yard) -> None:
        yard.backends["large"].load_s = 0.1
        accepted = await yard.ask("PUT", "/aliases/small?wait_s=0", put("large"))
        assert accepted.status == 202
        assert yard.office.settings.aliases == {"small": "tiny"}

        async def has_moved() -> bool:
            return yard.office.settings.aliases == {"small": "large"}

        await yard.until(has_moved)

    play(tmp_path, scene)


def test_what_is_under_way_ends_with_the_server(tmp_path: Path) -> None:
    async def scene(yard: Yard) -> None:
        yard.backends["large"].load_s = 60
        assert (await yard.ask("PUT", "/aliases/small?wait_s=0", put("large"))).status == 202

    yard = play(tmp_path, scene)
    assert yard.office.settings.aliases == {"small": "tiny"}
    assert not yard.backends["large"].is_running


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "code", "said"),
    [
        ("POST", "/models/tinny/load", b"", 404, "model_not_found", "did you mean `tiny`?"),
        ("GET", "/models/nobody", b"", 404, "model_not_found", "models are tiny, large, far, pair"),
        ("POST", "/models/far/unload", b"", 409, "conflict", "runs elsewhere"),
        ("POST", "/models/far/sleep", b"", 409, "conflict", "runs elsewhere"),
        ("GET", "/models/far/logs", b"", 404, "not_found", "its log is there"),
        ("GET", "/models/tiny/logs", b"", 404, "not_found", "has not run on this machine yet"),
        ("GET", "/models/tiny/logs?lines=0", b"", 400, "invalid_value", "lines"),
        ("POST", "/models/tiny/load?wait_s=-1", b"", 400, "invalid_value", "wait_s"),
        ("POST", "/models/tiny/explode", b"", 404, "not_found", "/docs"),
        ("GET", "/models/tiny/load", b"", 405, "method_not_allowed", "GET"),
        ("PUT", "/aliases/new", put("nobody"), 404, "model_not_found", "models are"),
        ("PUT", "/aliases/large", put("tiny"), 409, "conflict", "a model's id"),
        ("PUT", "/aliases/auto", put("tiny"), 409, "conflict", "the router's own name"),
        ("PUT", "/aliases/thrifty", put("tiny"), 409, "conflict", "an objective's name"),
        ("PUT", "/aliases/new", b"{}", 400, "invalid_value", "model"),
        ("PUT", "/aliases/new", b"{", 400, "invalid_json", "JSON"),
        ("PUT", "/aliases/new", put("x" * 70_000), 413, "request_too_large", "65536"),
        ("PUT", "/aliases/a%20b", put("tiny"), 400, "invalid_value", "name"),
        ("PUT", "/aliases/a/../b", put("tiny"), 400, "invalid_value", "name"),
        ("PUT", "/aliases/a//b", put("tiny"), 400, "invalid_value", "name"),
    ],
)
def test_refusals(tmp_path: Path, method: str, target: str, body: bytes, status: int, code: str, said: str) -> None:
    async def scene(yard: Yard) -> None:
        answer = await yard.ask(method, target, body)
        assert (answer.status, answer.body["error"]["code"]) == (status, code)
        assert said in answer.body["error"]["message"]
        assert not yard.office.changes

    play(tmp_path, scene)


@pytest.mark.parametrize(("method", "target"), [("GET", "/models"), ("GET", "/aliases"), ("POST", "/models/tiny/load")])
def test_every_door_is_behind_the_gate(tmp_path: Path, method: str, target: str) -> None:
    async def open_gate(yard: Yard) -> None:
        answer = await yard.ask(method, target, client="10.0.0.1")
        assert (answer.status, answer.body["error"]["code"]) == (403, "permission_denied")
        assert "server.admin_key_env" in answer.body["error"]["message"]

    async def with_key(yard: Yard) -> None:
        answer = await yard.ask(method, target)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert (await yard.ask(method, target, authorization="Bearer nonsense")).status == 401
        assert (await yard.ask(method, target, client="10.0.0.1", authorization="Bearer the-key")).status == 200

    play(tmp_path, open_gate)
    play(tmp_path, with_key, key="the-key")


# ---------------------------------------------------------------- logs


def test_a_log_is_shown_from_its_end_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "tiny.log").write_text(
        "".join(f"line {number}\n" for number in range(500)) + "api_key=abcdefgh s3cret-value\n"
    )
    (tmp_path / "tiny.log.1").write_text("earlier\n")

    async def scene(yard: Yard) -> None:
        answer = await yard.ask("GET", "/models/small/logs?lines=3")
        assert answer.body == "line 498\nline 499\napi_key=[redacted] [redacted]\n"
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert len((await yard.ask("GET", "/models/tiny/logs")).body.splitlines()) == 100
        assert (await yard.ask("GET", "/models/tiny/logs?previous=true")).body == "earlier\n"

    play(tmp_path, scene)

"""The managed backend around a tiny engine: a real child that serves HTTP with the standard library."""

import asyncio
import json
import os
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import uvloop

from pointsman.backends.base import Sleeper, Toolbox, Varied
from pointsman.backends.managed import Launch, ManagedBackend, Nap, Order, Post, WarmUp, default_threads
from pointsman.clock import SystemClock
from pointsman.dispatch.http import AiohttpClient
from pointsman.errors import UpstreamError
from pointsman.settings import Source
from pointsman.sources.store import WeightStore
from pointsman.types import Footprint, JsonPayload, Kind, Lease, Request

CHILD = """
    import http.server, json, os, sys, time
    from pointsman.backends.worker import lifeline

    import queue, threading
    orders = queue.SimpleQueue()
    config = json.loads(lifeline.receive_config(orders.put))

    if config["killed"] == "starting":
        os.kill(os.getpid(), 9)

    def obey():
        while order := orders.get():
            lifeline.done(config["refuses"])

    threading.Thread(target=obey, daemon=True).start()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.say(config["health"], b"{}")

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"] or 0))
            if "/nap" in self.path:
                return self.say(config["nap_status"], self.path.encode())
            time.sleep(config["pause_s"])
            if config["killed"]:
                os.kill(os.getpid(), 9)
            if config["dies"]:
                sys.stderr.write("out of memory\\n")
                os.abort()
            if self.headers["authorization"] != "Bearer " + config["api_key"]:
                return self.say(401, b"no")
            self.say(config["status"], config["answer"].encode() or body)

        def say(self, status, body):
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    lifeline.announce(server.server_port)
    server.serve_forever()
"""


class Tiny:
    """An engine that answers with its request."""

    def __init__(self, *sources: Source, **config: Any) -> None:
        self._sources = sources
        self._config = {"health": 200, "status": 200, "pause_s": 0, "dies": False, "answer": ""} | config
        self._config = {"refuses": "", "nap_status": 202, "killed": ""} | self._config
        self.keys: list[str] = []

    def sources(self) -> tuple[Source, ...]:
        return self._sources

    def launch(self, paths: tuple[Path, ...], api_key: str) -> Launch:
        assert all(path.exists() for path in paths)
        self.keys.append(api_key)
        config = json.dumps(self._config | {"api_key": api_key}).encode()
        return Launch(
            argv=(sys.executable, "-c", textwrap.dedent(CHILD)), config=config, defaults=(("temperature", b"0.5"),)
        )

    def warm_up(self) -> WarmUp:
        return WarmUp(path="/chat/completions", body=b'{"warm":1}')

    def footprint(self, paths: tuple[Path | None, ...]) -> Footprint:
        known_bytes = sum(path.stat().st_size for path in paths if path)
        return Footprint(weights_bytes=known_bytes, kv_bytes=10, overhead_bytes=1)


class Drowsy(Tiny):
    """One that sleeps by an order and a request."""

    def nap(self) -> Nap:
        return Nap(sleep=(Order(word="sleep"), Post(path="/nap?level=1")), wake=(Post(path="/nap"),), limit_s=5)


def source(**where: str) -> Source:
    return Source.model_validate(where)


@asynccontextmanager
async def backend_of(
    engine: Tiny, folder: Path, load_timeout_s: float = 20, smaller: tuple[Tiny, ...] = ()
) -> AsyncIterator[ManagedBackend]:
    clock = SystemClock()
    async with AiohttpClient() as http:
        tools = Toolbox(
            http=http,
            weights=WeightStore(folder / "cache", clock),
            clock=clock,
            log_dir=folder,
            load_timeout_s=load_timeout_s,
        )
        backend = ManagedBackend("tiny", engine, tools, smaller=smaller)
        try:
            yield backend
        finally:
            await backend.stop()


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    yield
    assert children() == []


async def ask(backend: ManagedBackend, lease: Lease, **members: object) -> Any:
    raw = tuple((name, msgspec.json.encode(value)) for name, value in members.items())
    request = Request(id="r", kind=Kind.CHAT, model="auto", payload=JsonPayload(members=raw))
    async with backend.call(lease, request) as reply:
        assert reply.status == 200
        return json.loads(await reply.read())


def test_start_call_probe_stop(tmp_path: Path) -> None:
    async def scene() -> None:
        engine = Tiny()
        async with backend_of(engine, tmp_path) as backend:
            assert repr(backend) == "ManagedBackend(tiny, stopped)"
            running = await backend.start()
            assert running.endpoint.api_key == engine.keys[0]
            assert running.endpoint.upstream_model == "tiny"
            assert running.endpoint.base_url.endswith("/v1")
            await backend.probe()
            lease = Lease(id=1, deployment_id="tiny", model_id="tiny", endpoint=running.endpoint)
            assert await ask(backend, lease, model="auto", x=1) == {"model": "tiny", "x": 1, "temperature": 0.5}
            assert (await ask(backend, lease, temperature=0))["temperature"] == 0
            await backend.stop()
            assert repr(backend) == "ManagedBackend(tiny, stopped)"

    uvloop.run(scene())


def test_every_start_has_its_own_key_and_one_child(tmp_path: Path) -> None:
    async def scene() -> None:
        engine = Tiny()
        async with backend_of(engine, tmp_path) as backend:
            first, second = await backend.start(), await backend.start()
            assert first.pid != second.pid
            assert engine.keys[0] != engine.keys[1]
            assert [child.pid for child in children()] == [second.pid]

    uvloop.run(scene())


def failure(engine: Tiny, folder: Path, **more: Any) -> UpstreamError:
    async def scene() -> UpstreamError:
        async with backend_of(engine, folder, **more) as backend:
            with pytest.raises(UpstreamError) as caught:
                await backend.start()
            assert children() == []
            return caught.value

    return uvloop.run(scene())


def test_listening_is_not_ready(tmp_path: Path) -> None:
    error = failure(Tiny(status=500, answer="no tensor blk.3"), tmp_path)
    assert error.code == "loading_failed"
    assert "HTTP 500: no tensor blk.3" in error.message
    assert failure(Tiny(answer=" ", status=204), tmp_path).code == "loading_failed"


def test_a_child_that_dies_at_its_first_request(tmp_path: Path) -> None:
    error = failure(Tiny(dies=True), tmp_path)
    assert error.code == "out_of_memory"
    assert error.message.endswith("out of memory")


def test_a_child_that_the_kernel_kills_has_run_out_of_memory(tmp_path: Path) -> None:
    """Before it listens, and at its first request."""
    for moment in ("starting", "warming"):
        error = failure(Tiny(killed=moment), tmp_path)
        assert error.code == "out_of_memory", error.message


def test_a_warm_up_that_takes_too_long(tmp_path: Path) -> None:
    error = failure(Tiny(pause_s=30), tmp_path, load_timeout_s=1.5)
    assert error.code == "loading_failed"
    assert "silent for too long" in error.message


def test_weights_that_cannot_be_had(tmp_path: Path) -> None:
    engine = Tiny(source(file=str(tmp_path / "nothing.gguf")))
    assert failure(engine, tmp_path).code == "fetch_failed"
    assert engine.keys == []


def test_the_footprint_counts_weights_that_are_not_here_yet(tmp_path: Path) -> None:
    here = tmp_path / "here.bin"
    here.write_bytes(bytes(1000))
    catalogued = source(packaged="smollm2-135m-instruct-q4_1")

    async def scene() -> Footprint:
        async with backend_of(Tiny(source(file=str(here)), catalogued), tmp_path) as backend:
            return backend.footprint()

    assert uvloop.run(scene()) == Footprint(weights_bytes=1000 + 98_362_432, kv_bytes=10, overhead_bytes=1)


def test_a_cancelled_warm_up_leaves_no_child(tmp_path: Path) -> None:
    async def scene() -> None:
        async with backend_of(Tiny(pause_s=30), tmp_path) as backend:
            task = asyncio.create_task(backend.start())
            while not any(child.net_connections() for child in children()):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert children() == []

    uvloop.run(scene())


def test_a_sick_engine_fails_its_probe(tmp_path: Path) -> None:
    async def scene() -> None:
        async with backend_of(Tiny(health=503), tmp_path) as backend:
            with pytest.raises(UpstreamError) as caught:
                await backend.probe()
            assert caught.value.code == "upstream_unreachable"
            await backend.start()
            with pytest.raises(UpstreamError, match="health 503") as caught:
                await backend.probe()
            assert caught.value.upstream_status == 503

    uvloop.run(scene())


def test_of_several_quantisations_it_runs_the_one_chosen(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("q8.bin", "q4.bin")]
    paths[0].write_bytes(bytes(2000))
    first, second = (Tiny(source(file=str(path))) for path in paths)

    async def scene() -> None:
        async with backend_of(first, tmp_path, smaller=(second,)) as backend:
            assert isinstance(backend, Varied)
            names = [variant.name for variant in backend.variants()]
            assert names == [str(path) for path in paths]
            assert backend.footprint().weights_bytes == 2000
            backend.choose(1)
            paths[1].write_bytes(bytes(1000))
            assert backend.footprint().weights_bytes == 1000
            assert backend.missing_bytes() == 0
            await backend.start()
            assert (len(first.keys), len(second.keys)) == (0, 1)

    uvloop.run(scene())


# ---------------------------------------------------------------- asleep


def test_it_sleeps_and_wakes_by_its_engines_steps(tmp_path: Path) -> None:
    async def scene() -> None:
        async with backend_of(Drowsy(), tmp_path) as backend:
            assert isinstance(backend, Sleeper)
            assert backend.can_sleep
            await backend.start()
            await backend.sleep()
            await backend.wake()

    uvloop.run(scene())


def nap_failure(engine: Tiny, folder: Path, *, start: bool = True) -> str:
    async def scene() -> str:
        async with backend_of(engine, folder) as backend:
            if start:
                await backend.start()
            with pytest.raises(UpstreamError) as caught:
                await backend.sleep()
            assert caught.value.code == "sleep_failed"
            return caught.value.message

    return uvloop.run(scene())


def test_a_sleep_that_fails_says_why(tmp_path: Path) -> None:
    assert "it is not running" in nap_failure(Drowsy(), tmp_path, start=False)
    assert "it cannot, as it is configured" in nap_failure(Tiny(), tmp_path)
    assert "could not sleep: not tired" in nap_failure(Drowsy(refuses="not tired"), tmp_path)
    assert "POST /nap?level=1: HTTP 404" in nap_failure(Drowsy(nap_status=404), tmp_path)


def test_it_is_awake_when_it_answers_its_warm_up(tmp_path: Path) -> None:
    class Deaf(Drowsy):
        def nap(self) -> Nap:
            return Nap(sleep=(), wake=(Post(path="/nap"),))

        def warm_up(self) -> WarmUp:
            self.warmed = getattr(self, "warmed", 0) + 1
            return WarmUp(path="/chat/completions" if self.warmed == 1 else "/nap/dead", body=b"{}")

    async def scene() -> None:
        async with backend_of(Deaf(), tmp_path) as backend:
            await backend.start()
            with pytest.raises(UpstreamError, match="HTTP 202") as caught:
                await backend.wake()
            assert caught.value.code == "loading_failed"

    uvloop.run(scene())


def test_a_launch_never_shows_its_key() -> None:
    assert "secret" not in repr(Launch(argv=("python", "-m", "x"), config=b'{"api_key":"secret"}'))


def test_the_gateway_keeps_a_core() -> None:
    assert 1 <= default_threads() <= max(1, len(os.sched_getaffinity(0)) - 1)

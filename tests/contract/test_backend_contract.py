"""What every backend promises, asked of each of them with its real engine.

To put a backend under the contract, add a line to `backend_cases.CASES`.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import uvloop
from pydantic import TypeAdapter
from tests.contract.backend_cases import (
    CASES,
    CHECKPOINT,
    E5_WEIGHTS,
    Case,
    each,
    each_managed,
    each_sleeping,
    each_streaming,
    marked,
    with_cases,
)

from pointsman.backends.base import Backend, Sleeper, Toolbox
from pointsman.backends.registry import build
from pointsman.clock import SystemClock
from pointsman.dispatch.http import AiohttpClient
from pointsman.errors import UpstreamError
from pointsman.settings import Model
from pointsman.sources.store import WeightStore
from pointsman.testing.checkpoint import write_checkpoint
from pointsman.types import Lease, Request, Running, Value

pytestmark = pytest.mark.real

KEY = "POINTSMAN_CONTRACT_KEY"


@pytest.fixture(scope="module", autouse=True)
def _checkpoint() -> None:
    write_checkpoint(CHECKPOINT)


class Scene(Value, frozen=True):
    """A started backend and what is needed to call it. `process` runs the engine, whoever's child it is."""

    backend: Backend
    running: Running
    lease: Lease
    process: int
    http: AiohttpClient


@asynccontextmanager
async def toolbox(folder: Path, weights: WeightStore) -> AsyncIterator[Toolbox]:
    async with AiohttpClient() as http:
        yield Toolbox(http=http, weights=weights, clock=SystemClock(), log_dir=folder / "logs")


def built(model: dict[str, Any], tools: Toolbox) -> Backend:
    validated: Model = TypeAdapter[Model](Model).validate_python(model)
    ((_, backend),) = build(validated, tools)
    return backend


def lease_of(running: Running) -> Lease:
    return Lease(id=1, deployment_id="d", model_id="m", endpoint=running.endpoint)


@asynccontextmanager
async def started(case: Case, folder: Path, weights: WeightStore) -> AsyncIterator[Scene]:
    async with toolbox(folder, weights) as tools:
        engine = backend = built(case.model, tools)
        ran = running = await engine.start()
        try:
            if case.attach:
                os.environ[KEY] = ran.endpoint.api_key
                backend = built(
                    {
                        "id": "far",
                        "backend": "openai",
                        "url": ran.endpoint.base_url,
                        "model": ran.endpoint.upstream_model,
                        "api_key_env": KEY,
                    },
                    tools,
                )
                running = await backend.start()
            assert ran.pid is not None
            assert isinstance(tools.http, AiohttpClient)
            yield Scene(backend=backend, running=running, lease=lease_of(running), process=ran.pid, http=tools.http)
        finally:
            await engine.stop()
            os.environ.pop(KEY, None)
        assert engine_processes() == []


def engine_processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


async def ask(scene: Scene, request: Request) -> tuple[int, bytes]:
    async with scene.backend.call(scene.lease, request) as reply:
        return reply.status, await reply.read()


async def busy_slots(scene: Scene, path: str) -> int:
    endpoint = scene.lease.endpoint
    status, body = await scene.http.get(
        endpoint.base_url.removesuffix("/v1") + path,
        headers=(("Authorization", f"Bearer {endpoint.api_key}"),),
        timeout_s=5,
    )
    assert status == 200
    return sum(slot["is_processing"] for slot in msgspec.json.decode(body))


# ---------------------------------------------------------------- a life


@each
def test_it_answers_probes_and_calls(case: Case, tmp_path: Path, weights: WeightStore) -> None:
    async def run() -> None:
        async with started(case, tmp_path, weights) as scene:
            assert scene.backend.is_managed is not case.attach
            assert (scene.running.pid is None) is case.attach
            await scene.backend.probe()
            for _ in range(2):
                status, body = await ask(scene, case.request)
                assert status == 200, body
                assert case.answered(body), body

    uvloop.run(run())


@each
def test_the_key_is_kept_secret_and_enforced(case: Case, tmp_path: Path, weights: WeightStore) -> None:
    async def run() -> None:
        async with started(case, tmp_path, weights) as scene:
            key = scene.lease.endpoint.api_key
            process = psutil.Process(scene.process)
            assert len(key) >= 24
            assert key not in repr(scene.running)
            assert key not in " ".join(process.cmdline())
            assert key not in "".join(process.environ().values())
            stranger = msgspec.structs.replace(scene.lease.endpoint, api_key="wrong")
            lease = msgspec.structs.replace(scene.lease, endpoint=stranger)
            async with scene.backend.call(lease, case.request) as reply:
                assert reply.status == 401

    uvloop.run(run())


@each_streaming
def test_it_streams(case: Case, tmp_path: Path, weights: WeightStore) -> None:
    assert case.stream is not None
    stream = case.stream

    async def run() -> None:
        async with started(case, tmp_path, weights) as scene:
            arrived_s, said = [], b""
            async with scene.backend.call(scene.lease, stream) as reply:
                assert reply.status == 200
                async for chunk in reply.chunks():
                    arrived_s.append(time.monotonic())
                    said += chunk
            assert len(arrived_s) > 3
            assert arrived_s[-1] - arrived_s[0] > 0.05
            if b"data:" in said:
                assert said.endswith(b"[DONE]\n\n")
                assert b'"completion_tokens"' in said

    uvloop.run(run())


@each_streaming
def test_who_leaves_mid_stream_frees_the_slot(case: Case, tmp_path: Path, weights: WeightStore) -> None:
    assert case.stream is not None
    stream = case.stream

    async def run() -> float:
        async with started(case, tmp_path, weights) as scene:
            async with scene.backend.call(scene.lease, stream) as reply:
                async for _ in reply.chunks():
                    break
                if case.slots:
                    assert await busy_slots(scene, case.slots) == 1
            left_s = time.monotonic()
            while case.slots and await busy_slots(scene, case.slots):
                await asyncio.sleep(0.005)
            took_s = time.monotonic() - left_s
            status, _ = await ask(scene, case.request)
            assert status == 200
            return took_s

    assert uvloop.run(run()) < 0.2


@each
def test_a_killed_engine(case: Case, tmp_path: Path, weights: WeightStore) -> None:
    """It is noticed, what calls it says so, and it starts again."""

    async def run() -> None:
        async with started(case, tmp_path, weights) as scene:
            os.kill(scene.process, signal.SIGKILL)
            if scene.running.exited is not None:
                ended = await asyncio.wait_for(scene.running.exited(), 1)
                assert ended.code == -signal.SIGKILL
            for attempt in (ask(scene, case.request), scene.backend.probe()):
                with pytest.raises(UpstreamError) as caught:
                    await attempt
                assert caught.value.code in {"upstream_unreachable", "upstream_cut"}
                assert caught.value.retryable
            if not case.attach:
                again = await scene.backend.start()
                assert again.pid != scene.process
                async with scene.backend.call(lease_of(again), case.request) as reply:
                    assert reply.status == 200

    uvloop.run(run())


@each_streaming
def test_an_engine_killed_mid_stream(case: Case, tmp_path: Path, weights: WeightStore) -> None:
    assert case.stream is not None
    stream = case.stream

    async def run() -> None:
        async with started(case, tmp_path, weights) as scene:
            with pytest.raises(UpstreamError) as caught:
                async with scene.backend.call(scene.lease, stream) as reply:
                    async for _ in reply.chunks():
                        os.kill(scene.process, signal.SIGKILL)
            assert caught.value.code == "upstream_cut"

    uvloop.run(run())


# ---------------------------------------------------------------- a sleep


def sleeper(scene: Scene) -> Sleeper:
    assert isinstance(scene.backend, Sleeper)
    return scene.backend


@each_managed
def test_who_can_sleep_says_so_and_what_it_keeps(case: Case, tmp_path: Path, weights: WeightStore) -> None:
    async def run() -> None:
        async with toolbox(tmp_path, weights) as tools:
            backend = built(case.model, tools)
            can_sleep = isinstance(backend, Sleeper) and backend.can_sleep
            assert can_sleep is (case.frees is not None)
            assert bool(backend.footprint().asleep_bytes) is can_sleep

    uvloop.run(run())


@each_sleeping
def test_asleep_it_holds_less_and_awake_it_answers(case: Case, tmp_path: Path, weights: WeightStore) -> None:
    async def run() -> None:
        async with started(case, tmp_path, weights) as scene:
            await ask(scene, case.request)
            process = psutil.Process(scene.process)
            awake_bytes = process.memory_info().rss
            for _ in range(2):
                await sleeper(scene).sleep()
                left_bytes = process.memory_info().rss
                assert left_bytes <= (1 - (case.frees or 0)) * awake_bytes * 1.05
                assert left_bytes <= scene.backend.footprint().asleep_bytes * 1.4
                await sleeper(scene).wake()
                await scene.backend.probe()
                status, body = await ask(scene, case.request)
                assert status == 200
                assert case.answered(body), body

    uvloop.run(run())


@each_sleeping
def test_one_killed_in_its_sleep_does_not_wake(case: Case, tmp_path: Path, weights: WeightStore) -> None:
    async def run() -> None:
        async with started(case, tmp_path, weights) as scene:
            await sleeper(scene).sleep()
            os.kill(scene.process, signal.SIGKILL)
            assert scene.running.exited is not None
            assert (await asyncio.wait_for(scene.running.exited(), 1)).code == -signal.SIGKILL
            with pytest.raises(UpstreamError) as caught:
                await sleeper(scene).wake()
            assert caught.value.code == "loading_failed"
            again = await scene.backend.start()
            async with scene.backend.call(lease_of(again), case.request) as reply:
                assert reply.status == 200

    uvloop.run(run())


@each_sleeping
def test_stop_ends_it_asleep_and_on_its_way(case: Case, tmp_path: Path, weights: WeightStore) -> None:
    async def run() -> None:
        async with started(case, tmp_path, weights) as scene:
            await sleeper(scene).sleep()
            began_s = time.monotonic()
            await scene.backend.stop()
            assert time.monotonic() - began_s < 1
            assert engine_processes() == []
            await scene.backend.start()
            await sleeper(scene).sleep()
            waking = asyncio.create_task(sleeper(scene).wake())
            await asyncio.sleep(0.01)
            waking.cancel()
            await asyncio.wait([waking])
            await scene.backend.stop()
            assert engine_processes() == []

    uvloop.run(run())


# ---------------------------------------------------------------- an end


@each_managed
def test_stop_is_quick_final_and_idempotent(case: Case, tmp_path: Path, weights: WeightStore) -> None:
    async def run() -> None:
        async with started(case, tmp_path, weights) as scene:
            began_s = time.monotonic()
            await scene.backend.stop()
            assert time.monotonic() - began_s < 1
            assert engine_processes() == []
            await scene.backend.stop()
            with pytest.raises(UpstreamError) as caught:
                await scene.backend.probe()
            assert caught.value.code == "upstream_unreachable"

    uvloop.run(run())


@pytest.mark.parametrize(
    ("case", "share"), [marked(case, share) for case in CASES if not case.attach for share in case.shares]
)
def test_a_cancelled_start_leaves_no_process(case: Case, share: float, tmp_path: Path, weights: WeightStore) -> None:
    """At any point between the spawn and the warm-up answer, in shares of the time that a start takes."""

    async def run() -> None:
        async with toolbox(tmp_path, weights) as tools:
            backend = built(case.model, tools)
            took_s = await start_time_s(backend) if share else 0
            task = asyncio.create_task(backend.start())
            while not engine_processes():
                await asyncio.sleep(0.001)
            await asyncio.sleep(took_s * share)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                await backend.stop()
            assert engine_processes() == []
            assert "stopped" in repr(backend)

    uvloop.run(run())


async def start_time_s(backend: Backend) -> float:
    began_s = time.monotonic()
    await backend.start()
    took_s = time.monotonic() - began_s
    await backend.stop()
    return took_s


PARENT = """
    import asyncio, sys
    from pathlib import Path
    import msgspec, uvloop
    from pydantic import TypeAdapter
    from pointsman.backends.base import Toolbox
    from pointsman.backends.registry import build
    from pointsman.clock import SystemClock
    from pointsman.dispatch.http import AiohttpClient
    from pointsman.settings import Model
    from pointsman.sources.store import WeightStore

    async def main():
        clock = SystemClock()
        async with AiohttpClient() as http:
            tools = Toolbox(http=http, weights=WeightStore(Path(sys.argv[2]), clock), clock=clock,
                            log_dir=Path(sys.argv[3]))
            ((_, backend),) = build(TypeAdapter(Model).validate_json(sys.argv[1]), tools)
            await backend.start()
            print("ready", flush=True)
            await asyncio.sleep(60)

    uvloop.run(main())
"""


@each_managed
@pytest.mark.parametrize("moment", ["loading", "ready"])
def test_a_killed_gateway_leaves_no_process(case: Case, moment: str, tmp_path: Path, weights: WeightStore) -> None:
    model = msgspec.json.encode(case.model).decode()
    arguments = (sys.executable, "-c", textwrap.dedent(PARENT), model, str(weights.cache_dir), str(tmp_path))
    gateway = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    assert gateway.stdout is not None
    try:
        child = the_child_of(gateway.pid)
        if moment == "ready":
            assert gateway.stdout.readline() == b"ready\n"
        else:
            wait_until_it_loads(child.pid, str(weights.cache_dir), str(CHECKPOINT), E5_WEIGHTS)
        family = [child, *child.children(recursive=True)]
    finally:
        gateway.kill()
        gateway.communicate()
    killed_s = time.monotonic()
    while any(map(is_alive, family)):
        assert time.monotonic() - killed_s < 5  # 20 ms on a quiet machine
        time.sleep(0.002)


def the_child_of(pid: int) -> psutil.Process:
    for _ in range(10_000):
        for child in psutil.Process(pid).children():
            return child
        time.sleep(0.001)
    raise AssertionError("no child")


def open_files(pid: int) -> Iterator[str]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed in the meantime
            yield str(link.readlink())


def wait_until_it_loads(pid: int, *places: str) -> None:
    """Until a file of weights is open or mapped: an engine's constructor is at work."""
    for _ in range(20_000):
        for one in (pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))):
            maps = Path(f"/proc/{one}/maps").read_text()
            opened = (maps, *open_files(one))
            if any(place in name for place in places for name in opened):
                return
        time.sleep(0.0005)
    raise AssertionError("it never opened its weights")


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# ---------------------------------------------------------------- memory


@with_cases(lambda case: not case.attach and not case.guesses)
def test_the_footprint_is_near_the_truth(case: Case, tmp_path: Path, weights: WeightStore) -> None:
    """The estimate before the start against what the process holds after an answer: between 0.7 and 1.6 times."""

    async def run() -> tuple[int, int]:
        async with started(case, tmp_path, weights) as scene:
            await ask(scene, case.request)
            return scene.backend.footprint().total_bytes, psutil.Process(scene.process).memory_info().rss

    estimated, held = uvloop.run(run())
    assert 0.7 < estimated / held < 1.6, f"estimated {estimated / 1e6:.0f} MB, holds {held / 1e6:.0f} MB"

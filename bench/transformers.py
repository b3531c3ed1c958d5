"""What the Transformers worker does on this machine: `python -m bench.transformers FOLDER`, a folder of safetensors.

For each number format, one thread: cold start, tokens per second for one caller and for four at once, time to the first
token of a long prompt and of the same prompt gone on with, memory estimated and held, asleep and awake. Beside the
clock's seconds the process's own, which a busy machine does not stretch.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import msgspec
import psutil
import uvloop

from pointsman.backends.base import Toolbox
from pointsman.backends.managed import ManagedBackend
from pointsman.backends.transformers import Transformers
from pointsman.clock import SystemClock
from pointsman.dispatch.http import AiohttpClient
from pointsman.fleet.hardware import HostHardware
from pointsman.settings import Source, TransformersModel
from pointsman.sources.store import WeightStore
from pointsman.types import Running

SLOTS, N_CTX, TOKENS = 4, 2048, 100
STORY = "The quick brown fox jumps over the lazy dog. " * 50
Format = Literal["float32", "bfloat16"]


class Spent(NamedTuple):
    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.wall_s:.2f} s ({self.cpu_s:.2f} of the processor)"


class Scene:
    """One running worker."""

    def __init__(self, backend: ManagedBackend, running: Running, http: AiohttpClient) -> None:
        assert running.pid is not None
        self.backend = backend
        self._running = running
        self._pid = running.pid
        self._http = http

    async def spent(self, work: Awaitable[object]) -> Spent:
        began_s, before_s = time.monotonic(), self.cpu_s()
        await work
        return Spent(time.monotonic() - began_s, self.cpu_s() - before_s)

    def cpu_s(self) -> float:
        times = psutil.Process(self._pid).cpu_times()
        return float(times.user + times.system)

    async def memory(self) -> str:
        return f"{await HostHardware().process_bytes(self._pid) / 1e6:.0f} MB"

    async def ask(self, text: str, tokens: int) -> None:
        endpoint = self._running.endpoint
        body = {
            "messages": [{"role": "user", "content": text}],
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        async with self._http.post(
            f"{endpoint.base_url}/chat/completions",
            body=msgspec.json.encode(body),
            headers=(("Authorization", f"Bearer {endpoint.api_key}"),),
            first_byte_timeout_s=600,
            idle_timeout_s=60,
        ) as reply:
            assert reply.status == 200, await reply.read()
            async for _ in reply.chunks():
                pass


@asynccontextmanager
async def started(folder: Path, dtype: Format) -> AsyncIterator[Scene]:
    model = TransformersModel.model_construct(
        id="bench",
        backend="transformers",
        source=Source(file=str(folder)),
        slots=SLOTS,
        n_ctx=N_CTX,
        threads=1,
        device="cpu",
        dtype=dtype,
        sampling={},
    )
    clock = SystemClock()
    async with AiohttpClient() as http:
        with TemporaryDirectory() as scratch:
            weights = WeightStore(Path(scratch), clock)
            tools = Toolbox(http=http, weights=weights, clock=clock, log_dir=Path(scratch))
            backend = ManagedBackend("bench", Transformers(model), tools)
            try:
                yield Scene(backend, await backend.start(), http)
            finally:
                await backend.stop()


async def measure(folder: Path, dtype: Format) -> None:
    began_s = time.monotonic()
    async with started(folder, dtype) as scene:
        print(f"{dtype}: cold start {Spent(time.monotonic() - began_s, scene.cpu_s())}")
        for callers in (1, SLOTS):
            texts = [f"{callers} {number}. Count from one to one hundred, in words." for number in range(callers)]
            took = await scene.spent(asyncio.gather(*[scene.ask(text, TOKENS) for text in texts]))
            rate, own_rate = (callers * TOKENS / seconds for seconds in took)
            print(f"  {callers} at once: {rate:.1f} tokens/s ({own_rate:.1f} per second of the processor)")
        print(f"  first token of a prompt of 500 words: {await scene.spent(scene.ask(STORY, 1))}")
        print(f"  of the same, gone on with: {await scene.spent(scene.ask(STORY + 'And?', 1))}")
        held = scene.backend.footprint()
        print(f"  memory: estimated {held.total_bytes / 1e6:.0f} MB, held {await scene.memory()}")
        print(f"  asleep in {await scene.spent(scene.backend.sleep())}: {await scene.memory()}")
        print(f"  awake in {await scene.spent(scene.backend.wake())}: {await scene.memory()}")


async def run(folder: Path) -> None:
    await measure(folder, "float32")
    await measure(folder, "bfloat16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("folder", type=Path, help="a folder of safetensors")
    uvloop.run(run(parser.parse_args().folder.resolve()))


if __name__ == "__main__":
    main()

"""Pointsman's adapters against the real vLLM and the real MAX Serve, which no test run can hold.

    python scripts/verify_engines.py --weights FOLDER --vllm-python VENV/bin/python --max-binary VENV/bin/max

Each engine is started, asked, put to sleep and stopped through its own backend class, as the fleet would do it, one
after the other; what is promised is checked, what it costs is measured. Prints a table in Markdown; exit status 1 where
a promise was broken.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import uvloop
from pydantic import TypeAdapter

from pointsman.backends.base import Backend, Sleeper, Toolbox
from pointsman.backends.registry import build
from pointsman.clock import SystemClock
from pointsman.dispatch.http import AiohttpClient
from pointsman.errors import UpstreamError
from pointsman.fleet.hardware import HostHardware
from pointsman.settings import Model
from pointsman.sources.store import WeightStore
from pointsman.types import Endpoint, JsonPayload, Kind, Lease, Request, Running

LOAD_LIMIT_S = 900.0
FIRST_BYTE_S = 300.0
GIB = 1024**3
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
LONG = [{"role": "user", "content": "Count from one to one hundred, in words."}]


class Bench:
    """One backend, its promises and its figures."""

    def __init__(self, name: str, backend: Backend, hardware: HostHardware) -> None:
        self.name = name
        self.backend = backend
        self.hardware = hardware
        self.figures: dict[str, str] = {}
        self.broken: list[str] = []
        self.running: Running = Running(endpoint=Endpoint(base_url="", upstream_model=""))

    async def verify(self) -> None:
        """All of it, in the order of a life."""
        self.figures["load average"] = f"{os.getloadavg()[0]:.1f}"
        began_s = time.monotonic()
        self.running = await self.backend.start()
        self.figures["cold load s"] = _seconds(began_s)
        try:
            await self._promise("a chat answer", self._answers)
            await self._promise("a stream with usage", self._streams)
            await self._promise("who leaves frees the engine", self._leaves)
            await self._promise("the key is enforced", self._keeps_out)
            await self._promise("a probe", self.backend.probe)
            await self._promise("sleep", self._sleeps)
        finally:
            await self._promise("stop leaves no process", self._stops)
        await self._promise("a second start, and a killed engine is noticed", self._dies)

    async def _promise(self, what: str, check: Callable[[], Awaitable[None]]) -> None:
        try:
            await check()
            print(f"  {self.name}: {what}: yes", flush=True)
        except (AssertionError, UpstreamError) as error:
            self.broken.append(f"{self.name}: {what}: {error}")
            print(f"  {self.name}: {what}: NO: {error}", flush=True)

    def _request(self, stream: bool = False, **members: object) -> Request:
        raw = tuple((name, msgspec.json.encode(value)) for name, value in members.items())
        raw += (("stream", b"true"),) if stream else ()
        return Request(id="v", kind=Kind.CHAT, model="m", payload=JsonPayload(members=raw), stream=stream)

    def _lease(self, key: str | None = None) -> Lease:
        endpoint = self.running.endpoint
        if key is not None:
            endpoint = msgspec.structs.replace(endpoint, api_key=key)
        return Lease(id=1, deployment_id="d", model_id="m", endpoint=endpoint)

    async def _ask(self, lease: Lease | None = None) -> tuple[int, bytes]:
        request = self._request(messages=QUESTION, max_tokens=12, temperature=0)
        async with self.backend.call(lease or self._lease(), request) as reply:
            return reply.status, await reply.read()

    async def _answers(self) -> None:
        began_s = time.monotonic()
        status, body = await self._ask()
        assert status == 200, body[:300]
        self.figures["12 tokens s"] = _seconds(began_s)
        said = msgspec.json.decode(body)
        text = said["choices"][0]["message"]["content"]
        print(f"  {self.name} says {text!r} as `{said['model']}`", flush=True)
        assert "Paris" in text, text

    async def _streams(self) -> None:
        async with self.backend.call(self._lease(), self._request(True, messages=QUESTION, max_tokens=12)) as reply:
            assert reply.status == 200, await reply.read()
            pieces = [piece async for piece in reply.chunks()]
        said = b"".join(pieces)
        assert said.rstrip().endswith(b"data: [DONE]"), said[-200:]
        assert b'"completion_tokens"' in said, said[-400:]
        assert len(pieces) > 3, f"{len(pieces)} pieces"

    async def _leaves(self) -> None:
        """The time until the next answer: an engine that went on would be busy for its whole length."""
        request = self._request(True, messages=LONG, max_tokens=400, ignore_eos=True)
        async with self.backend.call(self._lease(), request) as reply:
            assert reply.status == 200, await reply.read()
            async for _ in reply.chunks():
                break
        await asyncio.sleep(1.0)
        before = self._cpu_s()
        await asyncio.sleep(3.0)
        busy_s = self._cpu_s() - before
        self.figures["CPU s in 3 s after leaving"] = f"{busy_s:.2f}"
        status, _ = await self._ask()
        assert status == 200
        assert busy_s < 1.5, f"{busy_s:.1f} s of work in the 3 s after its caller had left"

    def _cpu_s(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self._family())

    def _family(self) -> list[psutil.Process]:
        top = psutil.Process(self.running.pid)
        return [top, *top.children(recursive=True)]

    async def _keeps_out(self) -> None:
        if not self.running.endpoint.api_key:
            self.figures["key"] = "none"
            return
        status, _ = await self._ask(self._lease("wrong"))
        assert status == 401, status
        arguments = " ".join(" ".join(process.cmdline()) for process in self._family())
        assert self.running.endpoint.api_key not in arguments, "the key is among the arguments"
        self.figures["key"] = "enforced"

    async def _memory(self) -> None:
        measured, estimated = await self._bytes(), self.backend.footprint().total_bytes
        self.figures["estimated GB"] = f"{estimated / 1e9:.2f}"
        self.figures["measured GB"] = f"{measured / 1e9:.2f}"
        self.figures["estimate off by"] = f"{100 * (estimated / measured - 1):+.0f} %"

    async def _bytes(self) -> int:
        assert self.running.pid is not None
        return await self.hardware.process_bytes(self.running.pid)

    async def _gpu_bytes(self) -> int:
        assert self.running.pid is not None
        return sum(size_bytes for _, size_bytes in await self.hardware.process_gpu_bytes(self.running.pid))

    async def _sleeps(self) -> None:
        backend = self.backend
        if not (isinstance(backend, Sleeper) and backend.can_sleep):
            self.figures["warm wake s"] = "cannot sleep"
            return
        awake_bytes, awake_gpu_bytes = await self._bytes(), await self._gpu_bytes()
        await backend.sleep()
        freed_bytes, freed_gpu_bytes = awake_bytes - await self._bytes(), awake_gpu_bytes - await self._gpu_bytes()
        self.figures["freed asleep GB"] = f"{max(0, freed_bytes) / 1e9:.2f}"
        if awake_gpu_bytes:
            self.figures["freed asleep GPU GB"] = f"{freed_gpu_bytes / 1e9:.2f} of {awake_gpu_bytes / 1e9:.2f}"
            assert freed_gpu_bytes > awake_gpu_bytes / 2, "asleep by its word, but its memory did not come back"
        began_s = time.monotonic()
        await backend.wake()
        self.figures["warm wake s"] = _seconds(began_s)
        status, _ = await self._ask()
        assert status == 200, status

    async def _stops(self) -> None:
        family = self._family()
        began_s = time.monotonic()
        await self.backend.stop()
        self.figures["unload s"] = _seconds(began_s)
        left = [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
        assert not left, left

    async def _dies(self) -> None:
        began_s = time.monotonic()
        self.running = await self.backend.start()
        self.figures["second load s"] = _seconds(began_s)
        self.figures["switch s"] = f"{float(self.figures['unload s']) + float(self.figures['second load s']):.1f}"
        await self._ask()
        await self._memory()
        family = self._family()
        workers = [process for process in family if process.memory_info().rss > 200e6] or family
        workers[0].kill()
        assert self.running.exited is not None
        ended = await asyncio.wait_for(self.running.exited(), 30)
        print(f"  {self.name}: killed, ended with {ended.code}", flush=True)
        left = [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
        assert not left, left
        await self.backend.stop()


def _seconds(began_s: float) -> str:
    return f"{time.monotonic() - began_s:.1f}"


def models(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Settings of each engine under test."""
    common = {"source": {"file": options.weights}, "context_tokens": 2048, "slots": 4, "load_timeout_s": LOAD_LIMIT_S}
    found: dict[str, dict[str, Any]] = {}
    if options.vllm_python:
        vllm = {
            **common,
            "backend": "vllm",
            "python": options.vllm_python,
            "kv_cache_gb": 1.0,
            "args": options.vllm_arg,
        }
        found["vLLM"] = {**vllm, "id": "vllm", "sleep_level": options.sleep_level}
    if options.max_binary:
        found["MAX Serve"] = {
            **common,
            "id": "max",
            "backend": "max_serve",
            "binary": options.max_binary,
            "devices": options.max_devices,
            "args": options.max_arg,
        }
    return found


@asynccontextmanager
async def toolbox(folder: Path, hardware: HostHardware) -> AsyncIterator[Toolbox]:
    clock = SystemClock()
    async with AiohttpClient() as http:
        yield Toolbox(
            http=http,
            weights=WeightStore(folder / "cache", clock),
            clock=clock,
            log_dir=folder,
            first_byte_timeout_s=FIRST_BYTE_S,
            idle_timeout_s=FIRST_BYTE_S,
            gpu_bytes=tuple((gpu.index, gpu.total_bytes) for gpu in hardware.gpus()),
        )


async def run(options: argparse.Namespace) -> int:
    hardware, benches = HostHardware(), []
    folder = Path(options.logs or tempfile.mkdtemp(prefix="engines-"))
    async with toolbox(folder, hardware) as tools:
        for name, tree in models(options).items():
            model: Model = TypeAdapter[Model](Model).validate_json(msgspec.json.encode(tree))
            ((_, backend),) = build(model, tools)
            bench = Bench(name, backend, hardware)
            benches.append(bench)
            await bench.verify()
    table = table_of(benches)
    print(f"\n{table}")
    if options.page:
        write_between_marks(Path(options.page), table)
    broken = [line for bench in benches for line in bench.broken]
    print("\n" + ("\n".join(broken) or "All promises kept.") + f"\nLogs: {folder}")
    return 1 if broken else 0


def table_of(benches: list[Bench]) -> str:
    columns = list(dict.fromkeys(column for bench in benches for column in bench.figures))
    lines = [f"| engine | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    lines += [f"| {one.name} | {' | '.join(one.figures.get(column, '–') for column in columns)} |" for one in benches]
    return "\n".join(lines)


def write_between_marks(page: Path, table: str) -> None:
    begin, end = "<!-- verified:begin -->\n", "<!-- verified:end -->"
    said = page.read_text(encoding="utf-8")
    before, after = said.index(begin) + len(begin), said.index(end)
    page.write_text(f"{said[:before]}\n{table}\n\n{said[after:]}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="folder of safetensors with config.json and a tokenizer")
    parser.add_argument("--vllm-python", help="interpreter of the environment where vLLM is installed")
    parser.add_argument("--vllm-arg", action="append", default=[], help="further argument of vLLM's server")
    parser.add_argument("--sleep-level", type=int, choices=(0, 1, 2), default=0, help="vLLM's; needs a GPU")
    parser.add_argument("--max-binary", help="the command `max` of the environment where MAX is installed")
    parser.add_argument("--max-arg", action="append", default=[], help="further argument of `max serve`")
    parser.add_argument("--max-devices", default="cpu")
    parser.add_argument("--page", help="write the table there, between its marks `verified`")
    parser.add_argument("--logs", help="folder for the engines' logs; default: a new one")
    return uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())

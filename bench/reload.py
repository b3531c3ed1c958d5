"""Requests while the configuration is rewritten under them, and while the server is told to leave: what is lost?

A real `pointsman serve`, a fault upstream, callers who ask without a pause, buffered and streamed in turn; the file is
written anew again and again: models come, go and change, rules change, every fifth file is broken. Then SIGTERM, with
streams under way. `python -m bench.reload` writes its figures into docs/reload.md, between the marks.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import aiohttp
import psutil
import uvloop

from pointsman.testing.upstream import FaultUpstream

PAGE = Path(__file__).parents[1] / "docs/reload.md"
BEGIN, END = "<!-- figures: python -m bench.reload -->", "<!-- end of figures -->"
DRAIN_S, DELAY_S = 1.5, 1.0
BROKEN = ("models: [", "models: []\n", "server: {port: many}\n", "modles: {}\n")


class Told(NamedTuple):
    """One request: what came of it, whether it was a stream, how long it took."""

    end: str
    is_stream: bool
    took_s: float


class Under:
    """A server whose configuration is rewritten. `told`: every request that has ended."""

    def __init__(self, folder: Path, upstream: FaultUpstream) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = folder / "pointsman.yaml"
        self.log = folder / "serve.log"
        self.told: list[Told] = []
        self.rewritten = 0
        self._folder = folder
        self._upstream = upstream

    # ------------------------------------------------------------ the file

    def tree(self, number: int) -> dict[str, Any]:
        """The `number`th configuration: `steady` is always the same, `fickle` another process each time."""
        remote = {"backend": "openai", "url": self._upstream.url, "slots": 64}
        models = [
            {"id": "steady", "model": "mock-t10-i2-n8", "cost_per_mtok": number, **remote},
            {"id": "fickle", "model": f"mock-t10-i2-n{4 + number % 5}", **remote},
            {"id": "endless", "model": "mock-t5-i20-n100000", **remote},
            {"id": "long", "model": "mock-t5-i20-n40", **remote},
        ]
        models += [{"id": f"extra-{one}", "model": "mock-n3", **remote} for one in range(number, number + number % 4)]
        return {
            "server": {"port": self.port, "drain_timeout_s": DRAIN_S, "drain_delay_s": DELAY_S},
            "cache_dir": str(self._folder / "cache"),
            "routing": {
                "encoder": {"enabled": False},
                "use_cases": {"general": ["steady", "fickle"][:: (-1) ** number]},
            },
            "log": {"requests": False},
            "ledger": {"enabled": False},
            "aliases": {"mine": ("steady", "fickle")[number % 2]},
            "models": models,
        }

    def write(self, text: str) -> None:
        """As an editor does: whole, under another name, then in its place."""
        new = self.config.with_suffix(".new")
        new.write_text(text)
        new.replace(self.config)
        self.rewritten += 1

    async def rewrite(self, times: int, pause_s: float, process: asyncio.subprocess.Process) -> None:
        """Again and again; the signal saves waiting for the look at the file."""
        for number in range(1, times + 1):
            self.write(BROKEN[number // 5 % len(BROKEN)] if number % 5 == 0 else json.dumps(self.tree(number)))
            process.send_signal(signal.SIGHUP)
            await asyncio.sleep(pause_s)

    # ------------------------------------------------------------ the callers

    async def ask(self, session: aiohttp.ClientSession, model: str, *, stream: bool) -> Told:
        began_s = time.monotonic()
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": f"Hello {began_s}"}]}
        try:
            async with session.post(f"{self.url}/v1/chat/completions", json=body) as answer:
                end = _end_of(answer.status, await answer.read(), stream=stream)
        except (aiohttp.ClientError, OSError) as error:
            end = type(error).__name__
        told = Told(end, stream, time.monotonic() - began_s)
        self.told.append(told)
        return told

    async def call(self, session: aiohttp.ClientSession, caller: int, requests: int) -> None:
        names = ("steady", "fickle", "mine", "auto")
        for number in range(requests):
            await self.ask(session, names[(caller + number) % len(names)], stream=(caller + number // 4) % 2 == 0)

    async def get(self, session: aiohttp.ClientSession, path: str) -> tuple[int, str]:
        async with session.get(self.url + path) as answer:
            return answer.status, await answer.text()

    # ------------------------------------------------------------ the server

    @asynccontextmanager
    async def served(self, session: aiohttp.ClientSession) -> AsyncIterator[asyncio.subprocess.Process]:
        """`pointsman serve`, ready; killed where it is still there at the end."""
        self.write(json.dumps(self.tree(0)))
        command = ("-m", "pointsman", "serve", "--config", str(self.config), "--no-pull")
        with self.log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command, stdout=out, stderr=out, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
        try:
            while not await self._is_ready(session):
                if process.returncode is not None:
                    raise RuntimeError(self.log.read_text())
                await asyncio.sleep(0.05)
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            return (await self.get(session, "/ready"))[0] == 200
        except aiohttp.ClientError:
            return False


def _end_of(status: int, body: bytes, *, stream: bool) -> str:
    """`whole`, or what went wrong; of a stream, `error CODE` where it ended with the one error event."""
    if status != 200:
        return f"{status} {json.loads(body)['error']['code']}"
    if not stream:
        return "whole" if json.loads(body)["choices"][0]["message"]["content"] else "empty"
    last = body.rstrip().rpartition(b"data:")[2].strip()
    if last == b"[DONE]":
        return "whole" if body.count(b"data:") > 3 else "short"
    found = json.loads(last) if last.startswith(b"{") else {}
    return f"error {found['error']['code']}" if "error" in found else "cut"


class Left(NamedTuple):
    """How the server left: what /ready said, what became of requests, its exit code and how long it took."""

    ready: tuple[int, str]
    late: Told
    long: list[Told]
    endless: list[Told]
    code: int
    took_s: float


async def leave(
    under: Under, session: aiohttp.ClientSession, process: asyncio.subprocess.Process, streams: int, pause_s: float
) -> Left:
    """SIGTERM with streams under way, and one more request in the time that is left for that."""
    long = [asyncio.create_task(under.ask(session, "long", stream=number % 2 == 0)) for number in range(streams)]
    endless = [asyncio.create_task(under.ask(session, "endless", stream=True)) for _ in range(streams)]
    await asyncio.sleep(0.3)
    began_s = time.monotonic()
    process.send_signal(signal.SIGTERM)
    await asyncio.sleep(pause_s)
    ready, late = await under.get(session, "/ready"), await under.ask(session, "steady", stream=False)
    ended = Left(ready, late, await asyncio.gather(*long), await asyncio.gather(*endless), await process.wait(), 0.0)
    return ended._replace(took_s=time.monotonic() - began_s)


# ---------------------------------------------------------------- the figures


async def measure(callers: int, requests: int, rewrites: int, pause_s: float) -> str:
    with TemporaryDirectory() as folder:
        async with FaultUpstream() as upstream, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(120)) as session:
            under = Under(Path(folder), upstream)
            async with under.served(session) as process:
                seen = psutil.Process(process.pid)
                calling = asyncio.gather(*(under.call(session, one, requests // 5) for one in range(callers)))
                await calling
                still, before_bytes = list(under.told), seen.memory_info().rss
                under.told.clear()
                calling = asyncio.gather(*(under.call(session, one, requests) for one in range(callers)))
                await under.rewrite(rewrites, pause_s, process)
                await calling
                after_bytes = seen.memory_info().rss
                under.write(json.dumps(under.tree(rewrites + 1)))
                process.send_signal(signal.SIGHUP)
                await asyncio.sleep(1.0)
                metrics = (await under.get(session, "/metrics"))[1]
                during = list(under.told)
                left = await leave(under, session, process, 10, 0.1)
    return "\n".join([*_of_reloads(under, still, during, metrics, after_bytes - before_bytes), *_of_leaving(left)])


def _of_reloads(under: Under, still: list[Told], during: list[Told], metrics: str, grown_bytes: int) -> list[str]:
    lost = Counter(told.end for told in during if told.end != "whole")
    counts = dict(re.findall(r'config_reloads_total\{result="(\w+)"\} (\d+)', metrics))
    said = ", ".join(f"{count} {end}" for end, count in lost.items()) or "none"
    streams = sum(told.is_stream for told in during)
    return [
        (
            f"- {len(during):,} requests, {streams:,} of them streams, while the file was written {under.rewritten} "
            f"times ({counts.get('ok', 0)} reloads, {counts.get('invalid', 0)} refused as broken). Lost: {said}."
        ),
        (
            f"- p99 of a request: {_p99_ms(still):.0f} ms with the file left alone, {_p99_ms(during):.0f} ms with it "
            "rewritten."
        ),
        f"- Memory of the server after it, beyond before: {grown_bytes / 1e6:.1f} MB.",
    ]


def _of_leaving(left: Left) -> list[str]:
    ends = Counter(told.end for told in left.long), Counter(told.end for told in left.endless)
    long, endless = (", ".join(f"{count} {end}" for end, count in one.items()) for one in ends)
    return [
        (
            f"- SIGTERM: `/ready` said {left.ready[0]} at once; a request that came in `drain_delay_s` was answered "
            f"({left.late.end})."
        ),
        (
            f"- {len(left.long)} answers of about 0.8 s under way: {long}. {len(left.endless)} streams without an end, "
            f"`drain_timeout_s` {DRAIN_S:g}: {endless}."
        ),
        f"- Exit code {left.code} after {left.took_s:.1f} s.",
    ]


def _p99_ms(told: list[Told]) -> float:
    return 1000 * sorted(one.took_s for one in told)[int(0.99 * len(told))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=20)
    parser.add_argument("--requests", type=int, default=250, help="of each caller")
    parser.add_argument("--rewrites", type=int, default=100)
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two files")
    parser.add_argument("--print", action="store_true", help="instead of writing the page")
    given = parser.parse_args()
    figures = uvloop.run(measure(given.callers, given.requests, given.rewrites, given.pause))
    print(figures)
    if not given.print:
        text = PAGE.read_text(encoding="utf-8")
        head, rest = text.split(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n\n{figures}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()

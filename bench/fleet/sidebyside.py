"""The fleet beside a plain LRU swapper on real engines: `python -m bench.fleet.sidebyside [--write]`.

ABCABC over three real llama.cpp models with room for two. Both are built from the same parts: the same backends start
and stop the same engines, the same calls go to the same endpoints at the same moments; only who decides differs. The
swapper serves strictly in the order of arrival and evicts the least recently used model as soon as it is idle. Callers
leave after `PATIENCE_S`. `--write` puts the table into docs/performance.md.
"""

import argparse
import asyncio
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import aiohttp

from bench.fleet.house import house
from bench.fleet.page import rewrite
from bench.fleet.serving import SMOLLM2, packaged
from bench.fleet.soak import copies
from pointsman.backends.base import Backend
from pointsman.errors import PointsmanError
from pointsman.settings import LlamaCppModel
from pointsman.types import Endpoint

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
MODELS, ROOM = 3, 2
PATIENCE_S = 30.0
BODY = b'{"messages":[{"role":"user","content":"Count."}],"max_tokens":16,"ignore_eos":true}'
Lend = Callable[[str], AbstractAsyncContextManager[Endpoint]]


@dataclass
class Outcome:
    """Waits from arrival to the engine, in seconds; `loads` beyond one a model are thrash."""

    waits_s: list[float] = field(default_factory=list)
    gave_up: int = 0
    loads: int = 0

    def row(self, every_s: float, name: str) -> str:
        waits_s = sorted(self.waits_s)
        p50_s, p95_s = (waits_s[int(share * (len(waits_s) - 1))] for share in (0.5, 0.95))
        thrash = max(0, self.loads - MODELS)
        return f"| {every_s:g} s | {name} | {len(waits_s)} | {self.gave_up} | {p50_s:.1f} | {p95_s:.1f} | {thrash} |"


class Swapper:
    """One at a time in the order of arrival; who was used longest ago leaves. One call at a time a model."""

    def __init__(self, backends: Mapping[str, Backend], room: int) -> None:
        self.loads = 0
        self._backends = backends
        self._room = room
        self._line = asyncio.Lock()  # asyncio's locks are fair
        self._loaded: OrderedDict[str, Endpoint] = OrderedDict()
        self._idle = {name: asyncio.Event() for name in backends}

    @asynccontextmanager
    async def lend(self, name: str) -> AsyncIterator[Endpoint]:
        async with self._line:
            if name not in self._loaded:
                await self._swap_in(name)
            self._loaded.move_to_end(name)
            await self._idle[name].wait()
            self._idle[name].clear()
        try:
            yield self._loaded[name]
        finally:
            self._idle[name].set()

    async def _swap_in(self, name: str) -> None:
        while len(self._loaded) >= self._room:
            victim = next((each for each in self._loaded if self._idle[each].is_set()), next(iter(self._loaded)))
            await self._idle[victim].wait()
            await self._backends[victim].stop()
            del self._loaded[victim]
        self.loads += 1
        running = await self._backends[name].start()
        self._loaded[name] = running.endpoint
        self._idle[name].set()

    async def close(self) -> None:
        for name in self._loaded:
            await self._backends[name].stop()


async def drive(lend: Lend, names: list[str], requests: int, every_s: float) -> Outcome:
    """ABCABC at a steady pace, whoever keeps up or not."""
    outcome = Outcome()
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for number in range(requests):
            group.create_task(_call(session, lend, names[number % len(names)], outcome))
            await asyncio.sleep(every_s)
    return outcome


async def _call(session: aiohttp.ClientSession, lend: Lend, name: str, outcome: Outcome) -> None:
    loop = asyncio.get_running_loop()
    came_s = loop.time()
    try:
        async with asyncio.timeout(PATIENCE_S) as patience, lend(name) as endpoint:
            waited_s = loop.time() - came_s
            patience.reschedule(None)
            headers = {"authorization": f"Bearer {endpoint.api_key}", "content-type": "application/json"}
            async with session.post(f"{endpoint.base_url}/chat/completions", data=BODY, headers=headers) as reply:
                await reply.read()
                reply.raise_for_status()
            outcome.waits_s.append(waited_s)
    except (TimeoutError, PointsmanError):
        outcome.gave_up += 1


async def compare(models: tuple[LlamaCppModel, ...], requests: int, every_s: float) -> AsyncIterator[str]:
    names = [model.id for model in models]
    async with house(models, memory_budget_gb=64) as one:
        each_bytes = max(one.estimated_bytes(model) for model in models)
        swapper = Swapper(cast("Mapping[str, Backend]", one.app.fleet.backends), ROOM)
        try:
            outcome = await drive(swapper.lend, names, requests, every_s)
        finally:
            await swapper.close()
        outcome.loads = swapper.loads
        yield outcome.row(every_s, "plain swapper")
    async with house(models, memory_budget_gb=each_bytes * (ROOM + 0.5) / 1e9, min_resident_s=5) as one:
        fleet, clock = one.app.fleet, one.app.clock

        @asynccontextmanager
        async def lend(name: str) -> AsyncIterator[Endpoint]:
            async with fleet.lease(name, clock.now() + PATIENCE_S) as lease:
                yield lease.endpoint

        outcome = await drive(lend, names, requests, every_s)
        outcome.loads = fleet.statistics().loads
        yield outcome.row(every_s, "fleet")


async def table(weights: Path, requests: int) -> list[str]:
    lines = [
        "| a request every | who | answered | gave up | wait p50, s | p95, s | thrash |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory(prefix="side-") as folder:
        found = copies(weights, Path(folder), MODELS, prefix="abc")
        models = tuple(LlamaCppModel.model_validate(one | {"slots": 1}) for one in found)
        for every_s in (2.0, 1.0, 0.5):
            async for line in compare(models, requests, every_s):
                print(line, flush=True)
                lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=60)
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    given = parser.parse_args()
    lines = asyncio.run(table(packaged(SMOLLM2), given.requests))
    if given.write:
        rewrite(PAGE, "sidebyside", "\n".join(lines))


if __name__ == "__main__":
    main()

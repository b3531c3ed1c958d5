"""Weights that are still on a hub: routing and memory reckon with their size before anybody has asked for them."""

import asyncio
from pathlib import Path

from pointsman.settings import parse
from pointsman.testing.hub import FakeHub
from pointsman.testing.serving import serving

FILE = """
cache_dir: {cache}
hub_url: {hub}
log: {{level: error}}
models:
  - {{id: far, backend: llama_cpp, source: {{hub: acme/tiny-GGUF}}}}
"""


def test_the_size_of_what_is_to_be_fetched_counts(tmp_path: Path) -> None:
    body = b"GGUF" + bytes(40_000_000)

    async def run() -> None:
        async with (
            FakeHub({"acme/tiny-GGUF": {"tiny.gguf": body}}) as hub,
            serving(parse(FILE.format(cache=tmp_path, hub=hub.url))) as (app, _),
        ):
            fetch_s = len(body) / 20e6  # at a modest speed, and before the load
            for _ in range(500):
                [view] = app.world().deployments
                if view.ready_in_s > fetch_s:
                    break
                await asyncio.sleep(0.01)
            assert view.ready_in_s > fetch_s
            assert view.memory_bytes > len(body)
            assert hub.fetched("hub") == []

    asyncio.run(asyncio.wait_for(run(), 60))

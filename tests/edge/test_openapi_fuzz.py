"""The HTTP API fuzzed along its own OpenAPI document: whatever comes, never a 5xx, and every refusal is the one object.

`FUZZ_EXAMPLES=2000 pytest tests/edge/test_openapi_fuzz.py` looks longer.
"""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from pointsman.errors import TABLE
from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "12"))
DOCUMENT = json.loads((Path(__file__).resolve().parents[2] / "docs" / "openapi.json").read_text("utf-8"))
OPERATIONS = sorted((path, method) for path, item in DOCUMENT["paths"].items() for method in item)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway before healthy upstreams, in a thread of its own."""
    found: list[str] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with FaultUpstream() as upstream:
            models = [
                {
                    "id": name,
                    "backend": "openai",
                    "url": upstream.url,
                    "model": "mock-n2",
                    "kinds": kinds,
                    "tools": True,
                }
                for name, kinds in (("a", ["chat", "completion", "embedding"]), ("b", ["transcription", "speech"]))
            ]
            cache = str(tmp_path_factory.mktemp("cache"))
            tree = {"cache_dir": cache, "log": {"requests": False}, "models": models, "aliases": {"other": "a"}}
            async with serving(parse(json.dumps(tree))) as (_, address):
                found.append(address)
                ready.set()
                await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    yield found[0]
    done.set()
    thread.join(30)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_no_request_is_answered_with_a_5xx(path: str, method: str, url: str) -> None:
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.config.update(base_url=url)
    operation = schema[path][method.upper()]

    @given(case=operation.as_strategy())
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=EXAMPLES < 100)
    def ask(case: Any) -> None:
        response = case.call(timeout=20)
        assert response.status_code < 500, response.text[:300]
        if response.status_code >= 400:
            error = response.json()["error"]
            assert error["code"] in TABLE
            assert error["message"]
            assert "Traceback" not in response.text

    ask()

"""Who is turned away before the corridor leaves exactly one Outcome, wherever requests are told of."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pointsman.admission.keys import hash_of, new_key
from pointsman.app import App
from pointsman.edge.http import MEBIBYTE
from pointsman.ledger.build import store_of
from pointsman.ledger.store.base import Query
from pointsman.settings import parse
from pointsman.settings_ledger import LedgerSettings
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream
from pointsman.types import Outcome

KEY = new_key()
OURS = {"authorization": f"Bearer {KEY}"}
CHAT = {"model": "auto", "messages": [{"role": "user", "content": "Of the heron tell nobody"}]}
Scene = Callable[[App, str, aiohttp.ClientSession], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scene], None]:
    def run(scene: Scene, **sections: Any) -> None:
        async def scened() -> None:
            async with FaultUpstream() as upstream, aiohttp.ClientSession() as session:
                tree: dict[str, Any] = {
                    "server": {"max_body_mb": 0.01, "body_timeout_s": 5},
                    "cache_dir": str(tmp_path),
                    "keys": [{"name": "ann", "sha256": hash_of(KEY)}],
                    "models": [{"id": "a", "backend": "openai", "url": upstream.url, "model": "mock-n2"}],
                }
                async with serving(parse(json.dumps(tree | sections))) as (app, url):
                    await scene(app, url, session)
                    assert app.ledger.in_flight() == 0

        asyncio.run(asyncio.wait_for(scened(), 30))

    return run


async def ask(
    session: aiohttp.ClientSession, url: str, body: bytes | None = None, headers: dict[str, str] = OURS, **more: Any
) -> tuple[int, str]:
    """The status, and the id."""
    sent = {"content-type": "application/json"} | headers
    data = json.dumps(CHAT).encode() if body is None else body
    async with session.request(more.get("method", "POST"), url, data=data, headers=sent) as response:
        await response.read()
        return response.status, response.headers["x-request-id"]


def told_of(app: App) -> list[Outcome]:
    return [outcome for _, outcome in app.recent.outcomes.after(0, 100)]


WAYS: list[tuple[str, dict[str, Any], int, str]] = [
    ("/v1/chat/completions", {"headers": {}}, 401, "invalid_api_key"),
    ("/v1/chat/completions", {"headers": {"authorization": "Bearer guessed"}}, 401, "invalid_api_key"),
    ("/v1/route", {"headers": {}}, 401, "invalid_api_key"),
    ("/v1/chat/completions", {"headers": OURS | {"host": "elsewhere.example"}}, 403, "permission_denied"),
    ("/v1/chat/completions", {"body": b'{"heron'}, 400, "invalid_json"),
    ("/v1/completions", {"body": b'{"model": "auto"}'}, 400, "missing_field"),
    ("/v1/messages", {"body": b'{"model": "auto", "messages": 7}'}, 400, "invalid_value"),
    ("/v1/embeddings", {"body": b"{" + b" " * int(MEBIBYTE / 50)}, 413, "request_too_large"),
    ("/v1/chat/completions", {"headers": OURS | {"content-type": "text/csv"}}, 415, "unsupported_media_type"),
    ("/v1/audio/speech", {"method": "PUT"}, 405, "method_not_allowed"),
    ("/v1/route", {"body": b"{}"}, 400, "missing_field"),
    ("/v1/rag/ingest", {"body": b'{"text": ""}'}, 400, "invalid_media"),
]


@pytest.mark.parametrize(("path", "sent", "status", "code"), WAYS, ids=[f"{p} {c}" for p, _, _, c in WAYS])
def test_each_way_to_be_turned_away_leaves_one_outcome(
    play: Callable[[Scene], None], path: str, sent: dict[str, Any], status: int, code: str
) -> None:
    async def scene(app: App, url: str, session: aiohttp.ClientSession) -> None:
        seen, request_id = await ask(session, url + path, **sent)
        assert seen == status
        (outcome,) = told_of(app)
        assert (outcome.request_id, outcome.http_status, outcome.error) == (request_id, status, code)
        assert (outcome.status, outcome.model_id, outcome.signals, outcome.plan) == ("client_error", "", None, None)
        assert outcome.tenant == ("ann" if status not in (401, 403) else "")
        assert 0 <= outcome.total_s < 5
        assert outcome.received_unix_s > 1.6e9
        metrics = app.metrics().decode()
        assert 'agent_router_requests_total{intent="unknown",model="unknown",status="client_error"} 1.0' in metrics
        assert f'agent_router_errors_total{{error_type="{code}",model="unknown"}} 1.0' in metrics
        assert "agent_router_overhead_seconds_count 0.0" in metrics
        assert dict(app.statistics().by_status)["client_error"] == 1

    play(scene)


def test_cold_paths_and_what_asks_no_model_leave_none(play: Callable[[Scene], None]) -> None:
    async def scene(app: App, url: str, session: aiohttp.ClientSession) -> None:
        assert (await ask(session, f"{url}/v1/nowhere"))[0] == 404
        assert (await ask(session, f"{url}/v1/models", b"", {}, method="GET"))[0] == 401
        assert (await ask(session, f"{url}/v1/route"))[0] == 200
        assert (await ask(session, f"{url}/v1/messages/count_tokens"))[0] == 200
        assert told_of(app) == []

    play(scene)


def test_one_who_came_as_far_as_the_corridor_is_counted_once(play: Callable[[Scene], None]) -> None:
    async def scene(app: App, url: str, session: aiohttp.ClientSession) -> None:
        await ask(session, f"{url}/v1/chat/completions")
        await ask(session, f"{url}/v1/chat/completions", json.dumps(CHAT | {"model": "nobody"}).encode())
        assert [one.http_status for one in told_of(app)] == [200, 404]

    play(scene)


def test_a_client_that_leaves_while_it_sends_is_told_of(play: Callable[[Scene], None]) -> None:
    async def scene(app: App, url: str, session: aiohttp.ClientSession) -> None:
        host, port = url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {KEY}\r\n"
        writer.write(f"{head}content-length: 90\r\n\r\n{{".encode())
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        while not told_of(app):
            await asyncio.sleep(0.01)
        (outcome,) = told_of(app)
        assert (outcome.status, outcome.http_status, outcome.tenant) == ("client_closed", 499, "ann")
        assert outcome.total_s > 0.05

    play(scene)


def test_who_comes_when_the_server_leaves_is_refused_and_told_of(play: Callable[[Scene], None]) -> None:
    async def scene(app: App, url: str, session: aiohttp.ClientSession) -> None:
        await ask(session, f"{url}/v1/route")
        app.leaving.close()
        assert (await ask(session, f"{url}/v1/chat/completions"))[0] == 503
        assert (await ask(session, f"{url}/v1/models", b"", method="GET"))[0] == 503
        (outcome,) = told_of(app)
        assert (outcome.status, outcome.error) == ("refused", "draining")

    play(scene)


def test_a_callers_mistake_is_a_row_a_strangers_guess_is_none(play: Callable[..., None], tmp_path: Path) -> None:
    ledger = {"url": f"sqlite:{tmp_path}/ledger.sqlite"}

    async def scene(app: App, url: str, session: aiohttp.ClientSession) -> None:
        await ask(session, f"{url}/v1/chat/completions", b'{"heron', OURS | {"x-request-id": "mistaken"})
        await ask(session, f"{url}/v1/chat/completions", headers={"x-request-id": "guessed"})

    play(scene, ledger=ledger)
    rows = tuple(store_of(LedgerSettings(url=ledger["url"]), tmp_path, {}).read(Query()))
    assert [(row.request_id, row.tenant, row.error) for row in rows] == [("mistaken", "ann", "invalid_json")]
    assert b"heron" not in (tmp_path / "ledger.sqlite").read_bytes()


def test_a_stranger_cannot_touch_what_is_known_of_anothers_request(play: Callable[..., None]) -> None:
    """Without keys everybody is the same nobody; a page from elsewhere may take another's id."""
    said = json.dumps({"request_id": "mine", "thumbs": "up"}).encode()

    async def scene(app: App, url: str, session: aiohttp.ClientSession) -> None:
        await ask(session, f"{url}/v1/chat/completions", headers={"x-request-id": "mine"})
        strange = {"x-request-id": "mine", "host": "elsewhere.example"}
        assert (await ask(session, f"{url}/v1/chat/completions", headers=strange))[0] == 403
        assert (await ask(session, f"{url}/v1/feedback", said, {}))[0] == 200
        assert 'agent_router_feedback_total{model="a",source="thumbs",verdict="good"} 1.0' in app.metrics().decode()

    play(scene, keys=[])

"""What happens in a running gateway is told: traces to a collector and on to the upstream, events to a webhook."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.ledger.test_alerts import until
from tests.ledger.test_traces import attributes_of, receiving, spans_in

from pointsman.app import App
from pointsman.errors import ConfigError
from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALLER = {"traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01", "tracestate": "vendor=abc"}
Scene = Callable[[App, str, FaultUpstream], Awaitable[None]]


def play(cache: Path, scene: Scene, scripts: tuple[str, ...] = ("mock-n5",), **sections: Any) -> None:
    async def run() -> None:
        async with FaultUpstream() as upstream:
            models = [
                {
                    "id": f"m{number}",
                    "backend": "openai",
                    "url": upstream.url,
                    "model": script,
                    "name": f"Model {number}",
                }
                for number, script in enumerate(scripts)
            ]
            names = [model["id"] for model in models]
            routing = {"strategy": "fixed", "use_cases": {"general": names, "code": names, "reasoning": names}}
            tree = {"cache_dir": str(cache), "log": {"requests": False}, "models": models, "routing": routing}
            settings = parse(json.dumps(tree | sections))
            async with serving(settings) as (app, url):
                await scene(app, url, upstream)

    asyncio.run(asyncio.wait_for(run(), 30))


async def chat(url: str, headers: dict[str, str] | None = None) -> str:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Tell nobody of the heron"}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response,
    ):
        assert response.status == 200, await response.text()
        return response.headers["x-request-id"]


def test_a_callers_trace_goes_on_through_the_gateway_to_the_upstream(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the extra `telemetry` is not installed")
    told: dict[str, Any] = {}

    async def scene(app: App, url: str, upstream: FaultUpstream) -> None:
        told["request"] = await chat(url, CALLER)
        asked = [seen for seen in upstream.seen if seen.method == "POST"]
        told["upstream"] = [(seen.header("traceparent"), seen.header("tracestate"), seen.model) for seen in asked]

    with receiving() as (receiver, collector):
        telemetry = {"otlp_endpoint": collector, "sample": 0}
        play(tmp_path, scene, ("mock-e1-s500", "mock-n5"), telemetry=telemetry)
    spans = [span for _, span in spans_in(receiver.bodies)]
    (server,) = [span for span in spans if span.kind == span.SPAN_KIND_SERVER]
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE_ID, SPAN_ID)
    assert attributes_of(server)["pointsman.request_id"] == told["request"]
    assert attributes_of(server)["gen_ai.provider.name"] == "openai"
    assert attributes_of(server)["gen_ai.usage.output_tokens"] == 5
    calls = {span.span_id.hex(): span for span in spans if span.kind == span.SPAN_KIND_CLIENT}
    assert [span.name for span in calls.values()][-1] == "chat Model 1"
    assert {span.parent_span_id.hex() for span in calls.values()} == {server.span_id.hex()}
    for traceparent, tracestate, script in told["upstream"]:
        version, trace_id, span_id, flags = traceparent.split("-")
        assert (version, trace_id, flags, tracestate) == ("00", TRACE_ID, "01", "vendor=abc")
        assert ("error.type" in attributes_of(calls[span_id])) == (script == "mock-e1-s500")
    assert len(calls) == len(told["upstream"]) >= 2
    assert b"heron" not in b"".join(receiver.bodies)


def test_without_a_collector_a_callers_context_is_handed_on_as_it_came(tmp_path: Path) -> None:
    async def scene(app: App, url: str, upstream: FaultUpstream) -> None:
        await chat(url, CALLER)
        await chat(url)
        await chat(url, {"traceparent": "00-nonsense"})
        asked = [seen.header("traceparent") for seen in upstream.seen if seen.method == "POST"]
        assert asked == [CALLER["traceparent"], None, None]

    play(tmp_path, scene)


def test_a_collector_that_is_gone_is_counted_where_operators_look(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="the extra `telemetry` is not installed")

    async def scene(app: App, url: str, upstream: FaultUpstream) -> None:
        await chat(url, CALLER)
        await until(lambda: b'agent_router_traces_total{result="failed"} 1.0' in app.metrics())

    telemetry = {"otlp_endpoint": "http://127.0.0.1:9", "timeout_s": 0.1}
    play(tmp_path, scene, telemetry=telemetry)


def test_a_webhook_hears_of_what_becomes_of_models(tmp_path: Path) -> None:
    async def scene(app: App, url: str, upstream: FaultUpstream) -> None:
        await until(lambda: b'agent_router_alerts_total{result="sent"} 1.0' in app.metrics())

    with receiving() as (receiver, where):
        play(tmp_path, scene, alerts=[{"url": f"{where}/hook", "events": ["model_reachable"]}])
    assert receiver.paths == ["/hook"]
    message = json.loads(receiver.bodies[0])
    assert (message["event"], message["details"]) == ("model_reachable", {"deployment": "m0"})
    assert message["source"].startswith("pointsman@")


def test_a_url_that_is_not_set_is_told_before_anything_starts() -> None:
    tree = "models: [{id: m, backend: openai, url: 'http://127.0.0.1:9/v1'}]\nalerts: [{url_env: NOBODY_SET_THIS}]"
    with pytest.raises(ConfigError, match="NOBODY_SET_THIS"):
        App(parse(tree))

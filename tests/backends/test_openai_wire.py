"""What goes over the wire: bytes as an upstream sees them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any, TypeVar

import pytest
import uvloop

from pointsman.backends import openai_http
from pointsman.backends.base import Toolbox
from pointsman.backends.openai_http import OpenAiBackend, Wire
from pointsman.backends.registry import build
from pointsman.clock import SystemClock
from pointsman.dispatch.http import AiohttpClient
from pointsman.errors import RequestError, UpstreamError
from pointsman.settings import OpenAiModel
from pointsman.sources.store import WeightStore
from pointsman.testing.upstream import FaultUpstream, Seen
from pointsman.types import Endpoint, Footprint, FormPayload, JsonPayload, Kind, Lease, Media, Modality, Request

T = TypeVar("T")
ODD = b'{"b" : [1, 2.50, "\\u0905"],  "a":{"deep":null}}'
"""JSON that no encoder would write back like this."""


def with_upstream(use: Callable[[FaultUpstream, AiohttpClient], Awaitable[T]]) -> T:
    async def run() -> T:
        async with FaultUpstream() as upstream, AiohttpClient() as http:
            return await use(upstream, http)

    return uvloop.run(run())


def sent(request: Request, wire: Wire | None = None, api_key: str = "k") -> Seen:
    async def use(upstream: FaultUpstream, http: AiohttpClient) -> Seen:
        endpoint = Endpoint(base_url=upstream.url, upstream_model="mock-n2", api_key=api_key)
        lease = Lease(id=1, deployment_id="d", model_id="m", endpoint=endpoint)
        async with openai_http.call(http, lease, request, wire or Wire()) as reply:
            assert reply.status == 200
            await reply.read()
        return upstream.seen[-1]

    return with_upstream(use)


def json_request(
    kind: Kind = Kind.CHAT, is_stream: bool = False, wants_usage: bool = False, /, **members: bytes
) -> Request:
    return Request(
        id="r",
        kind=kind,
        model="auto",
        payload=JsonPayload(members=(("model", b'"auto"'), *members.items())),
        stream=is_stream,
        wants_usage=wants_usage,
    )


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (Kind.CHAT, "/v1/chat/completions"),
        (Kind.COMPLETION, "/v1/completions"),
        (Kind.EMBEDDING, "/v1/embeddings"),
        (Kind.SPEECH, "/v1/audio/speech"),
    ],
)
def test_only_the_model_is_replaced(kind: Kind, path: str) -> None:
    seen = sent(json_request(kind, messages=ODD, unknown_to_us=ODD))
    assert (seen.method, seen.path) == ("POST", path)
    assert seen.body == b'{"model":"mock-n2","messages":' + ODD + b',"unknown_to_us":' + ODD + b"}"
    assert seen.header("authorization") == "Bearer k"


def test_no_key_no_header() -> None:
    assert sent(json_request(), api_key="").header("authorization") is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"include_usage": True}),
        ({"stream_options": b"null"}, {"include_usage": True}),
        ({"stream_options": b'{"include_usage":false,"x":[1]}'}, {"include_usage": True, "x": [1]}),
    ],
)
def test_streams_are_asked_for_their_usage(options: dict[str, bytes], expected: Any) -> None:
    body = json.loads(sent(json_request(Kind.CHAT, True, stream=b"true", **options)).body)
    assert body["stream_options"] == expected


def test_a_caller_who_asked_for_usage_is_left_alone() -> None:
    asked = {"stream": b"true", "stream_options": b'{ "include_usage":true }'}
    assert b'"stream_options":{ "include_usage":true }' in sent(json_request(Kind.CHAT, True, True, **asked)).body


@pytest.mark.parametrize(
    ("request_", "wire"),
    [
        (json_request(), Wire()),
        (json_request(Kind.SPEECH, True), Wire()),
        (json_request(Kind.CHAT, True), Wire(stream_usage=False)),
    ],
    ids=["buffered", "speech", "not known there"],
)
def test_usage_is_not_asked_for(request_: Request, wire: Wire) -> None:
    assert b"stream_options" not in sent(request_, wire).body


def test_stream_options_must_be_an_object() -> None:
    with pytest.raises(RequestError) as caught:
        sent(json_request(Kind.CHAT, True, stream_options=b"[1]"))
    assert caught.value.param == "stream_options"


def test_defaults_fill_what_is_open() -> None:
    wire = Wire(defaults=(("temperature", b"0.2"), ("top_p", b"0.9")))
    assert json.loads(sent(json_request(temperature=b"1"), wire).body) == {
        "model": "mock-n2",
        "temperature": 1,
        "top_p": 0.9,
    }
    assert b"top_p" not in sent(json_request(Kind.EMBEDDING), wire).body


def test_a_transcription_is_a_form() -> None:
    media = Media(kind=Modality.AUDIO, mime="audio/wav", size_bytes=4, filename="speech.wav", data=b"RIFF")
    payload = FormPayload(fields=(("model", "auto"), ("language", "hi"), ("timestamp_granularities[]", "word")))
    request = Request(id="r", kind=Kind.TRANSCRIPTION, model="auto", payload=payload, media=(media,))
    seen = sent(request)
    assert seen.path == "/v1/audio/transcriptions"
    assert seen.model == "mock-n2"
    for part in (
        b'name="language"\r\n\r\nhi',
        b'name="timestamp_granularities[]"\r\n\r\nword',
        b'"speech.wav"',
        b"RIFF",
    ):
        assert part in seen.body
    assert b"auto" not in seen.body


def test_a_form_without_its_file() -> None:
    request = Request(id="r", kind=Kind.TRANSCRIPTION, model="a", payload=FormPayload(fields=()))
    with pytest.raises(RequestError) as caught:
        sent(request)
    assert (caught.value.code, caught.value.param) == ("missing_field", "file")


# ---------------------------------------------------------------- attached URLs


def attached(http: AiohttpClient, tmp_path: Any, **settings: Any) -> tuple[tuple[str, Any], ...]:
    clock = SystemClock()
    tools = Toolbox(http=http, weights=WeightStore(tmp_path, clock), clock=clock, log_dir=tmp_path)
    return build(OpenAiModel.model_validate({"id": "far", "backend": "openai"} | settings), tools)


def test_attach_probe_call(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAR_KEY", "s3cret")

    async def use(upstream: FaultUpstream, http: AiohttpClient) -> None:
        ((name, backend),) = attached(http, tmp_path, url=upstream.url + "/", model="mock-n3", api_key_env="FAR_KEY")
        assert name == "far"
        assert not backend.is_managed
        assert backend.footprint() == Footprint()
        running = await backend.start()
        assert (running.pid, running.exited) == (None, None)
        assert upstream.seen[-1].path == "/v1/models"
        lease = Lease(id=1, deployment_id="far", model_id="far", endpoint=running.endpoint)
        async with backend.call(lease, json_request()) as reply:
            assert json.loads(await reply.read())["model"] == "mock-n3"
        assert [seen.header("authorization") for seen in upstream.seen] == ["Bearer s3cret"] * 2
        assert "s3cret" not in repr(backend) + repr(running)
        await backend.stop()
        await upstream.down()
        with pytest.raises(UpstreamError) as caught:
            await backend.probe()
        assert caught.value.code == "upstream_unreachable"

    with_upstream(use)


def test_several_urls_are_instances(tmp_path: Any) -> None:
    async def use(upstream: FaultUpstream, http: AiohttpClient) -> None:
        urls = (upstream.url, upstream.origin + "/other/v1")
        backends = attached(http, tmp_path, urls=urls)
        assert [name for name, _ in backends] == ["far#0", "far#1"]
        for (_, backend), url in zip(backends, urls, strict=True):
            endpoint = (await backend.start()).endpoint
            assert (endpoint.base_url, endpoint.upstream_model, endpoint.api_key) == (url, "far", "")

    with_upstream(use)


@pytest.mark.parametrize(
    ("statuses", "error"),
    [
        ({"/v1/models": 404, "/health": 200}, ""),
        ({"/v1/models": 404, "/health": 503}, "not healthy: HTTP 503"),
        ({"/v1/models": 404, "/health": 404}, "not healthy: HTTP 404"),
        ({"/v1/models": 401}, "refused our key"),
        ({"/v1/models": 500}, "not healthy: HTTP 500"),
    ],
)
def test_probe(tmp_path: Any, statuses: dict[str, int], error: str) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        writer.write(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % statuses[path])
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        try:
            async with AiohttpClient() as http:
                ((_, backend),) = attached(http, tmp_path, url=url)
                assert isinstance(backend, OpenAiBackend)
                with pytest.raises(UpstreamError, match=error) if error else nullcontext():
                    await backend.probe()
        finally:
            server.close()

    uvloop.run(run())

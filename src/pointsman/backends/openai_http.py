"""The OpenAI wire, spoken to a deployment; and the backend for any URL that speaks it.

Knows: paths, headers, which members we may touch. Does not know: engines, retries, what the answer means.

Invariants: of the caller's members only `model` is replaced; `stream_options.include_usage` is set where the books want
usage and the server can tell it; defaults fill only what the caller left open.
"""

import os
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

import msgspec

from pointsman.backends.base import HttpClient, HttpReply, Toolbox
from pointsman.errors import RequestError, UpstreamError
from pointsman.settings import OpenAiModel
from pointsman.types import (
    Endpoint,
    Footprint,
    FormFile,
    FormPayload,
    JsonPayload,
    Kind,
    Lease,
    Request,
    Running,
    Value,
)

PATHS = {
    Kind.CHAT: "/chat/completions",
    Kind.COMPLETION: "/completions",
    Kind.EMBEDDING: "/embeddings",
    Kind.TRANSCRIPTION: "/audio/transcriptions",
    Kind.SPEECH: "/audio/speech",
}
GENERATES = frozenset({Kind.CHAT, Kind.COMPLETION})
INCLUDE_USAGE = b'{"include_usage":true}'
LENGTH_LIMITS = ("max_tokens", "max_completion_tokens")
PROBE_TIMEOUT_S = 5.0

Members = tuple[tuple[str, bytes], ...]
Continues = Literal["", "prefill", "vllm"]

CONTINUE_FINAL: Members = (("continue_final_message", b"true"), ("add_generation_prompt", b"false"))


class Wire(Value, frozen=True):
    """How one deployment wants to be spoken to. `defaults` are JSON members for generation requests that lack them.

    `continues`: how it is told to go on with an answer that has begun: it does so where the last message is the
    assistant's (`prefill`), or where two members say so too (`vllm`); empty: it cannot.
    """

    defaults: Members = ()
    continues: Continues = ""
    stream_usage: bool = True
    first_byte_timeout_s: float = 120.0
    idle_timeout_s: float = 60.0


def call(http: HttpClient, lease: Lease, request: Request, wire: Wire) -> AbstractAsyncContextManager[HttpReply]:
    """POST the request to the lease's endpoint. Raises what `HttpClient.post` raises, on entering."""
    endpoint, payload = lease.endpoint, request.payload
    url, headers = endpoint.base_url + PATHS[request.kind], bearer(endpoint.api_key)
    headers += (("x-request-id", request.id),) + (request.trace.headers() if request.trace is not None else ())
    if isinstance(payload, JsonPayload):
        return http.post(
            url,
            body=payload.encode(_replaced(payload, request, endpoint, wire)),
            headers=headers,
            first_byte_timeout_s=wire.first_byte_timeout_s,
            idle_timeout_s=wire.idle_timeout_s,
        )
    return http.post(
        url,
        fields=_fields(payload, endpoint),
        file=_file(request),
        headers=headers,
        first_byte_timeout_s=wire.first_byte_timeout_s,
        idle_timeout_s=wire.idle_timeout_s,
    )


def bearer(api_key: str) -> tuple[tuple[str, str], ...]:
    """The authorization header; none for an empty key."""
    return (("Authorization", f"Bearer {api_key}"),) if api_key else ()


def _replaced(payload: JsonPayload, request: Request, endpoint: Endpoint, wire: Wire) -> Members:
    model: Members = (("model", msgspec.json.encode(endpoint.upstream_model)),)
    if request.kind not in GENERATES:
        return model
    absent = tuple(member for member in wire.defaults if payload.get(member[0]) is None)
    model += _begun(payload, request, wire) if request.prefix else ()
    if request.stream and wire.stream_usage and not request.wants_usage:
        return (*model, *absent, ("stream_options", _with_usage(payload.get("stream_options"))))
    return model + absent


def _begun(payload: JsonPayload, request: Request, wire: Wire) -> Members:
    """The answer so far as the assistant's own words, and what is left of the token limit."""
    messages = msgspec.json.decode(payload.get("messages") or b"[]", type=list[msgspec.Raw])
    begun = msgspec.Raw(msgspec.json.encode({"role": "assistant", "content": request.prefix}))
    members: Members = (("messages", msgspec.json.encode([*messages, begun])),)
    for name in LENGTH_LIMITS:
        limit = payload.get(name)
        if limit is not None and limit.isdigit():
            members += ((name, b"%d" % max(1, int(limit) - request.prefix_tokens)),)
    return members + (CONTINUE_FINAL if wire.continues == "vllm" else ())


def _with_usage(options: bytes | None) -> bytes:
    """The caller's own stream options, with usage switched on."""
    if options is None or options == b"null":
        return INCLUDE_USAGE
    try:
        merged = msgspec.json.decode(options, type=dict[str, Any])
    except msgspec.DecodeError:
        raise RequestError("`stream_options` must be an object", param="stream_options") from None
    return msgspec.json.encode({**merged, "include_usage": True})


def _fields(payload: FormPayload, endpoint: Endpoint) -> tuple[tuple[str, str], ...]:
    return (("model", endpoint.upstream_model), *(field for field in payload.fields if field[0] != "model"))


def _file(request: Request) -> FormFile:
    media = request.media[0] if request.media else None
    if media is None or media.data is None:
        raise RequestError("The form has no file; send the audio as field `file`", code="missing_field", param="file")
    return FormFile(
        field="file", filename=media.filename or "audio", mime=media.mime or "application/octet-stream", data=media.data
    )


def attach(model: OpenAiModel, toolbox: Toolbox) -> tuple[tuple[str, "OpenAiBackend"], ...]:
    """One deployment for each URL of a model: `id`, or `id#0`, `id#1` … for several."""
    urls = model.all_urls()
    wire = Wire(
        continues=model.continues,
        stream_usage=model.stream_usage,
        first_byte_timeout_s=toolbox.first_byte_timeout_s,
        idle_timeout_s=toolbox.idle_timeout_s,
    )
    api_key = os.environ.get(model.api_key_env, "") if model.api_key_env else ""
    return tuple(
        (name, OpenAiBackend(name, _endpoint(url, model, api_key), wire, toolbox))
        for name, url in ((model.id if len(urls) == 1 else f"{model.id}#{i}", url) for i, url in enumerate(urls))
    )


def _endpoint(url: str, model: OpenAiModel, api_key: str) -> Endpoint:
    return Endpoint(base_url=url.rstrip("/"), upstream_model=model.model or model.id, api_key=api_key)


class OpenAiBackend:
    """`backends.base.Backend` for one URL that somebody else runs. Nothing to start: attached, never managed."""

    is_managed = False

    def __init__(self, deployment_id: str, endpoint: Endpoint, wire: Wire, toolbox: Toolbox) -> None:
        self.deployment_id = deployment_id
        self._endpoint = endpoint
        self.can_continue = bool(wire.continues)
        self._wire = wire
        self._http = toolbox.http

    def footprint(self) -> Footprint:
        return Footprint()

    async def start(self) -> Running:
        """Attach: it must answer its probe."""
        await self.probe()
        return Running(endpoint=self._endpoint)

    async def stop(self) -> None:
        """Not ours to stop."""

    async def probe(self) -> None:
        """GET `/models`, then `/health` at the root for servers without a list. Any answer below 500 that is not a
        refusal of our key means alive."""
        headers = bearer(self._endpoint.api_key)
        base = self._endpoint.base_url
        status, _ = await self._http.get(f"{base}/models", headers=headers, timeout_s=PROBE_TIMEOUT_S)
        if status in {404, 405, 501}:
            status, _ = await self._http.get(
                f"{base.removesuffix('/v1')}/health", headers=headers, timeout_s=PROBE_TIMEOUT_S
            )
        if status in {401, 403}:
            raise UpstreamError(
                f"{base} refused our key (HTTP {status}): check `api_key_env` of `{self.deployment_id}`",
                upstream_status=status,
            )
        if status != 200:
            raise UpstreamError(f"{base} is not healthy: HTTP {status}", upstream_status=status)

    def call(self, lease: Lease, request: Request) -> AbstractAsyncContextManager[HttpReply]:
        return call(self._http, lease, request, self._wire)

    def __repr__(self) -> str:
        return f"OpenAiBackend({self.deployment_id}, {self._endpoint.base_url})"

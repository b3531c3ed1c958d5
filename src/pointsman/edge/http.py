"""One HTTP exchange, raw ASGI: bytes in, bytes out, and the watch for a client that leaves.

Knows: headers, bodies and their bounds, the error object, server-sent events. Does not know: what is in a request.
Invariants: a response is started at most once; after the start an error becomes one event and the stream ends without
`[DONE]`; a client's leaving cancels the work of its request and of no other.
"""

import asyncio
import json
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Protocol

import msgspec

from pointsman.clock import Clock
from pointsman.errors import (
    LONGEST_RETRY_AFTER_S,
    NoCapableModel,
    PlanExhausted,
    PointsmanError,
    Refused,
    RequestError,
    UpstreamError,
)
from pointsman.redact import Hide, redact
from pointsman.types import Context, Reply, Request, RoutingMetadata, Usage, Value

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
JSON = b"application/json"
EVENTS = b"text/event-stream"
DONE_EVENT = b"data: [DONE]\n\n"
_DONE = (DONE_EVENT, b"data:[DONE]\n\n")
_REPORTED_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_JSON_EVENT = re.compile(rb"^data:[ \t]*(?=\{)", re.MULTILINE)
MEBIBYTE = 1024 * 1024
BY_NAME = "pointsman.headers"
"""Where a scope keeps its headers once somebody asked for one: clients send twenty, and eight are asked for."""


class ClientLeft(Exception):  # noqa: N818  # an event of the exchange, not an error of anybody
    """The client closed its connection before the response was complete."""


class Incoming(Value, frozen=True):
    """A request as bytes: what an endpoint decodes."""

    request_id: str
    content_type: str
    body: bytes
    received_s: float
    cache_control: str = ""


class BodyLimits(Value, frozen=True):
    max_bytes: int
    timeout_s: float


def header(scope: Scope, name: bytes) -> bytes:
    """The first header of that (lower-case) name, or nothing."""
    by_name: dict[bytes, bytes] | None = scope.get(BY_NAME)
    if by_name is None:
        by_name = scope[BY_NAME] = dict(reversed(scope["headers"]))
    return by_name.get(name, b"")


def request_id_of(scope: Scope) -> str:
    """The caller's x-request-id where it is harmless, else a new one."""
    given = header(scope, b"x-request-id").decode("latin-1")
    return given if REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"


async def read(scope: Scope, receive: Receive, request_id: str, limits: BodyLimits, clock: Clock) -> Incoming:
    """The whole body, bounded in size and time. Raises RequestError 413 or 400, ClientLeft."""
    received_s = clock.now()
    declared = header(scope, b"content-length")
    if declared.isdigit() and int(declared) > limits.max_bytes:
        raise _too_large(int(declared), limits.max_bytes)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body = await _read_rest(body, receive, limits)
    elif message["type"] == "http.disconnect":
        raise ClientLeft
    if len(body) > limits.max_bytes:
        raise _too_large(len(body), limits.max_bytes)
    content_type = header(scope, b"content-type").decode("latin-1")
    return Incoming(
        request_id=request_id,
        content_type=content_type,
        body=body,
        received_s=received_s,
        cache_control=header(scope, b"cache-control").decode("latin-1"),
    )


async def _read_rest(first: bytes, receive: Receive, limits: BodyLimits) -> bytes:
    parts, size = [first], len(first)
    try:
        async with asyncio.timeout(limits.timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientLeft
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limits.max_bytes:
                    raise _too_large(size, limits.max_bytes)
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise RequestError(
            f"The body did not arrive within {limits.timeout_s:g} s ({size} bytes came); send it faster or smaller",
            code="invalid_value",
        ) from None


def _too_large(size: int, limit: int) -> RequestError:
    remedy = f"this server takes {limit / MEBIBYTE:g} MiB (server.max_body_mb)"
    return RequestError(f"The body has {size / MEBIBYTE:.1f} MiB or more; {remedy}", code="request_too_large")


class Finishing(Protocol):
    """Says whether the response is out, after which a disconnect means nothing."""

    finished: bool


class DisconnectWatch:
    """Cancels the current task when the client leaves; leaving the context then raises ClientLeft.

    No ASGI server tells a handler that its client left: one has to keep asking `receive`.
    """

    def __init__(self, receive: Receive, response: Finishing) -> None:
        self._receive = receive
        self._response = response
        self._left = False
        self._owner: asyncio.Task[Any] | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._owner = asyncio.current_task()
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._owner is not None and not self._response.finished:
            self._left = True
            self._owner.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        if not self._left or self._owner is None:
            return
        if kind is None:  # the cancel is on its way: take it here, not in whatever the server awaits next
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                kind = asyncio.CancelledError
        if self._owner.uncancel() == 0 and (kind is None or issubclass(kind, asyncio.CancelledError)):
            raise ClientLeft from None


class Voice(Protocol):
    """How an error is told: as a whole body, or as a stream's last event, with how many events were delivered."""

    def error(self, error: PointsmanError) -> bytes: ...
    def error_event(self, error: PointsmanError, delivered: int) -> bytes: ...


class OpenAi:
    """OpenAI's error object."""

    def error(self, error: PointsmanError) -> bytes:
        return error_json(error)

    def error_event(self, error: PointsmanError, delivered: int) -> bytes:
        return b"data: " + error_json(error, delivered) + b"\n\n"


OPENAI = OpenAi()


class Response:
    """The way back: starts once, ends once. Comments may be sent between its events by another task."""

    def __init__(self, send: Send, request_id: str, voice: Voice = OPENAI, hide: Hide = redact) -> None:
        self._send = send
        self._hide = hide
        self._request_id = request_id
        self._voice = voice
        self._is_events = False
        self._events_sent = 0
        self._commenting: asyncio.Future[None] | None = None
        self.started = False
        self.finished = False
        self.last_sent_s = 0.0

    async def whole(self, status: int, content_type: bytes, body: bytes, extra: tuple[Header, ...] = ()) -> None:
        """A complete response."""
        await self._start(status, content_type, ((b"content-length", b"%d" % len(body)), *extra))
        await self._end(body)

    async def reply(self, request: Request, reply: Reply) -> None:
        """What the gateway answered, with its routing metadata in a header and, where it is JSON, in the body."""
        metadata = _metadata_json(reply.metadata)
        extra = _metadata_headers(reply.metadata, metadata)
        if reply.events is None:
            body = splice(reply.body, metadata) if reply.content_type.startswith("application/json") else reply.body
            await self.whole(reply.status, reply.content_type.encode("latin-1"), body, extra)
            return
        if self.started and not reply.content_type.startswith("text/event-stream"):
            raise UpstreamError("The answer is no event stream, though one was begun", code="upstream_protocol")
        self._is_events = reply.content_type.startswith("text/event-stream")
        await self._start(reply.status, reply.content_type.encode("latin-1"), extra)
        if self._is_events:
            await self._events(request, reply, metadata)
        else:
            async for chunk in reply.events:
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._end(b"")

    async def _events(self, request: Request, reply: Reply, metadata: bytes) -> None:
        assert reply.events is not None  # noqa: S101  # the caller looked; this is for the type checker
        is_first, loop, has_usage = True, asyncio.get_running_loop(), not request.wants_usage
        async for chunk in reply.events:
            out = chunk
            if is_first:
                out, is_first = splice_event(chunk, metadata), False
            if b'"usage"' in out:
                if request.wants_usage:
                    has_usage = has_usage or _REPORTED_USAGE.search(out) is not None
                else:
                    out = without_usage_event(out)
            if not has_usage and reply.usage is not None and out.endswith(_DONE):
                out = out[: out.rindex(b"data:")] + usage_event(reply.usage()) + DONE_EVENT
            if out:
                self._events_sent += 1
                self.last_sent_s = loop.time()
                await self._send({"type": "http.response.body", "body": out, "more_body": True})

    async def comment(self, text: bytes) -> None:
        """A comment between events; it starts the response where nothing has been sent yet."""
        if self.finished or (self.started and not self._is_events):
            return
        self._commenting = asyncio.get_running_loop().create_future()
        try:
            if not self.started:
                self._is_events = self.started = True
                await self._send({"type": "http.response.start", "status": 200, "headers": self._headers(EVENTS, ())})
            self.last_sent_s = asyncio.get_running_loop().time()
            await self._send({"type": "http.response.body", "body": text, "more_body": True})
        finally:
            self._commenting.set_result(None)
            self._commenting = None

    async def fail(self, error: PointsmanError) -> None:
        """The error; after the start of a stream, one error event and the end. `hide` sees all of it: an upstream may
        have said our key back."""
        if not self.started:
            body = self._hide(self._voice.error(error).decode()).encode()
            await self.whole(error.http_status, JSON, body, _retry_after(error))
        elif self._is_events and not self.finished:
            await self._end(self._hide(self._voice.error_event(error, self._events_sent).decode()).encode())
        # A started body that is no event stream is left incomplete: the broken framing is the only honest signal.

    async def _start(self, status: int, content_type: bytes, extra: tuple[Header, ...]) -> None:
        if self.started:  # by a comment: an event stream, as this one is
            return
        self.started = True
        headers = self._headers(content_type, extra)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def _headers(self, content_type: bytes, extra: tuple[Header, ...]) -> list[Header]:
        return [(b"content-type", content_type), (b"x-request-id", self._request_id.encode("latin-1")), *extra]

    async def _end(self, body: bytes) -> None:
        if self._commenting is not None:  # nothing may follow the end
            await asyncio.wait({self._commenting})
        self.finished = True
        await self._send({"type": "http.response.body", "body": body})


# ---------------------------------------------------------------- metadata and errors as bytes


def _metadata_json(metadata: RoutingMetadata | None) -> bytes:
    if metadata is None:
        return b"null"
    encoded = msgspec.json.encode(metadata)
    return encoded if encoded.isascii() else json.dumps(msgspec.to_builtins(metadata)).encode()


def _metadata_headers(metadata: RoutingMetadata | None, encoded: bytes) -> tuple[Header, ...]:
    if metadata is None:
        return ()
    told = encoded if metadata.context is msgspec.UNSET else _counted(metadata, metadata.context)
    return ((b"x-routing-metadata", told), (b"x-routing-model-id", metadata.model_id.encode("latin-1", "replace")))


def _counted(metadata: RoutingMetadata, context: Context) -> bytes:
    """Counts in place of the body's lists, which grow with the documents: many clients refuse 8 kB of headers."""
    counts = {
        "documents_kept": len(context.kept),
        "passages_cut": len(context.cuts),
        "tokens_before": context.tokens_before,
        "tokens_after": context.tokens_after,
        "tokens_saved": context.tokens_saved,
    }
    bare = msgspec.to_builtins(msgspec.structs.replace(metadata, context=msgspec.UNSET))
    return json.dumps(bare | {"context": counts}).encode()


def splice(body: bytes, metadata: bytes) -> bytes:
    """A JSON object with `x-routing-metadata` as its first member; the rest stays as the upstream wrote it."""
    start = body.find(b"{") + 1
    rest = body[start:]
    comma = b"" if rest.lstrip().startswith(b"}") else b","
    return body[:start] + b'"x-routing-metadata":' + metadata + comma + rest


def splice_event(chunk: bytes, metadata: bytes) -> bytes:
    """Whole events, the first JSON one with the metadata spliced in."""
    found = _JSON_EVENT.search(chunk)
    return chunk if found is None else chunk[: found.end()] + splice(chunk[found.end() :], metadata)


def without_usage_event(chunk: bytes) -> bytes:
    """Whole events without the choiceless usage event that we asked for and the caller did not."""
    if _NO_CHOICES.search(chunk) is None:
        return chunk
    kept = [event for event in chunk.split(b"\n\n") if not _is_usage_event(event)]
    return b"\n\n".join(kept)


def _is_usage_event(event: bytes) -> bool:
    return b'"usage"' in event and _NO_CHOICES.search(event) is not None


def usage_event(usage: Usage) -> bytes:
    """OpenAI's last event, which tells the usage; here of an upstream that told none, so it is an estimate."""
    counts = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "estimated": usage.is_estimated,
    }
    event = {"object": "chat.completion.chunk", "choices": [], "usage": counts}
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


def error_json(error: PointsmanError, delivered_events: int | None = None) -> bytes:
    """OpenAI's error object. Rejections and attempts come along, so that the cause needs no log; in a stream, how much
    of the answer was delivered."""
    detail: dict[str, object] = {
        "message": error.message,
        "type": error.row.openai_type,
        "param": error.param,
        "code": error.code,
    }
    if delivered_events is not None:
        detail["delivered_events"] = delivered_events
    if isinstance(error, NoCapableModel):
        detail["rejected"] = error.rejected
    if isinstance(error, PlanExhausted):
        detail["attempts"] = [
            {"deployment": a.deployment_id, "error": a.error, "detail": a.detail} for a in error.attempts
        ]
    return msgspec.json.encode({"error": detail})


def _retry_after(error: PointsmanError) -> tuple[Header, ...]:
    if isinstance(error, Refused):
        return ((b"retry-after", b"%d" % max(1, round(error.retry_after_s))),)
    if isinstance(error, UpstreamError):
        return ((b"retry-after", b"%d" % max(1, round(min(error.retry_after_s, LONGEST_RETRY_AFTER_S)))),)
    if isinstance(error, PlanExhausted):
        return ((b"retry-after", b"1"),)
    return ()

"""The one way out: HTTP to upstreams, cheaply, with every library exception turned into ours at this seam.

Knows: aiohttp, connections, silence. Does not know: OpenAI's wire beyond its `[DONE]`, leases, retries of a plan.

Invariants: only UpstreamError leaves this file; leaving a reply early closes its connection at once, so that the
upstream stops working; a request is sent twice only where a kept-alive connection was dead and nothing came back.

Measured against a zero-delay server on one core: about 60 µs CPU for a buffered POST, 3 µs for a relayed chunk. Plain
`readany` and the library's own silence timer are the cheapest variants (timer: 0.4 µs a chunk); request tracing, which
would tell reused connections from fresh ones, costs 15 µs a request.
"""

import asyncio
import io
import secrets
from collections.abc import AsyncIterator, Callable
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError

from pointsman import __version__
from pointsman.clock import Clock, SystemClock
from pointsman.errors import UpstreamError
from pointsman.types import FormFile

CONNECT_TIMEOUT_S = 5.0
KEEP_ALIVE_S = 4.0  # uvicorn and llama.cpp close an idle connection after 5 s: ours must be the first to let go
STALE_WITHIN_S = 1.0  # a dead kept-alive connection shows at once; a later cut is the upstream's failure
LINGER_S = 0.25
MAX_BODY_BYTES = 64 * 1024 * 1024
LARGE_BODY_BYTES = 1024 * 1024
NO_HEADERS = ("User-Agent", "Accept", "Accept-Encoding")
STREAM_ENDS = (b"[DONE]\n\n", b"[DONE]\r\n\r\n")
FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError)  # OSError holds TimeoutError too

Headers = tuple[tuple[str, str], ...]


class AiohttpClient:
    """`backends.base.HttpClient`. Enter it once; the session is made inside the running loop, by the first request."""

    def __init__(self, clock: Clock | None = None, *, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self.clock = clock or SystemClock()
        self.max_body_bytes = max_body_bytes
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def post(
        self,
        url: str,
        *,
        body: bytes = b"",
        fields: Headers = (),
        file: FormFile | None = None,
        headers: Headers = (),
        first_byte_timeout_s: float,
        idle_timeout_s: float,
    ) -> "_Exchange":
        """POST `body` as JSON, or `fields` and `file` as multipart/form-data where `file` is given.

        `first_byte_timeout_s` is how long the upstream may be silent before the first byte of its body,
        `idle_timeout_s` afterwards. Raises UpstreamError on entering and while reading.
        """
        sent = {"Content-Type": "application/json", "User-Agent": f"pointsman/{__version__}", **dict(headers)}
        if file is not None:
            body, sent["Content-Type"] = _multipart(fields, file)
        return _Exchange(
            self, url, body, sent, first_byte_timeout_s=first_byte_timeout_s, idle_timeout_s=idle_timeout_s
        )

    async def get(self, url: str, *, headers: Headers = (), timeout_s: float) -> tuple[int, bytes]:
        """GET a small document: status and body."""
        limits = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self.session().get(url, headers=dict(headers), allow_redirects=False, timeout=limits) as answer:
                return answer.status, await _bounded(answer.content, self.max_body_bytes)
        except FOREIGN as error:
            raise _mapped(error) from error

    def session(self) -> aiohttp.ClientSession:
        """The one session, with its pool of connections."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                response_class=_response_class(WeakSet()),
                skip_auto_headers=NO_HEADERS,
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def __repr__(self) -> str:
        return f"AiohttpClient({'idle' if self._session is None else 'open'})"


class StaleConnectionError(aiohttp.ClientError):
    """A kept-alive connection was dead: nothing came back on it."""


def _response_class(served: "WeakSet[ResponseHandler]") -> type[aiohttp.ClientResponse]:
    """A response that knows whether its connection had served before. (Tracing would tell too, at 15 µs a request.)"""

    class Response(aiohttp.ClientResponse):
        async def start(self, connection: Connection) -> aiohttp.ClientResponse:
            handler = connection.protocol
            try:
                await super().start(connection)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if handler in served and not _is_silence_or_answer(error):
                    raise StaleConnectionError("nothing came back") from error
                raise
            if handler is not None:
                served.add(handler)
            return self

    return Response


def _is_silence_or_answer(error: Exception) -> bool:
    """Not a dead connection: the upstream took the request and was silent, or began to answer."""
    began = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)
    return began or isinstance(error, TimeoutError)


class _Exchange:
    """One POST and its answer while the connection is open: the context and the HttpReply in one object."""

    def __init__(
        self,
        client: AiohttpClient,
        url: str,
        body: bytes,
        headers: dict[str, str],
        *,
        first_byte_timeout_s: float,
        idle_timeout_s: float,
    ) -> None:
        self.status = 0
        self.content_type = ""
        self.retry_after_s: float | None = None
        self._client = client
        self._url = url
        self._body = body
        self._headers = headers
        self._first_byte_timeout_s = first_byte_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._answer: aiohttp.ClientResponse | None = None
        self._last = b""

    async def __aenter__(self) -> Self:
        try:
            answer = await self._send()
        except FOREIGN as error:
            raise _mapped(error) from error
        self._answer, headers = answer, answer.headers
        self.status = answer.status
        self.content_type = headers.get("Content-Type", "")
        encoding = headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            answer.close()
            raise UpstreamError(
                f"The model's server compressed its answer ({encoding}) though nobody asked; switch that off there",
                code="upstream_protocol",
                upstream_status=answer.status,
            )
        if "Retry-After" in headers:
            self.retry_after_s = _seconds(headers["Retry-After"], self._client.clock.unix)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        answer = self._answer
        if answer is None or answer.connection is None:  # whole: the connection is back in the pool
            return
        if kind is None and self._last.endswith(STREAM_ENDS):
            # It has said its last event and is about to end its body; waited for, the connection serves again.
            asyncio.get_running_loop().call_later(LINGER_S, answer.close)
        else:
            answer.close()

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. An iterator, not a generator: one left early needs no task to finish it."""
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._content().readany()
        except FOREIGN as error:
            raise _mapped(error, self.status) from error
        if not self._last:
            self._from_now_idle()
        if not chunk:
            raise StopAsyncIteration
        self._last = chunk
        return chunk

    async def read(self) -> bytes:
        """The whole body. Once it has begun it must be whole within the idle limit: a server that sends it byte by byte
        is never silent, and holds a slot for hours."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as scope:

                def begun() -> None:
                    self._from_now_idle()
                    scope.reschedule(loop.time() + self._idle_timeout_s)

                return await _bounded(self._content(), self._client.max_body_bytes, begun)
        except FOREIGN as error:
            raise _mapped(error, self.status) from error

    async def _send(self) -> aiohttp.ClientResponse:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        try:
            return await self._send_once()
        except StaleConnectionError:
            if loop.time() - started_s > STALE_WITHIN_S:
                raise
            return await self._send_once()

    async def _send_once(self) -> aiohttp.ClientResponse:
        body = self._body
        return await self._client.session().post(
            self._url,
            # aiohttp writes a large body in pieces only where it can read it like a file
            data=body if len(body) <= LARGE_BODY_BYTES else io.BytesIO(body),
            headers=self._headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=self._first_byte_timeout_s
            ),
        )

    def _content(self) -> aiohttp.StreamReader:
        if self._answer is None:
            raise UpstreamError("The answer is read outside its context", code="upstream_protocol")
        return self._answer.content

    def _from_now_idle(self) -> None:
        """The first byte is here: from now on the other limit counts."""
        connection = self._answer and self._answer.connection
        if connection and connection.protocol is not None:
            connection.protocol.read_timeout = self._idle_timeout_s
            connection.protocol.start_timeout()

    def __repr__(self) -> str:
        return f"HttpReply({self._url}, {self.status or 'not sent'})"


async def _bounded(content: aiohttp.StreamReader, max_bytes: int, on_first: Callable[[], None] | None = None) -> bytes:
    """All of it, up to a limit that protects the gateway's memory."""
    chunk = await content.readany()
    if on_first:
        on_first()
    pieces, size_bytes = [], 0
    while chunk:
        pieces.append(chunk)
        size_bytes += len(chunk)
        if size_bytes > max_bytes:
            raise UpstreamError(f"The model's server sent more than {max_bytes} bytes", code="upstream_protocol")
        chunk = await content.readany()
    return b"".join(pieces)


def _multipart(fields: Headers, file: FormFile) -> tuple[bytes, str]:
    """A multipart/form-data body and its content type."""
    boundary = secrets.token_hex(16)
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'
        for name, value in fields
    )
    head += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(file.field)}"; '
        f'filename="{_quoted(file.filename)}"\r\nContent-Type: {_quoted(file.mime)}\r\n\r\n'
    )
    body = b"".join((head.encode(), file.data, f"\r\n--{boundary}--\r\n".encode()))
    return body, f"multipart/form-data; boundary={boundary}"


def _quoted(text: str) -> str:
    """As HTML's forms escape names: no quote or line break can end the header."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _seconds(retry_after: str, unix: Callable[[], float]) -> float | None:
    """`Retry-After` in seconds: it is a number or a date."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - unix())
    except ValueError:
        return None


def _mapped(error: Exception, status: int = 0) -> UpstreamError:
    """The seam: every exception of the library and the system in our words, which name no address: callers read them.

    1. never connected → unreachable  2. silence → timeout  3. not HTTP → protocol  4. cut off → cut
    """
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL):
        return UpstreamError("The model's server cannot be reached; is it running?", code="upstream_unreachable")
    if isinstance(error, TimeoutError):
        return UpstreamError(
            "The model's server was silent for too long", code="upstream_timeout", upstream_status=status
        )
    if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        return UpstreamError("The model's server does not speak HTTP properly", code="upstream_protocol")
    said = "The model's server closed the connection early"
    return UpstreamError(said, code="upstream_cut", upstream_status=status)

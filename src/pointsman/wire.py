"""One connection: uvicorn's HTTP protocol, with a bound on the head of a request, in size and in time.

Knows: when a head begins and when it is whole. Does not know: what is in it, bodies (`edge.http` bounds those).
Uvicorn bounds neither: a caller could send headers without end, or hold a connection by a byte a minute.
"""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pointsman.edge.http import error_json
from pointsman.errors import RequestError

MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 20.0


class Wire(HttpToolsProtocol):
    """A head too large or too slow ends the connection, with one error where a caller may still be listening."""

    head_timeout_s = HEAD_TIMEOUT_S
    _head_bytes = 0
    _head_is_whole = False
    _too_slow: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._head_is_whole:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_is_whole or self.transport.is_closing():
            return
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(f"The head of the request has more than {MAX_HEAD_BYTES} bytes; send shorter headers")
        elif self._too_slow is None:
            self._wait_for_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_is_whole, self._head_bytes = False, 0

    def on_headers_complete(self) -> None:
        self._head_is_whole = True
        self._stop_waiting()
        super().on_headers_complete()

    def _wait_for_head(self) -> None:
        self._too_slow = self.loop.call_later(self.head_timeout_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._too_slow is not None:
            self._too_slow.cancel()
            self._too_slow = None

    def _give_up(self) -> None:
        self._too_slow = None
        if not self.transport.is_closing():
            self._refuse(f"The head of the request did not arrive within {self.head_timeout_s:g} s")

    def _refuse(self, why: str) -> None:
        """The one error object, and the end."""
        self._stop_waiting()
        error = RequestError(why, code="request_too_large")
        body = error_json(error)
        head = b"HTTP/1.1 %d Refused\r\ncontent-type: application/json\r\n" % error.http_status
        self.transport.write(b"%bcontent-length: %d\r\nconnection: close\r\n\r\n%b" % (head, len(body), body))
        self.transport.close()

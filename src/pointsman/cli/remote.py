"""A running server, as commands ask it.

Knows: its address and key by the settings, HTTP by the standard library: no proxy stands between a machine and itself.
Does not know: what the answers mean.
"""

import http.client
import os
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import msgspec
import typer

from pointsman.errors import PointsmanError, RequestError, UpstreamError
from pointsman.settings import Settings

ANSWER_S = 10.0
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  # what a server may listen on

UrlOption = Annotated[
    str | None, typer.Option("--url", help="A running server; default: the address that the settings name.")
]


class _Said(msgspec.Struct):
    message: str = ""
    code: str = "upstream_error"


class _Failure(msgspec.Struct):
    error: _Said


class NoServer(Exception):  # noqa: N818  # nothing is wrong: nobody listens there
    """Nothing answers at the address."""


class Remote:
    """A server at `url`; `key` is the admin key, empty for none."""

    def __init__(self, url: str, key: str = "") -> None:
        self.url = url.rstrip("/")
        self._key = key

    @classmethod
    def of(cls, settings: Settings, url: str | None) -> "Remote":
        """The one that the settings describe, at `url` where that is given; the key by `server.admin_key_env`."""
        server = settings.server
        host = ANYWHERE.get(server.host, server.host)
        key = os.environ.get(server.admin_key_env, "") if server.admin_key_env else ""
        return cls(url or f"http://{f'[{host}]' if ':' in host else host}:{server.port}", key.strip())

    def ask(self, method: str, *path: str, body: object = None, query: str = "", answer_s: float = ANSWER_S) -> Any:
        """The answer's JSON. Raises NoServer, UpstreamError where it makes no sense, the server's own error."""
        status, data = self._exchange(method, path, body, query, answer_s)
        try:
            answer = msgspec.json.decode(data)
        except msgspec.DecodeError:
            raise UpstreamError(f"{self.url} is no Pointsman: it answered {status} without JSON") from None
        if status < 400:
            return answer
        raise _error_of(answer, status, self.url)

    def _exchange(
        self, method: str, path: tuple[str, ...], body: object, query: str, answer_s: float
    ) -> tuple[int, bytes]:
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        where = f"{parts.path}/{'/'.join(quote(step, safe='') for step in path)}"
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = kind(parts.hostname or "", parts.port, timeout=answer_s)
        try:
            data = None if body is None else msgspec.json.encode(body)
            connection.request(method, f"{where}?{query}" if query else where, data, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except TimeoutError:
            raise UpstreamError(f"{self.url} has not answered after {answer_s:g} s", code="upstream_timeout") from None
        except (OSError, http.client.HTTPException) as error:
            raise NoServer(f"no server at {self.url} ({error})") from None
        finally:
            connection.close()

    def __repr__(self) -> str:
        return f"Remote({self.url})"


def _error_of(answer: object, status: int, url: str) -> PointsmanError:
    try:
        said = msgspec.convert(answer, _Failure).error
    except msgspec.ValidationError:
        return UpstreamError(f"{url} answered {status}", upstream_status=status)
    return RequestError(said.message, code=said.code)

"""The guarded fetcher: what a caller's links lead to, as data.

Knows: HTTP, and when to stop. Does not know: whose request it is, what the media are for.
Invariants: every address is checked after the name is resolved and before it is connected to (a name cannot change in
between, for the connection uses the answer that was checked), at every redirect; bounded in number, size, time and
type; no cookie, no proxy of the environment, no header of the caller travels along.
"""

import asyncio
import ipaddress
import socket
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from pointsman.errors import NOT_JSON, RequestError
from pointsman.media.guard import checked, is_public, refused
from pointsman.media.links import data_uri, links_of, may_link, with_data
from pointsman.settings import MediaSettings

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 3
TYPES = ("image/", "audio/", "video/")
MEBIBYTE = 1024 * 1024


class GuardedResolver(AbstractResolver):
    """Names → addresses of the public network only; any address for the operator's own hosts."""

    def __init__(self, allowed_hosts: frozenset[str]) -> None:
        self._allowed = allowed_hosts
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if host in self._allowed:
            return found
        if not found or not all(is_public(one["host"]) for one in found):
            raise OSError(f"{host} is not on the public network")
        return found

    async def close(self) -> None:
        await self._inner.close()


class Fetcher:
    """`async with fetcher:` closes its connections. Where fetching is off, links stay as they are."""

    def __init__(self, settings: MediaSettings) -> None:
        self._settings = settings
        self._allowed = frozenset(settings.allowed_hosts)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def inlined(self, body: bytes) -> bytes:
        """A chat body with its linked media in it. Raises RequestError `invalid_media`, naming the field."""
        if not self._settings.fetch or not may_link(body):
            return body
        try:
            document: Any = msgspec.json.decode(body)
        except NOT_JSON:
            return body  # the decoder says what is wrong with it
        links = links_of(document)
        if len(links) > self._settings.max_links:
            raise refused(links[-1][0], f"is number {len(links)}; at most {self._settings.max_links} are fetched")
        if not links:
            return body
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {url: group.create_task(self._fetch(url, where)) for where, url in links}
        except* RequestError as failures:
            raise _first(failures) from None
        return with_data(document, {url: task.result() for url, task in tasks.items()})

    async def _fetch(self, url: str, param: str) -> str:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await self._follow(url, param)
        except TimeoutError:
            raise refused(param, f"was not answered within {self._settings.timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            raise refused(param, f"could not be fetched ({_said(error)})") from None

    async def _follow(self, url: str, param: str) -> str:
        for _ in range(MOST_REDIRECTS + 1):
            parts = checked(url, self._allowed, param)
            host = parts.hostname or ""
            if host not in self._allowed and _is_literal(host) and not is_public(host):  # nothing is resolved then
                raise refused(param, "leads to an address that is not on the public network")
            async with self._open().get(url, allow_redirects=False) as response:
                if response.status in REDIRECTS and (target := response.headers.get("Location")):
                    url = urljoin(url, target)
                    continue
                return await self._read(response, param)
        raise refused(param, f"leads through more than {MOST_REDIRECTS} redirects")

    async def _read(self, response: aiohttp.ClientResponse, param: str) -> str:
        mime = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if response.status != 200:
            raise refused(param, f"was answered with HTTP {response.status}")
        if not mime.startswith(TYPES):
            raise refused(param, f"leads to {mime or 'nothing that says what it is'}, not an image, audio or video")
        most_bytes = int(self._settings.max_mb * MEBIBYTE)
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > most_bytes:
                raise refused(param, f"leads to more than {self._settings.max_mb:g} MiB (media.max_mb)")
        return data_uri(mime, bytes(content))

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=GuardedResolver(self._allowed), use_dns_cache=False),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                headers={"Accept": "image/*, audio/*, video/*", "User-Agent": "pointsman"},
            )
        return self._session

    def __repr__(self) -> str:
        return f"Fetcher({'on' if self._settings.fetch else 'off'})"


def _first(failures: BaseExceptionGroup[RequestError]) -> RequestError:
    """One link that failed is enough to refuse a request; the others were cancelled."""
    failure = failures.exceptions[0]
    return _first(failure) if isinstance(failure, BaseExceptionGroup) else failure


def _is_literal(host: str) -> bool:
    """Whether the connector would connect without asking the resolver."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host.replace(".", "").isdigit()
    return True


def _said(error: Exception) -> str:
    """What went wrong, without addresses that the caller did not know."""
    if isinstance(error, aiohttp.ClientConnectorDNSError) or "public network" in str(error):
        return "its name leads nowhere on the public network"
    return type(error).__name__

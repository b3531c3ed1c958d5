"""A hub of one's own on two free ports, as the public Hugging Face hub answers, and as it misbehaves.

Knows: the API that `sources.hub` asks, the redirect of large files to another host, ranges. Does not know: models.
What was asked stands in `seen`; a test asserts on it.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from types import MappingProxyType, TracebackType
from typing import Self
from urllib.parse import quote

from aiohttp import web

from pointsman.types import Value

LARGE_BYTES = 10_000
SIGNED = "disposition=inline%3B+name*%3DUTF-8%27%27a%22%2Fb&signature=a~b%2Bc%2F%3d&Key-Pair-Id=K"
"""The query of a large file's address: signed as it is written, so that whoever tidies it up is refused."""
EMPTY: Mapping[str, str] = MappingProxyType({})
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SeenByHub(Value, frozen=True):
    """One request: `host` is `hub` or `store`, `start` the first byte asked for."""

    host: str
    path: str
    start: int
    authorization: str


class FakeHub:
    """`repos`: name → path → bytes; files of `LARGE_BYTES` and more go by SHA-256 and another host, as LFS files do.

    `gated`: only `token` opens it. `cuts`: path → how many answers break off half way. `wrong`: path → bytes served
    instead. `statuses`: path → what its next answers are instead. `gate`: large files wait for it half way.
    """

    def __init__(self, repos: dict[str, dict[str, bytes]], page: int = 1000) -> None:
        self.repos = repos
        self.page = page
        self.token = ""
        self.gated = False
        self.cuts: dict[str, int] = {}
        self.wrong: dict[str, bytes] = {}
        self.statuses: dict[str, list[int]] = {}
        self.gate: asyncio.Event | None = None
        self.seen: list[SeenByHub] = []
        self.url = self.store_url = ""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.store_url = await self._serve(("/{repo:[^/]+/[^/]+}/{path:.+}", self._stored))
        self.url = await self._serve(
            ("/api/models/{repo:[^/]+/[^/]+}/revision/{revision}", self._revision),
            ("/api/models/{repo:[^/]+/[^/]+}/tree/{revision}", self._tree),
            ("/{repo:[^/]+/[^/]+}/resolve/{revision}/{path:.+}", self._resolve),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def commit(self, repo: str) -> str:
        """What `main` names now: changes with any byte of the repository."""
        digest = hashlib.sha1(usedforsecurity=False)
        for path, body in sorted(self.repos[repo].items()):
            digest.update(path.encode())
            digest.update(body)
        return digest.hexdigest()

    def fetched(self, host: str = "store") -> list[tuple[str, int]]:
        """(path, first byte) of every file asked for at this host."""
        return [(one.path, one.start) for one in self.seen if one.host == host and not one.path.startswith("api")]

    async def _serve(self, *routes: tuple[str, Handler]) -> str:
        app = web.Application()
        for path, handler in routes:
            app.router.add_get(path, handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}"

    def _note(self, host: str, request: web.Request, path: str) -> None:
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.seen.append(SeenByHub(host, path, start, request.headers.get("Authorization", "")))

    def _closed(self, request: web.Request) -> web.Response | None:
        """What a stranger hears: 401 for a repository that is gated, and for one that is not there."""
        repo, asked = request.match_info["repo"], request.headers.get("Authorization", "")
        if repo not in self.repos:
            return _refusal(404 if asked else 401, "RepoNotFound")
        if self.gated and asked != f"Bearer {self.token}":
            return _refusal(403 if asked else 401, "GatedRepo")
        revision = request.match_info["revision"]
        return None if revision in ("main", self.commit(repo)) else _refusal(404, "RevisionNotFound")

    async def _revision(self, request: web.Request) -> web.StreamResponse:
        repo = request.match_info["repo"]
        self._note("hub", request, f"api/{repo}")
        return self._closed(request) or web.json_response({"id": repo, "sha": self.commit(repo), "gated": self.gated})

    async def _tree(self, request: web.Request) -> web.StreamResponse:
        repo, revision = request.match_info["repo"], request.match_info["revision"]
        self._note("hub", request, f"api/{repo}/tree")
        if closed := self._closed(request):
            return closed
        files = sorted(self.repos[repo].items())
        start = int(request.query.get("cursor", "0"))
        nodes: list[dict[str, object]] = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "folder"}]
        answer = web.json_response(nodes + [_node(*file) for file in files[start : start + self.page]])
        if start + self.page < len(files):
            more = f"{self.url}/api/models/{repo}/tree/{revision}?recursive=true&cursor={start + self.page}"
            answer.headers["Link"] = f'<{more}>; rel="next"'
        return answer

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        repo, path = request.match_info["repo"], request.match_info["path"]
        self._note("hub", request, path)
        if closed := self._closed(request):
            return closed
        if path not in self.repos[repo]:
            return _refusal(404, "EntryNotFound")
        body = self.repos[repo][path]
        headers = {"X-Repo-Commit": self.commit(repo)}
        if len(body) < LARGE_BYTES:
            return await self._send(request, path, body, headers)
        headers |= {"X-Linked-Etag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Linked-Size": str(len(body))}
        headers["Location"] = f"{self.store_url}/{repo}/{quote(path)}?{SIGNED}"
        return web.Response(status=302, headers=headers)

    async def _stored(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        self._note("store", request, path)
        if path not in self.repos.get(request.match_info["repo"], {}):
            return web.Response(status=404)
        if request.raw_path.partition("?")[2] != SIGNED:
            return web.Response(status=403)
        return await self._send(request, path, self.repos[request.match_info["repo"]][path])

    async def _send(
        self, request: web.Request, path: str, body: bytes, headers: Mapping[str, str] = EMPTY
    ) -> web.StreamResponse:
        if waiting := self.statuses.get(path):
            return web.Response(status=waiting.pop(0), headers={"Retry-After": "3"})
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        body, start = self.wrong.get(path, body), self.seen[-1].start
        if request.headers.get("If-Range", etag) != etag:
            start = 0
        answer = web.StreamResponse(status=206 if start else 200, headers={"ETag": etag, **headers})
        if start:
            answer.headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        answer.content_length = len(body) - start
        await answer.prepare(request)
        if request.method == "HEAD":
            return answer
        is_cut = self.cuts.get(path, 0) > 0
        middle = start + (len(body) - start) // 2
        await answer.write(body[start:middle])
        if self.gate and len(body) >= LARGE_BYTES:
            await self.gate.wait()
        if is_cut:
            self.cuts[path] -= 1
            if request.transport:
                request.transport.close()
            return answer
        await answer.write(body[middle:])
        return answer

    def __repr__(self) -> str:
        return f"FakeHub({', '.join(self.repos)} at {self.url or 'no address yet'})"


def _refusal(status: int, code: str) -> web.Response:
    return web.json_response({"error": code}, status=status, headers={"X-Error-Code": code})


def _node(path: str, body: bytes) -> dict[str, object]:
    git = hashlib.sha1(f"blob {len(body)}\0".encode() + body, usedforsecurity=False).hexdigest()
    node: dict[str, object] = {"type": "file", "oid": git, "size": len(body), "path": path}
    if len(body) >= LARGE_BYTES:
        node["lfs"] = {"oid": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 134}
        node["oid"] = "f" * 40
    return node

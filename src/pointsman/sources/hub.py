"""Weights from a hub: the files of one revision of one repository, several at once, whole or not at all.

Knows: the hub's HTTP API, as the public Hugging Face hub and its mirrors speak it. Does not know: which files make a
model (`hub_files`), how bytes travel (`transfer`).
Invariants: a revision is resolved to a commit once, and every file is of that commit; the folder appears by one rename,
when every file has the size and the hash the hub names; the token goes to the hub alone, encrypted or on this machine.

A fetch, in numbered steps:
1. the revision is resolved, its files listed, those wanted chosen
2. is there room for what is still to come?
3. each file that an earlier try left whole is hashed and kept; the others are transferred and hashed, some at a time
4. what no longer belongs is removed, the manifest written, the folder renamed, staging removed
"""

import asyncio
import hashlib
import ipaddress
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event
from typing import Self, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from pointsman.clock import Clock
from pointsman.sources import disk, hub_files, manifest, transfer
from pointsman.sources.base import FreeBytes, Home, OnProgress, Phase, Progress, fetch_failed
from pointsman.sources.hub_files import HubFile
from pointsman.sources.manifest import Manifest, Stamp
from pointsman.sources.transfer import Transfer, check_status, patiently, size_of
from pointsman.types import Value

PUBLIC_HUB = "https://huggingface.co"
PARALLEL_FILES = 4
MAX_LIST_BYTES = 64 << 20
MAX_PAGES = 100

T = TypeVar("T")


class Hub(Value, frozen=True):
    """Where repositories are, and the token that opens the closed ones; empty: none."""

    url: str = PUBLIC_HUB
    token: str = ""

    @classmethod
    def of(cls, hub_url: str | None, environ: Mapping[str, str]) -> Self:
        """The setting, else `HF_ENDPOINT`, else the public hub; the token of `HF_TOKEN`."""
        url = hub_url or environ.get("HF_ENDPOINT", "").strip() or PUBLIC_HUB
        return cls(url=url.rstrip("/"), token=environ.get("HF_TOKEN", "").strip())

    @property
    def takes_token(self) -> bool:
        """Whether a token may travel there."""
        parts = urlsplit(self.url)
        return parts.scheme == "https" or _is_loopback(parts.hostname or "")

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Raises UpstreamError `fetch_failed` where the token could not be one."""
        if not self.token or not self.takes_token:
            return ()
        if not (self.token.isascii() and self.token.isprintable()):
            raise fetch_failed("HF_TOKEN: holds characters that no token has; set it anew")
        return (("Authorization", f"Bearer {self.token}"),)

    def __repr__(self) -> str:
        return f"Hub({self.url})"


class _Revision(msgspec.Struct):
    sha: str


class _Lfs(msgspec.Struct):
    oid: str
    size: int


class _Node(msgspec.Struct):
    type: str
    path: str
    oid: str = ""
    size: int = 0
    lfs: _Lfs | None = None


class HubOrigin:
    """Some files of one revision of a repository."""

    def __init__(
        self, hub: Hub, repo: str, revision: str, include: tuple[str, ...], clock: Clock, free_bytes: FreeBytes
    ) -> None:
        self.repo = repo
        self.revision = revision
        self.include = include
        self._hub = hub
        self._clock = clock
        self._free_bytes = free_bytes
        self._api = f"{hub.url}/api/models/{repo}"
        self.shown = f"{hub.url}/{repo}" + (f" ({revision})" if revision != "main" else "")

    def __repr__(self) -> str:
        return f"HubOrigin({self.shown})"

    @property
    def key(self) -> str:
        """By hub, revision and patterns, so that two choices from one repository are two sets of weights."""
        what = " ".join((self._hub.url, self.repo, self.revision, *self.include))
        return f"hub-{hashlib.sha256(what.encode()).hexdigest()[:12]}-{self.repo.replace('/', '--')}"

    def present(self, home: Home) -> Path | None:
        found = manifest.whole(home.folder)
        return home.folder / found.opens if found else None

    def size_bytes(self, home: Home) -> int:
        return manifest.size_bytes(home.folder, home.staging)

    async def fetch(self, home: Home, on_progress: OnProgress) -> Path:
        async with transfer.session() as http:
            commit, files = await self._chosen(http, home)  # 1
            parts = _Parts(files, home, on_progress)
            parts.root.mkdir(parents=True, exist_ok=True)
            disk.check_room(home.staging, parts.missing_bytes(), self._free_bytes)  # 2
            stamps = await _gathered([partial(self._file, http, commit, file, parts) for file in files])  # 3
        opens = hub_files.opened(files)
        await disk.in_thread(
            lambda _: _publish(parts.root, home, Manifest(opens=opens, files=stamps, commit=commit))
        )  # 4
        return home.folder / opens

    async def learn_size(self, home: Home) -> None:
        if not self.size_bytes(home):
            async with transfer.session() as http:
                await self._chosen(http, home)

    async def is_outdated(self, home: Home) -> bool:
        """Whether the revision names another commit than the one that is here. Raises UpstreamError `fetch_failed`."""
        found = manifest.whole(home.folder)
        async with transfer.session() as http:
            return found is not None and found.commit != await self._commit(http)

    async def _chosen(self, http: aiohttp.ClientSession, home: Home) -> tuple[str, tuple[HubFile, ...]]:
        """The commit, and the files wanted of it; their size is noted."""
        commit, listed = await self._list(http)
        files = hub_files.chosen(listed, self.include, self.shown)
        manifest.announce(home.staging, sum(file.size_bytes for file in files))
        return commit, files

    async def _file(self, http: aiohttp.ClientSession, commit: str, file: HubFile, parts: "_Parts") -> Stamp:
        """One file under `parts.root`, checked."""
        if stamp := await disk.in_thread(partial(parts.kept, file)):
            parts.tell(file, file.size_bytes)
            return stamp
        url = f"{self._hub.url}/{self.repo}/resolve/{commit}/{quote(file.path)}"
        folder, headers = parts.folder_of(file), self._hub.headers
        coming = Transfer(url, folder, self._clock, self._free_bytes, self._remedy, headers)
        await coming.run(http, lambda done_bytes, _: parts.tell(file, done_bytes))
        parts.tell(file, file.size_bytes)
        return await disk.in_thread(partial(parts.keep, file, coming))

    async def _list(self, http: aiohttp.ClientSession) -> tuple[str, tuple[HubFile, ...]]:
        """The commit that the revision names now, and every file of it."""
        commit = await self._commit(http)
        url, files = f"{self._api}/tree/{quote(commit, safe='')}?recursive=true", []
        for _page in range(MAX_PAGES):
            nodes, url = await self._ask(http, url, list[_Node])
            files += [_file_of(node) for node in nodes if node.type == "file"]
            if not url:
                return commit, tuple(files)
        raise fetch_failed(f"{self.shown}: lists more than {MAX_PAGES} pages of files; name another repository")

    async def _commit(self, http: aiohttp.ClientSession) -> str:
        revision, _ = await self._ask(http, f"{self._api}/revision/{quote(self.revision, safe='')}", _Revision)
        return revision.sha

    async def _ask(self, http: aiohttp.ClientSession, url: str, kind: type[T]) -> tuple[T, str]:
        """A document of the API, and the address of its next page, empty on the last."""

        async def get() -> tuple[bytes, str]:
            async with http.get(url, headers=dict(self._hub.headers), max_redirects=transfer.MAX_REDIRECTS) as answer:
                check_status(answer, self.shown, self._remedy)
                body = await answer.content.read(MAX_LIST_BYTES)
                while piece := await answer.content.read(MAX_LIST_BYTES - len(body)):
                    body += piece
                more = answer.links.get("next")
                return body, str(more["url"]) if more else ""

        body, more = await patiently(get, self.shown, self._clock)
        if more and not more.startswith(f"{self._hub.url}/"):  # the token goes nowhere else
            raise fetch_failed(f"{self.shown}: continues its list of files on another host; correct `hub_url`")
        try:
            return msgspec.json.decode(body, type=kind), more
        except msgspec.DecodeError as error:
            said = f"{self.shown}: {transfer.shown(url)} is no answer of a hub ({error})"
            raise fetch_failed(f"{said}; correct `hub_url` or HF_ENDPOINT") from None

    def _remedy(self, answer: aiohttp.ClientResponse) -> str:
        """In the hub's own codes where it gives one; without a token it says 401 to what is not there, too."""
        code, hub = answer.headers.get("X-Error-Code", ""), self._hub
        if hub.token and not hub.takes_token and answer.status in (401, 403):
            return "HF_TOKEN is not sent to a hub without encryption; name it with https"
        if code == "GatedRepo":
            whose = "the account of HF_TOKEN" if hub.token else "your account, and put a token of it into HF_TOKEN"
            return f"its terms must be accepted: do so at {hub.url}/{self.repo} with {whose}"
        if code == "RevisionNotFound":
            return f"it has no revision `{self.revision}`: correct `source.revision`"
        if answer.status in (401, 403, 404):
            token = "check that HF_TOKEN may read it" if hub.token else "put a token that may read it into HF_TOKEN"
            return f"there is no such repository, or it is private: correct `source.hub`, or {token}"
        return "try again later, or another hub by `hub_url`"


class _Parts:
    """What a fetch has so far: whole files below `root`, the beginnings of others beside it."""

    def __init__(self, files: tuple[HubFile, ...], home: Home, on_progress: OnProgress) -> None:
        self.root = home.staging / "whole"
        self._home = home
        self._done = dict.fromkeys((file.path for file in files), 0)
        self._files = files
        self._total_bytes = sum(file.size_bytes for file in files)
        self._on_progress = on_progress

    def folder_of(self, file: HubFile) -> Path:
        """Where its beginning is, by its hash: a beginning outlives a new commit that leaves the file as it is."""
        return self._home.staging / "parts" / f"{file.pin}-{hashlib.sha256(file.path.encode()).hexdigest()[:8]}"

    def missing_bytes(self) -> int:
        """What is still to come, by sizes alone."""
        return sum(file.size_bytes - self._have_bytes(file) for file in self._files)

    def _have_bytes(self, file: HubFile) -> int:
        places = (self.root / file.path, self._home.folder / file.path)
        if any(size_of(place) == file.size_bytes for place in places):
            return file.size_bytes
        return min(size_of(self.folder_of(file) / "body"), file.size_bytes)

    def tell(self, file: HubFile, done_bytes: int) -> None:
        """So many bytes of this file are here."""
        self._done[file.path] = min(done_bytes, file.size_bytes)
        done = sum(self._done.values())
        phase = Phase.CHECKING if done == self._total_bytes else Phase.DOWNLOADING
        self._on_progress(Progress(phase=phase, done_bytes=done, total_bytes=self._total_bytes))

    def kept(self, file: HubFile, stop: Event) -> Stamp | None:
        """The stamp of a file that is right already, here or in the folder that is to be replaced."""
        place, old = self.root / file.path, self._home.folder / file.path
        for found in (place, old):
            if found.is_file() and found.stat().st_size == file.size_bytes and (stamp := _stamp(found, file, stop)):
                if found is old:
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.unlink(missing_ok=True)
                    os.link(old, place)
                return stamp
        return None

    def keep(self, file: HubFile, coming: Transfer, stop: Event) -> Stamp:
        """Check what came and put it in its place. Wrong bytes are not worth keeping."""
        disk.sync_file(coming.body)
        stamp = _stamp(coming.body, file, stop)
        if stamp is None:
            came_bytes = size_of(coming.body)
            shutil.rmtree(coming.body.parent)
            raise fetch_failed(
                f"{coming.shown}: {came_bytes} bytes came whose hash is not {file.pin[:12]}… as the hub says "
                f"({file.size_bytes} bytes); run the same command again, or try another hub by `hub_url`"
            )
        disk.check_magic(coming.body, file.path, coming.shown)
        place = self.root / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        coming.body.replace(place)
        shutil.rmtree(coming.body.parent)
        return stamp


async def _gathered(works: Sequence[Callable[[], Awaitable[T]]]) -> tuple[T, ...]:
    """All of them, some at a time; the first that fails ends the others."""
    slots = asyncio.Semaphore(PARALLEL_FILES)

    async def one(work: Callable[[], Awaitable[T]]) -> T:
        async with slots:
            return await work()

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(work)) for work in works]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return tuple(task.result() for task in tasks)


def _publish(root: Path, home: Home, whole: Manifest) -> None:
    """Give the finished folder its name."""
    wanted = {root / stamp.name for stamp in whole.files}
    for path in root.rglob("*"):
        if not path.is_dir() and path not in wanted:
            path.unlink()
    manifest.write(root, whole)
    shutil.rmtree(home.folder, ignore_errors=True)
    home.folder.parent.mkdir(parents=True, exist_ok=True)
    root.replace(home.folder)
    disk.sync_folder(home.folder.parent)
    shutil.rmtree(home.staging, ignore_errors=True)


def _stamp(path: Path, file: HubFile, stop: Event) -> Stamp | None:
    """The file's stamp, if its bytes hash to its pin; git hashes `blob`, the length and a zero byte first."""
    sha256, git = hashlib.sha256(), hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    for chunk in disk.chunks_of(path, stop):
        sha256.update(chunk)
        if not file.sha256:
            git.update(chunk)
    if file.pin != (sha256.hexdigest() if file.sha256 else git.hexdigest()):
        return None
    return Stamp(name=file.path, size_bytes=path.stat().st_size, sha256=sha256.hexdigest())


def _file_of(node: _Node) -> HubFile:
    if node.lfs:
        return HubFile(path=node.path, size_bytes=node.lfs.size, sha256=node.lfs.oid)
    return HubFile(path=node.path, size_bytes=node.size, git_id=node.oid)


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"

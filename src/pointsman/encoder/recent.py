"""The vectors of the last texts. Bounded; safe between the event loop and the encoder's thread."""

import hashlib
from collections import OrderedDict
from threading import Lock

from pointsman.encoder.base import Vector


def key_of(text: str) -> bytes:
    """16 bytes that stand for a text, so that no prompt is kept."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Recent:
    """Least recently used first out; `size` 0 keeps nothing."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._vectors: OrderedDict[bytes, Vector] = OrderedDict()
        self._lock = Lock()

    def get(self, key: bytes) -> Vector | None:
        with self._lock:
            if key not in self._vectors:
                return None
            self._vectors.move_to_end(key)
            return self._vectors[key]

    def put(self, key: bytes, vector: Vector) -> None:
        with self._lock:
            self._vectors[key] = vector
            self._vectors.move_to_end(key)
            while len(self._vectors) > self._size:
                self._vectors.popitem(last=False)

    def resize(self, size: int) -> None:
        """The oldest go where it holds more than that."""
        with self._lock:
            self._size = size
            while len(self._vectors) > size:
                self._vectors.popitem(last=False)

    def __len__(self) -> int:
        return len(self._vectors)

    def __repr__(self) -> str:
        return f"Recent({len(self)} of {self._size})"

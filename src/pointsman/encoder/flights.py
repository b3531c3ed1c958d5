"""One encode at a time, one for each text, shared by all who want it.

Knows: one worker thread, who waits for what. Does not know: requests, what a vector means.

Invariants: at most `MOST_PENDING` texts run or wait, so that a burst is refused at once instead of queued; a text that
nobody waits for any more is dropped unless it already runs; one that runs is kept in `recent` whoever has left.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from pointsman.encoder.base import Encoder, Vector
from pointsman.encoder.recent import Recent

MOST_PENDING = 3  # one runs, two wait: with 20 ms each, the last is done within a deadline of 60 ms


class Flight:
    """One text on its way to a vector. Wait for `landed` with `asyncio.wait`: it cancels and raises nothing."""

    __slots__ = ("key", "landed", "queued", "waiting")

    def __init__(self, key: bytes, queued: "Future[Vector]") -> None:
        self.key = key
        self.queued = queued
        self.landed = asyncio.wrap_future(queued)
        self.waiting = 0


class Flights:
    """Owns the thread and, inside it, the encoder, which is loaded by `load` on first use."""

    def __init__(self, load: Callable[[], Encoder], recent: Recent) -> None:
        self._load = load
        self._recent = recent
        self._encoder: Encoder | None = None
        self._under_way: dict[bytes, Flight] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encoder")

    def warm_up(self) -> "Future[Encoder]":
        """Load the encoder in its thread. The future carries what went wrong."""
        return self._thread.submit(self.loaded)

    def loaded(self) -> Encoder:
        """The encoder, loaded now if it is not. Raises what `load` raises."""
        if self._encoder is None:
            self._encoder = self._load()
        return self._encoder

    def encode(self, key: bytes, text: str) -> Vector:
        """In the calling thread; the vector is kept. Raises what the encoder raises."""
        vector = self.loaded().encode(text)
        self._recent.put(key, vector)
        return vector

    def join(self, key: bytes, text: str) -> Flight | None:
        """The flight of this text, begun if there is none; None where too many are pending. `leave` it when done."""
        flight = self._under_way.get(key)
        if flight is None:
            if len(self._under_way) >= MOST_PENDING:
                return None
            flight = self._under_way[key] = Flight(key, self._thread.submit(self.encode, key, text))
            flight.landed.add_done_callback(lambda landed: self._over(flight, landed))
        flight.waiting += 1
        return flight

    def leave(self, flight: Flight) -> None:
        """One who waited has gone; the last one takes a text that has not begun along."""
        flight.waiting -= 1
        if flight.waiting == 0 and flight.queued.cancel():
            self._forget(flight)

    def _over(self, flight: Flight, landed: "asyncio.Future[Vector]") -> None:
        self._forget(flight)
        if not landed.cancelled():
            landed.exception()  # looked at, so that asyncio does not warn of an error everybody has left

    def _forget(self, flight: Flight) -> None:
        if self._under_way.get(flight.key) is flight:
            del self._under_way[flight.key]

    def close(self) -> None:
        """Drop what waits, let what runs finish."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def __len__(self) -> int:
        return len(self._under_way)

    def __repr__(self) -> str:
        return f"Flights({len(self)} pending)"

"""Gateways that share a Valkey or Redis: each says how its experiments go, and hears the others. Needs the extra
`valkey`.

Knows: the client library, our name for a key. Does not know: what is said, what follows from it (`course`).
Invariants: nothing is raised but cancellation; a store that does not answer within TIMEOUT_S is left alone for PAUSE_S,
and this gateway goes on by itself; what is said is heard within one step, so all look at the same counts in one order.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from pointsman.clock import Clock
from pointsman.valkey_client import FAULTS, client_of

PREFIX = "pointsman:experiment:"
KEPT_S = 7 * 86_400
TIMEOUT_S, PAUSE_S = 2.0, 5.0


class ValkeyCompany:
    """Satisfies `Company`. `changed` hears whether the store is up, and why not."""

    def __init__(self, url: str, password: str, me: str, clock: Clock, changed: Callable[[bool, str], None]) -> None:
        self._url = url
        self.me = me
        self._clock = clock
        self._changed = changed
        self._client = client_of(url, password, TIMEOUT_S)
        self._away_until_s: float | None = None

    async def meet(self, words: Mapping[str, bytes]) -> dict[str, tuple[bytes, ...]] | None:
        """Say a word by each name, and hear everybody's, ours too; None while the store does not answer."""
        if self._away_until_s is not None and self._clock.now() < self._away_until_s:
            return None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answers = await self._exchange(words)
        except FAULTS as error:
            if self._away_until_s is None:
                self._changed(False, f"{type(error).__name__}: {error}".rstrip(": "))
            self._away_until_s = self._clock.now() + PAUSE_S
            return None
        if self._away_until_s is not None:
            self._away_until_s = None
            self._changed(True, "")
        return {name: tuple(said[who] for who in sorted(said)) for name, said in zip(words, answers, strict=True)}

    async def _exchange(self, words: Mapping[str, bytes]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=True)
        for name, word in words.items():
            pipeline.hset(PREFIX + name, mapping={self.me: word})
            pipeline.expire(PREFIX + name, KEPT_S)
            pipeline.hgetall(PREFIX + name)
        answers: list[Any] = await pipeline.execute()
        return answers[2::3]

    async def close(self) -> None:
        """Drop the connections."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._client.aclose()
        except FAULTS:
            return  # it is gone already

    def __repr__(self) -> str:
        return f"ValkeyCompany({self._url}, {'here' if self._away_until_s is None else 'away'})"

"""Kept answers for questions that mean the same: which question lies where, and whether another wording is near enough.

Knows: places, shapes, a judge of cosines. Does not know: how an encoder works, what an answer is.
Invariants: bounded in questions, those longest unused leave first; the encoder is asked only where the rules of
`sameness` have let a question through, so that a miss costs microseconds; where it is not there in time, it is a miss.
The index is this process's own; the answers lie wherever the cache keeps them.
"""

from collections import OrderedDict
from typing import Protocol

from pointsman.cache.questions import Question
from pointsman.cache.sameness import may_be_same

MOST_IN_A_PLACE = 32
MOST_COMPARED = 3


class Judge(Protocol):
    """How near two texts are in meaning."""

    async def cosine(self, one: str, other: str) -> float | None:
        """In [-1, 1]; None where nobody could tell in time."""
        ...


class Semantic:
    """Satisfies `exact.Similar`."""

    def __init__(self, judge: Judge, most: int) -> None:
        self._judge = judge
        self._most = most
        self._places: OrderedDict[bytes, list[tuple[Question, bytes]]] = OrderedDict()
        self._count = 0

    async def find(self, question: Question) -> bytes | None:
        """The key under which an answer was kept to a question that means the same; the nearest one's."""
        held = self._places.get(question.place)
        if held is None:
            return None
        self._places.move_to_end(question.place)
        best: tuple[float, bytes] | None = None
        likely = [entry for entry in reversed(held) if may_be_same(entry[0].shape, question.shape)]
        for other, key in likely[:MOST_COMPARED]:
            cosine = await self._judge.cosine(question.text, other.text)
            if cosine is not None and cosine >= question.threshold and (best is None or cosine > best[0]):
                best = (cosine, key)
        return None if best is None else best[1]

    def learn(self, question: Question, key: bytes) -> None:
        """An answer to it is kept under that key."""
        held = self._places.setdefault(question.place, [])
        self._places.move_to_end(question.place)
        kept = [entry for entry in held if entry[1] != key][-(MOST_IN_A_PLACE - 1) :]
        self._count += 1 + len(kept) - len(held)
        held[:] = [*kept, (question, key)]
        while self._count > self._most:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        place, held = next(iter(self._places.items()))
        del held[0]
        self._count -= 1
        if not held:
            del self._places[place]

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"Semantic({self._count} of {self._most} questions)"

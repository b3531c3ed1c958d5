"""Many answers at once: one thread that reads prompts and says tokens, for all who ask.

Knows: conversations as tokens, whose turn it is, what is still remembered of earlier ones. Does not know: text, HTTP,
how a model computes.

Each step is one forward pass: the next token of every answer under way, and beside them a piece of the prompts that are
still being read. Requests join and leave between steps.

Invariants: a conversation has a slot of its own from admission to its end; a slot's tokens are remembered only as far
as its memory holds them; whoever left is gone before the next step; everyone who waits hears tokens and then an end, or
an error. Only this thread touches the model.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Protocol

import torch

from pointsman.backends.worker.server import Stop
from pointsman.backends.worker.transformers_sampling import Chosen, Sampler, Sampling
from pointsman.backends.worker.transformers_slots import Piece
from pointsman.errors import PointsmanError, UpstreamError
from pointsman.types import Value

log = logging.getLogger(__name__)

LOOK_S = 0.05
"""How often someone who waits looks whether its client left."""


class Model(Protocol):
    """What `transformers_model.Weights` is to this thread."""

    @property
    def is_awake(self) -> bool: ...

    @property
    def max_piece(self) -> int: ...

    @property
    def can_rewind(self) -> bool: ...

    def run(self, pieces: Sequence[Piece]) -> torch.Tensor: ...

    def hidden(self, piece: Piece) -> torch.Tensor: ...


class Job(Value, frozen=True):
    """One answer to be made. `ends`: tokens after which there is no more to say."""

    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling = Sampling()
    ends: frozenset[int] = frozenset()


Heard = Chosen | list[float] | PointsmanError | None
"""What a row tells who waits for it: tokens or one embedding; None at its end."""


class Row:
    """One conversation under way. Who waits for it reads; the batch's thread writes, but for `has_left`.

    `reason`: how it ended, as OpenAI names it (`stop`, `length`); `reused`: tokens of its prompt that were still
    remembered.
    """

    def __init__(self, job: Job, sampler: Sampler | None) -> None:
        self.job = job
        self.reason = ""
        self.reused = 0
        self.heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self.has_left = False
        self.sampler = sampler  # None: an embedding is wanted, the mean of what the model made of each token
        self.total: torch.Tensor | None = None
        self.slot = -1
        self.tokens = list(job.prompt)
        self.done = 0  # of its tokens, so many are in the slot
        self.is_over = False

    @property
    def said(self) -> int:
        return len(self.tokens) - len(self.job.prompt)

    def piece(self, budget: int) -> Piece:
        upto = min(len(self.tokens), self.done + budget)
        return Piece(slot=self.slot, start=self.done, tokens=tuple(self.tokens[self.done : upto]))


class Batch:
    """`slots` conversations at once; more wait for their turn, first come, first served."""

    def __init__(self, model: Model, slots: int) -> None:
        self._model = model
        self._kept: list[list[int]] = [[] for _ in range(slots)]
        self._free = list(range(slots))  # the longest unused first
        self._rows: list[Row] = []
        self._waiting: list[Row] = []
        self._chores: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self.thread = threading.Thread(target=self._work, name="batch", daemon=True)
        self.thread.start()

    # ------------------------------------------------------------ for those who ask, each in its own thread

    def say(self, row: Row, stop: Stop) -> Generator[Chosen | None, None, None]:
        """The tokens of an answer as they are made; None now and then while there is none.

        Raises Stopped where its client left, PointsmanError where it failed. Whoever closes it leaves.
        """
        with contextlib.closing(self._listen(row, stop)) as heard:
            yield from (one for one in heard if not isinstance(one, list))

    def embed(self, prompt: tuple[int, ...], stop: Stop) -> list[float]:
        """The mean of what the model makes of each token."""
        row = Row(Job(prompt=prompt, max_tokens=0), None)
        with contextlib.closing(self._listen(row, stop)) as heard:
            return next(one for one in heard if isinstance(one, list))

    def between(self, chore: Callable[[], None]) -> None:
        """Have it done by the batch's thread, between two steps, with nobody's answer under way; returns when it is.

        Raises what the chore raises, and UpstreamError `sleep_failed` where answers are under way.
        """
        outcome: queue.SimpleQueue[PointsmanError | None] = queue.SimpleQueue()
        with self._changed:
            self._chores.append(lambda: outcome.put(tried(lambda: self._do(chore))))
            self._changed.notify()
        if problem := outcome.get():
            raise problem

    def close(self) -> None:
        """End the thread; who still waits hears no more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self.thread.join()

    @property
    def busy(self) -> int:
        """Conversations under way."""
        return len(self._rows)

    def _listen(self, row: Row, stop: Stop) -> Generator[Chosen | list[float] | None, None, None]:
        with self._changed:
            self._waiting.append(row)
            self._changed.notify()
        try:
            while True:
                try:
                    one = row.heard.get(timeout=LOOK_S)
                except queue.Empty:
                    stop.check()
                    yield None
                    continue
                stop.check()
                if one is None:
                    return
                if isinstance(one, PointsmanError):
                    raise one
                yield one
        finally:
            row.has_left = True

    # ------------------------------------------------------------ the batch's own thread

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._rows or self._waiting or self._chores or self._is_closed)
                if self._is_closed:
                    return
                chores, self._chores = self._chores, []
                self._leave()
                self._admit()
            for chore in chores:
                chore()
            if self._rows and (problem := tried(self._step)):
                self._fail(problem)

    def _do(self, chore: Callable[[], None]) -> None:
        if count := len(self._rows) + len(self._waiting):
            raise UpstreamError(f"{count} requests are under way; wait for them", code="sleep_failed")
        self._kept = [[] for _ in self._kept]
        chore()

    def _admit(self) -> None:
        while self._waiting and self._free:
            row = self._waiting.pop(0)
            if row.has_left:
                continue
            row.slot, row.reused = self._best_slot(row)
            row.done = row.reused
            self._free.remove(row.slot)
            self._rows.append(row)

    def _best_slot(self, row: Row) -> tuple[int, int]:
        """The free slot that remembers most of it, and how many tokens; one at least is always read anew, for what
        comes after it."""
        if not self._model.can_rewind or row.sampler is None:
            return self._free[0], 0
        last = len(row.tokens) - 1
        common = {slot: min(shared(self._kept[slot], row.tokens), last) for slot in self._free}
        best = max(self._free, key=lambda slot: common[slot])
        return best, common[best]

    def _leave(self) -> None:
        """Whoever is done or has left makes room."""
        for row in [row for row in self._rows if row.is_over or row.has_left]:
            self._rows.remove(row)
            self._kept[row.slot] = row.tokens[: row.done]
            self._free.append(row.slot)

    def _fail(self, error: PointsmanError) -> None:
        for row in self._rows:
            row.done, row.is_over = 0, True  # nobody knows how far its memory was written
            row.heard.put(error)

    def _step(self) -> None:
        if not self._model.is_awake:
            raise UpstreamError("The engine is asleep; wake it first", code="loading_failed")
        budget, pieces, saying = self._model.max_piece, [], []
        for row in sorted(self._rows, key=lambda row: len(row.tokens) - row.done):  # short prompts do not wait for long
            if row.sampler is None:
                self._read_on(row)
            elif row.said or budget > 0:
                pieces.append(row.piece(1 if row.said else budget))
                saying.append((row, row.sampler))
                budget -= 0 if row.said else len(pieces[-1].tokens)
        if not pieces:
            return
        with torch.inference_mode():  # as the numbers were made, else they could not be changed
            logits = self._model.run(pieces).float().cpu()
            for (row, sampler), piece, numbers in zip(saying, pieces, logits, strict=True):
                row.done = piece.end
                if row.done == len(row.tokens):
                    self._say(row, sampler, numbers)

    def _read_on(self, row: Row) -> None:
        """One piece of a text whose embedding is wanted, from its beginning: no hidden state is remembered."""
        piece = row.piece(self._model.max_piece)
        hidden = self._model.hidden(piece).sum(0)
        row.total = hidden if row.total is None else row.total + hidden
        row.done = piece.end
        if row.done == len(row.tokens):
            row.is_over = True
            row.heard.put((row.total / row.done).tolist())

    @staticmethod
    def _say(row: Row, sampler: Sampler, numbers: torch.Tensor) -> None:
        chosen = sampler.choose(numbers)
        row.tokens.append(chosen.token)
        is_end = chosen.token in row.job.ends
        if not is_end:
            row.heard.put(chosen)
        if is_end or row.said >= row.job.max_tokens:
            row.reason, row.is_over = "stop" if is_end else "length", True
            row.heard.put(None)

    def __repr__(self) -> str:
        return f"Batch({len(self._rows)} of {len(self._kept)} slots, {len(self._waiting)} waiting)"


def tried(work: Callable[[], None]) -> PointsmanError | None:
    """What went wrong, if anything."""
    try:
        work()
    except PointsmanError as error:
        return error
    except Exception as error:  # the seam: whatever the engine's library raised
        log.exception("the engine failed")
        return PointsmanError(f"The engine failed ({type(error).__name__}: {error}); see its log")
    return None


def shared(known: Sequence[int], asked: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return next(
        (at for at, (a, b) in enumerate(zip(known, asked, strict=False)) if a != b), min(len(known), len(asked))
    )

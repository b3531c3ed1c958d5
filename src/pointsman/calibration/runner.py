"""Puts the questions to the models, one model after the other, and writes down every graded answer at once.

Knows: the order of the work, when a model is given up. Does not know: how a model is reached or loaded (`Asker`), what
is shown meanwhile (`Watcher`), what the answers amount to (`report`).
Invariants: a model is opened once and asked all that it has not answered; an answer is on disk before its worker asks
the next; an error is never graded as a wrong answer; one model's failure does not keep the others from their turn.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from pointsman.calibration.asking import Answer
from pointsman.calibration.graders import Grade, extract_code, grade, needs_sandbox
from pointsman.calibration.items import Item, PythonKey
from pointsman.calibration.journal import Answered, item_print
from pointsman.calibration.sandbox import run_python
from pointsman.clock import Clock
from pointsman.errors import DeadlineExceeded, PointsmanError
from pointsman.types import Value

GIVE_UP_AFTER = 5  # errors in a row: the model, not the questions, is at fault
ANSWER_TIMEOUT_S = 300.0
NO_CODE = Grade(score=0.0, why="has no code")
TOKENS_PER_MTOK = 1e6


class Target(Value, frozen=True):
    """One model to be measured. `model_print` changes with its file and its settings; `size_bytes` 0: unknown."""

    model: str
    model_print: str
    concurrency: int = 1
    cost_per_mtok: float = 0.0
    size_bytes: int = 0


class Failure(Value, frozen=True):
    """A model that could not be measured to the end, and why."""

    model: str
    why: str


class Caller(Protocol):
    """A model that is ready to be asked."""

    async def ask(self, item: Item) -> Answer:
        """Its answer. Raises PointsmanError."""
        ...


class Asker(Protocol):
    """Reaches models."""

    def opened(self, target: Target) -> AbstractAsyncContextManager[Caller]:
        """The model, loaded and warm. Raises PointsmanError on entering where that cannot be had."""
        ...


class Watcher(Protocol):
    """Is told how it goes."""

    def began(self, target: Target, total: int, done: Sequence[Answered]) -> None: ...
    def answered(self, answered: Answered) -> None: ...
    def ended(self, target: Target, failure: Failure | None) -> None: ...


class Book(Protocol):
    """Keeps every answer."""

    def append(self, answered: Answered) -> None: ...


class Run(Value, frozen=True):
    """What is asked: the questions in their order, and the suite's version."""

    items: tuple[Item, ...]
    suite: str
    answers: tuple[Answered, ...] = ()  # from an earlier run: not asked again

    def done(self, target: Target) -> tuple[Answered, ...]:
        wanted = {item.id for item in self.items}
        return tuple(one for one in self.answers if one.model == target.model and one.item in wanted)

    def open_items(self, target: Target) -> tuple[Item, ...]:
        done = {one.item for one in self.done(target)}
        return tuple(item for item in self.items if item.id not in done)


class GivenUpError(Exception):
    """Errors in a row."""


class Runner:
    """One calibration. Holds the doors it was given and the clock, no results: those are in the book."""

    def __init__(
        self, asker: Asker, book: Book, watcher: Watcher, clock: Clock, answer_timeout_s: float = ANSWER_TIMEOUT_S
    ) -> None:
        self._asker = asker
        self._book = book
        self._watcher = watcher
        self._clock = clock
        self._answer_timeout_s = answer_timeout_s

    async def run(self, run: Run, targets: Iterable[Target]) -> tuple[Failure, ...]:
        """Ask every model what it has not answered; the models that failed. Raises OSError where the book is full."""
        failures = []
        for target in targets:
            self._watcher.began(target, len(run.items), run.done(target))
            failure = await self._measure(run, target)
            self._watcher.ended(target, failure)
            failures += [failure] if failure else []
        return tuple(failures)

    async def _measure(self, run: Run, target: Target) -> Failure | None:
        todo = run.open_items(target)
        if not todo:
            return None
        try:
            async with self._asker.opened(target) as caller:
                why = await self._ask_all(caller, iter(todo), run.suite, target)
        except PointsmanError as error:
            why = error.message
        return Failure(model=target.model, why=why) if why else None

    async def _ask_all(self, caller: Caller, items: Iterator[Item], suite: str, target: Target) -> str:
        """As many workers as the model answers at once, all drawing from one list. Why it was given up, or ""."""
        streak, why = _Streak(), ""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(target.concurrency):
                    group.create_task(self._work(caller, items, suite, target, streak))
        except* GivenUpError as given_up:
            why = str(given_up.exceptions[0])
        return why

    async def _work(self, caller: Caller, items: Iterator[Item], suite: str, target: Target, streak: "_Streak") -> None:
        for item in items:
            try:
                answer = await self._asked(caller, item)
            except PointsmanError as error:
                answered = self._row(item, suite, target, error=f"{error.code}: {error.message}")
            else:
                answered = self._row(item, suite, target, answer, await graded(item, answer.text))
            self._book.append(answered)
            self._watcher.answered(answered)
            streak.heard(answered)

    async def _asked(self, caller: Caller, item: Item) -> Answer:
        try:
            async with asyncio.timeout(self._answer_timeout_s):
                return await caller.ask(item)
        except TimeoutError:
            raise DeadlineExceeded(f"no whole answer within {self._answer_timeout_s:g} s; allow more time") from None

    def _row(
        self,
        item: Item,
        suite: str,
        target: Target,
        answer: Answer | None = None,
        grade: Grade | None = None,
        error: str = "",
    ) -> Answered:
        answer, grade = answer or Answer(text=""), grade or Grade(score=0.0, why="")
        tokens = answer.prompt_tokens + answer.completion_tokens
        return Answered(
            item=item.id,
            item_print=item_print(item),
            model=target.model,
            model_print=target.model_print,
            suite=suite,
            score=grade.score,
            why=grade.why,
            error=error,
            answer=answer.text,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            latency_ms=round(answer.latency_ms, 1),
            first_token_ms=None if answer.first_token_ms is None else round(answer.first_token_ms, 1),
            cost=tokens * target.cost_per_mtok / TOKENS_PER_MTOK,
            concurrency=target.concurrency,
            at_unix_s=round(self._clock.unix(), 3),
        )


class _Streak:
    """Errors in a row."""

    def __init__(self) -> None:
        self.count = 0

    def heard(self, answered: Answered) -> None:
        """Raises GivenUpError at one too many."""
        self.count = self.count + 1 if answered.error else 0
        if self.count >= GIVE_UP_AFTER:
            raise GivenUpError(f"given up after {self.count} errors in a row; the last: {answered.error}")


async def graded(item: Item, text: str) -> Grade:
    """The grade of an answer; code is run in the sandbox."""
    if not needs_sandbox(item):
        return grade(item, text)
    code = extract_code(text)
    if not code.strip():
        return NO_CODE
    key = msgspec.json.decode(item.expected, type=PythonKey)
    verdict = await run_python(code, key.tests)
    return Grade(score=float(verdict.passed), why=verdict.why)


async def regraded(answers: Iterable[Answered], items: Mapping[str, Item]) -> AsyncIterator[Answered]:
    """The answers that get another grade today than they got when they were given (a grader was mended since)."""
    for one in answers:
        now = await graded(items[one.item], one.answer)
        if (now.score, now.why) != (one.score, one.why):
            yield msgspec.structs.replace(one, score=now.score, why=now.why)

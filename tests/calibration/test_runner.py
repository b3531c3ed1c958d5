"""The order of the work: one model after the other, each answer written at once, errors told from wrong answers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from pointsman.calibration.asking import Answer, body_of, listen
from pointsman.calibration.items import Item
from pointsman.calibration.journal import Answered
from pointsman.calibration.runner import GIVE_UP_AFTER, Caller, Failure, Run, Runner, Target, graded, regraded
from pointsman.calibration.select import select
from pointsman.clock import SystemClock
from pointsman.errors import UpstreamError

SMALL, LARGE = Target(model="small", model_print="a", cost_per_mtok=2.0), Target(model="large", model_print="b")
CODE = '{"entry": "add", "tests": "assert add(1, 2) == 3", "solution": "def add(a, b): return a + b"}'


def number(name: str, answer: int = 2, **changes: str) -> Item:
    asked = Item(
        id=name, family="arithmetic", language="en", intent="reasoning", complexity="low",
        prompt="1 + 1?", max_tokens=8, grader="number", expected=f'{{"answer": "{answer}"}}',
    )  # fmt: skip
    return msgspec.structs.replace(asked, **changes)


ITEMS = tuple(number(f"arithmetic-en-{place}") for place in range(12))


class Scripted:
    """Asker, Caller, Book and Watcher in one: says what it is told to say, writes down what happens."""

    def __init__(self, say: Callable[[str, Item], str], delay_s: float = 0.0) -> None:
        self.say = say
        self.delay_s = delay_s
        self.rows: list[Answered] = []
        self.log: list[str] = []
        self.under_way = self.most = 0

    @asynccontextmanager
    async def opened(self, target: Target) -> AsyncIterator[Caller]:
        self.log.append(f"open {target.model}")
        if target.model == "broken":
            raise UpstreamError("the file is damaged", code="loading_failed")
        yield ScriptedCaller(self, target.model)
        self.log.append(f"close {target.model}")

    def append(self, answered: Answered) -> None:
        self.rows.append(answered)

    def began(self, target: Target, total: int, done: Sequence[Answered]) -> None:
        self.log.append(f"began {target.model} {len(done)}/{total}")

    def answered(self, answered: Answered) -> None:
        assert answered in self.rows  # on disk before it is shown

    def ended(self, target: Target, failure: Failure | None) -> None:
        self.log.append(f"ended {target.model}: {failure.why if failure else 'well'}")


class ScriptedCaller:
    def __init__(self, script: Scripted, model: str) -> None:
        self.script, self.model = script, model

    async def ask(self, item: Item) -> Answer:
        script = self.script
        script.under_way += 1
        script.most = max(script.most, script.under_way)
        await asyncio.sleep(script.delay_s)
        script.under_way -= 1
        return Answer(text=script.say(self.model, item), prompt_tokens=10, completion_tokens=5, latency_ms=7.0)


def ran(
    script: Scripted, targets: Sequence[Target], run: Run | None = None, timeout_s: float = 60.0
) -> tuple[Failure, ...]:
    runner = Runner(script, script, script, SystemClock(), timeout_s)
    return asyncio.run(runner.run(run or Run(items=ITEMS, suite="v"), targets))


def test_models_take_their_turns_and_every_answer_is_graded_and_written() -> None:
    script = Scripted(lambda model, _: "2" if model == "large" else "3")
    assert ran(script, (SMALL, LARGE)) == ()
    assert script.log == [
        "began small 0/12", "open small", "close small", "ended small: well",
        "began large 0/12", "open large", "close large", "ended large: well",
    ]  # fmt: skip
    assert [one.score for one in script.rows] == [0.0] * 12 + [1.0] * 12
    first = script.rows[0]
    assert first.why == "says 3, not 2"
    assert (first.item, first.model_print, first.suite, first.answer) == ("arithmetic-en-0", "a", "v", "3")
    assert first.cost == pytest.approx(15 * 2.0 / 1e6)
    assert not any(one.error for one in script.rows)


def test_what_is_answered_is_not_asked_again() -> None:
    script = Scripted(lambda *_: "2")
    ran(script, (SMALL,), Run(items=ITEMS[:5], suite="v"))
    again = Scripted(lambda *_: "2")
    ran(again, (SMALL, LARGE), Run(items=ITEMS, suite="v", answers=tuple(script.rows)))
    assert [one.item for one in again.rows if one.model == "small"] == [item.id for item in ITEMS[5:]]
    assert len([one for one in again.rows if one.model == "large"]) == 12
    idle = Scripted(lambda *_: "2")
    ran(idle, (SMALL,), Run(items=ITEMS[:5], suite="v", answers=tuple(script.rows)))
    assert "open small" not in idle.log  # nothing to ask: nothing is loaded


def test_as_many_at_once_as_told() -> None:
    script = Scripted(lambda *_: "2", delay_s=0.01)
    ran(script, (msgspec.structs.replace(SMALL, concurrency=3),))
    assert script.most == 3
    assert sorted(one.item for one in script.rows) == sorted(item.id for item in ITEMS)


def test_a_model_that_cannot_be_loaded_is_reported_and_the_next_is_measured() -> None:
    script = Scripted(lambda *_: "2")
    failures = ran(script, (Target(model="broken", model_print=""), LARGE))
    assert failures == (Failure(model="broken", why="the file is damaged"),)
    assert {one.model for one in script.rows} == {"large"}


def test_an_error_is_no_wrong_answer() -> None:
    def say(_: str, item: Item) -> str:
        if item.id.endswith("3"):
            raise UpstreamError("cut off", code="upstream_cut")
        return "2"

    script = Scripted(say)
    assert ran(script, (SMALL,)) == ()
    (failed,) = (one for one in script.rows if one.error)
    assert failed.error == "upstream_cut: cut off"
    assert len(script.rows) == 12


def test_errors_in_a_row_give_the_model_up() -> None:
    def say(model: str, _: Item) -> str:
        if model == "small":
            raise UpstreamError("it is gone", code="upstream_unreachable")
        return "2"

    script = Scripted(say)
    (failure,) = ran(script, (SMALL, LARGE))
    assert failure.model == "small"
    assert "it is gone" in failure.why
    assert len([one for one in script.rows if one.model == "small"]) == GIVE_UP_AFTER
    assert len([one for one in script.rows if one.model == "large"]) == 12


def test_an_answer_that_takes_too_long_is_an_error() -> None:
    script = Scripted(lambda *_: "2", delay_s=5.0)
    (failure,) = ran(script, (SMALL,), timeout_s=0.01)
    assert "no whole answer within 0.01 s" in failure.why


def test_cancelled_it_keeps_what_it_has() -> None:
    script = Scripted(lambda *_: "2", delay_s=0.02)

    async def cancelled() -> None:
        runner = Runner(script, script, script, SystemClock())
        task = asyncio.create_task(runner.run(Run(items=ITEMS, suite="v"), (SMALL, LARGE)))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    assert 0 < len(script.rows) < 12
    assert "began large 0/12" not in script.log


@pytest.mark.parametrize(
    ("text", "score", "why"),
    [
        ("```python\ndef add(a, b):\n    return a + b\n```", 1.0, "passes its tests"),
        ("Sure!\n```python\ndef add(a, b):\n    return a - b\n```\nIt adds.", 0.0, "AssertionError"),
        ("I cannot write code.", 0.0, "has no code"),
        ("", 0.0, "has no code"),
    ],
)
def test_code_is_graded_by_running_it(text: str, score: float, why: str) -> None:
    found = asyncio.run(graded(number("code-en-1", grader="python_tests", expected=CODE), text))
    assert found.score == score
    assert found.why.startswith(why)


def test_answers_are_graded_anew_where_the_grader_says_otherwise() -> None:
    items = {"a": number("a"), "b": number("b")}

    def row(name: str, score: float, why: str) -> Answered:
        return Answered(
            item=name, item_print="", model="small", model_print="", suite="", answer="2", score=score, why=why
        )

    async def changed() -> list[Answered]:
        return [one async for one in regraded((row("a", 1.0, "is 2"), row("b", 0.0, "has no number")), items)]

    assert asyncio.run(changed()) == [row("b", 1.0, "is 2")]


# ---------------------------------------------------------------- a question on the wire


def test_a_question_is_put_the_same_way_to_all() -> None:
    asked = msgspec.json.decode(body_of(number("x", system="Be brief."), "small", 7))
    assert asked["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}]
    assert (asked["model"], asked["temperature"], asked["max_tokens"], asked["stream"]) == ("small", 0, 8, True)
    assert [turn["role"] for turn in msgspec.json.decode(body_of(number("x"), "small", 7))["messages"]] == ["user"]


def heard(*chunks: bytes) -> Answer:
    async def events() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def listening() -> Answer:
        clock = SystemClock()
        return await listen(events(), clock, clock.now())

    return asyncio.run(listening())


def test_a_stream_becomes_an_answer() -> None:
    found = heard(
        b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"4"}}]}\n\ndata: {"choices":[{"delta":{"content":"2"}}]}\n\n',
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}\n\n',
        b": a comment\n\ndata: [DONE]\n\n",
    )
    assert (found.text, found.prompt_tokens, found.completion_tokens, found.finish_reason) == ("42", 9, 2, "stop")
    assert found.first_token_ms is not None
    assert 0 <= found.first_token_ms <= found.latency_ms


def test_a_stream_without_usage_or_words() -> None:
    assert heard(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n').completion_tokens == 1
    silent = heard(b"data: [DONE]\n\n")
    assert (silent.text, silent.first_token_ms) == ("", None)
    with pytest.raises(UpstreamError, match="no chat completion"):
        heard(b"data: <html>\n\n")


# ---------------------------------------------------------------- which questions


def pool() -> tuple[Item, ...]:
    return tuple(
        number(f"{family}-{language}-{place}", family=family, language=language, complexity=("low", "high")[place % 2])
        for family, size in (("code", 6), ("knowledge", 12))
        for language in ("en", "hi", "ta")
        for place in range(size)
    )


def test_a_choice_is_balanced_and_begins_a_larger_one() -> None:
    twelve, twentyfour = select(pool(), count=12), select(pool(), count=24)
    assert twentyfour[:12] == twelve
    assert sum(item.family == "code" for item in twelve) == 4  # a third of the suite
    for family in ("code", "knowledge"):
        languages = [item.language for item in twelve if item.family == family]
        assert max(map(languages.count, languages)) - min(map(languages.count, ("en", "hi", "ta"))) <= 1
    assert len(select(pool())) == len(pool())


def test_a_choice_depends_on_the_seed_alone() -> None:
    assert select(pool(), count=9, seed=1) == select(pool()[::1], count=9, seed=1)
    assert select(pool(), count=9, seed=1) != select(pool(), count=9, seed=2)


def test_only_what_was_asked_for() -> None:
    found = select(pool(), families=("code",), languages=("hi", "ta"))
    assert {(item.family, item.language) for item in found} == {("code", "hi"), ("code", "ta")}
    assert select(pool(), families=("translation",)) == ()

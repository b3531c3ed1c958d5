"""A conversation stays where its prompt is cached, until it is too old; the first turn is held by nobody."""

import asyncio

from msgspec.structs import replace

from pointsman.ledger.conversations import LONGEST_S, MOST, Conversations, conversation_of
from pointsman.policy.router import Router
from pointsman.settings import parse
from pointsman.testing.clock import FakeClock
from pointsman.testing.decisions import ask, hot, measured, world
from pointsman.types import Attempt, Kind, Outcome, Request, Turn, Usage


def turns(*texts: str) -> tuple[Turn, ...]:
    """User and assistant, in turns."""
    return tuple(Turn(role="assistant" if place % 2 else "user", text=text) for place, text in enumerate(texts))


def said(*texts: str) -> Request:
    return replace(ask(), turns=turns(*texts))


def outcome(request: Request, deployment: str = "b", status: str = "success") -> Outcome:
    return Outcome(
        request_id="r", kind=Kind.CHAT, asked_model="auto", status=status, http_status=200, signals=None, plan=None,
        attempts=(Attempt(deployment_id="a", model_id="a", started_s=0, error="upstream_error"),
                  Attempt(deployment_id=deployment, model_id=deployment, started_s=1)),
        usage=Usage(), stream=False, total_s=1, classify_s=0, decide_s=0, wait_s=0, upstream_s=0, first_byte_s=None,
        conversation=conversation_of(request),
    )  # fmt: skip


def test_the_last_answerer_holds_the_conversation() -> None:
    clock = FakeClock()
    kept = Conversations(clock.now)
    kept.closed(outcome(said("hi")))
    assert kept.held_by(said("hi")) == ""
    assert kept.held_by(said("hi", "hello", "and?")) == "b"
    assert kept.held_by(said("other", "hello", "and?")) == ""
    kept.closed(outcome(said("hi", "hello", "and?"), "c"))
    kept.closed(outcome(said("hi", "hello", "and?"), "d", status="error"))
    assert kept.held_by(said("hi", "hello", "and?", "so", "then?")) == "c"
    assert kept.held_by(replace(said("hi", "hello", "and?"), tenant="other")) == ""


def test_it_is_forgotten_in_time_and_in_number() -> None:
    clock = FakeClock()
    kept = Conversations(clock.now)
    for number in range(MOST + 1):
        kept.closed(outcome(said(str(number))))
    assert kept.held_by(said("0", "a", "b")) == ""
    assert kept.held_by(said("1", "a", "b")) == "b"
    asyncio.run(clock.advance(LONGEST_S + 1))
    assert kept.held_by(said("1", "a", "b")) == ""


def test_only_chats_are_conversations() -> None:
    assert conversation_of(replace(said("hi"), kind=Kind.COMPLETION)) == ""
    assert conversation_of(replace(ask(), turns=(Turn(role="system", text="s"),))) == ""


def test_the_holder_wins_among_equals_and_a_better_model_still_wins() -> None:
    text = "models: [{id: a, backend: openai, url: 'http://h/1'}, {id: b, backend: openai, url: 'http://h/2'%s}]"
    seen = world(hot("a"), hot("b"))
    equal = Router(parse(text % ""))
    for name in ("a", "b"):
        plan = equal.decide(ask(), measured(), replace(seen, held_by=name))
        assert plan.candidates[0].model_id == name
        assert "stickiness: answered the turn before" in plan.reason
    better = Router(parse(text % ", quality: {general: 1.0}"))
    assert better.decide(ask(), measured(), replace(seen, held_by="a")).candidates[0].model_id == "b"

"""The flat row of an Outcome: everything a decision can be made again from, and not a word of the prompt."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from pointsman.ledger.cost import Prices, Spent
from pointsman.ledger.prompts import LONGEST_BYTES, Prompts
from pointsman.ledger.record import record_of
from pointsman.policy.router import Router
from pointsman.settings import parse
from pointsman.testing.decisions import ask, hot, measured, world
from pointsman.types import (
    Assignment,
    Attempt,
    Kind,
    Limits,
    ModelCard,
    Outcome,
    Request,
    Scored,
    Signals,
    Tier,
    Usage,
    World,
)
from pointsman.types_record import Record, attempts_in, limits_in, plan_in, signals_in, turns_in, world_in

SECRET = "swordfish"
SETTINGS = parse(
    """
models:
  - {id: small, backend: openai, url: "http://127.0.0.1:1/v1", cost_per_mtok: 1}
  - {id: large, backend: openai, url: "http://127.0.0.1:2/v1", cost_per_mtok: 10}
"""
)
CARDS = (
    ModelCard(id="small", name="Small", kinds=(Kind.CHAT,), cost_per_mtok=1),
    ModelCard(id="large", name="Large", kinds=(Kind.CHAT,), cost_per_mtok=10),
    ModelCard(id="voice", name="Voice", kinds=(Kind.SPEECH,), cost_per_mtok=30),
)
PRICES = Prices(CARDS)
NOTHING = Spent(cost=0.0, baseline_cost=0.0, gpu_s=0.0)


def signals() -> Signals:
    seen = measured("code", p=0.8)
    return replace(seen, intent=Scored(label="code", p=0.8, alternatives=(("general", 0.2),), evidence=(SECRET,)))


def present() -> World:
    views = (hot("small"), hot("large"))
    sick = replace(views[1], last_error=SECRET, pid=7, tier=Tier.WARM, gpu_bytes=((0, 5), (1, 5)), slots=4)
    return world(views[0], sick)


def outcome(request: Request | None = None, prompts: Prompts | None = None, **changed: Any) -> Outcome:
    request = request or ask(SECRET, limits=Limits(max_cost_per_mtok=20.0))
    plan = Router(SETTINGS).decide(request, signals(), present())
    made = Outcome(
        request_id=request.id,
        kind=Kind.CHAT,
        asked_model=request.model,
        status="success",
        http_status=200,
        signals=signals(),
        plan=replace(plan, assignment=Assignment(experiment="size", arm="large", propensity=0.25)),
        attempts=(
            Attempt(deployment_id="small", model_id="small", started_s=100.5, error="timeout", detail=SECRET),
            Attempt(deployment_id="large", model_id="large", started_s=101.0, first_byte_s=101.25),
        ),
        usage=Usage(prompt_tokens=600, completion_tokens=400),
        stream=False,
        total_s=2.0,
        classify_s=0.001,
        decide_s=0.0005,
        wait_s=0.0,
        upstream_s=1.6,
        first_byte_s=1.3,
        arrived_s=100.0,
        limits=request.limits,
        world=present(),
        prompt_digest=(prompts or Prompts()).digest(request),
        prompt=(prompts or Prompts()).kept(request),
    )
    return replace(made, **changed)


def test_no_word_of_the_prompt_is_in_a_row() -> None:
    row = record_of(outcome(prompts=Prompts(key=lambda: b"k")), NOTHING)
    assert SECRET.encode() not in msgspec.json.encode(row)
    assert row.prompt_digest
    assert not row.prompt


def test_with_the_operators_wish_the_words_are() -> None:
    row = record_of(outcome(prompts=Prompts(key=lambda: b"k", store=True)), NOTHING)
    assert [turn.text for turn in turns_in(row)] == [SECRET]
    assert attempts_in(row)[0].detail == SECRET
    found = signals_in(row)
    assert found
    assert found.intent.evidence == (SECRET,)


def test_the_same_decision_can_be_made_from_a_row() -> None:
    """Signals, limits and world come back as they were, less what nobody may read."""
    request = ask(SECRET, limits=Limits(max_cost_per_mtok=5.0))
    row = record_of(outcome(request), NOTHING)
    seen, then = signals_in(row), world_in(row)
    assert seen
    assert then
    assert limits_in(row) == replace(request.limits)
    assert seen == replace(signals(), intent=replace(signals().intent, evidence=()))
    again = Router(SETTINGS).decide(ask("", model=row.asked_model, limits=limits_in(row)), seen, then)
    assert again == replace(plan_in(row) or again, assignment=None)
    assert [one.code for one in again.rejected] == ["cost_limit"]


def test_the_row_says_how_it_went() -> None:
    row = record_of(outcome(), PRICES.spent(outcome()))
    assert (row.model_id, row.deployment_id, row.attempts, row.task) == ("large", "large", 2, "code")
    assert (row.experiment, row.arm, row.propensity) == ("size", "large", 0.25)
    assert [(one.started_s, one.first_byte_s) for one in attempts_in(row)] == [(0.5, None), (1.0, 1.25)]
    assert row.cost == pytest.approx(0.01)
    assert row.gpu_s == pytest.approx(1.6 * 2 / 4)


def test_a_request_that_came_to_nothing_has_a_row_too() -> None:
    bare = outcome(signals=None, plan=None, attempts=(), world=None, usage=Usage(), limits=Limits())
    row = record_of(bare, NOTHING)
    assert (row.signals, row.plan, row.world, row.limits, row.confidence, row.stage) == ("", "", "", "", None, 0)
    assert (signals_in(row), plan_in(row), world_in(row), limits_in(row)) == (None, None, None, Limits())


def test_names_that_callers_choose_fit_any_database() -> None:
    row = record_of(outcome(asked_model="a\0b" * 1000), NOTHING)
    assert "\0" not in row.asked_model
    assert len(row.asked_model) <= 128


def test_a_row_survives_json() -> None:
    row = record_of(outcome(), NOTHING)
    assert msgspec.json.decode(msgspec.json.encode(row), type=Record) == row


def test_a_world_tells_what_was_measured_and_one_from_before_can_be_read() -> None:
    fast = replace(hot("small"), latency_s=0.5, first_token_s=0.25, tokens_per_s=80.0)
    row = record_of(replace(outcome(), world=world(fast)), NOTHING)
    read = world_in(row)
    assert read is not None
    assert read.deployments == (fast,)
    older = '{"deployments":[{"id":"small","model_id":"small","tier":"hot","state":"ready","latency_s":0.5}]}'
    before = world_in(replace(row, world=older))
    assert before is not None
    [view] = before.deployments
    assert (view.latency_s, view.first_token_s, view.tokens_per_s) == (0.5, None, 0.0)


# ---------------------------------------------------------------- money


def test_the_baseline_is_the_dearest_chat_model() -> None:
    assert PRICES.baseline == "large"
    assert Prices(CARDS, baseline="small").baseline == "small"
    free = [replace(card, cost_per_mtok=0.0) for card in CARDS]
    assert (Prices(free).baseline, Prices(free, large="large").baseline) == ("", "large")
    assert Prices(CARDS, large="small").baseline == "large"
    assert Prices(()).baseline == ""


def test_what_the_small_one_saves() -> None:
    spent = PRICES.spent(outcome(attempts=outcome().attempts[:1]))
    assert spent.cost == pytest.approx(0.001)
    assert spent.baseline_cost == pytest.approx(0.01)


def test_a_kept_answer_costs_nothing_and_saves_all_of_it() -> None:
    kept = outcome(attempts=(), usage=Usage(), saved=Usage(prompt_tokens=1000), cached_model="small", cache="hit")
    spent = PRICES.spent(kept)
    assert spent.cost == 0.0
    assert spent.baseline_cost == pytest.approx(0.01)


def test_where_the_baseline_cannot_answer_nothing_is_saved() -> None:
    spoken = outcome(kind=Kind.SPEECH, attempts=(Attempt(deployment_id="voice", model_id="voice", started_s=0.0),))
    spent = PRICES.spent(spoken)
    assert spent.cost == spent.baseline_cost == pytest.approx(0.03)


# ---------------------------------------------------------------- digests


def test_equal_prompts_have_equal_digests_of_one_tenant_and_one_key() -> None:
    prompts, request = Prompts(key=lambda: b"one"), ask("the same")
    assert prompts.digest(request) == prompts.digest(replace(request, id="another"))
    assert prompts.digest(request) != prompts.digest(replace(request, tenant="else"))
    assert prompts.digest(request) != Prompts(key=lambda: b"two").digest(request)
    assert prompts.digest(request) != prompts.digest(ask("another"))


def test_a_conversations_plain_digest_is_not_in_a_row() -> None:
    """It could be guessed at: it has no key."""
    prompts, talk = Prompts(key=lambda: b"k"), outcome(conversation="0123456789abcdef")
    row, other = (record_of(talk, NOTHING, seal.sealed) for seal in (prompts, Prompts(key=lambda: b"another")))
    assert row.conversation not in ("", talk.conversation, other.conversation)
    assert row.conversation == record_of(talk, NOTHING, prompts.sealed).conversation
    assert Prompts().sealed("0123") == prompts.sealed("") == ""


def test_without_a_key_there_is_no_digest() -> None:
    assert Prompts().digest(ask("guess me")) == ""


def test_a_prompt_too_long_to_keep_has_a_digest() -> None:
    prompts, request = Prompts(key=lambda: b"k", store=True), ask("a" * LONGEST_BYTES)
    assert prompts.kept(request) == ""
    assert prompts.digest(request)

"""Decisions: the shipped configuration, names, problems, strategies, ties, last resort, reasons."""

from collections import Counter
from importlib.resources import files

import pytest
from msgspec.structs import replace

from pointsman.errors import TABLE
from pointsman.policy.router import Router
from pointsman.settings import Settings, parse
from pointsman.testing.decisions import ask, cold, hot, measured, world
from pointsman.types import Breaker, DeploymentView, Kind, Limits, Modality, Plan, Request, Signals, Tier, World

TEXT, IMAGE, AUDIO = Modality.TEXT, Modality.IMAGE, Modality.AUDIO
SHIPPED = parse(files("pointsman").joinpath("pointsman.yaml").read_text("utf-8"))
SMALL, CODER, BIG = "smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-1.5b-instruct"
STARTED = world(
    *(hot(model.id) if getattr(model, "preload", False) else cold(model.id) for model in SHIPPED.models)
)  # as after `make serve`
TRANSCRIBE = ask(kind=Kind.TRANSCRIPTION, text="", model="whisper-1")

PAIR = """
models:
  - {id: a, backend: openai, url: "http://h/1", quality: {general: 0.6}}
  - {id: b, backend: openai, url: "http://h/2", quality: {general: 0.6}}
"""


def shipped(request: Request, signals: Signals, seen: World = STARTED) -> Plan:
    return Router(SHIPPED).decide(request, signals, seen)


def decided(seen: World, text: str = PAIR, request: Request | None = None, signals: Signals | None = None) -> Plan:
    return Router(parse(text)).decide(request or ask(), signals or measured(), seen)


def order(plan: Plan) -> list[str]:
    return [one.deployment_id for one in plan.candidates]


def codes(plan: Plan) -> dict[str, str]:
    return {one.deployment_id: str(one.code) for one in plan.rejected}


def heard(language: str, p: float = 0.95) -> Signals:
    return measured("stt", inputs=(AUDIO,), language=language, language_p=p)


# ---------------------------------------------------------------- the shipped configuration


@pytest.mark.parametrize(
    ("request_", "signals", "first"),
    [
        (ask("Hello!"), measured(complexity="low"), SMALL),
        (ask("Write a quicksort in Python"), measured("code"), CODER),
        (ask("Prove that √2 is irrational"), measured("reasoning", complexity="high"), CODER),
        (ask("नमस्ते, आप कैसे हैं?"), measured(language="hi", complexity="low"), CODER),
        (ask("What does it say?"), measured("multimodal", inputs=(TEXT, IMAGE)), "ocr"),
        (ask("What happens?"), measured("video", inputs=(TEXT, Modality.VIDEO)), "ocr"),
        (ask("Write it down"), measured("stt", inputs=(TEXT, AUDIO)), "stt"),
        (TRANSCRIBE, heard("hi"), "stt-multilingual"),
        (TRANSCRIBE, heard("en"), "stt"),
        (TRANSCRIBE, heard("und", 0.0), "stt"),
        (TRANSCRIBE, heard("hi", 0.5), "stt"),
        (ask("नमस्ते", kind=Kind.SPEECH, model="tts-1"), measured("tts", language="hi"), "tts"),
        (ask("x", kind=Kind.SPEECH), measured("general"), "tts"),
        (ask("x", kind=Kind.COMPLETION), measured("code"), CODER),
        (ask("x", kind=Kind.EMBEDDING), measured("code"), "e5"),
        (ask("many texts", kind=Kind.EMBEDDING), measured(language="hi", prompt_tokens=100_000), "e5"),
        (ask("What is the weather?"), measured(needs_tools=True), CODER),
        (ask("x"), measured(prompt_tokens=7000), CODER),
        (ask("x", model="small"), measured("code"), SMALL),
        (ask("x", model=BIG), measured(), BIG),
    ],
)
def test_who_answers(request_: Request, signals: Signals, first: str) -> None:
    plan = shipped(request_, signals)
    assert plan.problem == ""
    assert plan.candidates[0].model_id == first


def test_a_cold_model_that_is_a_little_better_loses_and_says_so() -> None:
    plan = shipped(ask("Write a quicksort"), measured("code"))
    assert plan.candidates[0].model_id == CODER
    assert f"{BIG} would have come second, but is cold, about 20 s until ready" in plan.reason
    big = next(one for one in plan.candidates if one.model_id == BIG)
    assert {term.name: term.why for term in big.terms}["readiness"] == "cold, about 20 s until ready"


def test_readiness_alone_can_decide() -> None:
    better = PAIR.replace('2", quality: {general: 0.6}', '2", quality: {general: 0.7}')
    assert order(decided(world(hot("a"), hot("b")), better)) == ["b", "a"]
    plan = decided(world(hot("a"), cold("b", ready_in_s=20)), better)
    assert order(plan) == ["a", "b"]
    assert "because of readiness: hot, against cold, about 20 s until ready; equal in that, b would lead" in plan.reason


def test_tools_and_language_reject_by_name() -> None:
    assert codes(shipped(ask(), measured(needs_tools=True)))[SMALL] == "tools"
    assert codes(shipped(TRANSCRIBE, heard("hi")))["stt"] == "language"


def test_readers_never_answer_plain_text() -> None:
    """Not even when everything else is down."""
    down = world(*(replace(view, state="failed") if "instruct" in view.id else view for view in STARTED.deployments))
    plan = shipped(ask(), measured(), down)
    assert plan.candidates == ()
    assert {codes(plan)[name] for name in ("stt", "stt-multilingual", "ocr")} == {"nothing_to_read"}


def test_chat_in_an_unlisted_language_still_gets_its_answer() -> None:
    plan = decided(
        world(hot("a")),
        "models: [{id: a, backend: openai, url: 'http://h', languages: [en]}]",
        signals=measured(language="fr"),
    )
    assert order(plan) == ["a"]


# ---------------------------------------------------------------- problems


@pytest.mark.parametrize(
    ("request_", "signals", "problem", "said"),
    [
        (ask(model="smolm2-135m-instruct"), measured(), "model_not_found", f"Did you mean `{SMALL}`?"),
        (ask(), measured(prompt_tokens=12000), "context_length_exceeded", "in a context of 8,192"),
        (ask(model="small"), measured(prompt_tokens=7000), "context_length_exceeded", "`auto`"),
        (replace(TRANSCRIBE, model="stt"), heard("hi"), "unsupported_language", "is for en, not hi"),
        (TRANSCRIBE, heard("fr"), "unsupported_language", "add one for this language"),
        (ask(model="small"), measured(needs_tools=True), "no_capable_model", "cannot call tools"),
        (ask(model="tts"), measured(), "no_capable_model", "serves speech, not chat"),
        (ask(model="ocr"), measured(), "no_capable_model", "only reads image and video"),
        (ask(model="small", kind=Kind.EMBEDDING), measured(), "no_capable_model", "not embedding"),
        (ask(), measured(inputs=(TEXT, IMAGE, AUDIO)), "no_capable_model", "takes text, not image"),
        (ask(limits=Limits(max_latency_s=0.01)), measured(), "no_capable_model", "Raise the latency limit"),
        (ask(limits=Limits(strategy="rr")), measured(), "invalid_value", "`rr` is not a strategy; use one of balanced"),
    ],
)
def test_problems_of_the_request(request_: Request, signals: Signals, problem: str, said: str) -> None:
    plan = shipped(request_, signals)
    assert (plan.candidates, plan.problem) == ((), problem)
    assert said in plan.reason
    assert len(plan.rejected) == len(STARTED.deployments)
    assert TABLE[plan.problem].http_status < 500


@pytest.mark.parametrize(
    ("view", "problem"),
    [
        (replace(cold("a"), state="failed", last_error="no such file"), "loading_failed"),
        (replace(hot("a"), state="failed", is_managed=False), "upstream_unreachable"),
        (replace(hot("a"), state="draining"), "draining"),
        (replace(cold("a"), memory_bytes=200), "out_of_memory_budget"),
    ],
)
def test_problems_that_pass(view: DeploymentView, problem: str) -> None:
    plan = decided(world(view, budget_bytes=100))
    assert plan.problem == problem
    assert TABLE[problem].retryable
    assert plan.rejected[0].why in plan.reason


def test_a_world_without_deployments() -> None:
    assert decided(world()).problem == "loading_failed"
    pinned = decided(world(hot("b")), request=ask(model="a"))
    assert (pinned.problem, codes(pinned)) == ("loading_failed", {"b": "not_named"})
    assert "`a` has no deployment yet" in pinned.reason


def test_a_deployment_of_no_model_is_left_out() -> None:
    plan = decided(world(hot("a"), hot("gone")))
    assert order(plan) == ["a"]
    assert codes(plan) == {"gone": "not_configured"}


# ---------------------------------------------------------------- last resort


def test_open_breakers_are_left_out_while_anybody_else_lives() -> None:
    plan = decided(world(replace(hot("a"), breaker=Breaker.OPEN), hot("b")))
    assert (order(plan), codes(plan)) == (["b"], {"a": "breaker_open"})


def test_one_that_is_being_tried_is_a_last_resort_too_and_one_closed_off_is_not() -> None:
    tried = replace(hot("a"), breaker=Breaker.HALF_OPEN, is_tried=True)
    assert codes(decided(world(tried, hot("b")))) == {"a": "breaker_open"}
    alone = decided(world(tried))
    assert (order(alone), alone.strategy) == (["a"], "last_resort")
    closed_off = replace(hot("a"), breaker=Breaker.FORCED_OPEN)
    refused = decided(world(closed_off))
    assert (refused.candidates, refused.problem, codes(refused)) == ((), "upstream_unreachable", {"a": "forced_open"})
    assert order(decided(world(replace(hot("a"), breaker=Breaker.FORCED_CLOSED)))) == ["a"]


def test_a_model_at_its_own_limit_is_left_out_and_alone_says_when_to_come_back() -> None:
    full = (("a", 7.0), ("b", 3.0))
    plan = decided(replace(world(hot("a"), hot("b")), full=full[:1]))
    assert (order(plan), codes(plan)) == (["b"], {"a": "rate_limited"})
    refused = decided(replace(world(hot("a"), hot("b")), full=full))
    assert (refused.problem, refused.retry_in_s) == ("rate_limit_exceeded", 3.0)
    pinned = decided(replace(world(hot("a"), hot("b")), full=full[:1]), request=ask(model="a"))
    assert (pinned.problem, pinned.retry_in_s) == ("rate_limit_exceeded", 7.0)


def test_where_only_breakers_stop_it_the_longest_without_failure_is_tried_first() -> None:
    seen = world(
        replace(hot("a", "a1"), breaker=Breaker.OPEN, retry_in_s=25),
        replace(hot("b", "b1"), breaker=Breaker.OPEN, retry_in_s=3),
        replace(hot("b", "b2"), state="draining", breaker=Breaker.OPEN),
    )
    plan = decided(seen)
    assert (order(plan), codes(plan), plan.strategy) == (["b1", "a1"], {"b2": "draining"}, "last_resort")
    assert "last resort" in plan.reason
    pinned = decided(seen, request=ask(model="a"))
    assert order(pinned) == ["a1"]


# ---------------------------------------------------------------- strategies


MATRIX = """
models:
  - {id: slow, backend: openai, url: "http://h/1", quality: {general: 0.9}, cost_per_mtok: 9, tokens_per_s: 5}
  - {id: fast, backend: openai, url: "http://h/2", quality: {general: 0.5}, cost_per_mtok: 4, tokens_per_s: 200}
  - {id: cheap, backend: openai, url: "http://h/3", quality: {general: 0.4}, tokens_per_s: 20}
routing: {use_cases: {agent: [cheap, fast]}, STRATEGY}
"""


@pytest.mark.parametrize(
    ("strategy", "first"), [("quality", "slow"), ("latency", "fast"), ("cost", "cheap"), ("fixed", "cheap")]
)
def test_strategies_by_configuration_and_by_request(strategy: str, first: str) -> None:
    seen = world(hot("slow"), hot("fast"), hot("cheap"))
    configured = decided(seen, MATRIX.replace("STRATEGY", f"strategy: {strategy}"))
    asked = decided(seen, MATRIX.replace("STRATEGY", ""), ask(limits=Limits(strategy=strategy)))
    assert order(configured)[0] == order(asked)[0] == first
    assert configured.strategy == asked.strategy == strategy


def test_fixed_is_the_matrix_order_then_the_file_s_whatever_the_load() -> None:
    seen = world(hot("slow"), hot("fast"), replace(hot("cheap"), in_flight=9, queued=99))
    assert order(decided(seen, MATRIX.replace("STRATEGY", "strategy: fixed"))) == ["cheap", "fast", "slow"]


def test_weights_of_the_settings_decide() -> None:
    seen = world(hot("slow"), hot("fast"), hot("cheap"))
    assert order(decided(seen, MATRIX.replace("STRATEGY", "strategy: balanced")))[0] == "cheap"
    heavy = MATRIX.replace("STRATEGY", "weights: {balanced: {quality: 50}}")
    assert order(decided(seen, heavy))[0] == "slow"


def test_round_robin_takes_turns_among_the_ready() -> None:
    request = ask(limits=Limits(strategy="round_robin"))
    firsts = [
        order(decided(world(hot("a", "a1"), hot("a", "a2"), cold("b"), hot("b", "b2"), ticket=ticket), request=request))
        for ticket in range(6)
    ]
    assert [one[0] for one in firsts] == ["a1", "a2", "b2"] * 2
    assert {one[-1] for one in firsts} == {"b"}


def test_least_busy_prefers_the_idle_but_loads_nobody_for_it() -> None:
    request = ask(limits=Limits(strategy="least_busy"))
    busy = replace(hot("a"), in_flight=2)
    assert order(decided(world(busy, hot("b")), request=request)) == ["b", "a"]
    assert order(decided(world(busy, cold("b")), request=request)) == ["a", "b"]


def test_routing_off_means_the_default_model_then_the_file_s_order() -> None:
    off = PAIR + "  - {id: c, backend: openai, url: 'http://h/3'}\nrouting: {enabled: false, default_model: b}\n"
    plan = decided(world(hot("a"), cold("b"), hot("c")), off)
    assert (order(plan), plan.strategy) == (["b", "a", "c"], "fixed")
    assert "Routing is off" in plan.reason
    assert order(decided(world(hot("a"), hot("b"), hot("c")), off, ask(model="c"))) == ["c"]


def test_unsure_labels_lean_to_the_default_model() -> None:
    text = PAIR + "routing: {default_model: b}\n"
    openings = [f"question {n}" for n in range(8)]
    unsure = [order(decided(world(hot("a"), hot("b")), text, ask(one), measured(p=0.2)))[0] for one in openings]
    sure = [order(decided(world(hot("a"), hot("b")), text, ask(one), measured(p=0.9)))[0] for one in openings]
    assert set(unsure) == {"b"}
    assert set(sure) == {"a", "b"}


# ---------------------------------------------------------------- ties


def test_equal_models_share_queries_and_each_query_keeps_its_model() -> None:
    def first(text: str, ticket: int) -> str:
        return order(decided(world(hot("a"), hot("b"), ticket=ticket), request=ask(text)))[0]

    chosen = {text: {first(text, ticket) for ticket in range(3)} for text in map(str, range(60))}
    assert all(len(models) == 1 for models in chosen.values())
    assert 15 < sum(models == {"a"} for models in chosen.values()) < 45


def test_equal_instances_share_the_work_and_a_busy_one_comes_last() -> None:
    three = (hot("a", "a1"), hot("a", "a2"), hot("a", "a3"))
    first = Counter(order(decided(world(*three), request=ask(f"question {n}")))[0] for n in range(300))
    assert set(first) == {"a1", "a2", "a3"}
    assert max(first.values()) < 150
    busy = (replace(three[0], in_flight=1), *three[1:])
    assert {order(decided(world(*busy, ticket=ticket)))[-1] for ticket in range(9)} == {"a1"}
    assert "where this conversation's opening leads" in decided(world(*three)).reason


def test_instances_share_one_score_and_those_that_are_not_ready_follow() -> None:
    seen = world(cold("a", "a1"), replace(hot("a", "a2"), in_flight=2), hot("a", "a3"), hot("b"))
    plan = decided(seen)
    scores = {one.deployment_id: one.score for one in plan.candidates}
    assert scores["a2"] == scores["a3"] > scores["a1"]
    assert order(plan).index("a3") < order(plan).index("a2") < order(plan).index("a1")


def test_a_conversation_keeps_its_instance_while_that_has_room() -> None:
    three = [replace(hot("a", name), slots=8) for name in ("a1", "a2", "a3")]
    firsts = {order(decided(replace(world(*three, ticket=ticket), held_by="a2")))[0] for ticket in range(20)}
    assert firsts == {"a2"}
    crowded = [replace(one, in_flight=7 * (one.id == "a2")) for one in three]
    firsts = {order(decided(replace(world(*crowded, ticket=ticket), held_by="a2")))[0] for ticket in range(20)}
    assert "a2" not in firsts


def test_load_spreads_to_the_next_model_before_a_queue_grows_long() -> None:
    crowded = replace(hot(SMALL), in_flight=2, queued=10)
    seen = world(crowded, hot(CODER))
    assert shipped(ask("Hello!"), measured(complexity="low"), seen).candidates[0].model_id == CODER


# ---------------------------------------------------------------- reasons


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (world(hot("a")), "a is the only one that can answer."),
        (world(hot("a"), replace(hot("b"), state="draining")), "only one that can answer (b: is being shut down)."),
        (world(hot("a"), replace(hot("b"), restarts=2)), "health: no failures, against breaker closed, restarts: 2"),
        (world(replace(hot("a"), tier=Tier.WARM, ready_in_s=2.0), hot("b")), "against warm, about 2 s until ready"),
        (world(hot("a"), hot("b")), "score the same and the query's hash decides"),
    ],
)
def test_reasons(seen: World, said: str) -> None:
    assert said in decided(seen).reason


def test_a_reason_says_whether_its_term_alone_decided() -> None:
    late = replace(cold("b", ready_in_s=20), restarts=1)
    busy_a = replace(hot("a"), in_flight=1)
    assert "even equal in that, b would follow" in decided(world(hot("a"), late)).reason
    assert "equal in that, b would lead" in decided(world(busy_a, cold("b", ready_in_s=20))).reason


def test_an_audio_endpoint_is_sure_of_its_use_case_whatever_the_labels() -> None:
    rows = """
models:
  - {id: a, backend: openai, url: "http://h/1", kinds: [transcription]}
  - {id: b, backend: openai, url: "http://h/2", kinds: [transcription]}
routing: {default_model: a, use_cases: {general: [a, b], stt: [b, a]}}
"""
    seen = world(hot("a"), hot("b"))
    plan = decided(seen, rows, TRANSCRIBE, measured("general", p=0.0, inputs=(TEXT, AUDIO)))
    assert order(plan) == ["b", "a"]
    assert "default model" not in plan.candidates[1].terms[1].why


def test_the_label_of_the_matrix_row_is_the_intent_then_the_use_case() -> None:
    rows = PAIR + "routing: {use_cases: {agent: [b, a], code: [a, b]}}\n"
    seen = world(hot("a"), hot("b"))
    assert order(decided(seen, rows, signals=measured("code"))) == ["a", "b"]
    assert order(decided(seen, rows, signals=measured("reasoning"))) == ["b", "a"]


def test_an_intent_s_row_is_followed_by_the_agent_s() -> None:
    rows = PAIR + "routing: {use_cases: {agent: [b, a], code: [a], reasoning: [], general: [b]}}\n"
    plan = decided(world(hot("a"), hot("b")), rows, signals=measured("code"))
    whys = {one.model_id: term.why for one in plan.candidates for term in one.terms if term.name == "preference"}
    assert whys == {"a": "number 1 for code", "b": "number 2 for code"}
    assert order(decided(world(hot("a"), hot("b")), rows, signals=measured("reasoning"))) == ["b", "a"]
    fixed = replace(ask(), limits=Limits(strategy="fixed"))
    assert order(decided(world(hot("a"), hot("b")), rows, fixed, signals=measured("general"))) == ["b", "a"]


def test_aliases_stand_for_their_models_in_the_matrix() -> None:
    rows = PAIR + "aliases: {best: b}\nrouting: {use_cases: {general: [best, a]}}\n"
    assert order(decided(world(hot("a"), hot("b")), rows)) == ["b", "a"]


def test_the_router_shows_itself() -> None:
    settings: Settings = parse(PAIR)
    assert repr(Router(settings)) == "Router(2 models, balanced)"

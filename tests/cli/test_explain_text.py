"""A decision as text: everything of it is there, and nothing is read as markup."""

from msgspec.structs import replace

from pointsman.cli.explain_text import explain_text
from pointsman.policy.router import Router
from pointsman.settings import parse
from pointsman.testing.decisions import ask, cold, hot, measured, world
from pointsman.types import Candidate, Explanation, Limits, Plan, Scored, Signals, WhatIf

MODELS = """
models:
  - {id: small, backend: openai, url: "http://h/1", tools: true, quality: {code: 0.2}}
  - {id: large, backend: openai, url: "http://h/2", tools: true, quality: {code: 0.8}}
  - {id: voice, backend: tts}
routing: {use_cases: {code: [large, small]}}
"""
SEEN = world(hot("small"), hot("large", "large-1"), cold("large", "large-2", ready_in_s=9), hot("voice"))
ROUTER = Router(parse(MODELS))


def explanation(signals: Signals, plan: Plan, *changes: WhatIf) -> Explanation:
    return Explanation(signals=signals, plan=plan, would_change=changes)


def test_what_would_have_changed_it() -> None:
    signals = measured("code")
    plan = ROUTER.decide(ask(), signals, SEEN)
    text = explain_text(explanation(signals, plan, *ROUTER.what_if(ask(), signals, SEEN)), width=160)
    assert "under the strategy latency" not in text
    text = explain_text(explanation(signals, plan, WhatIf(change="were it Tuesday", model_id="")), width=160)
    assert "were it Tuesday  nobody" in text


def test_the_winner_the_reason_the_signals_and_every_deployment() -> None:
    signals = replace(
        measured("code"),
        intent=Scored(label="code", p=0.83, alternatives=(("general", 0.17),), evidence=("keyword: quicksort",)),
    )
    plan = ROUTER.decide(ask("quicksort"), signals, SEEN)
    text = explain_text(explanation(signals, plan), width=160)
    lines = text.splitlines()
    assert lines[0] == "→ large  on large-1, strategy balanced"
    assert plan.reason in " ".join(lines[1:4])
    (intent,) = [line for line in lines if line.startswith("intent")]
    assert intent.split() == ["intent", "code", "0.83", "high", "general", "0.17", "keyword:", "quicksort"]
    assert "1. large-1" in text
    assert "2. large-2" in text
    assert "3. small" in text
    for term in plan.candidates[0].terms:
        assert any(line.startswith(term.name) and term.why in line for line in lines)
    assert [line.split() for line in lines if line.startswith("score")] == [
        ["score", *(f"{one.score:.3f}" for one in plan.candidates)]
    ]
    (rejected,) = [line for line in lines if line.startswith("voice")]
    assert rejected.split(maxsplit=2) == ["voice", "kind", "serves speech, not chat"]


def test_nobody() -> None:
    signals = measured("code")
    text = explain_text(explanation(signals, ROUTER.decide(ask(limits=Limits(strategy="best")), signals, SEEN)))
    assert text.startswith("→ nobody: invalid_value\n`best` is not a strategy")
    assert "term" not in text


def test_candidates_beyond_the_third_keep_their_scores() -> None:
    plan = ROUTER.decide(ask(), measured("code"), SEEN)
    more = (*plan.candidates, Candidate(deployment_id="far", model_id="far", score=0.125))
    assert "then far 0.125" in explain_text(explanation(measured("code"), replace(plan, candidates=more)))


def test_what_callers_wrote_is_not_markup() -> None:
    plan = Plan(candidates=(), rejected=(), strategy="balanced", reason="[red]no[/red] [/]", problem="model_not_found")
    signals = replace(measured(), intent=Scored(label="general", p=0.5, evidence=("[bold]x",)))
    text = explain_text(explanation(signals, plan))
    assert "[red]no[/red] [/]" in text
    assert "[bold]x" in text


def test_narrow_terminals_get_narrow_lines() -> None:
    signals = measured("code")
    text = explain_text(explanation(signals, ROUTER.decide(ask(), signals, SEEN)), width=60)
    assert max(map(len, text.splitlines())) <= 60

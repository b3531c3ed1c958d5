"""Laws that hold for every request, catalogue and world."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pointsman.errors import TABLE
from pointsman.policy.filters import Gate
from pointsman.policy.router import Router
from pointsman.policy.scores import FIXED
from pointsman.settings import STRATEGIES, Settings
from pointsman.testing.decisions import ask, measured
from pointsman.types import (
    Breaker,
    Complexity,
    DeploymentView,
    Kind,
    Limits,
    Modality,
    Plan,
    Request,
    Signals,
    Tier,
    World,
)

IDS = ("a", "b", "c", "d")
LABELS = ("code", "general", "reasoning", "stt", "multimodal", "nonsense")
LANGUAGES = ("en", "hi", "fr", "und", "pt-BR")
chance = st.floats(0, 1)


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """The usual nine times in ten: a plan with several candidates needs most things to be ordinary at once."""
    return st.sampled_from([usual] * 9 * len(others) + list(others))


@st.composite
def models(draw: st.DrawFn, model_id: str) -> dict[str, Any]:
    """A model of any abilities: `openai` leaves them all to the settings. Most chat, so that plans are not empty."""
    return {
        "id": model_id,
        "backend": "openai",
        "url": "http://127.0.0.1:9",
        "kinds": draw(mostly(None, ["transcription"], ["speech", "chat"])),
        "inputs": draw(mostly(["text", "image"], None, ["audio"])),
        "languages": draw(st.lists(st.sampled_from(LANGUAGES[:3]), max_size=2)),
        "context_tokens": draw(mostly(0, 100, 4096)),
        "tools": draw(mostly(True, False)),
        "quality": draw(st.dictionaries(st.sampled_from(("code", "general", "agent", "stt")), chance, max_size=3)),
        "cost_per_mtok": draw(st.sampled_from([0, 0, 0.5, 10])),
        "tokens_per_s": draw(st.sampled_from([0, 5, 100])),
    }


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    ids = IDS[: draw(st.integers(1, len(IDS)))][:: draw(st.sampled_from([1, -1]))]
    rows = draw(st.dictionaries(st.sampled_from(("code", "general", "agent", "stt")), st.permutations(ids)))
    return {
        "models": [draw(models(one)) for one in ids],
        "aliases": {"nick": "a"},
        "routing": {
            "enabled": draw(mostly(True, False)),
            "strategy": draw(st.sampled_from(STRATEGIES)),
            "use_cases": {label: row[: draw(st.integers(1, len(row)))] for label, row in rows.items()},
        },
    }


@st.composite
def views(draw: st.DrawFn, number: int) -> DeploymentView:
    tier = draw(mostly(Tier.HOT, Tier.WARM, Tier.COLD, Tier.COLD))
    return DeploymentView(
        id=f"d{number}",
        model_id=draw(st.sampled_from((*IDS[:2] * 3, *IDS, "gone"))),
        tier=tier,
        state=draw(mostly("ready", "failed", "draining")),
        ready_in_s=0.0 if tier is Tier.HOT else draw(st.floats(0, 300)),
        in_flight=draw(mostly(0, 1, 5)),
        queued=draw(mostly(0, 1, 5)),
        slots=draw(mostly(2, 0, 1)),
        breaker=draw(mostly(Breaker.CLOSED, *Breaker)),
        retry_in_s=draw(st.floats(0, 60)),
        is_managed=draw(st.booleans()),
        memory_bytes=draw(st.integers(0, 200)),
        restarts=draw(mostly(0, 1, 50)),
        last_error=draw(mostly("", "exit 137")),
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    count = draw(mostly(8, 0, 1, 4))
    return World(
        deployments=tuple(draw(views(number)) for number in range(count)),
        budget_bytes=draw(st.sampled_from([0, 100, 500])),
        used_bytes=draw(st.integers(0, 500)),
        ticket=draw(st.integers(0, 1000)),
    )


limits = st.builds(
    Limits,
    max_cost_per_mtok=mostly(None, 1.0),
    max_latency_s=mostly(None, 30.0),
    max_output_tokens=mostly(None, 1, 5000),
    needs_tools=st.booleans(),
    strategy=mostly(None, *STRATEGIES, "nonsense"),
)
requests = st.builds(
    lambda text, model, kind, limit, outputs: replace(ask(text, model, kind, limit), outputs=outputs),
    st.text(),
    mostly("auto", "nick", "whisper-1", "", *IDS),
    mostly(Kind.CHAT, *Kind),
    limits,
    mostly((Modality.TEXT,), (Modality.AUDIO,)),
)
signals_ = st.builds(
    measured,
    st.sampled_from(LABELS),
    p=chance,
    language=st.sampled_from(LANGUAGES),
    language_p=chance,
    complexity=st.sampled_from([*Complexity, "nonsense"]),
    inputs=mostly((Modality.TEXT,), (Modality.TEXT, Modality.IMAGE), (Modality.AUDIO,), ()),
    prompt_tokens=st.integers(0, 200),
    output_tokens=st.integers(0, 5000),
    needs_tools=st.booleans(),
)

Asked = tuple[Request, Signals, World]
asked = st.tuples(requests, signals_, worlds())


def router(configuration: dict[str, Any]) -> Router:
    return Router(Settings.model_validate_json(json.dumps(configuration)))


def ranking(plan: Plan) -> list[str]:
    return [one.deployment_id for one in plan.candidates]


@given(configurations(), asked)
def test_every_deployment_is_in_the_plan_exactly_once(configuration: dict[str, Any], case: Asked) -> None:
    plan = router(configuration).decide(*case)
    placed = ranking(plan) + [one.deployment_id for one in plan.rejected]
    assert sorted(placed) == sorted(view.id for view in case[2].deployments)


@given(configurations(), asked)
def test_a_plan_is_total_ordered_and_says_why(configuration: dict[str, Any], case: Asked) -> None:
    plan = router(configuration).decide(*case)
    scores = [one.score for one in plan.candidates]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert all(0 <= term.value <= 1 and term.weight >= 0 and term.why for one in plan.candidates for term in one.terms)
    assert len({tuple((term.name, term.weight) for term in one.terms) for one in plan.candidates}) <= 1
    assert all(one.code in set(Gate) and one.why for one in plan.rejected)
    assert plan.reason
    assert bool(plan.problem) != bool(plan.candidates)
    assert not plan.problem or plan.problem in TABLE


@given(configurations(), asked)
def test_the_same_question_has_the_same_answer(configuration: dict[str, Any], case: Asked) -> None:
    """In another router, and with the world's deployments in another order."""
    request, signals, seen = case
    shuffled = replace(seen, deployments=seen.deployments[::-1])
    once = router(configuration).decide(request, signals, seen)
    assert router(configuration).decide(request, signals, seen) == once
    assert router(configuration).decide(request, signals, shuffled).candidates == once.candidates


@given(configurations(), asked)
def test_a_pin_never_yields_another_model(configuration: dict[str, Any], case: Asked) -> None:
    request, signals, seen = case
    for name, model_id in (("a", "a"), ("nick", "a")):
        plan = router(configuration).decide(replace(request, model=name), signals, seen)
        assert {one.model_id for one in plan.candidates} <= {model_id}


@given(configurations(), asked, st.integers(0, 4), st.data())
def test_a_model_that_cannot_take_the_request_moves_nobody(
    configuration: dict[str, Any], case: Asked, place: int, data: st.DataObject
) -> None:
    request, signals, seen = case
    newcomer = data.draw(models("newcomer")) | {"kinds": [next(kind for kind in Kind if kind is not request.kind)]}
    listed = configuration["models"]
    more = configuration | {
        "models": [*listed[:place], newcomer, *listed[place:]],
        # The first chat model is the default where none is named: a newcomer at the top would rightly take its place.
        "routing": configuration["routing"] | {"default_model": listed[0]["id"]},
    }
    same = configuration | {"routing": more["routing"]}
    stranger = DeploymentView(id="d00", model_id="newcomer", tier=Tier.HOT, state="ready")
    crowd = replace(seen, deployments=(stranger, *seen.deployments))
    before = router(same).decide(request, signals, seen)
    after = router(more).decide(request, signals, crowd)
    assert ranking(after) == ranking(before)
    assert after.strategy == FIXED or after.candidates == before.candidates  # a fixed order counts places in the file


def _slower(view: DeploymentView, more_s: float) -> DeploymentView:
    return replace(view, ready_in_s=view.ready_in_s + more_s)


def _colder(view: DeploymentView, more_s: float) -> DeploymentView:
    return replace(view, tier=Tier.COLD, ready_in_s=view.ready_in_s + more_s)


@settings(max_examples=200)
@given(configurations(), asked, st.sampled_from([_slower, _colder]), st.floats(0.5, 100), st.data())
def test_worse_readiness_never_raises_a_rank(
    configuration: dict[str, Any],
    case: Asked,
    worsen: Callable[[DeploymentView, float], DeploymentView],
    more_s: float,
    data: st.DataObject,
) -> None:
    request, signals, seen = case
    before = ranking(router(configuration).decide(request, signals, seen))
    if not before:
        return
    loser = data.draw(st.sampled_from(before))
    [model_id] = {view.model_id for view in seen.deployments if view.id == loser}
    assume(sum(view.model_id == model_id for view in seen.deployments) == 1)  # among instances `balance` decides
    worse = tuple(worsen(view, more_s) if view.id == loser else view for view in seen.deployments)
    after = ranking(router(configuration).decide(request, signals, replace(seen, deployments=worse)))
    if loser in after:  # a limit on latency may now shut it out
        assert after.index(loser) >= before.index(loser)

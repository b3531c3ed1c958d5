"""What would have changed a decision: only changes that do, each checked by deciding again."""

from msgspec.structs import replace

from pointsman.policy.router import Router
from pointsman.settings import parse
from pointsman.testing.decisions import ask, cold, hot, measured, world
from pointsman.types import Limits, Scored

ROUTER = Router(
    parse("""
models:
  - {id: small, backend: openai, url: "http://h/1", quality: {general: 0.6, code: 0.2}, cost_per_mtok: 0.1}
  - {id: large, backend: openai, url: "http://h/2", quality: {general: 0.7, code: 0.9}, cost_per_mtok: 9}
routing: {use_cases: {code: [large, small], general: [small, large]}}
""")
)
SIGNALS = replace(
    measured("general"), intent=Scored(label="general", p=0.7, alternatives=(("code", 0.29), ("reasoning", 0.01)))
)


def test_every_change_said_is_one_that_changes_it() -> None:
    seen = world(hot("small"), cold("large", ready_in_s=20))
    first = ROUTER.decide(ask(), SIGNALS, seen).candidates[0].model_id
    found = {one.change: one.model_id for one in ROUTER.what_if(ask(), SIGNALS, seen)}
    assert first == "small"
    assert found
    assert set(found.values()) == {"large"}
    assert "under the strategy cost" not in found
    quality = ROUTER.decide(ask(limits=Limits(strategy="quality")), SIGNALS, seen).candidates[0].model_id
    assert found.get("under the strategy quality", "small") == quality


def test_the_runner_up_of_a_label_is_tried_and_the_unlikely_is_not() -> None:
    found = [one.change for one in ROUTER.what_if(ask(), SIGNALS, world(hot("small"), hot("large")))]
    assert "were its intent code (29% likely)" in found
    assert not [change for change in found if "reasoning" in change]


def test_nothing_changes_where_only_one_can_answer() -> None:
    assert ROUTER.what_if(ask(model="small"), SIGNALS, world(hot("small"), hot("large"))) == ()

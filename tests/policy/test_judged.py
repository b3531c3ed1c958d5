"""Graded answers in a decision: they rank models, a mere hope does not, and what nobody graded changes nothing."""

import pytest
from tests.learning import graded_answers

from pointsman.learning.fit import fit_profile
from pointsman.policy.judged import Judged, incumbent_of, judge
from pointsman.policy.quality import QualityProfile
from pointsman.policy.router import Router
from pointsman.settings import parse
from pointsman.testing.decisions import ask, hot, measured, world

MODELS = """
models:
  - {id: coder, backend: openai, url: "http://h/1"}
  - {id: reckoner, backend: openai, url: "http://h/2"}
  - {id: talker, backend: openai, url: "http://h/3"}
  - {id: newcomer, backend: openai, url: "http://h/4", quality: {general: 0.5}}
routing: {strategy: quality}
"""
SEEN = world(hot("coder"), hot("reckoner"), hot("talker"), hot("newcomer"))
UNSEEN = graded_answers.answers(60, seed=9, models=("coder",))
CODE, MATHS, TALK = UNSEEN[18].prompt, UNSEEN[4].prompt, UNSEEN[20].prompt  # the profile finds these familiar
NOVEL = "Привет, как дела? Расскажи про погоду"


@pytest.fixture(scope="module")
def profile() -> QualityProfile:
    return QualityProfile(fit_profile(graded_answers.world(600)))


def judged(profile: QualityProfile, text: str, label: str = "general") -> Judged:
    return judge(profile, ask(text), measured(label))


def test_what_was_graded_decides_who_is_first(profile: QualityProfile) -> None:
    router = Router(parse(MODELS), profile)
    for text, model in ((CODE, "coder"), (MATHS, "reckoner")):
        plan = router.decide(ask(text), measured(), SEEN)
        assert plan.candidates[0].model_id == model, plan.reason
        term = plan.candidates[0].terms[0]
        assert "on requests like this" in term.why
    blind = Router(parse(MODELS)).decide(ask(CODE), measured(), SEEN)
    assert all("no figure" in one.terms[0].why for one in blind.candidates if one.model_id != "newcomer")


def test_a_model_nobody_graded_keeps_its_configured_figure(profile: QualityProfile) -> None:
    plan = Router(parse(MODELS), profile).decide(ask(CODE), measured(), SEEN)
    (newcomer,) = [one for one in plan.candidates if one.model_id == "newcomer"]
    assert newcomer.terms[0].why == "0.5 for general"
    assert judged(profile, CODE).of("newcomer") is None


def test_a_hope_is_no_gain(profile: QualityProfile) -> None:
    for text in (CODE, MATHS, TALK):
        found = judged(profile, text)
        ours = found.of(profile.incumbent)
        assert ours is not None
        for verdict in found.verdicts:
            if "not surely better" in verdict.why:
                assert verdict.quality <= ours.quality
            assert 0 <= verdict.quality <= 1


def test_what_is_like_nothing_graded_is_answered_by_the_overall_means(profile: QualityProfile) -> None:
    found = judged(profile, NOVEL)
    assert {one.model_id: one.quality for one in found.verdicts} == dict(profile.overall())
    assert max(found.verdicts, key=lambda one: one.quality).model_id == profile.incumbent
    assert all("nothing like this was graded" in one.why for one in found.verdicts)


def test_the_incumbent_is_one_that_is_configured(profile: QualityProfile) -> None:
    means = dict(profile.overall())
    others = sorted(set(profile.models) - {profile.incumbent}, key=means.__getitem__)
    assert incumbent_of(profile, profile.models) == profile.incumbent
    assert incumbent_of(profile, others) == others[-1]
    assert incumbent_of(profile, ["stranger"]) == profile.incumbent
    found = judge(profile, ask(CODE), measured(), others[-1])
    best = found.of(others[-1])
    assert best is not None
    assert "not surely better" not in best.why


@pytest.mark.parametrize(("text", "label"), [("", "general"), ("   ", "general"), (CODE, "stt")])
def test_only_what_a_text_model_is_asked_is_judged(profile: QualityProfile, text: str, label: str) -> None:
    assert judged(profile, text, label) == Judged()


def test_a_harness_does_not_speak_for_the_user(profile: QualityProfile) -> None:
    plain = judged(profile, CODE)
    wrapped = judged(profile, f"<system-reminder>\n{NOVEL}\n{NOVEL}\n</system-reminder>\n{CODE}")
    assert wrapped.novelty == pytest.approx(plain.novelty)
    assert wrapped.verdicts == plain.verdicts

"""Fitting, joining and evaluating on a small world with a known truth."""

import msgspec
import numpy as np
import pytest
from tests.learning.graded_answers import STRENGTHS, answers, world

from pointsman.learning.evaluate import EvaluationError, evaluate
from pointsman.learning.fit import FitError, fit_profile
from pointsman.learning.join import join_models
from pointsman.learning.rows import Answer, graded
from pointsman.policy.quality import QualityProfile, encode


@pytest.fixture(scope="module")
def profile() -> QualityProfile:
    return QualityProfile(fit_profile(world()))


def test_the_same_rows_and_seed_give_the_same_file() -> None:
    assert encode(fit_profile(world(60))) == encode(fit_profile(world(60)))


def test_a_choice_beats_every_control_on_unseen_questions(profile: QualityProfile) -> None:
    report = evaluate(profile, world(300, seed=4))
    for control in ("incumbent", "best single here", "random model", "same shares at random"):
        assert report.value("quality: guarded choice") > report.value(f"quality: {control}") + 0.1
    assert report.value("quality: oracle") > report.value("quality: guarded choice")
    assert report.value("squared error of estimates") < report.value("squared error of the models' means") - 0.02
    assert report.value("AIQ: single models") < report.value("AIQ: profile") < report.value("AIQ: oracle")


def test_an_apgr_is_above_length_and_chance(profile: QualityProfile) -> None:
    report = evaluate(profile, world(300, seed=4))
    assert report.value("APGR: profile") > max(report.value("APGR: prompt length"), 0.5) + 0.05
    assert report.value("APGR: shuffled") == pytest.approx(0.5, abs=0.5)
    assert report.value("CPT50") < report.value("CPT80") <= 1


def test_where_words_say_nothing_the_incumbent_answers() -> None:
    """Scores shuffled over questions: a profile that sees structure here would see it anywhere."""
    table = world()
    order = np.random.default_rng(0).permutation(len(table.prompts))
    shuffled = msgspec.structs.replace(table, scores=table.scores[order], groups=())
    told = QualityProfile(fit_profile(shuffled))
    left = [told.choose(told.view(prompt)).model_id != told.incumbent for prompt in world(150, seed=5).prompts]
    assert np.mean(left) < 0.15


def test_a_newcomer_with_200_answers_is_placed(profile: QualityProfile) -> None:
    few = [msgspec.structs.replace(row, model="newcomer") for row in answers(200, seed=8) if row.model == "coder"]
    joined = QualityProfile(join_models(profile, graded(few)))
    fresh = world(90, seed=6)
    truth = np.array([[STRENGTHS["coder"][kind]] for kind in fresh.groups])[:, 0]
    told = np.array([joined.view(prompt).means[-1] for prompt in fresh.prompts])
    flat = np.full(len(truth), told.mean())
    assert ((told - truth) ** 2).mean() < 0.5 * ((flat - truth) ** 2).mean()


def test_a_newcomer_moves_nobody(profile: QualityProfile) -> None:
    few = [Answer(prompt=f"question {n}", model="newcomer", score=float(n % 2)) for n in range(40)]
    joined = QualityProfile(join_models(profile, graded(few)))
    for prompt in world(20, seed=6).prompts:
        for one, same in zip(profile.estimate(prompt), joined.estimate(prompt), strict=False):
            assert one.model_id == same.model_id
            assert (one.mean, one.low, one.high) == pytest.approx((same.mean, same.low, same.high), abs=1e-5)
    assert joined.incumbent == profile.incumbent


def test_answers_that_are_missing_are_no_failures() -> None:
    rows = [row for number, row in enumerate(answers(300)) if number % 4]
    told = QualityProfile(fit_profile(graded(rows)))
    means = dict(zip(told.models, told.data.means.tolist(), strict=True))
    for model, strength in STRENGTHS.items():
        assert means[model] == pytest.approx(np.mean(list(strength.values())), abs=0.06)


def test_one_answer_a_question_is_enough() -> None:
    rows = [row for number, row in enumerate(answers(600)) if number % 3 == number // 9 % 3]
    told = QualityProfile(fit_profile(graded(rows)))
    best = [max(told.estimate(prompt), key=lambda one: one.mean).model_id for prompt in world(60, seed=6).prompts]
    right = {"code": "coder", "maths": "reckoner", "talk": "talker"}
    assert np.mean([model == right[kind] for model, kind in zip(best, world(60, seed=6).groups, strict=True)]) > 0.6


@pytest.mark.filterwarnings("error")
def test_costs_that_are_known_in_part_and_prompts_that_are_alike_are_no_trouble() -> None:
    rows = [
        msgspec.structs.replace(
            row, prompt=f"same {number // 3 % 40 % 7}{' ' * (number // 3)}", cost=None if number % 5 else 1.0
        )
        for number, row in enumerate(answers(120))
    ]
    rows = [row for row in rows if row.model != "talker" or row.cost is None]
    told = QualityProfile(fit_profile(graded(rows)))
    costs = told.view("same 3").costs
    assert costs[told.models.index("talker")] == pytest.approx(1.0)  # what is not known is not free
    assert "no costs of talker" in told.data.note
    assert costs.max() == pytest.approx(1.0, abs=0.2)


def test_one_model_alone_has_a_profile() -> None:
    told = QualityProfile(fit_profile(world(90, models=("coder",))))
    assert told.choose(told.view("write a python function")).model_id == "coder"
    assert evaluate(told, world(60, seed=2, models=("coder",))).value("gain over incumbent") == 0


def test_what_cannot_be_fitted_is_refused(profile: QualityProfile) -> None:
    with pytest.raises(FitError, match="6 questions"):
        fit_profile(world(6))
    with pytest.raises(FitError, match="no answers of 'nobody'"):
        fit_profile(world(60), incumbent="nobody")
    with pytest.raises(FitError, match="in the profile already"):
        join_models(profile, world(60))
    few = [Answer(prompt=f"q{n}", model="newcomer", score=1.0) for n in range(5)]
    with pytest.raises(FitError, match="5 answers of newcomer"):
        join_models(profile, graded(few))
    with pytest.raises(EvaluationError, match="no answers of reckoner"):
        evaluate(profile, world(60, models=("coder", "talker")))


def test_what_is_graded_in_part_is_measured_in_part_and_said(profile: QualityProfile) -> None:
    rows = answers(60, seed=3)
    dropped = {row.prompt for row in rows[:30]}
    part = graded([row for row in rows if row.model != "talker" or row.prompt not in dropped])
    report = evaluate(profile, part)
    assert report.questions == len(part.prompts) - len(dropped)
    assert f"talker on {report.questions} of {len(part.prompts)}" in report.notes[0]
    with pytest.raises(EvaluationError, match=f"talker on 0 of {len(part.prompts)}"):
        nobody = msgspec.structs.replace(part, scores=np.where(np.arange(3) == 2, np.nan, part.scores))
        evaluate(profile, nobody)


def test_missing_costs_are_said(profile: QualityProfile) -> None:
    rows = [
        msgspec.structs.replace(row, cost=None if row.model == "coder" else row.cost) for row in answers(40, seed=4)
    ]
    (note,) = evaluate(profile, graded(rows)).notes
    assert "costs are missing of coder" in note

"""A profile, asked: estimates, gains, the guard, the file. Fitted here on a small world with a known truth."""

import msgspec
import numpy as np
import pytest
from tests.learning.graded_answers import STRENGTHS, answers, world

from pointsman.learning.fit import fit_profile
from pointsman.learning.rows import graded
from pointsman.policy.quality import (
    VERSION,
    Blend,
    ProfileData,
    ProfileError,
    QualityProfile,
    blended,
    decode,
    encode,
)  # fmt: skip

CODE = "write a python function that sorts the list of birds and books"
MATHS = "what is ninety plus stones times the square root and lamps"
TALK = "tell my friend Ravi a kind story about rivers and apples"
NOISE = [f"{one}{other}" for one in "bcdfghjk" for other in ("alo", "ime", "uto", "era", "oni")]
STRANGE = "Կենդանիների թագավորը քնած էր ծառի տակ"


@pytest.fixture(scope="module")
def data() -> ProfileData:
    return fit_profile(world())


@pytest.fixture(scope="module")
def profile(data: ProfileData) -> QualityProfile:
    return QualityProfile.from_bytes(encode(data))


def test_estimates_follow_the_truth(profile: QualityProfile) -> None:
    for prompt, kind in ((CODE, "code"), (MATHS, "maths"), (TALK, "talk")):
        for one in profile.estimate(prompt):
            assert one.mean == pytest.approx(STRENGTHS[one.model_id][kind], abs=0.17)
            assert 0 <= one.low <= one.mean <= one.high <= 1
            assert 0.05 < one.high - one.low < 0.4
            assert 10 < one.n <= 300


def test_the_interval_covers_unseen_questions_of_a_kind(profile: QualityProfile) -> None:
    rows = world(600, seed=3)
    misses = 0
    for kind in range(3):
        for column in range(3):
            told = [profile.estimate(prompt)[column] for prompt in rows.prompts[kind::3]]
            mean = float(rows.scores[kind::3, column].mean())
            misses += (
                not np.mean([one.low for one in told]) - 0.04 <= mean <= np.mean([one.high for one in told]) + 0.04
            )
    assert misses <= 1


def test_the_same_bytes_give_the_same_estimates(profile: QualityProfile, data: ProfileData) -> None:
    assert QualityProfile(data).estimate(CODE) == profile.estimate(CODE)
    assert encode(decode(encode(data))) == encode(data)


def test_the_incumbent_is_left_only_on_evidence(profile: QualityProfile) -> None:
    assert profile.incumbent == "talker"
    assert profile.choose(profile.view(CODE)).model_id == "coder"
    assert profile.choose(profile.view(MATHS)).model_id == "reckoner"
    stays = profile.choose(profile.view(TALK))
    assert (stays.model_id, stays.gain, stays.gain_low) == ("talker", 0.0, 0.0)
    assert stays.why == "no other model is surely better"


def test_a_novel_text_stays_with_the_incumbent(profile: QualityProfile) -> None:
    assert profile.novelty(STRANGE) > 0.95
    assert profile.novelty(CODE) < 0.7
    choice = profile.choose(profile.view(STRANGE), incumbent="coder")
    assert (choice.model_id, choice.why) == ("coder", "nothing like this was graded")


@pytest.mark.parametrize("text", ["", " ", "x", "\ud800", "a" * 100_000, "\x00\n" * 50])
def test_any_text_has_an_answer(profile: QualityProfile, text: str) -> None:
    assert all(0 <= one.low <= one.mean <= one.high <= 1 for one in profile.estimate(text))
    assert 0 <= profile.novelty(text) <= 1


def test_a_gain_is_over_the_incumbent(profile: QualityProfile) -> None:
    gain, low = profile.gain(CODE, "coder", "reckoner")
    assert gain > 0.4
    assert 0 < low < gain
    assert profile.gain(CODE, "reckoner", "coder")[0] == pytest.approx(-gain)
    assert profile.gain(CODE, "coder", "coder") == (0.0, 0.0)
    with pytest.raises(KeyError):
        profile.gain(CODE, "nobody", "coder")


def test_a_price_moves_the_choice(profile: QualityProfile) -> None:
    view = profile.view(CODE)
    chosen = [profile.choose(view, weight).model_id for weight in (0.0, 0.05, 3.0)]
    assert chosen == ["coder", "coder", "talker"]


def test_few_answers_leave_nobody() -> None:
    profile = QualityProfile(fit_profile(world(21)))
    asked = [profile.choose(profile.view(prompt)) for prompt in (CODE, MATHS, TALK)]
    sure = [one for one in asked if one.model_id != profile.incumbent]
    assert all(one.gain_low > 0 for one in sure)
    assert len(sure) < 3


def test_labels_speak_where_rows_carried_them() -> None:
    rows = [
        msgspec.structs.replace(
            row,
            prompt=f"{number // 3} something {NOISE[number // 3 % 40]}",
            intent=row.group,
            language="hi",
            complexity="low",
        )
        for number, row in enumerate(answers(240))
    ]  # the words say nothing: only the intent does
    profile = QualityProfile(fit_profile(graded(rows)))
    told = {one.model_id: one.mean for one in profile.estimate("7 something balo", ("code", "hi", "low"))}
    assert told["coder"] > told["talker"] + 0.2 > told["reckoner"] + 0.3
    blind = {one.model_id: one.mean for one in profile.estimate("7 something balo")}
    assert abs(blind["coder"] - blind["talker"]) < 0.15
    unknown = {one.model_id: one.mean for one in profile.estimate("7 something balo", ("music", "xx", "high"))}
    assert unknown == pytest.approx(blind, abs=0.1)


def test_level_and_contrast_are_weighed_apart() -> None:
    deviations = np.array([[[0.2, 0.0]], [[0.0, 0.4]]], np.float32)
    blend = Blend(level=np.array([1.0, 0.0]), contrast=np.array([0.0, 0.5]), base=2)
    assert blended(deviations, blend) == pytest.approx(np.array([[0.1 - 0.1, 0.1 + 0.1]]))


@pytest.mark.parametrize("raw", [b"", b"nonsense", msgspec.msgpack.encode({"format": "other", "version": 1})])
def test_what_is_no_profile_is_refused(raw: bytes) -> None:
    with pytest.raises(ProfileError):
        QualityProfile.from_bytes(raw)


def test_another_version_and_damage_are_refused(data: ProfileData) -> None:
    newer = msgspec.structs.replace(data, version=VERSION + 1)
    with pytest.raises(ProfileError, match=f"version {VERSION + 1}"):
        QualityProfile.from_bytes(encode(newer))
    loose = msgspec.msgpack.decode(encode(data))
    loose["means"][1] = [99]
    with pytest.raises(ProfileError, match="damaged"):
        QualityProfile.from_bytes(msgspec.msgpack.encode(loose))


def test_a_profile_says_what_it_is(profile: QualityProfile) -> None:
    assert repr(profile) == "QualityProfile(3 models, 900 graded answers, incumbent talker)"

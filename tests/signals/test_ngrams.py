"""The linear model over words and their pieces."""

import numpy as np

from pointsman.signals.ngrams import MOST_WORDS, Scales, WordModel, pieces_of

LABELS = ("a", "b")
WEIGHTS = np.array([[0, 0], [2, -2], [0, 1], [1, 0]], np.float32)  # nothing; `tree`; the beginning `tr`; the end `ee`
SCALES = Scales((3,), 0.5, (1.0, 1.0, 0.5))
MODEL = WordModel(LABELS, ["tree"], ["\x02tr", "ee\x03"], WEIGHTS, np.zeros(2, np.float32), SCALES)


def test_pieces_have_ends_and_marks_have_none() -> None:
    assert pieces_of("cat", (3,)) == ["\x02ca", "cat", "at\x03"]
    assert pieces_of("\x01native", (3,)) == []


def test_a_known_word_is_worth_its_row() -> None:
    np.testing.assert_allclose(MODEL.weigh(["tree"]).scores, [2, -2], rtol=1e-6)


def test_an_unknown_word_is_worth_its_pieces() -> None:
    np.testing.assert_allclose(MODEL.weigh(["trip"]).scores, [0, 1], rtol=1e-6)
    np.testing.assert_allclose(MODEL.weigh(["trees", "xyz"]).scores, np.array([0, 1]) * 0.5 / 2**0.5, rtol=1e-6)
    np.testing.assert_allclose(MODEL.weigh(["xyz"]).scores, [0, 0])


def test_a_long_text_is_no_surer_than_its_sharpness_lets_it_be() -> None:
    one, many = MODEL.weigh(["tree"]).scores, MODEL.weigh(["tree"] * 49).scores
    np.testing.assert_allclose(many, one * 49 * 0.5 / 49**0.5, rtol=1e-5)
    np.testing.assert_allclose(MODEL.weigh(["tree"] * 10 * MOST_WORDS).scores, one * MOST_WORDS**0.5 * 0.5, rtol=1e-5)


def test_the_loudest_word_is_named() -> None:
    weighed = MODEL.weigh(["trip", "tree"])
    assert (weighed.loudest(0), weighed.loudest(1)) == ("tree", "trip")
    assert MODEL.weigh(["xyz"]).loudest(0) == ""


def test_a_silent_word_speaks_for_nothing() -> None:
    quiet = WordModel(LABELS, ["tree"], ["\x02tr", "ee\x03"], WEIGHTS, np.zeros(2, np.float32), SCALES, ["tree"])
    np.testing.assert_allclose(quiet.weigh(["tree"]).scores, [0, 0])

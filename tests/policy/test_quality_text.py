"""Hashed n-grams and shape figures: deterministic, total, blind to what does not matter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.policy.quality_text import BUCKETS, SHAPES, WORD_BUCKETS, read


def shape(text: str) -> dict[str, float]:
    return dict(zip(SHAPES, read(text)[1].tolist(), strict=True))


def words(text: str) -> set[int]:
    return {bucket for bucket in read(text)[0].buckets.tolist() if bucket < WORD_BUCKETS}


def test_hashes_are_the_same_for_ever() -> None:
    """Profiles in the field hold these buckets: another hash would silently make nonsense of them."""
    grams, _ = read("Ab 12?")
    assert grams.buckets.tolist() == GOLDEN


GOLDEN = [
    14680,
    21992,
    32504,
    40341,
    41553,
    41819,
    42116,
    42857,
    47480,
    53772,
    56522,
    59137,
    61080,
    61533,
    62886,
    63020,
    63330,
    64362,
]


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    grams, figures = read(text)
    assert (np.diff(grams.buckets) > 0).all()
    assert ((grams.buckets >= 0) & (grams.buckets < BUCKETS)).all()
    assert (grams.weights >= 1).all()
    assert figures.shape == (len(SHAPES),)
    assert np.isfinite(figures).all()


def test_case_spacing_and_the_value_of_numbers_do_not_matter() -> None:
    assert read("Add 12  and 34")[0].buckets.tolist() == read("add 56\nAND 78")[0].buckets.tolist()
    assert words("add 12") != words("add 123")


def test_words_of_every_script_are_words() -> None:
    assert len(words("मुझे मदद चाहिए")) == 3 + 2
    assert words("मदद।") == words("मदद")


def test_pairs_know_their_order() -> None:
    assert words("dog bites man") != words("man bites dog")


@pytest.mark.parametrize("opening", ["A. one\nB. two", "(a) one\n(b) two", "1) one\n2) two"])
def test_options_are_counted(opening: str) -> None:
    assert shape(f"Which?\n{opening}")["options"] == pytest.approx(np.log1p(2))


def test_shape_tells_code_from_prose() -> None:
    code, prose = shape("def f(x):\n    return {x: [1, 2]}"), shape("Tell me about the rivers of India")
    assert code["brackets"] > prose["brackets"]
    assert code["symbols"] > prose["symbols"]
    assert code["lines"] > prose["lines"]


def test_of_a_long_text_beginning_and_end_are_read() -> None:
    filler = "lorem ipsum " * 2000
    assert words("unusual") <= words("unusual " + filler)
    assert words("unusual") <= words(filler + " unusual")
    assert not words("unusual") <= words(filler + "unusual " + filler)

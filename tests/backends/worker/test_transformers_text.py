"""Tokens as text: whole characters, no stop words, nothing lost."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.backends.worker.transformers_text import Writer


def decode(tokens: Sequence[int]) -> str:
    """Tokens are bytes, as they are for a tokenizer that has no better word."""
    return bytes(tokens).decode("utf-8", "replace")


def written(text: str, *stops: str) -> tuple[list[str], Writer]:
    """The pieces that were shown, up to the stop word."""
    writer, pieces = Writer(decode, stops), []
    for token in text.encode():
        pieces.append(writer.add(token))
        if writer.has_stopped:
            break
    return [*pieces, writer.end()], writer


@given(st.text())
def test_nothing_is_lost(text: str) -> None:
    pieces, writer = written(text)
    assert "".join(pieces) == text
    assert not writer.has_stopped


def test_half_a_character_waits_for_its_other_half() -> None:
    pieces, _ = written("é€😀नी")
    assert [piece for piece in pieces if piece] == ["é", "€", "😀", "न", "ी"]


def test_half_a_character_at_the_end_is_shown_as_what_it_is() -> None:
    writer = Writer(decode)
    assert [writer.add(token) for token in "a€".encode()[:-1]] == ["a", "", ""]
    assert writer.end() == "\ufffd"


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_stop_words_end_the_answer_before_them(text: str, stops: list[str]) -> None:
    pieces, writer = written(text, *stops)
    ends = [at for end in range(len(text) + 1) for stop in stops if (at := text[:end].find(stop)) >= 0]
    assert writer.has_stopped == bool(ends)
    if not ends:
        assert "".join(pieces) == text
        return
    first_end = next(end for end in range(len(text) + 1) if any(stop in text[:end] for stop in stops))
    assert "".join(pieces) == text[: min(text[:first_end].find(s) for s in stops if s in text[:first_end])]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one STOP two", "one "),
        ("one STO two", "one STO two"),
        ("one ST", "one ST"),
        ("STOP", ""),
        ("SSTOP", "S"),
    ],
)
def test_a_stop_word_and_what_only_looks_like_one(text: str, shown: str) -> None:
    pieces, _ = written(text, "STOP", "never")
    assert "".join(pieces) == shown


def test_a_beginning_of_a_stop_word_is_not_shown_yet() -> None:
    pieces, _ = written("a STOx", "STOP")
    assert pieces == ["a", " ", "", "", "", "STOx", ""]


def test_special_tokens_say_nothing() -> None:
    writer = Writer(lambda tokens: "".join("" if token == 0 else chr(token) for token in tokens))
    assert [writer.add(token) for token in (0, ord("a"), 0, ord("b"))] == ["", "a", "", "b"]
    assert writer.end() == ""

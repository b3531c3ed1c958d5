"""Context within a budget: nothing twice, the relevant first, what was cut is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.rag.reduce import PASSAGE_WORDS, Reduced, passages_of, reduce

TRAINS = "The night train to Chennai leaves Mumbai at 22:45 from platform nine. Sleeper berths cost 640 rupees."
WEATHER = "Monsoon clouds reached Kerala on the first of June. Rainfall was eleven per cent above the mean."
CRICKET = "The captain won the toss and chose to bat. Two wickets fell in the opening over."
QUESTION = "When does the train to Chennai leave?"


def tokens(text: str) -> float:
    return len(text.split())


def fit(*documents: str, question: str = QUESTION, budget: int = 1000) -> Reduced:
    return reduce(documents, question, budget, tokens)


def test_what_fits_stays_whole() -> None:
    found = fit(WEATHER, TRAINS)
    assert dict(found.documents) == {0: WEATHER, 1: TRAINS}
    assert (found.cuts, found.tokens_saved) == ((), 0)


def test_the_relevant_is_kept_and_the_cut_told() -> None:
    found = fit(WEATHER, TRAINS, CRICKET, budget=20)
    assert found.documents == ((1, TRAINS),)
    assert [(cut.document, cut.why) for cut in found.cuts] == [(0, "budget"), (2, "budget")]
    assert found.tokens_saved == tokens(WEATHER) + tokens(CRICKET)


def test_what_was_said_before_is_a_duplicate() -> None:
    found = fit(TRAINS, TRAINS.replace("nine", "nine!").upper(), WEATHER)
    assert [number for number, _ in found.documents] != []
    assert [(cut.document, cut.why) for cut in found.cuts] == [(1, "duplicate")]


def test_the_best_comes_first_and_the_second_best_last() -> None:
    second = "A train to Pune also runs."
    found = fit(WEATHER, CRICKET, second, TRAINS)
    assert next(number for number, _ in found.documents) == 3
    assert [number for number, _ in found.documents][-1] == 2


@pytest.mark.parametrize(
    ("question", "relevant"),
    [
        ("चेन्नई की ट्रेन कब जाती है?", "चेन्नई की ट्रेन रात पौने ग्यारह बजे जाती है।"),
        ("சென்னை ரயில் எப்போது புறப்படும்?", "சென்னை ரயில் இரவு புறப்படும் நேரம் பத்தே முக்கால்."),
        ("চেন্নাই ট্রেন কখন ছাড়ে?", "চেন্নাই ট্রেন রাত পৌনে এগারোটায় ছাড়ে।"),
    ],
)
def test_any_script(question: str, relevant: str) -> None:
    assert fit(WEATHER, CRICKET, relevant, question=question, budget=12).documents == ((2, relevant),)


def test_a_question_in_another_language_leaves_the_documents_own_order() -> None:
    found = fit(TRAINS, WEATHER, question="ट्रेन कब?", budget=20)
    assert found.documents == ((0, TRAINS),)


def test_long_texts_are_cut_at_sentences_and_endless_ones_anywhere() -> None:
    sentences = " ".join(f"This is sentence number {number} of many." for number in range(100))
    passages = passages_of(sentences)
    assert all(len(one.split()) <= PASSAGE_WORDS and one.endswith(".") for one in passages)
    assert " ".join(passages) == sentences
    assert max(len(one.split()) for one in passages_of("word " * 1000)) == PASSAGE_WORDS
    assert passages_of(" \n\n ") == []


@given(
    st.lists(st.text(max_size=400), max_size=6),
    st.text(max_size=80),
    st.integers(0, 200),
)
def test_whatever_comes_the_budget_holds_and_nothing_is_lost_unsaid(
    documents: list[str], question: str, budget: int
) -> None:
    found = fit(*documents, question=question, budget=budget)
    assert found.tokens_after <= budget
    assert found.tokens_after + sum(cut.tokens for cut in found.cuts) == found.tokens_before
    assert len({number for number, _ in found.documents}) == len(found.documents)

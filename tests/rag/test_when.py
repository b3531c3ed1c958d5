"""Which time a question is about."""

from datetime import UTC, date, datetime

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pointsman.rag.when import span_of

TODAY = date(2026, 11, 21)


def day(unix_s: float | None) -> str | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC).date().isoformat()


@pytest.mark.parametrize(
    ("question", "since", "until"),
    [
        ("What changed since March?", "2026-03-01", None),
        ("What changed since December?", "2025-12-01", None),
        ("what was decided after 2024-05-01", "2024-05-01", None),
        ("Everything before June 2025, please", None, "2025-06-01"),
        ("between March 5 and April 2, 2025", "2026-03-05", "2025-04-03"),
        ("What happened in 2023?", "2023-01-01", "2024-01-01"),
        ("Who spoke on Sept. 3?", "2026-09-03", "2026-09-04"),
        ("news from last week", "2026-11-14", None),
        ("in the past 3 days", "2026-11-18", None),
        ("What did we say yesterday?", None, None),
        ("meetings on yesterday", "2026-11-20", "2026-11-21"),
        ("since February 30", None, None),
        ("May I ask who wrote this?", None, None),
        ("मार्च के बाद क्या बदला?", None, None),
    ],
)
def test_spans(question: str, since: str | None, until: str | None) -> None:
    span = span_of(question, TODAY)
    assert (day(span.since_unix_s), day(span.until_unix_s)) == (since, until)


@pytest.mark.parametrize("question", ["the latest rules", "What changed since March?", "most recent figures"])
def test_the_newest_first(question: str) -> None:
    assert span_of(question, TODAY).newest_first


@given(st.text(), st.dates())
def test_no_question_breaks_it(question: str, today: date) -> None:
    span_of(question, today)


@given(st.sampled_from(["since {}", "before {}", "in {}"]), st.dates(), st.dates(min_value=date(1971, 1, 1)))
def test_iso_dates_are_themselves(words: str, said: date, today: date) -> None:
    span = span_of(words.format(said.isoformat()), today)
    assert said.isoformat() in {day(span.since_unix_s), day(span.until_unix_s)}

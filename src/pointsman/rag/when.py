"""Which time a question is about: "since March", "before 2024-05-01", "last week", "in 2023", "the latest". Pure.

Knows: English words for times, ISO dates. Does not know: a clock (today is given), other languages: callers of those
send `since` and `until` themselves.
A month without a year is the latest one that has begun.
"""

import re
from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
          "december")  # fmt: skip
_MONTH = "|".join(f"{name}|{name[:3]}\\.?" for name in MONTHS) + "|sept\\.?"
_DATE = rf"\d{{4}}-\d{{2}}-\d{{2}}|(?:{_MONTH})(?:\s+\d{{1,2}})?(?:,?\s+\d{{4}})?|(?:19|20)\d\d|yesterday|today"
_FROM = re.compile(rf"\b(?:since|after|from|starting)\s+({_DATE})\b", re.IGNORECASE)
_UNTIL = re.compile(rf"\b(?:before|until|till|up to|by)\s+({_DATE})\b", re.IGNORECASE)
_BETWEEN = re.compile(rf"\bbetween\s+({_DATE})\s+and\s+({_DATE})\b", re.IGNORECASE)
_WITHIN = re.compile(rf"\b(?:in|during|on)\s+({_DATE})\b", re.IGNORECASE)
_AGO = re.compile(r"\b(?:last|past)\s+(?:(\d{1,3})\s+)?(day|week|month|year)s?\b", re.IGNORECASE)
_NEWEST = re.compile(r"\b(?:latest|newest|most recent|recently|changed?|what(?:'s| is) new)\b", re.IGNORECASE)
DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}


class Span(NamedTuple):
    """From (inclusive) and until (exclusive), seconds since 1970; None: open."""

    since_unix_s: float | None = None
    until_unix_s: float | None = None
    newest_first: bool = False


def span_of(question: str, today: date) -> Span:
    """1 between … and …  2 since, before  3 in …  4 the last so many days. First rule that speaks wins."""
    newest_first = _NEWEST.search(question) is not None
    if found := _BETWEEN.search(question):  # 1
        return Span(_begin(found[1], today), _end(found[2], today), newest_first)
    since, until = _FROM.search(question), _UNTIL.search(question)
    if since or until:  # 2
        return Span(
            _begin(since[1], today) if since else None, _begin(until[1], today) if until else None, newest_first
        )
    if found := _WITHIN.search(question):  # 3
        return Span(_begin(found[1], today), _end(found[1], today), newest_first)
    if found := _AGO.search(question):  # 4
        days = int(found[1] or 1) * DAYS[found[2].lower()]
        return Span(_unix(today - timedelta(days=days)), None, newest_first)
    return Span(newest_first=newest_first)


def _begin(words: str, today: date) -> float | None:
    return _unix(_days(words, today)[0])


def _end(words: str, today: date) -> float | None:
    return _unix(_days(words, today)[1])


def _unix(day: date | None) -> float | None:
    return None if day is None else datetime.combine(day, time(), UTC).timestamp()


def _days(words: str, today: date) -> tuple[date | None, date | None]:
    """The first day, and the first one after. (None, None) where no calendar has them."""
    said = words.lower()
    one = timedelta(days=1)
    if said in {"today", "yesterday"}:
        day = today if said == "today" else today - one
        return day, day + one
    try:
        if said[:4].isdigit() and "-" in said:
            day = date.fromisoformat(said)
            return day, day + one
        if said.isdigit():
            return date(int(said), 1, 1), date(int(said) + 1, 1, 1)
        return _month(said, today)
    except (ValueError, OverflowError):
        return None, None


def _month(said: str, today: date) -> tuple[date, date]:
    """`march`, `march 5`, `march 2024`, `march 5, 2024`."""
    name, *numbers = said.replace(",", " ").replace(".", " ").split()
    month = next(number for number, full in enumerate(MONTHS, 1) if full.startswith(name))
    years = [int(number) for number in numbers if len(number) == 4]
    days = [int(number) for number in numbers if len(number) < 4]
    year = years[0] if years else today.year - ((month, days[0] if days else 1) > (today.month, today.day))
    if days:
        day = date(year, month, days[0])
        return day, day + timedelta(days=1)
    return date(year, month, 1), date(year, month, 1) + timedelta(days=monthrange(year, month)[1])

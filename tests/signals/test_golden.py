"""The golden requests: what the classifier says of each, question by question."""

from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from tests.signals.asking import measured

QUESTIONS = ("language", "script", "use_case", "intent", "complexity")


class Row(NamedTuple):
    group: str
    text: str
    expected: dict[str, str]


def rows() -> list[Row]:
    groups = yaml.safe_load(Path(__file__).with_name("golden.yaml").read_text(encoding="utf-8"))
    return [
        Row(group, text, {name: label for name, label in zip(QUESTIONS, labels, strict=True) if label is not None})
        for group, entries in groups.items()
        for text, *labels in entries
    ]


ROWS = rows()


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.group}: {row.text[:40]}" for row in ROWS])
def test_is_what_it_is(row: Row) -> None:
    signals = measured(row.text)
    said = {
        "language": signals.language.label,
        "script": signals.script,
        "use_case": signals.use_case.label,
        "intent": signals.intent.label,
        "complexity": signals.complexity.label,
    }
    assert {name: said[name] for name in row.expected} == row.expected, signals


def test_covers_ten_languages_in_their_letters_and_nine_in_latin_ones() -> None:
    native = {row.expected.get("language") for row in ROWS if row.expected.get("script") == "native"}
    latin = {row.expected.get("language") for row in ROWS if row.expected.get("script") == "latin"}
    indian = {"hi", "ta", "te", "bn", "mr", "gu", "kn", "ml", "pa"}
    assert indian | {"en"} <= native
    assert indian <= latin
    assert len(ROWS) >= 150

"""The built-in suite: valid, balanced, and each item gives its own reference the full score and nonsense none."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

import pytest

from pointsman.calibration.graders import extract_code, grade, needs_sandbox
from pointsman.calibration.items import (
    FAMILIES,
    LANGUAGES,
    SUITE_VERSION,
    ChoiceKey,
    Item,
    content_version,
    load_suite,
    parse,
    validated,
)

SUITE = load_suite()
CODE = [item for item in SUITE if needs_sandbox(item)]
TEXT = [item for item in SUITE if not needs_sandbox(item)]
OFF_TOPIC = (
    "Thank you for your message, and greetings to everybody over there!",
    "सुनो भाई, मौसम सुहाना",
)

LINE = (
    '{"id":"x-1","family":"arithmetic","language":"en","intent":"reasoning","complexity":"low","prompt":"1+1?",'
    '"max_tokens":8,"grader":"number","expected":{"answer":"2"}}'
)


def reference(item: Item) -> str:
    answer = json.loads(item.expected)["answer"]
    assert isinstance(answer, str)
    return answer


def names(items: Iterable[Item]) -> list[str]:
    return [item.id for item in items]


# ---------------------------------------------------------------- reading


def test_a_line_becomes_an_item() -> None:
    (item,) = validated(parse(LINE + "\n\n"))
    assert (item.prompt, item.expected, item.system) == ("1+1?", '{"answer":"2"}', "")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"arithmetic"', '"poetry"', "family"),
        ('"en"', '"fr"', "language"),
        ('"low"', '"simple"', "complexity"),
        ('"number"', '"judge"', "grader"),
        ('"number"', '"choice"', "options"),
        ('"answer"', '"answr"', "answr"),
        ('"max_tokens":8', '"max_tokens":900', "max_tokens"),
        ('"prompt"', '"question"', "question"),
    ],
)
def test_an_invalid_item_is_named(old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        validated(parse(LINE.replace(old, new, 1)))


def test_an_id_is_there_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        validated(parse(f"{LINE}\n{LINE}"))


def test_the_version_names_the_content() -> None:
    assert content_version(SUITE) == SUITE_VERSION, "the items have changed: write the new version into items.py"
    assert content_version(SUITE[1:]) != SUITE_VERSION


# ---------------------------------------------------------------- balance


def test_the_suite_is_balanced() -> None:
    print(table())  # noqa: T201  # shown by `pytest -s`, and where this fails
    by_language, by_family = (Counter(getattr(item, field) for item in SUITE) for field in ("language", "family"))
    by_complexity = Counter(item.complexity for item in SUITE)
    assert len(SUITE) >= 420
    assert by_language["en"] >= 150
    assert all(by_language[code] >= 25 for code in LANGUAGES)
    assert by_family["code"] >= 70
    assert all(by_family[family] >= 40 for family in FAMILIES)
    assert all(count >= 0.24 * len(SUITE) for count in by_complexity.values())
    assert set(by_complexity) == {"low", "medium", "high"}


def table() -> str:
    """Items by language and family."""
    cells = Counter((item.language, item.family) for item in SUITE)
    head = "    " + "".join(f"{family:>13}" for family in FAMILIES) + f"{'all':>7}"
    rows = [
        f"{code:4}" + "".join(f"{cells[code, family]:>13}" for family in FAMILIES) + f"{_sum(cells, code):>7}"
        for code in LANGUAGES
    ]
    return "\n".join([head, *rows])


def _sum(cells: Counter[tuple[str, str]], language: str) -> int:
    return sum(count for (code, _), count in cells.items() if code == language)


def test_letters_are_balanced() -> None:
    letters = Counter(reference(item) for item in TEXT if item.grader == "choice")
    assert set(letters) == set("ABCD")
    assert max(letters.values()) <= 1.35 * min(letters.values()), letters
    for item in TEXT:
        if item.grader == "choice":
            options = json.loads(item.expected)["options"]
            assert len(set(options)) == len(options), item.id
            assert all(
                f"\n{letter}) {option}\n" in item.prompt for letter, option in zip("ABCD", options, strict=False)
            )


def test_the_text_of_an_option_is_as_good_as_its_letter() -> None:
    for item in TEXT:
        if item.grader == "choice":
            right = json.loads(item.expected)["options"]["ABCD".index(reference(item))]
            assert grade(item, right).score == 1.0, item.id


def test_prompts_are_all_different() -> None:
    assert not [prompt for prompt, count in Counter(item.prompt for item in SUITE).items() if count > 1]


def test_the_suite_is_short_enough_for_two_cores() -> None:
    """Of tokens at most; a 1.5B model on two cores writes about 15 a second, and most answers end early."""
    assert sum(item.max_tokens for item in SUITE) <= 24_000
    assert max(len(item.prompt) for item in SUITE) <= 700


# ---------------------------------------------------------------- references


def test_every_reference_scores_full() -> None:
    short = {item.id: got for item in TEXT if (got := grade(item, reference(item))).score < 1.0}
    assert not short


def test_a_politely_wrapped_reference_still_scores() -> None:
    """Where an instruction does not forbid it."""
    for item in TEXT:
        if item.grader in {"number", "choice", "json_fields"}:
            assert grade(item, f"Sure! The answer is: {reference(item)}\n").score == 1.0, item.id


def test_empty_and_off_topic_answers_score_nothing() -> None:
    for item in TEXT:
        for answer in ("", " \n", "...", *OFF_TOPIC):
            assert grade(item, answer).score == 0.0, (item.id, answer)


def test_saying_the_question_back_scores_nothing() -> None:
    for item in TEXT:
        assert grade(item, item.prompt).score == 0.0, item.id
        clipped = item.prompt.partition(" ")[2]  # not the whole question, so that it cannot be cut off as such
        assert grade(item, clipped).score == 0.0, (item.id, clipped)


def test_every_letter_at_once_scores_nothing() -> None:
    for item in TEXT:
        if item.grader == "choice":
            key = ChoiceKey(answer=reference(item), options=tuple(json.loads(item.expected)["options"]))
            assert grade(item, "A, B, C, D").score == 0.0
            assert grade(item, " ".join(key.options)).score == 0.0, item.id


def test_references_of_one_item_do_not_answer_another() -> None:
    """The answer to the item before, of the same family and language, must not pass by accident."""
    for before, item in pairwise(TEXT):
        same = (before.family, before.language, before.grader) == (item.family, item.language, item.grader)
        if same and item.grader in {"any_of", "contains_all", "chrf", "json_fields"}:
            assert grade(item, reference(before)).score <= 0.5, item.id


# ---------------------------------------------------------------- code

RUN = """
import json, sys
for name, code in json.load(sys.stdin):
    try:
        exec(code, {"__name__": name})
    except BaseException as error:
        print(name, type(error).__name__, error)
"""


def run(programs: list[tuple[str, str]]) -> str:
    """What a Python of its own says of the programs that fail."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", RUN],
        input=json.dumps(programs),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_every_solution_passes_its_tests() -> None:
    programs = []
    for item in CODE:
        key = json.loads(item.expected)
        code = extract_code(f"Here it is:\n```python\n{key['solution']}```\nIt works.")
        assert f"def {key['entry']}(" in code
        assert key["entry"] in item.prompt, item.id
        programs.append((item.id, code + "\n" + key["tests"]))
    assert run(programs) == ""


def test_no_code_passes_by_doing_nothing() -> None:
    """Tests must be able to fail: neither a function that returns None nor the question's own code passes."""
    programs = []
    for item in CODE:
        key = json.loads(item.expected)
        idle = f"def {key['entry']}(*args):\n    return None\n"
        programs += [(f"{item.id}/idle", idle + key["tests"])]
        if given := extract_code(item.prompt):
            programs += [(f"{item.id}/given", given + "\n" + key["tests"])]
    failed = {line.split()[0] for line in run(programs).splitlines()}
    assert failed == {name for name, _ in programs}

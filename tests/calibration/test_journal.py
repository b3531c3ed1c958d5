"""The journal: what survives a kill, what still counts, who may write."""

from pathlib import Path

import msgspec
import pytest

from pointsman.calibration.items import Item
from pointsman.calibration.journal import (
    Answered,
    Journal,
    JournalInUseError,
    item_print,
    opened,
    print_of,
    read,
    standing,
)


def item(name: str, **changes: object) -> Item:
    asked = Item(
        id=name, family="arithmetic", language="en", intent="reasoning", complexity="low",
        prompt=f"{name}: 1 + 1?", max_tokens=8, grader="number", expected='{"answer": "2"}',
    )  # fmt: skip
    return msgspec.structs.replace(asked, **changes)


ONE, TWO = item("one"), item("two")
PRINTS = {"small": "a"}


def answer(asked: Item, **changes: object) -> Answered:
    given = Answered(item=asked.id, item_print=item_print(asked), model="small", model_print="a", suite="v", score=1.0)
    return msgspec.structs.replace(given, **changes)


def written(folder: Path, *answers: Answered) -> Journal:
    with opened(folder) as journal:
        for one in answers:
            journal.append(one)
    return journal


def test_what_is_written_is_read_back_across_runs(tmp_path: Path) -> None:
    first, second = answer(ONE, answer="2\n", first_token_ms=1.5), answer(TWO, score=0.5)
    journal = written(tmp_path, first)
    written(tmp_path, second)
    assert read(journal.path) == ((first, second), 0)


def test_an_absent_journal_is_empty(tmp_path: Path) -> None:
    assert read(tmp_path / "none.jsonl") == ((), 0)


def test_a_line_torn_by_a_kill_costs_only_itself(tmp_path: Path) -> None:
    journal = written(tmp_path, answer(ONE))
    with journal.path.open("ab") as file:
        file.write(msgspec.json.encode(answer(TWO))[:40])
    written(tmp_path, answer(TWO, score=0.25))
    answers, torn = read(journal.path)
    assert [one.score for one in answers] == [1.0, 0.25]
    assert torn == 1
    found = standing(answers, torn, {"one": ONE, "two": TWO}, PRINTS)
    assert len(found.answers) == 2
    assert found.remarks() == ("1 earlier answers are torn lines and are left out",)


def test_a_fresh_journal_sets_the_old_aside(tmp_path: Path) -> None:
    written(tmp_path, answer(ONE))
    for number in (1, 2):
        with opened(tmp_path, is_fresh=True) as journal:
            assert read(journal.path) == ((), 0)
            journal.append(answer(TWO))
        assert (tmp_path / f"journal-{number}.jsonl").exists()
    assert read(tmp_path / "journal-1.jsonl")[0] == (answer(ONE),)


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(JournalInUseError, match="another calibration"), opened(tmp_path):
        pytest.fail("two write")
    with opened(tmp_path):
        pass


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (answer(item("one", prompt="one: 1 + 2?")), "were to earlier wordings"),
        (answer(item("one", expected='{"answer": "3"}')), "were to earlier wordings"),
        (answer(ONE, model_print="b"), "are by models that have changed"),
        (answer(item("gone")), "no longer in the suite"),
        (answer(ONE, error="upstream_timeout: silent"), "failed and are asked again"),
    ],
)
def test_what_no_longer_counts_is_noticed_and_said(given: Answered, said: str) -> None:
    found = standing((given,), 0, {"one": ONE}, PRINTS)
    assert not found.answers
    (remark,) = found.remarks()
    assert said in remark


def test_a_corrected_label_keeps_the_answer_and_another_models_answers_say_nothing() -> None:
    relabelled = item("one", complexity="high", family="reasoning")
    assert standing((answer(ONE),), 0, {"one": relabelled}, PRINTS).answers
    found = standing((answer(ONE, model="other"),), 0, {"one": ONE}, PRINTS)
    assert not found.answers
    assert not found.remarks()


def test_of_several_answers_the_last_counts_and_an_error_undoes_nothing() -> None:
    given = (answer(ONE, error="x"), answer(ONE, score=0.0), answer(ONE, score=0.5), answer(ONE, error="y"))
    found = standing(given, 0, {"one": ONE}, PRINTS)
    assert [one.score for one in found.answers] == [0.5]
    assert not found.failed


def test_prints_tell_changes_apart() -> None:
    assert print_of("a", 1) == print_of("a", 1)
    assert len({print_of("a", 1), print_of("a", 2), print_of("a1"), print_of(["a", 1])}) == 4

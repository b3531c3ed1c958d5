"""Rows in: JSON lines and Parquet alike, every wrong row named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import Table, parquet

from pointsman.learning.rows import RowsError, read_graded

ROW = {"prompt": "p", "model": "m", "score": 0.5}


def lines(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_rows_become_a_table(tmp_path: Path) -> None:
    table = read_graded(
        lines(
            tmp_path, ROW | {"cost": 2}, ROW | {"model": "a", "score": True}, ROW | {"prompt": "q"}, ROW | {"score": 1}
        )
    )
    assert table.prompts == ("p", "q")
    assert table.models == ("a", "m")
    assert table.scores[0].tolist() == [1.0, 0.75]  # two grades of one answer are averaged
    assert np.isnan(table.scores[1, 0])
    assert table.costs[0, 1] == 2
    assert table.groups == ()
    assert table.labels == ()


def test_labels_and_groups_belong_to_the_question(tmp_path: Path) -> None:
    table = read_graded(
        lines(tmp_path, ROW | {"group": "g", "intent": "code", "language": "hi"}, ROW | {"prompt": "q"})
    )
    assert table.groups == ("g", "")
    assert table.labels == (("code", "hi", ""), ("", "", ""))
    assert table.take([1]).labels == (("", "", ""),)


def test_parquet_says_the_same(tmp_path: Path) -> None:
    rows = [ROW | {"cost": None, "extra": 1}, ROW | {"model": "a", "cost": 3.0, "extra": 1}]
    parquet.write_table(Table.from_pylist(rows), tmp_path / "rows.parquet")
    table = read_graded(tmp_path / "rows.parquet")
    same = read_graded(lines(tmp_path, *rows))
    assert (table.prompts, table.models, table.notes) == (same.prompts, same.models, ("columns ignored: extra",))
    assert np.array_equal(table.scores, same.scores)
    assert np.array_equal(table.costs, same.costs, equal_nan=True)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"model": "m", "score": 1}, "line 2: `prompt`"),
        (ROW | {"prompt": " "}, "line 2: `prompt`"),
        (ROW | {"model": 7}, "line 2: `model`"),
        ({"prompt": "p", "model": "m"}, "line 2: Object missing required field `score`"),
        (ROW | {"score": "good"}, "line 2: Expected `float`"),
        (ROW | {"score": 1.2}, "line 2: `score` must lie in [0, 1], not 1.2"),
        (ROW | {"cost": -1}, "line 2: `cost` must be a number from 0"),
        ([1], "line 2: not an object"),
        ("{", "line 2: not JSON"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row: Any, said: str) -> None:
    with pytest.raises(RowsError) as caught:
        read_graded(lines(tmp_path, ROW, row))
    assert caught.value.problems[0].startswith(said)


def test_of_many_problems_twenty_are_shown(tmp_path: Path) -> None:
    with pytest.raises(RowsError) as caught:
        read_graded(lines(tmp_path, *["{"] * 50))
    assert len(caught.value.problems) == 21
    assert caught.value.problems[-1] == "and 30 more"


def test_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RowsError, match="no rows"):
        read_graded(lines(tmp_path))
    (tmp_path / "rows.parquet").write_bytes(b"no")
    with pytest.raises(RowsError, match="not Parquet"):
        read_graded(tmp_path / "rows.parquet")


def test_what_tables_write_for_unknown_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": "a", "model": "m", "score": 1.0000000002, "cost": None, "group": 3, "complexity": 2},
        {"prompt": "b", "model": "m", "score": -1e-9, "latency_ms": 5, "group": 4.5},
    ]
    path.write_text("\ufeff" + "\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = read_graded(path)
    assert found.scores.tolist() == [[1.0], [0.0]]
    assert found.groups == ("3", "4.5")


def test_a_number_that_is_none_is_unknown_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    columns = {"prompt": ["a", "b"], "model": ["m", "m"], "score": [0.5, 1.0], "cost": [float("nan"), 2.0]}
    parquet.write_table(Table.from_pydict(columns), path)
    assert str(read_graded(path).costs.tolist()) == "[[nan], [2.0]]"

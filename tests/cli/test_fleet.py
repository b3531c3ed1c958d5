"""`pointsman fleet simulate`: its door, and what it says of a wrong trace."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from pointsman.cli import app

ROWS = [
    {"t_s": 0, "model": "a", "service_s": 1.0, "load_s": 2.0, "size_bytes": 60},
    {"t_s": 100, "model": "b", "service_s": 1.0, "load_s": 2.0, "size_bytes": 60},
    {"t_s": 200, "model": "a", "service_s": 1.0, "load_s": 2.0},
]
KEYS = {"requests", "misses", "miss_ratio", "wait_s", "evictions", "refused", "events_per_s"}


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["fleet", "simulate", *arguments])


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".csv":
        names = list(rows[0])
        lines = [names, *([str(row.get(name, "")) for name in names] for row in rows)]
        path.write_text("".join(",".join(cells) + "\n" for cells in lines))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.parquet"])
def test_every_format_says_the_same(tmp_path: Path, name: str) -> None:
    file = str(write(tmp_path / name, ROWS))
    for room in (("--slots", "1"), ("--budget-bytes", "100")):
        figures = json.loads(simulate("--trace", file, *room, "--json").stdout)
        assert set(figures) == KEYS
        assert (figures["requests"], figures["misses"], figures["evictions"], figures["refused"]) == (3, 3, 2, 0)
        assert figures["miss_ratio"] == 1
        assert figures["wait_s"] == {"p50": 2, "p95": 2, "p99": 2, "max": 2}
        assert figures["events_per_s"] > 0
    assert json.loads(simulate("--trace", file, "--slots", "2", "--policy", "lru", "--json").stdout)["misses"] == 2


def test_without_json_it_is_a_table(tmp_path: Path) -> None:
    said = simulate("--trace", str(write(tmp_path / "t.csv", ROWS)), "--slots", "2").stdout
    assert "miss_ratio" in said
    assert "{" not in said


def test_unknown_columns_are_ignored_with_a_note_and_rows_are_sorted(tmp_path: Path) -> None:
    rows = [{**row, "colour": "red"} for row in reversed(ROWS)]
    result = simulate("--trace", str(write(tmp_path / "t.jsonl", rows)), "--slots", "2", "--json")
    assert json.loads(result.stdout)["misses"] == 2
    assert "ignored: colour" in result.stderr
    assert "sorted" in result.stderr


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"service_s": "soon"}, "line 2: service_s: Expected `float`, got `str`"),
        ({"load_s": -1}, "line 2: load_s: Expected `float` >= 0"),
        ({"model": ""}, "line 2: model: Expected `str` of length >= 1"),
        ({"t_s": None}, "line 2: t_s: missing"),
        ({"size_bytes": -1}, "line 2: size_bytes: Expected `float` >= 0"),
        ({"deadline_s": "x"}, "line 2: deadline_s: Expected `float | null`, got `str`"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(tmp_path: Path, wrong: dict[str, object], said: str) -> None:
    result = simulate("--trace", str(write(tmp_path / "t.jsonl", [ROWS[0], {**ROWS[1], **wrong}])), "--slots", "2")
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "t_s,model,service_s,load_s\n0,a,1,1\n1,a,1,\n2,a,nan,1\n", "line 3: load_s: missing"),
        ("t.csv", "t_s,model,service_s,load_s\n0,a,1,1\n1,a,inf,1\n", "line 3: service_s: must be finite"),
        ("t.csv", "t_s,model,service_s\n0,a,1\n", "no column load_s; the columns are t_s, model, service_s"),
        ("t.csv", "t_s;model;service_s;load_s\n0;a;1;1\n", "no column t_s, model, service_s, load_s"),
        ("t.jsonl", '{"t_s": 0\n', "line 1: "),
        ("t.jsonl", "[1]\n", "line 1: "),
        ("t.jsonl", "", "holds no rows"),
        ("t.txt", "", "a trace is *.parquet, *.csv or *.jsonl"),
        ("t.parquet", "PAR", "is not Parquet"),
    ],
)
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    result = simulate("--trace", str(tmp_path / name), "--slots", "2")
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("service_s", [1.0, None, 1.0], "row 2: service_s: missing"),
        ("load_s", [1.0, 1.0, -1.0], "row 3: load_s: Expected `float` >= 0"),
        ("t_s", ["0", "1", "2"], "row 1: t_s: Expected `float`, got `str`"),
        ("model", [["a"], ["b"], ["a"]], "row 1: model: Expected `str`, got `array`"),
        ("load_s", None, "no column load_s; the columns are t_s, model, service_s"),
    ],
)
def test_a_wrong_row_of_parquet_is_named_by_its_number(
    tmp_path: Path, column: str, values: list[object] | None, said: str
) -> None:
    columns: dict[str, list[object]] = {name: [row[name] for row in ROWS] for name in list(ROWS[0])[:4]}
    columns[column] = values or []
    if values is None:
        del columns[column]
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    result = simulate("--trace", str(tmp_path / "t.parquet"), "--slots", "2")
    assert result.exit_code == 2
    assert said in result.stderr


def test_parquet_that_is_broken_inside_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "t.parquet", ROWS * 50)
    data = bytearray(file.read_bytes())
    data[40:120] = bytes(80)
    file.write_bytes(data)
    result = simulate("--trace", str(file), "--slots", "2")
    assert result.exit_code == 2
    assert "is not Parquet" in result.stderr


def test_spaces_after_commas_and_sizes_of_nothing_are_fine(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("t_s, model, service_s, load_s, size_bytes\n0, a, 1, 1, 0\n9, b, 1, 1, 0\n")
    figures = json.loads(simulate("--trace", str(tmp_path / "t.csv"), "--slots", "1", "--json").stdout)
    assert (figures["requests"], figures["misses"]) == (2, 2)
    assert "no row of a, b has one" in simulate("--trace", str(tmp_path / "t.csv"), "--budget-bytes", "1").stderr


def test_nobody_is_guarded_unless_asked_for(tmp_path: Path) -> None:
    """As in a plain cache: whoever was just loaded may leave at once."""
    rows = [{"t_s": at_s, "model": name, "service_s": 0.1, "load_s": 0.1} for at_s, name in enumerate("abab")]
    file = str(write(tmp_path / "t.jsonl", rows))
    free = json.loads(simulate("--trace", file, "--slots", "1", "--json").stdout)
    guarded = json.loads(simulate("--trace", file, "--slots", "1", "--min-resident-s", "5", "--json").stdout)
    assert (free["misses"], free["wait_s"]["max"]) == (4, 0.1)
    assert guarded["misses"] < 4
    assert guarded["wait_s"]["max"] > 3


def test_what_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    file = str(write(tmp_path / "t.jsonl", [{**ROWS[0], "size_bytes": None}]))
    for arguments, said in (
        ((), "either --slots K or --budget-bytes N"),
        (("--slots", "1", "--budget-bytes", "9"), "either --slots K or --budget-bytes N"),
        (("--slots", "1", "--policy", "magic"), "policies are lru, lfu, cost_aware"),
        (("--budget-bytes", "100"), "no row of a has one"),
    ):
        result = simulate("--trace", file, *arguments)
        assert result.exit_code == 2
        assert said in result.stderr
    assert "cannot be read" in simulate("--trace", str(tmp_path / "none.csv"), "--slots", "1").stderr

"""`pointsman quality`: the batch doors, through the real command line."""

import json
from pathlib import Path

import pytest
from pyarrow import Table, parquet
from tests.learning.graded_answers import answers, write_rows
from typer.testing import CliRunner, Result

from pointsman.cli import app


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["quality", *map(str, arguments)])


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quality")
    data = write_rows(folder / "rows.jsonl", answers())
    result = run("fit", "--data", data, "--out", folder / "profile")
    assert result.exit_code == 0, result.output
    assert "talker" in result.output
    return folder / "profile"


def asked(tmp_path: Path, *prompts: str) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"id": f"q{n}", "prompt": p}) + "\n" for n, p in enumerate(prompts)))
    return path


def test_predict_writes_the_documented_lines(profile: Path, tmp_path: Path) -> None:
    source = asked(
        tmp_path,
        "write a python function that sorts the list of birds",
        "what is seven plus lamps times the square root and books 0-31",
    )
    result = run("predict", "--profile", profile, source, tmp_path / "out.jsonl")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["q0", "q1"]
    assert [line["choice"] for line in lines] == ["coder", "reckoner"]
    for line in lines:
        assert set(line) == {"id", "scores", "choice"}
        assert set(line["scores"]) == {"coder", "reckoner", "talker"}
        assert all(0 <= one["low"] <= one["mean"] <= one["high"] <= 1 for one in line["scores"].values())


def test_a_cost_weight_moves_the_choice_to_the_cheap(profile: Path, tmp_path: Path) -> None:
    source = asked(tmp_path, "write a python function that sorts the list of birds")
    run("predict", "--profile", profile, "--cost-weight", "5", source, tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())["choice"] == "talker"


def test_evaluate_reports_every_figure_beside_its_controls(profile: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "new.jsonl", answers(150, seed=5))
    result = run("evaluate", "--profile", profile, "--data", data, "--json")
    assert result.exit_code == 0, result.output
    figures = {one["what"]: one["value"] for one in json.loads(result.output)["figures"]}
    assert figures["gain over incumbent"] > 0.1
    assert figures["AIQ: single models"] < figures["AIQ: profile"] < figures["AIQ: oracle"]
    table = run("evaluate", "--profile", profile, "--data", data).output
    for word in ("APGR: profile", "APGR: prompt length", "CPT50", "CPT80", "regret to oracle"):
        assert word in table


def test_bad_rows_are_named_by_line(tmp_path: Path) -> None:
    good = '{"prompt": "a", "model": "m", "score": 1}'
    bad = ['{"prompt": "a", "model": "m", "score": 2}', '{"model": "m", "score": 1}', "nonsense"]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([good, *bad]))
    result = run("fit", "--data", path, "--out", tmp_path / "profile")
    assert result.exit_code == 2
    for said in ("line 2: `score`", "line 3: `prompt`", "line 4: not JSON"):
        assert said in result.output
    assert not (tmp_path / "profile").exists()


def test_unknown_columns_are_ignored_with_a_note(tmp_path: Path) -> None:
    rows = [{"prompt": f"{one.prompt}", "model": one.model, "score": one.score, "colour": "red"} for one in answers(60)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run("fit", "--data", path, "--out", tmp_path / "profile")
    assert result.exit_code == 0
    assert "columns ignored: colour" in result.output


def test_what_is_no_profile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "profile").write_bytes(b"not one")
    result = run("predict", "--profile", tmp_path / "profile", asked(tmp_path, "a"), tmp_path / "out.jsonl")
    assert result.exit_code == 2
    assert "not a quality profile" in result.output


def test_a_model_joins_and_the_others_stay(profile: Path, tmp_path: Path) -> None:
    newcomers = [row for row in answers(200, seed=9) if row.model == "reckoner"]
    rows = [json.dumps({"prompt": row.prompt, "model": "newcomer", "score": row.score}) for row in newcomers]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    result = run("fit", "--join", profile, "--data", tmp_path / "rows.jsonl", "--out", tmp_path / "joined")
    assert result.exit_code == 0, result.output
    source = asked(tmp_path, "what is seven plus lamps times the square root", "tell my friend Asha a kind story")
    scores = []
    for name in (profile, tmp_path / "joined"):
        run("predict", "--profile", name, source, tmp_path / "out.jsonl")
        scores.append([json.loads(line)["scores"] for line in (tmp_path / "out.jsonl").read_text().splitlines()])
    before, after = scores
    for old, new in zip(before, after, strict=True):
        assert {model: new[model]["mean"] for model in old} == {model: one["mean"] for model, one in old.items()}
    assert after[0]["newcomer"]["mean"] > after[1]["newcomer"]["mean"] + 0.2


@pytest.mark.parametrize("weight", ["inf", "nan", "-1"])
def test_a_cost_weight_is_a_number(profile: Path, tmp_path: Path, weight: str) -> None:
    result = run("predict", "--profile", profile, "--cost-weight", weight, asked(tmp_path, "a"), tmp_path / "out.jsonl")
    assert result.exit_code == 2
    assert not (tmp_path / "out.jsonl").exists()


def test_what_cannot_be_read_or_written_is_said_in_words(profile: Path, tmp_path: Path) -> None:
    for arguments in (
        ("fit", "--data", tmp_path / "none.jsonl", "--out", tmp_path / "p"),
        ("evaluate", "--profile", tmp_path / "none", "--data", tmp_path / "none.jsonl"),
        ("predict", "--profile", profile, tmp_path / "none.jsonl", tmp_path / "out.jsonl"),
        ("predict", "--profile", profile, asked(tmp_path, "a"), tmp_path / "no folder" / "out.jsonl"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        assert "Errno" not in result.output
        assert "No such file or directory" in result.output


def test_parquet_is_known_by_its_bytes(tmp_path: Path) -> None:
    rows = [{name: getattr(row, name) for name in ("prompt", "model", "score", "cost")} for row in answers(40)]
    source = tmp_path / "rows.parquet"
    parquet.write_table(Table.from_pylist(rows), source)
    for name in ("rows.pq", "rows"):
        copy = tmp_path / name
        copy.write_bytes(source.read_bytes())
        assert run("fit", "--data", copy, "--out", tmp_path / "profile").exit_code == 0

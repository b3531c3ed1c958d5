"""The batch door of the classifier: its exact shapes, and what it says of wrong lines."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pointsman.cli import app

LINES = [
    {"id": "a", "text": "write a python function that reverses a list"},
    {"id": 2, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "इसे लिख दो"}]},
    {"id": "c", "text": "what does it say?", "attachments": ["document"]},
    {
        "id": "d",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello there"}]}],
        "attachments": [],
    },
    {"id": "e", "text": "", "attachments": ["audio", "image"]},
]


def classify(folder: Path, text: str) -> tuple[Result, Path]:
    source, out = folder / "in.jsonl", folder / "out.jsonl"
    source.write_text(text, encoding="utf-8")
    return CliRunner().invoke(app, ["classify", str(source), str(out)]), out


def test_one_line_out_for_each_line_in(tmp_path: Path) -> None:
    result, out = classify(tmp_path, "\n".join(map(json.dumps, LINES)))
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == ["a", 2, "c", "d", "e"]
    for row in rows:
        for question in ("use_case", "intent", "language", "complexity"):
            told = row[question]
            assert told["label"] in told["p"]
            assert 0 <= sum(told["p"].values()) <= 1.001
        assert 0 <= row["novelty"] <= 1
        assert row["stage"] in {1, 2}
        assert row["time_us"] > 0
    assert (rows[0]["use_case"]["label"], rows[0]["intent"]["label"]) == ("agent", "code")
    assert rows[1]["language"]["label"] == "hi"
    assert rows[2]["use_case"]["label"] == "multimodal"
    assert rows[4]["modality"] == ["text", "audio", "image"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "in.jsonl:2: Input data was truncated"),
        ('{"id": 1}', "in.jsonl:2: give either `text` or `messages`"),
        ('{"id": 1, "text": "a", "messages": []}', "in.jsonl:2: give either"),
        ('{"id": 1, "text": "a", "attachments": ["smell"]}', "'smell' is none of image, audio, video, document"),
        ('{"text": "a"}', "missing required field `id`"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_written(tmp_path: Path, line: str, said: str) -> None:
    result, out = classify(tmp_path, json.dumps(LINES[0]) + "\n" + line + "\n")
    assert result.exit_code == 2
    assert said in result.output
    assert list(tmp_path.iterdir()) == [tmp_path / "in.jsonl"]
    assert not out.exists()


def test_labels_of_both_stages_are_complete(tmp_path: Path) -> None:
    """Whoever scores the output may look up any label."""
    hard = ["do the needful", "make it talk", "clip", "write it as I say", "that photo, you know", "मेरे लिए बोलो"]
    result, out = classify(
        tmp_path, "\n".join(json.dumps({"id": 1.0, "text": text, "attachments": None}) for text in hard)
    )
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert {row["stage"] for row in rows} == {1, 2}
    for row in rows:
        for question, size in (("use_case", 6), ("intent", 3), ("complexity", 3)):
            assert len(row[question]["p"]) == size
            assert sum(row[question]["p"].values()) == pytest.approx(1, abs=0.002)


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    result, _ = classify(tmp_path, "\ufeff" + json.dumps(LINES[0]))
    assert result.exit_code == 0, result.output


def test_an_out_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps(LINES[0]), encoding="utf-8")
    result = CliRunner().invoke(app, ["classify", str(source), str(tmp_path / "none" / "out.jsonl")])
    assert result.exit_code == 2
    assert "cannot be written (No such file or directory)" in result.output

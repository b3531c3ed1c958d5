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

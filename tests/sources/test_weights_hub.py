"""Weights from a hub: the real API over real sockets, and everything that goes wrong on the way."""

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pointsman.clock import SystemClock
from pointsman.errors import UpstreamError
from pointsman.settings import Source
from pointsman.sources.base import Phase, Progress
from pointsman.sources.hub import PUBLIC_HUB, Hub
from pointsman.sources.pull import Check, Wanted, pull
from pointsman.sources.store import WeightStore
from pointsman.testing.hub import FakeHub

TENSORS = os.urandom(700_000)
REPO = {
    "acme/tiny": {
        "README.md": b"# Tiny",
        "config.json": b'{"hidden_size": 8}',
        "model-00001-of-00002.safetensors": TENSORS,
        "model-00002-of-00002.safetensors": os.urandom(300_000),
        "pytorch_model.bin": os.urandom(20_000),
        "tokenizer.json": b"{}",
    },
    "acme/tiny-GGUF": {
        "tiny-Q4_K_M.gguf": b"GGUF" + os.urandom(50_000),
        "tiny-Q8_0.gguf": b"GGUF" + os.urandom(90_000),
    },
}
WHOLE = ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "tokenizer.json"]
LARGE = WHOLE[1]
TINY = Source(hub="acme/tiny")
Scene = Callable[[FakeHub, WeightStore], Awaitable[None]]


class QuickClock(SystemClock):
    """Back-offs pass at once and are noted."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    async def sleep(self, duration_s: float) -> None:
        self.slept_s.append(duration_s)
        await asyncio.sleep(0)


def play(folder: Path, scene: Scene, *, token: str = "", free: int = 10**12, page: int = 1000) -> None:
    """A scene with a hub and an empty cache."""

    async def run() -> None:
        async with FakeHub({name: dict(files) for name, files in REPO.items()}, page) as hub:
            store = WeightStore(folder, QuickClock(), hub=Hub(hub.url, token), free_bytes=lambda _: free)
            await scene(hub, store)

    asyncio.run(run())


def names(path: Path) -> list[str]:
    return sorted(str(one.relative_to(path)) for one in path.rglob("*") if one.is_file() and one.name[0] != ".")


def final(folder: Path) -> list[Path]:
    return [path for path in (folder / "models").glob("*/**/*") if path.is_file()]


def refused(folder: Path, said: str, change: Callable[[FakeHub], None], source: Source = TINY, token: str = "") -> str:
    """What is said where a fetch fails; nothing has got its final name then."""
    heard: list[str] = []

    async def scene(hub: FakeHub, store: WeightStore) -> None:
        change(hub)
        with pytest.raises(UpstreamError, match=said) as caught:
            await store.fetch(source)
        assert caught.value.code == "fetch_failed"
        assert store.present(source) is None
        assert final(folder) == []
        heard.append(caught.value.message)

    play(folder, scene, token=token)
    return heard[0]


@pytest.mark.parametrize("page", [1000, 2])
def test_what_an_engine_needs_comes_whole(tmp_path: Path, page: int) -> None:
    said: list[Progress] = []

    async def scene(hub: FakeHub, store: WeightStore) -> None:
        assert store.present(TINY) is None
        path = await store.fetch(TINY, said.append)
        assert names(path) == WHOLE
        assert all((path / name).read_bytes() == REPO["acme/tiny"][name] for name in WHOLE)
        assert store.present(TINY) == path
        assert store.size_bytes(TINY) == sum(len(REPO["acme/tiny"][name]) for name in WHOLE)
        assert not list((tmp_path / "staging").iterdir())
        asked = len(hub.seen)
        assert await store.fetch(TINY) == path
        assert len(hub.seen) == asked  # what is there is not asked about again

    play(tmp_path, scene, page=page)
    counts = [progress.done_bytes for progress in said]
    assert counts == sorted(counts)
    assert said[-1].phase is Phase.CHECKING
    assert said[-1].done_bytes == said[-1].total_bytes > 1_000_000


def test_sizes_are_known_before_anything_is_fetched(tmp_path: Path) -> None:
    async def scene(hub: FakeHub, store: WeightStore) -> None:
        by_url = Source(url=f"{hub.url}/acme/tiny/resolve/main/{LARGE}")
        unknown = (Source(hub="acme/other"), Source(url="http://127.0.0.1:9/x.gguf"), Source(file="/nowhere"))
        assert store.size_bytes(TINY) == store.size_bytes(by_url) == 0
        await store.learn_sizes((*unknown, TINY, by_url))
        assert store.size_bytes(TINY) == sum(len(REPO["acme/tiny"][name]) for name in WHOLE)
        assert store.size_bytes(by_url) == len(TENSORS)
        assert [store.size_bytes(source) for source in unknown] == [0, 0, 0]
        assert store.present(TINY) is None
        asked = len(hub.seen)
        await store.learn_sizes((TINY, by_url))
        assert len(hub.seen) == asked
        assert (await store.fetch(by_url)).read_bytes() == TENSORS
        await store.fetch(TINY)
        assert not list((tmp_path / "staging").iterdir())

    play(tmp_path, scene)


def test_one_gguf_opens_as_that_file(tmp_path: Path) -> None:
    async def scene(_: FakeHub, store: WeightStore) -> None:
        four, eight = (Source(hub="acme/tiny-GGUF", include=(f"*{kind}.gguf",)) for kind in ("q4_k_m", "Q8_0"))
        assert (await store.fetch(four)).name == "tiny-Q4_K_M.gguf"
        assert (await store.fetch(eight)).name == "tiny-Q8_0.gguf"
        assert len(final(tmp_path)) == 2 + 2  # two choices of one repository do not replace each other

    play(tmp_path, scene)


def test_the_token_goes_to_the_hub_alone(tmp_path: Path) -> None:
    async def scene(hub: FakeHub, store: WeightStore) -> None:
        hub.gated, hub.token = True, "hf_secret"
        await store.fetch(TINY)
        assert {one.authorization for one in hub.seen if one.host == "hub"} == {"Bearer hf_secret"}
        assert {one.authorization for one in hub.seen if one.host == "store"} == {""}

    play(tmp_path, scene, token="hf_secret")


def test_a_cut_file_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    async def scene(hub: FakeHub, store: WeightStore) -> None:
        hub.cuts = {LARGE: 2}
        assert (await store.fetch(TINY) / LARGE).read_bytes() == TENSORS
        starts = [start for path, start in hub.fetched() if path == LARGE]
        assert starts == [0, 350_000, 525_000]

    play(tmp_path, scene)


def test_what_came_before_an_interruption_is_not_fetched_again(tmp_path: Path) -> None:
    async def scene(hub: FakeHub, store: WeightStore) -> None:
        hub.statuses = {LARGE: [503] * 5}  # meanwhile the others have come
        with pytest.raises(UpstreamError, match="answered 503"):
            await store.fetch(TINY)
        assert final(tmp_path) == []
        hub.seen.clear()
        assert names(await store.fetch(TINY)) == WHOLE
        assert hub.fetched() == [(LARGE, 0)]

    play(tmp_path, scene)


def test_a_cancelled_fetch_goes_on_even_over_a_new_commit(tmp_path: Path) -> None:
    async def scene(hub: FakeHub, store: WeightStore) -> None:
        hub.gate = asyncio.Event()
        fetching = asyncio.create_task(store.fetch(TINY))
        while not both_begun():
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        hub.gate = None
        hub.seen.clear()
        hub.repos["acme/tiny"]["config.json"] = b'{"hidden_size": 9}'
        path = await store.fetch(TINY)
        assert (path / LARGE).read_bytes() == TENSORS
        assert (path / "config.json").read_bytes() == b'{"hidden_size": 9}'
        assert sorted(start for _, start in hub.fetched()) == [150_000, 350_000]

    def both_begun() -> bool:
        pins = [hashlib.sha256(REPO["acme/tiny"][name]).hexdigest() for name in WHOLE[1:3]]
        return all(any(tmp_path.glob(f"staging/*/parts/{pin}*/body")) for pin in pins)

    play(tmp_path, scene)


def test_a_damaged_file_is_fetched_again_and_no_other(tmp_path: Path) -> None:
    async def scene(hub: FakeHub, store: WeightStore) -> None:
        path = await store.fetch(TINY)
        (path / LARGE).write_bytes(TENSORS[:-1] + b"\0")
        assert await store.verify(TINY) == (LARGE,)
        assert store.present(TINY) is None
        hub.seen.clear()
        assert (await store.fetch(TINY) / LARGE).read_bytes() == TENSORS
        assert hub.fetched() == [(LARGE, 0)]

    play(tmp_path, scene)


def test_a_branch_that_has_moved_is_fetched_when_asked(tmp_path: Path) -> None:
    async def scene(hub: FakeHub, store: WeightStore) -> None:
        wanted = (Wanted(name="tiny", source=TINY),)

        async def state(check: Check) -> str:
            return (await pull(store, wanted, lambda *_: None, check=check)).pulled[0].state

        assert await state(Check.REVISION) == "fetched"
        assert await state(Check.REVISION) == "present"
        hub.repos["acme/tiny"]["config.json"] = b'{"hidden_size": 9}'
        hub.seen.clear()
        assert await state(Check.PRESENCE) == "present"
        assert not hub.seen
        assert await state(Check.REVISION) == "fetched"
        path = store.present(TINY)
        assert path is not None
        assert (path / "config.json").read_bytes() == b'{"hidden_size": 9}'
        assert names(path) == WHOLE
        assert hub.fetched() == []  # the tensors are what they were
        hub.repos["acme/tiny"]["config.json"] = b"{}"
        hub.statuses = {"config.json": [404]}
        assert await state(Check.REVISION) == "failed"
        assert (path / "config.json").read_bytes() == b'{"hidden_size": 9}'  # what is here serves on

    play(tmp_path, scene)


@pytest.mark.parametrize("name", [LARGE, "config.json"])
def test_wrong_bytes_are_refused_and_not_kept(tmp_path: Path, name: str) -> None:
    def change(hub: FakeHub) -> None:
        hub.wrong = {name: bytes(len(REPO["acme/tiny"][name]))}

    refused(tmp_path, f"{name}: .*hash is not .* as the hub says", change)
    assert not [path for path in tmp_path.glob("staging/*/parts/*/body") if path.stat().st_size == len(TENSORS)]


def test_a_gated_repository_says_where_to_accept_its_terms(tmp_path: Path) -> None:
    def change(hub: FakeHub) -> None:
        hub.gated, hub.token = True, "hf_right"

    assert "acme/tiny with your account, and put a token" in refused(tmp_path / "a", "answered 401", change)
    message = refused(tmp_path / "b", "answered 403", change, token="hf_wrong")
    assert "with the account of HF_TOKEN" in message
    assert "hf_wrong" not in message


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    def nothing(_: FakeHub) -> None: ...

    said = refused(tmp_path / "a", "answered 401; there is no such repository", nothing, Source(hub="acme/other"))
    assert "HF_TOKEN" in said
    refused(tmp_path / "b", "no revision `v9`", nothing, Source(hub="acme/tiny", revision="v9"))
    message = refused(tmp_path / "c", "no file matches", nothing, Source(hub="acme/tiny-GGUF", include=("*Q5*",)))
    assert "tiny-Q4_K_M.gguf (0.1 MB)" in message
    refused(tmp_path / "d", "has 2 GGUF files; name one", nothing, Source(hub="acme/tiny-GGUF"))


def test_a_busy_hub_is_asked_again_later(tmp_path: Path) -> None:
    async def scene(hub: FakeHub, store: WeightStore) -> None:
        hub.statuses = {LARGE: [503, 429, 416]}
        assert names(await store.fetch(TINY)) == WHOLE
        assert isinstance(store.clock, QuickClock)
        assert store.clock.slept_s == [3.0, 3.0]

    def change(hub: FakeHub) -> None:
        hub.statuses = {LARGE: [503] * 99}

    refused(tmp_path / "a", "answered 503; what came is kept", change)
    with pytest.raises(UpstreamError, match="answered 416"):
        play(tmp_path / "b", scene)


def test_what_is_no_hub_is_told_apart(tmp_path: Path) -> None:
    async def scene(hub: FakeHub, _: WeightStore) -> None:
        wrong = WeightStore(tmp_path, QuickClock(), hub=Hub(hub.store_url))
        with pytest.raises(UpstreamError, match="answered 404"):
            await wrong.fetch(TINY)
        hub.repos["acme/tiny"]["api/models/acme/tiny/revision/main"] = b"<html>Please log in</html>"
        page = WeightStore(tmp_path, QuickClock(), hub=Hub(f"{hub.url}/acme/tiny/resolve/main"))
        with pytest.raises(UpstreamError, match=r"is no answer of a hub .*; correct `hub_url`"):
            await page.fetch(TINY)
        nobody = WeightStore(tmp_path, QuickClock(), hub=Hub("http://127.0.0.1:9"))
        with pytest.raises(UpstreamError, match="Connect"):
            await nobody.fetch(TINY)

    play(tmp_path, scene)


def test_a_full_disk_is_told_before_the_first_byte(tmp_path: Path) -> None:
    async def scene(hub: FakeHub, store: WeightStore) -> None:
        with pytest.raises(UpstreamError, match=r"1\.0 MB free, 68\.1 MB needed"):
            await store.fetch(TINY)
        assert hub.fetched("hub") == []

    play(tmp_path, scene, free=1_000_000)


def test_paths_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    def change(hub: FakeHub) -> None:
        hub.repos["acme/tiny"]["../../evil.json"] = b"{}"

    refused(tmp_path, "no plain path; do not trust", change)


PROGRAM = """
import asyncio, resource, sys
from pathlib import Path
from pointsman.clock import SystemClock
from pointsman.errors import UpstreamError
from pointsman.settings import Source
from pointsman.sources.hub import Hub
from pointsman.sources.store import WeightStore
if sys.argv[3:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
store = WeightStore(Path(sys.argv[1]), SystemClock(), hub=Hub(sys.argv[2]))
try:
    print(asyncio.run(store.fetch(Source(hub="acme/tiny"))))
except UpstreamError as error:
    print(error.code, error.message)
"""


async def in_another_process(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, *arguments, stdout=subprocess.PIPE)
    return (await process.communicate())[0].decode().strip()


def test_a_disk_that_fills_meanwhile_is_told_and_what_came_is_kept(tmp_path: Path) -> None:
    async def scene(hub: FakeHub, store: WeightStore) -> None:
        said = await in_another_process(str(tmp_path), hub.url, "200000")
        assert said.startswith("fetch_failed")
        assert "check space and permissions there, or set `cache_dir`" in said
        assert final(tmp_path) == []
        assert names(await store.fetch(TINY)) == WHOLE

    play(tmp_path, scene)


def test_two_processes_share_one_download(tmp_path: Path) -> None:
    async def scene(hub: FakeHub, store: WeightStore) -> None:
        outputs = set(await asyncio.gather(*(in_another_process(str(tmp_path), hub.url) for _ in range(2))))
        assert len(outputs) == 1
        assert sorted(hub.fetched()) == [(name, 0) for name in WHOLE[1:3]]
        assert names(Path(outputs.pop())) == WHOLE

    play(tmp_path, scene)


def test_the_hub_and_its_token_come_from_the_environment() -> None:
    assert Hub.of(None, {}) == Hub(PUBLIC_HUB, "")
    mirror = Hub.of(None, {"HF_ENDPOINT": "https://mirror.example/", "HF_TOKEN": " hf_secret\n"})
    assert mirror == Hub("https://mirror.example", "hf_secret")
    assert "hf_secret" not in repr(mirror)
    assert Hub.of("http://own.example", {"HF_ENDPOINT": "https://mirror.example"}).url == "http://own.example"
    assert mirror.headers == (("Authorization", "Bearer hf_secret"),)
    assert Hub("http://own.example", "hf_secret").headers == ()  # never in the clear
    with pytest.raises(UpstreamError, match="characters that no token has"):
        _ = Hub(PUBLIC_HUB, "hf\nX: y").headers

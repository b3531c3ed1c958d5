"""Every fault against a whole gateway, streamed and buffered, with one candidate and with three: `docs/reliability.md`.

    python -m bench.reliability [--requests 5] [--write]

For each case the faulty upstream stands first; with three candidates two more faulty or healthy ones follow. Counted:
answers delivered whole, typed errors (an error of the one table, as a status or as the one event that ends a stream),
anything else, and what was left behind once all callers had gone: leases, upstream requests, sockets, tasks, children.
The upstream is simulated (`pointsman.testing.upstream`); the gateway, its HTTP and its children are real.
"""

import argparse
import asyncio
import json
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import psutil

from bench.fleet.page import rewrite
from pointsman.app import App
from pointsman.clock import SystemClock
from pointsman.errors import TABLE
from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream
from pointsman.testing.valkey import ValkeyServer

GOOD = "mock-n4"
TIMEOUTS = {"first_byte_timeout_s": 0.4, "first_token_timeout_s": 0.4, "idle_timeout_s": 0.4, "backoff_s": 0.01}
PATIENCE_S = 40.0
SETTLE_S = 3.0


class Fault(NamedTuple):
    """`script`: of the upstream; or `where`: a special address. `after_commit`: a stream breaks after its first token,
    so that no fallback can be unseen. `is_harmless`: it must not cost the answer at all; `is_final`: no other model
    could answer either. `routing`: what the caller wishes beside."""

    name: str
    script: str = GOOD
    where: str = ""
    after_commit: bool = False
    is_harmless: bool = False
    is_final: bool = False
    routing: dict[str, Any] | None = None


FAULTS = (
    Fault("connection refused", where="refused"),
    Fault("host name unknown (DNS)", where="dns"),
    Fault("half-open: accepts, then silence", where="half-open"),
    Fault("reset before the headers", "mock-reset"),
    Fault("closed before the headers", "mock-close"),
    Fault("reset after the headers", "mock-a1-A0"),
    Fault("closed after the headers", "mock-a1-A0-fin"),
    Fault("headers, a role, then silence", "mock-silent"),
    Fault("never an answer", "mock-hang"),
    Fault("slow loris: a byte each 0.3 s", "mock-loris-i300-n2"),
    Fault("silence after the first token", "mock-n4-i5000", after_commit=True),
    Fault("HTTP 400: it does not take the request", "mock-e1-s400"),
    Fault("HTTP 401", "mock-e1-s401"),
    Fault("HTTP 404", "mock-e1-s404"),
    Fault("HTTP 429", "mock-e1-s429"),
    Fault("HTTP 500", "mock-e1-s500"),
    Fault("HTTP 502", "mock-e1-s502"),
    Fault("HTTP 503", "mock-e1-s503"),
    Fault("HTTP 504", "mock-e1-s504"),
    Fault("HTTP 400: prompt too long for it", "mock-toolong"),
    Fault("malformed JSON", "mock-badjson"),
    Fault("malformed event at the beginning", "mock-badsse-A0"),
    Fault("malformed event in the middle", "mock-badsse-A3-n6-i5", after_commit=True),
    Fault("error event in the middle", "mock-errorevent-A3-n6-i5", after_commit=True),
    Fault("HTML instead of an answer", "mock-html"),
    Fault("cut after 3 tokens (reset)", "mock-a1-A3-n20-i5", after_commit=True),
    Fault("cut after 3 tokens (close)", "mock-a1-A3-n20-i5-fin", after_commit=True),
    Fault("ends without [DONE]", "mock-nodone-n4-i5", after_commit=True),
    Fault("every chunk twice", "mock-dup-n4", is_harmless=True),
    Fault("comments and empty chunks", "mock-empty-n4", is_harmless=True),
    Fault("events torn over many chunks", "mock-torn-n4", is_harmless=True),
    Fault("CR LF line ends", "mock-crlf-n4", is_harmless=True),
    Fault("no usage reported", "mock-nousage-n4", is_harmless=True),
    Fault("connection closed after each answer", "mock-bye-n4", is_harmless=True),
    Fault("the caller's deadline passes (HTTP 504)", "mock-hang", is_final=True, routing={"deadline_s": 0.25}),
    Fault("only a kept answer would do (`cache: only`)", is_final=True, routing={"cache": "only"}),
)


PLACES = (
    Fault("Valkey killed", where="valkey-killed", is_harmless=True),
    Fault("Valkey stalled", where="valkey-stalled", is_harmless=True),
    Fault("clock jumps a day ahead, then two back", where="clock", is_harmless=True),
    Fault("engine runs out of memory at its start (simulated engine)", where="oom"),
    Fault("engine is killed (simulated engine)", where="killed"),
    Fault("disk full where a child's log goes", where="disk", is_harmless=True),
)


class Tally(NamedTuple):
    """What came of one case."""

    fault: str
    how: str
    candidates: int
    requests: int
    answered: int
    typed: int
    other: int
    leases: int
    upstream: int
    sockets: int
    tasks: int
    children: int

    @property
    def leaks(self) -> int:
        return self.leases + self.upstream + self.sockets + self.tasks + self.children


@asynccontextmanager
async def half_open() -> AsyncIterator[int]:
    """A port whose owner accepts and then neither reads nor writes."""
    kept: list[asyncio.StreamWriter] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in kept:
            writer.close()


def refused_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def config(models: list[dict[str, Any]], folder: Path, more: dict[str, Any]) -> str:
    names = [model["id"] for model in models]
    tree = {
        "cache_dir": str(folder),
        "log": {"requests": False, "level": "error"},
        "retry": TIMEOUTS,
        "fleet": {"probe_interval_s": 600},
        "models": models,
        "routing": {"strategy": "fixed", "use_cases": dict.fromkeys(("general", "code", "reasoning"), names)},
    }
    return json.dumps(tree | more)


def remote(name: str, url: str, script: str = GOOD) -> dict[str, Any]:
    return {"id": name, "backend": "openai", "url": url, "model": script, "slots": 16}


def models_of(fault: Fault, candidates: int, upstream: FaultUpstream, silent_port: int) -> list[dict[str, Any]]:
    """The faulty one first; of three, the second is as faulty and the third is well."""
    special = {
        "refused": f"http://127.0.0.1:{refused_port()}/v1",
        "dns": "http://no-such-host.invalid/v1",
        "half-open": f"http://127.0.0.1:{silent_port}/v1",
    }
    url = special.get(fault.where, upstream.url)
    faulty = [remote(f"faulty-{at}", url, fault.script) for at in range(1 if candidates == 1 else 2)]
    return faulty if candidates == 1 else [*faulty, remote("well", upstream.url)]


async def ask(session: aiohttp.ClientSession, url: str, stream: bool, routing: dict[str, Any] | None = None) -> str:
    """`answered`, a code of the table, or what was wrong with it."""
    body: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Hello there"}], "stream": stream}
    body |= {"x-routing": routing} if routing else {}
    try:
        async with session.post(f"{url}/v1/chat/completions", json=body) as response:
            status, text = response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        return f"! {type(error).__name__}"
    try:
        if status != 200:
            return code_of(json.loads(text))
        return verdict_of_stream(text) if stream else verdict_of_answer(json.loads(text))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        return f"! {type(error).__name__}: {text[:80]!r}"


def code_of(answer: Any) -> str:
    code = str(answer["error"]["code"])
    return code if code in TABLE and code != "internal_error" else f"! untyped {code}"


def verdict_of_answer(answer: Any) -> str:
    return "answered" if answer["choices"][0]["message"]["content"] else "! empty"


def verdict_of_stream(text: bytes) -> str:
    data = [line[5:].strip() for line in text.splitlines() if line.startswith(b"data:")]
    events = [json.loads(one) for one in data if one != b"[DONE]"]
    errors = [event for event in events if "error" in event]
    if errors:
        return (
            code_of(errors[0]) if len(errors) == 1 and data[-1] != b"[DONE]" and events[-1] is errors[0] else "! torn"
        )
    said = any(choice["delta"].get("content") for event in events for choice in event.get("choices", ()))
    return "answered" if said and data[-1] == b"[DONE]" else "! unended"


# ---------------------------------------------------------------- places where the fault is not the upstream's


class JumpingClock(SystemClock):
    """The wall clock jumps; the monotonic one cannot."""

    def __init__(self) -> None:
        self.jump_s = 0.0
        self.unix = lambda: time.time() + self.jump_s

    def strike(self) -> None:
        self.jump_s = -86_400.0 if self.jump_s else 86_400.0


def nothing() -> None:
    """The fault was there from the beginning."""


def kill_children() -> None:
    """As the kernel does where memory is short: every engine at once."""
    for child in psutil.Process().children(recursive=True):
        child.kill()


class Place:
    """Where a fault is at home: more settings, another clock, other models, and the moment at which it strikes."""

    def __init__(self, strike: Callable[[], None] = nothing, clock: SystemClock | None = None) -> None:
        self.settings: dict[str, Any] = {}
        self.strike = strike
        self.clock = clock
        self.faulty: dict[str, Any] | None = None

    def models(self, models: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The faulty ones, as they are in this place."""
        if self.faulty is None:
            return models
        return [{"id": one["id"], **self.faulty} if one["id"].startswith("faulty") else one for one in models]


@asynccontextmanager
async def place_of(fault: Fault, cache: Path) -> AsyncIterator[Place]:
    if fault.where.startswith("valkey"):
        async with valkey_place(fault.where.removeprefix("valkey-")) as place:
            yield place
    elif fault.where == "clock":
        clock = JumpingClock()
        yield Place(clock.strike, clock)
    elif fault.where == "oom":
        place = Place()
        place.faulty = {"backend": "command", "argv": [sys.executable, "-c", OUT_OF_MEMORY], "memory_gb": 0.001}
        yield place
    elif fault.where in {"disk", "killed"}:
        place = Place(kill_children if fault.where == "killed" else nothing)
        argv = [sys.executable, "-m", "pointsman.testing.upstream", "--port", "{port}"]
        place.faulty = {"backend": "command", "argv": argv, "memory_gb": 0.001, "model": GOOD}
        if fault.where == "disk":
            fill_logs(cache / "logs")
        yield place
    else:
        yield Place()


def fill_logs(folder: Path) -> None:
    """Where the children's logs go, no byte can be written any more."""
    folder.mkdir(parents=True)
    for at in range(2):
        (folder / f"faulty-{at}.log").symlink_to("/dev/full")


OUT_OF_MEMORY = "import sys; sys.exit('torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 14.96 GiB')"


@asynccontextmanager
async def valkey_place(how: str) -> AsyncIterator[Place]:
    """A shared cache and shared limits in a real Valkey that is killed, or stopped, after the first request."""
    async with ValkeyServer() as server:
        strike = server.stall if how == "stalled" else partial(os.kill, server.pid, signal.SIGKILL)
        place = Place(strike)
        place.settings = {"cache": {"exact": "all", "url": server.url}, "admission": {"url": server.url}}
        yield place


# ---------------------------------------------------------------- what is left behind


class Census(NamedTuple):
    """What a process holds."""

    sockets: int
    tasks: int
    children: int

    @classmethod
    def now(cls) -> "Census":
        me = psutil.Process()
        return cls(len(me.net_connections("inet")), len(asyncio.all_tasks()), len(me.children(recursive=True)))


async def left_over(app: App, upstream: FaultUpstream) -> tuple[int, int]:
    """Leases and upstream requests still held once everything had time to end."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        leases = sum(view.in_flight + view.queued for view in app.world().deployments)
        pending = sum(not seen.end for seen in upstream.seen if seen.method == "POST")
        if not (leases or pending) or time.monotonic() > deadline:
            return leases, pending
        await asyncio.sleep(0.01)


async def play(fault: Fault, stream: bool, candidates: int, requests: int, cache: Path) -> Tally:
    """One case, from a new gateway to its end."""
    before = Census.now()
    async with half_open() as silent_port, place_of(fault, cache) as place:
        timeout = aiohttp.ClientTimeout(PATIENCE_S)
        async with FaultUpstream() as upstream, aiohttp.ClientSession(timeout=timeout) as session:
            models = place.models(models_of(fault, candidates, upstream, silent_port))
            async with serving(parse(config(models, cache, place.settings)), place.clock) as (app, url):
                said = [await ask(session, url, stream, fault.routing)]
                # the first alone: a fault may strike between it and the others
                place.strike()
                said += await asyncio.gather(*(ask(session, url, stream, fault.routing) for _ in range(requests - 1)))
                leases, pending = await left_over(app, upstream)
    after = await settled(before)
    wrong = [one for one in said if one.startswith("!")]
    if wrong:
        print(f"{fault.name}, {'stream' if stream else 'buffered'}, {candidates}: {wrong}", file=sys.stderr)
    answered = said.count("answered")
    return Tally(
        fault=fault.name,
        how="stream" if stream else "buffered",
        candidates=candidates,
        requests=requests,
        answered=answered,
        typed=requests - answered - len(wrong),
        other=len(wrong),
        leases=leases,
        upstream=pending,
        sockets=max(0, after.sockets - before.sockets),
        tasks=max(0, after.tasks - before.tasks),
        children=max(0, after.children - before.children),
    )


async def settled(before: Census) -> Census:
    """The census once nothing more goes away."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        now = Census.now()
        if all(one <= other for one, other in zip(now, before, strict=True)) or time.monotonic() > deadline:
            return now
        await asyncio.sleep(0.02)


def is_right(tally: Tally, fault: Fault) -> bool:
    """No leak, nothing untyped; an answer wherever one could be had."""
    if tally.leaks or tally.other:
        return False
    if fault.is_final:
        return tally.typed == tally.requests
    is_streamed_cut = fault.after_commit and tally.how == "stream"
    buffered_is_well = fault.after_commit and tally.how == "buffered" and "cut" not in fault.name
    must_answer = fault.is_harmless or (tally.candidates > 1 and not is_streamed_cut) or buffered_is_well
    return tally.answered == tally.requests if must_answer else tally.answered + tally.typed == tally.requests


# ---------------------------------------------------------------- the run and its page

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
COLUMNS = (
    "| fault | how | candidates | requests | answered | typed | other | left |\n|---|---|--:|--:|--:|--:|--:|--:|\n"
)


def page(tallies: list[Tally], requests: int) -> str:
    """The sums and the table."""
    rows = "".join(
        f"| {one.fault} | {one.how} | {one.candidates} | {one.requests} | {one.answered} | {one.typed} | {one.other} "
        f"| {one.leaks} |\n"
        for one in tallies
    )
    total = sum(one.requests for one in tallies)
    answered, typed = sum(one.answered for one in tallies), sum(one.typed for one in tallies)
    other, left = sum(one.other for one in tallies), sum(one.leaks for one in tallies)
    said = f"{answered} answered, {typed} typed errors, {other} anything else, {left} left behind"
    return f"**{total} requests, {requests} in each line**: {said}.\n\n{COLUMNS}{rows}"


async def suite(requests: int, cache: Path, only: str = "") -> tuple[list[Tally], list[Tally]]:
    """All tallies, and those that are not right."""
    tallies, wrong = [], []
    for number, fault in enumerate(one for one in (*FAULTS, *PLACES) if only in one.name):
        for stream in (False, True):
            for candidates in (1, 3):
                tally = await play(fault, stream, candidates, requests, cache / f"{number}-{stream}-{candidates}")
                tallies.append(tally)
                if not is_right(tally, fault):
                    wrong.append(tally)
                    print(tally, file=sys.stderr)
    return tallies, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=5)
    parser.add_argument("--only", default="", help="faults whose name holds this word")
    parser.add_argument("--write", action="store_true", help="into docs/reliability.md")
    args = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    with tempfile.TemporaryDirectory() as folder:
        tallies, wrong = asyncio.run(suite(args.requests, Path(folder), args.only))
    text = page(tallies, args.requests)
    if args.write:
        rewrite(PAGE, "faults", text)
    print(text.partition("\n\n")[0] if args.write else text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""Half an hour of mixed load, and what is left of it in memory: `python -m bench.soak [--minutes 30] [--write]`.

A real `pointsman serve` before the simulated faulty upstream (`pointsman.testing.upstream`), asked by callers who chat,
stream, embed, judge, misspell models, invent ids, hang up in the middle and send nonsense, while somebody scrapes the
metrics and somebody reloads the configuration. Looked at: resident memory, open files, threads, metric series. Exits 1
where any of these does not hold:

- after the warm-up (the first third) memory grows by at most `GROWTH_MB`, by the line of least squares through it
- no label of a metric is minted by traffic: at most `NEW_VALUES` more values at the end than after the warm-up, so that
  the series are those of closed sets, however many of their combinations have been seen
- every request ends with a whole answer, one typed error, or its caller's leaving
- at the end: no lease, no want; SIGTERM ends the gateway with code 0
"""

import argparse
import asyncio
import json
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import yaml

from bench.fleet.page import rewrite
from bench.fleet.serving import Ended, Gateway, serving
from bench.processes import Child, free_port
from bench.reliability import PAGE, code_of, verdict_of_answer, verdict_of_stream

GROWTH_MB = 5.0
NEW_VALUES = 20
"""A value of a closed set may be seen for the first time after the warm-up; misspelt names would be thousands."""
LABEL = re.compile(r'\w+="[^"]*"')
WARM_UP = 1 / 3
SAMPLE_S = 2.0
PATIENCE_S = 30.0
PAUSE_S = 0.25
"""Between two requests of one caller, on average: a steady load, not the most that is possible."""
SCRIPTS = {
    "well": "mock-n16",
    "slow": "mock-t30-i10-n40",
    "failing": "mock-n8-e0.2-s503",
    "cutting": "mock-n20-i2-a0.3-A5",
    "odd": "mock-torn-empty-dup-n8",
    "garbled": "mock-badsse-A2-n6-i2",
    "away": "mock-reset",
}
WORDS = "why how when the of a model signal train cat river prove compare write explain translate in Hindi code".split()


@dataclass(frozen=True)
class Sample:
    """One look at the gateway's process."""

    at_s: float
    rss_bytes: int
    files: int
    threads: int
    series: int
    values: int


@dataclass
class Findings:
    """Everything seen; `violations` is what the verdict rests on."""

    samples: list[Sample] = field(default_factory=list)
    said: Counter[str] = field(default_factory=Counter)
    reloads: int = 0
    left_over: tuple[int, int] = (0, 0)
    ended: Ended = field(default_factory=lambda: Ended(code=None, took_s=0.0, left=()))
    tracebacks: int = 0

    @property
    def later(self) -> list[Sample]:
        """After the warm-up."""
        return self.samples[int(len(self.samples) * WARM_UP) :]

    @property
    def wrong(self) -> dict[str, int]:
        return {said: count for said, count in self.said.items() if "!" in said or said.endswith("internal_error")}

    def violations(self) -> list[str]:
        found = [f"{count} times {said}" for said, count in self.wrong.items()]
        if (growth := growth_mb(self.later)) > GROWTH_MB:
            found.append(f"memory grew by {growth:.1f} MB after the warm-up")
        if (minted := new_values(self.later)) > NEW_VALUES:
            found.append(f"traffic minted {minted} label values")
        if self.left_over != (0, 0):
            found.append(f"{self.left_over[0]} leases and {self.left_over[1]} wants are left though nobody asks")
        if self.ended.code != 0:
            found.append(f"SIGTERM: exit code {self.ended.code}")
        if self.tracebacks:
            found.append(f"{self.tracebacks} tracebacks in the gateway's log")
        return found


def growth_mb(samples: list[Sample]) -> float:
    """How much the line of least squares through the memory rises from the first sample to the last, in MB (10⁶)."""
    if len(samples) < 2:
        return 0.0
    times = [sample.at_s for sample in samples]
    sizes = [sample.rss_bytes for sample in samples]
    time_mean, size_mean = sum(times) / len(times), sum(sizes) / len(sizes)
    spread = sum((at - time_mean) ** 2 for at in times)
    slope = sum((at - time_mean) * (size - size_mean) for at, size in zip(times, sizes, strict=True)) / spread
    return slope * (times[-1] - times[0]) / 1e6


def new_values(samples: list[Sample]) -> int:
    return samples[-1].values - samples[0].values if samples else 0


def label_values(lines: list[str]) -> int:
    """How many different values all labels of an exposition have; a histogram's bounds are its own."""
    return len({pair for line in lines for pair in LABEL.findall(line) if not pair.startswith("le=")})


# ---------------------------------------------------------------- the load


def settings_of(upstream_port: int) -> dict[str, Any]:
    """Seven models that fail in their own ways, a cache so small that it is full at once, reasons to reload."""
    url = f"http://127.0.0.1:{upstream_port}/v1"
    names = list(SCRIPTS)
    kinds = {"kinds": ["chat", "completion", "embedding"]}
    return {
        "retry": {"first_byte_timeout_s": 2, "idle_timeout_s": 2, "backoff_s": 0.01},
        "cache": {"exact": "deterministic", "memory_mb": 2},
        "routing": {
            "encoder": {"enabled": False},
            "default_model": "well",
            "use_cases": dict.fromkeys(("general", "code", "reasoning"), names),
        },
        "aliases": {"now": "well"},
        "models": [
            {"id": name, "backend": "openai", "url": url, "model": script, "slots": 32, **kinds}
            for name, script in SCRIPTS.items()
        ],
    }


class Caller:
    """One of the crowd: asks something else each time, and says how it ended."""

    def __init__(self, session: aiohttp.ClientSession, url: str, rng: random.Random) -> None:
        self._session, self._url, self._rng = session, url, rng
        self._last_id = "none"
        self._ways: list[tuple[float, Callable[[], Awaitable[str]]]] = [
            (30, self._chat),
            (25, self._stream),
            (8, self._embed),
            (10, self._misspell),
            (10, self._leave),
            (6, self._nonsense),
            (5, self._judge),
            (3, self._look),
            (3, self._explain),
        ]

    async def ask(self) -> str:
        """What was done, and what came of it."""
        (way,) = self._rng.choices([way for _, way in self._ways], [weight for weight, _ in self._ways])
        name = way.__name__.strip("_")
        try:
            async with asyncio.timeout(PATIENCE_S):
                return f"{name}: {await way()}"
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError, IndexError) as error:
            return f"{name}: ! {type(error).__name__}"

    def _body(self, model: str = "", *, stream: bool = False) -> dict[str, Any]:
        words = " ".join(self._rng.choices(WORDS, k=self._rng.randint(2, 40)))
        model = model or self._rng.choice(["auto", "auto", "now", *SCRIPTS])
        warmth = self._rng.choice([0, 1])  # what is asked at 0 is kept
        messages = [{"role": "user", "content": words}]
        return {"model": model, "messages": messages, "stream": stream, "temperature": warmth}

    async def _post(self, path: str, body: Any, *, stream: bool = False) -> str:
        sent = {"x-request-id": f"soak-{self._rng.getrandbits(64):x}"}
        async with self._session.post(self._url + path, json=body, headers=sent) as response:
            text = await response.read()
            self._last_id = sent["x-request-id"]
            if response.status != 200:
                return code_of(json.loads(text))
            return verdict_of_stream(text) if stream else verdict_of_answer(json.loads(text))

    async def _chat(self) -> str:
        return await self._post("/v1/chat/completions", self._body())

    async def _stream(self) -> str:
        return await self._post("/v1/chat/completions", self._body(stream=True), stream=True)

    async def _misspell(self) -> str:
        return await self._post("/v1/chat/completions", self._body(f"gpt-{self._rng.getrandbits(48):x}"))

    async def _embed(self) -> str:
        body = {"model": "well", "input": self._body()["messages"][0]["content"]}
        async with self._session.post(f"{self._url}/v1/embeddings", json=body) as response:
            answer = await response.json()
            return ("answered" if answer["data"] else "! empty") if response.status == 200 else code_of(answer)

    async def _leave(self) -> str:
        """In the middle of an answer, or before it."""
        body = self._body("slow", stream=self._rng.random() < 0.7)
        asking = asyncio.create_task(self._post("/v1/chat/completions", body, stream=body["stream"]))
        await asyncio.sleep(self._rng.uniform(0, 0.3))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        return "left"

    async def _nonsense(self) -> str:
        wrong = self._rng.choice([b"", b"{", b"[]", b"\xff\xfe", b'{"messages": 5}', self._rng.randbytes(300)])
        path = self._rng.choice(["/v1/chat/completions", "/v1/embeddings", f"/v1/{self._rng.getrandbits(32):x}"])
        async with self._session.post(self._url + path, data=wrong) as response:
            return code_of(await response.json())

    async def _judge(self) -> str:
        """Feedback on the last answer, and on answers that nobody gave."""
        about = self._rng.choice([self._last_id, f"soak-{self._rng.getrandbits(64):x}"])
        body = {"request_id": about, "thumbs": self._rng.choice(["up", "down"])}
        async with self._session.post(f"{self._url}/v1/feedback", json=body) as response:
            return "answered" if response.status < 300 else code_of(await response.json())

    async def _look(self) -> str:
        path = self._rng.choice(["/v1/models", "/health", "/router/info", f"/v1/models/x{self._rng.getrandbits(32):x}"])
        async with self._session.get(self._url + path) as response:
            return "answered" if response.status == 200 else code_of(await response.json())

    async def _explain(self) -> str:
        async with self._session.post(f"{self._url}/v1/route", json=self._body()) as response:
            return "answered" if (await response.json())["plan"] else "! empty"


async def crowd(number: int, url: str, until_s: float, said: Counter[str]) -> None:
    """A caller with connections of its own, until the time is over."""
    rng = random.Random(number)
    timeout = aiohttp.ClientTimeout(PATIENCE_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        caller = Caller(session, url, rng)
        while time.monotonic() < until_s:
            said[await caller.ask()] += 1
            await asyncio.sleep(rng.expovariate(1 / PAUSE_S))


# ---------------------------------------------------------------- what is done to it, and what is seen


def hears_hangup(pid: int) -> bool:
    """Whether the process has a handler for SIGHUP, which ends one that has none."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    caught = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), 16)
    return bool(caught >> (signal.SIGHUP - 1) & 1)


async def reload(gateway: Gateway, config: Path, every_s: float, found: Findings) -> None:
    """Write the settings anew again and again, and say so."""
    while True:
        await asyncio.sleep(every_s)
        write_anew(config, found.reloads)
        psutil.Process(gateway.child.pid).send_signal(signal.SIGHUP)
        found.reloads += 1


def write_anew(config: Path, number: int) -> None:
    """The same settings, a little different; whole at once, as an editor leaves a file."""
    document = yaml.safe_load(config.read_text(encoding="utf-8"))
    document["aliases"]["now"] = "well" if number % 2 else "slow"
    document["retry"]["backoff_s"] = 0.01 + 0.001 * (number % 7)
    part = config.with_suffix(".part")
    part.write_text(yaml.safe_dump(document), encoding="utf-8")
    part.replace(config)


async def watch(gateway: Gateway, found: Findings) -> None:
    began_s = time.monotonic()
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"http://127.0.0.1:{gateway.port}/metrics") as response:
                lines = (await response.text()).splitlines()
            process = psutil.Process(gateway.child.pid)
            sample = Sample(
                at_s=time.monotonic() - began_s,
                rss_bytes=int(process.memory_info().rss),
                files=process.num_fds(),
                threads=process.num_threads(),
                series=sum(bool(line) and not line.startswith("#") for line in lines),
                values=label_values([line for line in lines if not line.startswith("#")]),
            )
            found.samples.append(sample)
            await asyncio.sleep(SAMPLE_S)


async def abuse(gateway: Gateway, config: Path, args: argparse.Namespace, found: Findings) -> None:
    """All at once, then a look at what is left when nobody asks any more."""
    others = [asyncio.create_task(watch(gateway, found))]
    if hears_hangup(gateway.child.pid):
        others.append(asyncio.create_task(reload(gateway, config, args.reload_every_s, found)))
    until_s, url = time.monotonic() + 60 * args.minutes, f"http://127.0.0.1:{gateway.port}"
    try:
        await asyncio.gather(*(crowd(number, url, until_s, found.said) for number in range(args.callers)))
    finally:
        for task in others:
            task.cancel()
        ends = await asyncio.gather(*others, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end
    await asyncio.sleep(1)
    views = (await asyncio.to_thread(gateway.get, "/router/info"))["deployments"]
    found.left_over = (sum(view["in_flight"] for view in views), sum(view["queued"] for view in views))


def soak(args: argparse.Namespace, folder: Path) -> Findings:
    """The whole of it. Raises NotReadyError where the gateway does not start."""
    found, port = Findings(), free_port()
    command = [sys.executable, "-m", "pointsman.testing.upstream", "--port", str(port)]
    with Child("upstream", command, folder / "upstream.log") as upstream:
        upstream.wait_until_ready(f"http://127.0.0.1:{port}/health")
        with serving(folder / "gateway", settings_of(port)) as gateway:
            asyncio.run(abuse(gateway, folder / "gateway" / "pointsman.yaml", args, found))
            found.ended = gateway.end()
            found.tracebacks = gateway.log.read_text(errors="replace").count("Traceback")
    return found


# ---------------------------------------------------------------- the report


def report(args: argparse.Namespace, found: Findings) -> Iterator[str]:
    """What was seen, for the screen and the page."""
    later, requests = found.later, sum(found.said.values())
    yield f"{args.callers} callers, {args.minutes:g} minutes: {requests:,} requests, {found.reloads} reloads."
    yield ""
    yield "| | at the start | after the warm-up | at the end | most |"
    yield "|---|--:|--:|--:|--:|"
    looks = [*found.samples[:1], later[0], later[-1]]
    for name, column, unit in (
        ("resident memory, MB", "rss_bytes", 1e6),
        ("open files", "files", 1),
        ("threads", "threads", 1),
        ("metric series", "series", 1),
        ("values of their labels", "values", 1),
    ):
        shown = [getattr(one, column) for one in looks] + [max(getattr(one, column) for one in found.samples)]
        yield f"| {name} | " + " | ".join(f"{value / unit:.0f}" for value in shown) + " |"
    yield ""
    minutes = (later[-1].at_s - later[0].at_s) / 60
    yield (
        f"- Memory after the warm-up, by least squares over {minutes:.0f} minutes: {growth_mb(later):+.2f} MB "
        f"(limit {GROWTH_MB:g}); values of labels: {new_values(later):+d} (limit {NEW_VALUES})."
    )
    yield f"- Left: {found.left_over[0]} leases, {found.left_over[1]} wants. SIGTERM: exit code {found.ended.code}."
    ends: dict[str, Counter[str]] = {}
    for said, count in found.said.items():
        what, _, end = said.partition(": ")
        ends.setdefault(what, Counter())[end] += count
    for what, counted in sorted(ends.items()):
        yield f"- {what}: {', '.join(f'{count:,} {end}' for end, count in counted.most_common())}."
    yield f"- Violations: {len(found.violations())}."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--callers", type=int, default=12)
    parser.add_argument("--reload-every-s", type=float, default=5.0)
    parser.add_argument("--samples", type=Path, help="write every look at the process there, as JSON")
    parser.add_argument("--write", action="store_true", help="into docs/reliability.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        found = soak(args, Path(folder))
    said = "\n".join(report(args, found))
    print(said)
    if args.samples:
        args.samples.write_text(json.dumps([asdict(sample) for sample in found.samples]), encoding="utf-8")
    if args.write:
        rewrite(PAGE, "soak", said)
    violations = found.violations()
    for violation in violations:
        print(f"VIOLATION {violation}")
    return bool(violations)


if __name__ == "__main__":
    sys.exit(main())

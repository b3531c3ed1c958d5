"""How many requests survive where upstreams fail at random, and what that costs.

    python -m bench.survival [--requests 20000] [--at-once 64] [--write]

Three candidates, each of which fails 10 % of its calls at random (503, and resets in the middle of an answer's body);
then the first of them dead. Beside both, the same gateway before three healthy ones. Upstreams are simulated
(`pointsman.testing.upstream`); latencies are of this machine, read them beside each other.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import aiohttp

from bench.fleet.page import rewrite
from bench.reliability import PAGE, PATIENCE_S, ask, config, refused_port, remote
from pointsman.settings import parse
from pointsman.testing.serving import serving
from pointsman.testing.upstream import FaultUpstream

HEALTHY, FAILING = "mock-n2", "mock-n2-e0.1-s503"


class Run(NamedTuple):
    name: str
    said: Counter[str]
    latencies_ms: list[float]

    @property
    def share(self) -> float:
        return self.said["answered"] / sum(self.said.values())

    def row(self, healthy_p99_ms: float) -> str:
        ordered = sorted(self.latencies_ms)
        p50, p99 = statistics.median(ordered), ordered[int(0.99 * len(ordered))]
        others = ", ".join(f"{count} {code}" for code, count in self.said.items() if code != "answered") or "–"
        return (
            f"| {self.name} | {sum(self.said.values()):,} | {100 * self.share:.3f} % | {others} "
            f"| {p50:.1f} | {p99:.1f} | {p99 - healthy_p99_ms:+.1f} |"
        )


async def play(name: str, scripts: tuple[str, ...], requests: int, at_once: int, folder: Path) -> Run:
    """One gateway, one crowd. An empty script is a port that nobody listens on."""
    said: Counter[str] = Counter()
    latencies_ms: list[float] = []
    async with FaultUpstream(keep=0) as upstream:
        dead = f"http://127.0.0.1:{refused_port()}/v1"
        models = [
            {**remote(f"m{at}", upstream.url if script else dead, script or HEALTHY), "slots": at_once}
            for at, script in enumerate(scripts)
        ]
        timeout, connector = aiohttp.ClientTimeout(PATIENCE_S), aiohttp.TCPConnector(limit=0)
        async with (
            serving(parse(config(models, folder, {"retry": {}}))) as (_, url),
            aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
        ):
            left = iter(range(requests))

            async def client() -> None:
                for number in left:
                    began_s = time.perf_counter()
                    said[await ask(session, url, stream=bool(number % 2))] += 1
                    latencies_ms.append(1000 * (time.perf_counter() - began_s))

            await asyncio.gather(*(client() for _ in range(at_once)))
    return Run(name, said, latencies_ms)


async def runs(requests: int, at_once: int, folder: Path) -> list[Run]:
    cases = (
        ("three healthy ones", (HEALTHY,) * 3),
        ("each fails 10 % of its calls", (FAILING,) * 3),
        ("the first is dead", ("", HEALTHY, HEALTHY)),
    )
    return [await play(name, scripts, requests, at_once, folder / str(at)) for at, (name, scripts) in enumerate(cases)]


def table(found: list[Run]) -> str:
    """The first of them is what the others stand beside."""
    healthy = sorted(found[0].latencies_ms)
    rows = [run.row(healthy[int(0.99 * len(healthy))]) for run in found]
    head = "| upstreams | requests | answered | errors | p50 ms | p99 ms | p99 beside healthy |"
    return "\n".join((head, "|---|--:|--:|---|--:|--:|--:|", *rows))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--write", action="store_true", help="into docs/reliability.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(runs(args.requests, args.at_once, Path(folder)))
    said = table(found)
    print(said)
    if args.write:
        rewrite(PAGE, "survival", f"{args.at_once} callers at once.\n\n{said}")
    return 0 if found[1].share >= 0.9999 and found[2].share == 1 else 1


if __name__ == "__main__":
    sys.exit(main())

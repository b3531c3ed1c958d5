"""Every figure against the truth: `python -m bench.operations [--requests 10000] [--postgres]`.

A real `pointsman serve` before simulated models of known price, speed, quality and faults (`operations_world`), asked
by two keys, streaming and not, some questions twice (kept answers), some models failing (retries, fallbacks, errors),
some names wrong; verdicts are given at known rates, some twice, some changed. Then every place that tells of it is
read: `/v1/model-routing/stats`, `/metrics`, the log, the store, the console. Counts must equal the generator's truth
exactly; sums of money and verdicts to MONEY of their size; a mean latency must lie between what the model took and what
its callers saw (and SLACK_S: a caller may have an answer before the gateway looks at its clock), a mean verdict within
QUALITY of the model's. At last callers leave in the middle, and the gateway is started anew: verdicts on what it
answered before must find their rows.

Prints a table; exits 1 where anything differs.
"""

import argparse
import asyncio
import hashlib
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bench import operations_figures as figures
from bench.fleet.page import rewrite
from bench.operations_world import (
    AGAIN,
    CHANGED,
    JUDGED,
    KEYS,
    MODELS,
    TREATMENT,
    TRIED,
    Ask,
    Happened,
    World,
    drawn,
    drawn_for,
)
from bench.processes import Child, free_port
from pointsman.ledger.build import store_of
from pointsman.settings_ledger import LedgerSettings
from pointsman.testing.postgres import PostgresServer

PAGE = Path(__file__).resolve().parent.parent / "docs" / "ledger.md"
MONEY = 1e-6
SLACK_S = 0.010
QUALITY = 0.06
AT_ONCE = 16
LEAVING, LATE = 40, 50
EXPERIMENT = {
    "name": "half",
    "kind": "canary",
    "control": TRIED,
    "treatment": TREATMENT,
    "rollback_above": 1,
    "guards": {"errors": 1, "slowdown": 1000},
}
PLACES = ("truth", "callers", "stats", "metrics", "log", "store", "console")
INEXACT = frozenset({"cost", "baseline cost", "savings %", "sum of verdicts"})
AGREED = ("task:", "language:")
"""Nobody but the gateway knows these; the places must agree."""


@dataclass
class Compared:
    """Figures by place, and what does not agree."""

    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def add(self, place: str, found: Mapping[str, float]) -> None:
        for name, value in found.items():
            self.rows.setdefault(name, {})[place] = value

    def judge(self) -> None:
        """Every place beside the truth, or beside the store where the truth knows nothing."""
        for name, row in self.rows.items():
            right = row.get("store", 0.0) if name.startswith(AGREED) else row.get("truth", 0.0)
            self.wrong += [
                f"{name}: {place} says {value:g}, it is {right:g}"
                for place, value in row.items()
                if not _equal(name, value, right)
            ]

    def near(self, what: str, value: float, right: float, within: float) -> None:
        if abs(value - right) > within:
            self.wrong.append(f"{what}: {value:g} is not within {within:g} of {right:g}")


def _equal(name: str, value: float, right: float) -> bool:
    if name == "savings %":
        return abs(value - right) <= 0.01
    return abs(value - right) <= MONEY * max(1.0, abs(right)) if name in INEXACT else value == right


class Bench:
    """One run in a folder of its own."""

    def __init__(self, folder: Path, count: int, seed: int, postgres: str = "") -> None:
        self.folder = folder
        self.log = folder / "gateway.log"
        self._books_url = postgres or f"sqlite:{folder / 'ledger.sqlite'}"
        self.books = store_of(LedgerSettings(url=self._books_url), folder, {})
        self._count = count
        self._seed = seed
        self._url = f"http://127.0.0.1:{free_port()}"
        self._happened = Happened()
        self._world = World(self._happened, seed)
        self._compared = Compared()

    async def run(self) -> Compared:
        runner = await self._world.start()
        try:
            self._write_config()
            with self._gateway("gateway.log"):
                async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as self._http:
                    await self._ask_all()
                    await self._settled(self._count)
                    await self._compare()
                    await self._leave()
            with self._gateway("again.log"):
                async with aiohttp.ClientSession() as self._http:
                    await self._judge_late()
        finally:
            await runner.cleanup()
        return self._compared

    # ------------------------------------------------------------ the gateway

    def _write_config(self) -> None:
        keys = [{"name": name, "sha256": hashlib.sha256(f"pm-{name}".encode()).hexdigest()} for name in KEYS]
        models = [
            {"id": name, "backend": "openai", "url": self._world.url, "cost_per_mtok": model.price, "slots": 64}
            for name, model in MODELS.items()
        ]
        tree = {
            "server": {"port": int(self._url.rpartition(":")[2])},
            "cache_dir": str(self.folder / "cache"),
            "cache": {"exact": "deterministic"},
            "routing": {
                "encoder": {"enabled": False},
                "fallbacks": {"flaky": ["small"]},
                "use_cases": {"code": ["large"], "reasoning": ["large", "flaky"], "general": ["flaky", "small"]},
            },
            "retry": {"max_attempts": 3, "backoff_s": 0.01},
            "fleet": {"breaker": {"failures_in_a_row": 1000, "failure_rate": 0.999, "window": 1000}},
            "keys": keys,
            "experiments": [EXPERIMENT],
            "models": models,
        }
        (self.folder / "pointsman.yaml").write_text(json.dumps(tree))

    def _gateway(self, log: str) -> Child:
        command = shutil.which("pointsman", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
        assert command is not None, "there is no `pointsman` command in this environment"
        arguments = [command, "serve", "--config", str(self.folder / "pointsman.yaml")]
        environ = {"POINTSMAN_LEDGER__URL": self._books_url}
        child = Child("gateway", arguments, self.folder / log, environ)
        child.wait_until_ready(f"{self._url}/ready")
        return child

    # ------------------------------------------------------------ asking

    async def _ask_all(self) -> None:
        waiting = iter(drawn(self._count, self._seed))

        async def caller() -> None:
            for ask in waiting:
                await self._ask(ask)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(caller())

    async def _ask(self, ask: Ask) -> None:
        self._happened.asks[ask.id] = ask
        began_s = time.perf_counter()
        headers = self._headers(ask.key) | {"x-request-id": ask.id}
        async with self._http.post(f"{self._url}/v1/chat/completions", data=ask.body(), headers=headers) as response:
            await response.read()
            assert response.headers["x-request-id"] == ask.id
        self._happened.took_s[ask.id] = time.perf_counter() - began_s
        self._happened.http_status[ask.id] = response.status
        if response.status == 200:
            await self._maybe_judge(ask)

    async def _maybe_judge(self, ask: Ask) -> None:
        chance = drawn_for("verdict", ask.number, self._seed)
        if chance.random() >= JUDGED:
            return
        quality = MODELS[self._happened.answered_by(ask.id)].quality
        is_right = chance.random() < quality
        said: dict[str, Any] = chance.choice(
            [
                {"correct": is_right},
                {"thumbs": "up" if is_right else "down"},
                {"score": 0.875 if is_right else 0.125},
            ]
        )
        await self._say(ask, said)
        again = chance.random()
        if again < AGAIN:
            await self._say(ask, said)
        elif again < AGAIN + CHANGED:
            await self._say(ask, {"correct": not is_right} if "correct" in said else said)

    async def _say(self, ask: Ask, said: dict[str, Any]) -> None:
        """One verdict, and what should become of it."""
        (what, value), source = *said.items(), {"correct": "correctness"}.get(next(iter(said)), next(iter(said)))
        meant = float(value == "up") if what == "thumbs" else float(value)
        before = self._happened.verdicts.get((ask.id, source))
        self._happened.verdicts[ask.id, source] = meant
        status, answer = await self._post("/v1/feedback", {"request_id": ask.id, **said}, ask.key)
        should = "recorded" if before is None else "unchanged" if before == meant else "changed"
        self._happened.told[should] += 1
        if should != "unchanged":
            self._happened.told["recorded and changed"] += 1
        if (status, answer.get("status")) != (200, should):
            self._compared.wrong.append(f"a verdict on {ask.id} was {status} {answer}, not {should}")

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer pm-{key}", "content-type": "application/json"}

    async def _post(self, path: str, body: dict[str, Any], key: str) -> tuple[int, dict[str, Any]]:
        async with self._http.post(f"{self._url}{path}", json=body, headers=self._headers(key)) as response:
            answer: dict[str, Any] = await response.json()
            return response.status, answer

    async def _get(self, path: str, key: str = KEYS[0]) -> str:
        async with self._http.get(f"{self._url}{path}", headers=self._headers(key)) as response:
            assert response.status == 200, f"{path}: {response.status}"
            return await response.text()

    async def _settled(self, rows: int) -> None:
        """Once the store has every row and the log every line."""
        for _ in range(200):
            written = figures.metrics(await self._get("/metrics"))["rows written"]
            if written >= rows:
                break
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)

    # ------------------------------------------------------------ comparing

    async def _compare(self) -> None:
        compared, happened = self._compared, self._happened
        page = json.loads(await self._get("/v1/model-routing/stats"))
        told = figures.metrics(await self._get("/metrics"))
        self._compare_rows(told)
        compared.add("truth", figures.truth_of(happened))
        compared.add("callers", figures.heard_by_callers(happened))
        compared.add("stats", figures.stats(page))
        compared.add("metrics", told)
        compared.add("log", figures.log_lines(self.log, happened.asks))
        compared.add("store", figures.store(self.books, happened.asks))
        compared.add("console", figures.console(json.loads(await self._get("/console/api/series"))))
        compared.judge()
        self._compare_quantities(page)

    def _compare_rows(self, told: dict[str, float]) -> None:
        """What only the metrics tell."""
        rows = {name: told.pop(f"rows {name}") for name in ("written", "dropped", "refused", "pruned")}
        if rows != {"written": self._count, "dropped": 0, "refused": 0, "pruned": 0}:
            self._compared.wrong.append(f"rows of the store: {rows}, not {self._count} written")
        answers = told.pop("answers")
        right = sum(bool(calls and calls[-1].is_good) for calls in self._happened.calls.values())
        self._compared.near("answers in the latency histogram", answers, right, 0)

    def _compare_quantities(self, page: dict[str, Any]) -> None:
        happened, groups = self._happened, page["model_distribution"]
        for name in MODELS:
            own = [one for one in happened.served_s if happened.answered_by(one) == name]
            if not own:
                continue
            served_s = statistics.fmean(happened.served_s[one] for one in own)
            took_s = statistics.fmean(happened.took_s[one] for one in own)
            said_s = groups[name]["avg_latency_ms"] / 1000
            if not served_s <= said_s <= took_s + SLACK_S:
                told = f"{said_s:g} s is not between what it took, {served_s:g} s, and what callers saw, {took_s:g} s"
                self._compared.wrong.append(f"mean latency of {name}: {told}")
        for name in ("small", "large"):
            if groups[name]["verdicts"] >= 300:
                self._compared.near(f"feedback of {name}", groups[name]["feedback"], MODELS[name].quality, QUALITY)

    # ------------------------------------------------------------ afterwards

    async def _leave(self) -> None:
        """Callers that go in the middle of a stream."""

        async def one(number: int) -> None:
            ask = Ask(number, "endless", KEYS[0], True, number)
            headers = self._headers(ask.key) | {"x-request-id": ask.id}
            url = f"{self._url}/v1/chat/completions"
            async with self._http.post(url, data=ask.body(), headers=headers) as response:
                await response.content.readline()
                response.close()

        await asyncio.gather(*(one(self._count + number) for number in range(LEAVING)))
        await self._settled(self._count + LEAVING)
        page = json.loads(await self._get("/v1/model-routing/stats"))
        self._compared.near("left in the middle, stats", page["by_status"]["client_closed"], LEAVING, 0)
        ids = [f"op-{self._count + number}" for number in range(LEAVING)]
        rows = figures.store(self.books, ids)
        self._compared.near("left in the middle, store", rows.get("ended:client_closed", 0), LEAVING, 0)

    async def _judge_late(self) -> None:
        """Verdicts after a restart find their rows; nobody else's do."""
        happened = self._happened
        said = {one for one, _ in happened.verdicts}
        late = [ask for one, ask in happened.asks.items() if one not in said and happened.http_status[one] == 200]
        for ask in late[:LATE]:
            await self._say(ask, {"score": 0.5})
        status, _ = await self._post("/v1/feedback", {"request_id": "nobody", "score": 1}, KEYS[0])
        self._compared.near("a verdict on nothing, HTTP status", status, 404, 0)
        theirs = next(ask for ask in late if ask.key == KEYS[0])
        status, _ = await self._post("/v1/feedback", {"request_id": theirs.id, "score": 1}, KEYS[1])
        self._compared.near("a verdict on another key's answer, HTTP status", status, 404, 0)
        page = json.loads(await self._get("/v1/model-routing/stats"))
        self._compared.near("late verdicts, stats", page["feedback"]["count"], len(late[:LATE]), 0)
        kept = figures.store(self.books, [ask.id for ask in late[:LATE]])
        self._compared.near("late verdicts, store", kept["sum of verdicts"], 0.5 * len(late[:LATE]), 0)


def table(compared: Compared) -> str:
    """Figures down, places across; `–` where a place does not tell."""
    lines = [f"{'figure':34}" + "".join(f"{place:>12}" for place in PLACES)]
    for name, row in sorted(compared.rows.items()):
        cells = (f"{row[place]:>12.8g}" if place in row else f"{'–':>12}" for place in PLACES)
        lines.append(f"{name:34}" + "".join(cells))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """0 where every figure agrees."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", action="store_true", help="the store is a PostgreSQL started for it")
    parser.add_argument("--write", action="store_true", help=f"the table into {PAGE.name}")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="pointsman-operations-") as folder, ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer()).url if options.postgres else ""
        began_s = time.perf_counter()
        compared = asyncio.run(Bench(Path(folder), options.requests, options.seed, postgres).run())
        took_s = time.perf_counter() - began_s
    count = sum(map(len, compared.rows.values()))
    verdict = "every figure agrees" if not compared.wrong else f"{len(compared.wrong)} do not agree"
    said = f"{options.requests} requests, {took_s:.0f} s, {count} figures compared: {verdict}."
    print(table(compared), *(f"WRONG  {wrong}" for wrong in compared.wrong), said, sep="\n")
    if options.write:
        rewrite(PAGE, "operations", f"{said}\n\n```text\n{table(compared)}\n```")
    return bool(compared.wrong)


if __name__ == "__main__":
    sys.exit(main())

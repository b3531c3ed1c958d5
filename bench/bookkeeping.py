"""What books cost the event loop: `python -m bench.bookkeeping [--write]`, microseconds a request of each sink.

Every part is given the same Outcome, of a plan over five deployments, and timed alone, with nothing else to do in the
process; the best of ROUNDS rounds. `writer thread`: what happens beside the loop, for each row. Where the package
structlog is installed, the same request's line is written by it too, into the same nowhere.
"""

import argparse
import asyncio
import importlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from bench.fleet.page import rewrite
from pointsman.clock import SystemClock
from pointsman.ledger.accounts import Accounts
from pointsman.ledger.cost import Prices
from pointsman.ledger.cost_metrics import CostMetrics
from pointsman.ledger.feedback import Desk
from pointsman.ledger.lines import line_of
from pointsman.ledger.prompts import Prompts
from pointsman.ledger.record import record_of
from pointsman.ledger.recorder import Keeping, Recorder
from pointsman.ledger.series import Maker
from pointsman.ledger.store.sql import SqlStore
from pointsman.ledger.store.sqlite import Sqlite
from pointsman.ledger.tally import Tally
from pointsman.policy.router import Router
from pointsman.settings import parse
from pointsman.testing.decisions import ask, hot, measured, world
from pointsman.types import Attempt, Outcome, Usage

PAGE = Path(__file__).resolve().parent.parent / "docs" / "ledger.md"
NAMES = ("one", "two", "three", "four", "five")
SETTINGS = "models:\n" + "".join(
    f"  - {{id: {name}, backend: openai, url: 'http://127.0.0.1:9/v1', cost_per_mtok: {price}}}\n"
    for price, name in enumerate(NAMES, 1)
)
ROUNDS, CALLS = 9, 400  # fewer than the recorder's queue holds
WORDS = 1024
Row = tuple[str, str, float]


def outcome_of() -> Outcome:
    """An everyday request, answered."""
    signals, present = measured("code"), world(*(hot(name) for name in NAMES))
    plan = Router(parse(SETTINGS)).decide(ask(), signals, present)
    first = plan.candidates[0].model_id
    attempt = Attempt(deployment_id=first, model_id=first, started_s=100.0, first_byte_s=100.2)
    return Outcome(
        request_id="req_0123456789abcdef01234567",
        kind=ask().kind,
        asked_model="auto",
        status="success",
        http_status=200,
        signals=signals,
        plan=plan,
        attempts=(attempt,),
        usage=Usage(prompt_tokens=120, completion_tokens=240),
        stream=False,
        total_s=0.8,
        classify_s=0.0004,
        decide_s=0.0001,
        wait_s=0.0,
        upstream_s=0.79,
        first_byte_s=0.2,
        tenant="ann",
        received_unix_s=SystemClock().unix(),
        arrived_s=99.9,
        world=present,
    )


def us(call: Callable[[], object]) -> float:
    """The best round's time for one call: what is more was somebody else's doing."""
    rounds = []
    for _ in range(ROUNDS):
        began_ns = time.perf_counter_ns()
        for _ in range(CALLS):
            call()
        rounds.append((time.perf_counter_ns() - began_ns) / CALLS / 1000)
    return min(rounds)


async def measure(folder: Path) -> list[Row]:
    """(what, where, µs a request)."""
    outcome, settings = outcome_of(), parse(SETTINGS)
    cards = Router(settings).cards
    prices, clock = Prices(cards), SystemClock()
    metrics = CostMetrics(Maker(CollectorRegistry()), NAMES, ("ann",))
    accounts = Accounts(lambda: prices, Tally(NAMES, clock.unix), metrics)
    store = SqlStore(Sqlite(folder / "ledger.sqlite"))
    keeping = Keeping(days=1, rows=1_000_000)
    recorder = Recorder(store, lambda: prices, lambda: keeping, clock, lambda _up, _why: None)
    desk, request = Desk(), msgspec.structs.replace(ask("x" * WORDS), tenant="ann", id=outcome.request_id)
    prompts = Prompts(lambda: b"key")
    record = record_of(outcome, prices.spent(outcome))
    encode = msgspec.json.Encoder().encode

    def judged() -> None:
        desk.opened(request)
        desk.closed(outcome)

    rows: list[Row] = [
        ("sums and money", "loop", us(lambda: accounts.closed(outcome))),
        ("queueing the row", "loop", us(lambda: recorder.closed(outcome))),
        ("keeping it in mind for verdicts", "loop", us(judged)),
        ("digest of a prompt of 1 kB", "loop", us(lambda: prompts.digest(request))),
        ("the log line", "loop", us(lambda: encode(line_of(outcome)))),
        ("making the row", "writer thread", us(lambda: record_of(outcome, prices.spent(outcome)))),
        (
            "writing it, in batches of 200",
            "writer thread",
            _per_row_us(SqlStore(Sqlite(folder / "rows.sqlite")), record),
        ),
    ]
    await recorder.close()
    return [*rows, *_structlog(outcome)]


def _per_row_us(store: SqlStore, record: Any) -> float:
    store.write([record])
    began_ns = time.perf_counter_ns()
    for _ in range(10):
        store.write([record] * 200)
    return (time.perf_counter_ns() - began_ns) / 2000 / 1000


def _structlog(outcome: Outcome) -> list[Row]:
    """The same line as structlog renders it, with its fastest processors."""
    try:
        structlog = importlib.import_module("structlog")
    except ImportError:
        return []
    logger = structlog.wrap_logger(
        structlog.BytesLogger(io.BytesIO()),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(serializer=lambda event, **_: msgspec.json.encode(event)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(20),
        cache_logger_on_first_use=True,
    )

    def write() -> None:
        line = msgspec.structs.asdict(line_of(outcome))
        del line["ts"], line["level"]
        logger.info(line.pop("event"), **line)

    return [("the log line, by structlog", "loop", us(write))]


def table(rows: list[Row]) -> str:
    lines = ["| what | where | µs |", "|---|---|---|"]
    lines += [f"| {what} | {where} | {time_us:.1f} |" for what, where, time_us in rows]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="pointsman-bookkeeping-") as folder:
        said = table(asyncio.run(measure(Path(folder))))
    print(said)
    if options.write:
        rewrite(PAGE, "costs", said)
    return 0


if __name__ == "__main__":
    sys.exit(main())

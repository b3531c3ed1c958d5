"""`python -m bench.replay [--days 500] [--write]`: does a replay say what would have been? Written to docs/replay.md.

1. A day of 20,000 requests, through the real router with exploration, goes into a store of the ledger; `pointsman
   replay` is run on it twice, under a changed policy. The two reports must be the same bytes.
2. Many smaller days are logged and replayed alike. Counted: how often the 95 % interval holds the truth, which the
   generator knows: the average that the new policy would have, and what it would have had on that very day.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.fleet.page import rewrite
from bench.replay_world import FIGURES, IDS, MODELS_YAML, NEW, OLD, Day, asked_of, day_of, expected
from pointsman.learning.offpolicy import Estimates, Interval
from pointsman.learning.replay import Again, Replayer, report_of
from pointsman.ledger.store.sql import SqlStore
from pointsman.ledger.store.sqlite import Sqlite
from pointsman.policy.router import Router
from pointsman.settings import parse
from pointsman.testing.decisions import ask, hot, world

PAGE = Path(__file__).resolve().parent.parent / "docs/replay.md"
LARGE_DAY, SMALL_DAY = 20_000, 1_000
TRUTH = 40_000  # requests over which the true average is taken
ESTIMATORS = ("dr", "snips", "ips")


class Kept(NamedTuple):
    """Intervals that held the truth, of so many."""

    held: int
    of: int

    def shown(self) -> str:
        """With Wilson's 95 % interval."""
        z, share = 1.96, self.held / self.of
        centre = (share + z**2 / (2 * self.of)) / (1 + z**2 / self.of)
        reach = z * (share * (1 - share) / self.of + z**2 / (4 * self.of**2)) ** 0.5 / (1 + z**2 / self.of)
        return f"{share:.1%} ({centre - reach:.1%} to {centre + reach:.1%})"


def true_means(policy: str) -> dict[str, float]:
    """What the policy would have on average; it leaves nothing to chance."""
    asked = asked_of(np.random.default_rng(10**9), TRUTH)
    router, present = Router(parse(policy)), world(*map(hot, IDS))
    known: dict[tuple[int, ...], int] = {}
    chosen = []
    for row, what in enumerate(map(tuple, asked.what.tolist())):
        if what not in known:  # the prompt's length has no say: no model here is short of context
            known[what] = IDS.index(router.decide(ask(), asked.signals(row), present).candidates[0].model_id)
        chosen.append(known[what])
    return {name: float(expected(asked)[name][np.arange(TRUTH), chosen].mean()) for name in FIGURES}


def true_change(day: Day, done: list[Again]) -> dict[str, float]:
    """By how much the means of this very day would have differed, request by request."""
    rows = [int(one.record.request_id.partition("-")[2]) for one in done]
    old = [IDS.index(one.first) for one in done]
    new = [IDS.index(one.new[0][0]) for one in done]
    return {name: float((day.given[name][rows, new] - day.given[name][rows, old]).mean()) for name in FIGURES}


def holds(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def coverage(days: int, n: int = SMALL_DAY) -> dict[str, dict[str, list[float]]]:
    """By figure and question: one entry a day, 1 where the interval held the truth; also widths and errors."""
    old, truth = parse(OLD), true_means(NEW)
    replayer = Replayer(parse(NEW))
    found: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in FIGURES}
    for seed in range(days):
        day = day_of(seed, n, old)
        done = [one for one in map(replayer.again, day.records) if isinstance(one, Again)]
        changes = true_change(day, done)
        for figure in report_of(day.records, replayer).figures:
            _count(found[figure.name], figure.estimates, truth[figure.name], changes[figure.name])
    return found


def _count(into: dict[str, list[float]], found: Estimates, truth: float, change: float) -> None:
    for name in ESTIMATORS:
        one: Interval = getattr(found, name)
        into[name].append(holds(one, truth))
        into[f"{name} half-width"].append((one.high - one.low) / 2 / truth)
        into[f"{name} error"].append((one.value - truth) / truth)
    into["change"].append(holds(found.change, change))


def table(found: dict[str, dict[str, list[float]]]) -> str:
    days = len(found[FIGURES[0]]["dr"])
    said = f"Share of {days:,} days of {SMALL_DAY:,} requests on which the 95 % interval held the truth, with its own"
    lines = [f"{said} interval; in brackets the mean half-width, relative to the truth, and the mean error.", ""]
    lines += ["| | doubly robust | SNIPS | IPS | change on that very day |", "|---|---|---|---|---|"]
    for name, one in found.items():
        cells = [
            f"{Kept(int(sum(one[by])), days).shown()} [± {np.mean(one[f'{by} half-width']):.1%}, "
            f"{np.mean(one[f'{by} error']):+.2%}]"
            for by in ESTIMATORS
        ]
        lines.append(f"| {name} | {' | '.join(cells)} | {Kept(int(sum(one['change'])), days).shown()} |")
    return "\n".join(lines)


def large_day(n: int = LARGE_DAY) -> tuple[str, bool]:
    """The report of `pointsman replay` on a stored day, and whether a second run wrote the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqlStore(Sqlite(Path(folder) / "yesterday.sqlite"))
        store.write(day_of(1, n, parse(OLD)).records)
        store.close()
        (Path(folder) / "new.yaml").write_text(NEW, encoding="utf-8")
        runs = []
        for number in (1, 2):
            environ = os.environ | {"PYTHONHASHSEED": str(number)}  # no order of a set or mapping may show
            command = [sys.executable, "-m", "pointsman", "replay", "yesterday.sqlite", "--policy", "new.yaml"]
            done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, check=True)
            runs.append(done.stdout)
    return runs[0].decode(), runs[0] == runs[1]


def page_of(report: str, is_same: bool, found: dict[str, dict[str, list[float]]]) -> str:
    same = "the same bytes both times" if is_same else "NOT the same bytes"
    _title, _, body = report.partition("\n\n")
    before, after = (text.removesuffix(MODELS_YAML).strip() for text in (OLD, NEW))
    return "\n".join(
        [
            f"Three models; the day was decided under `{before}`, the new policy is `{after}`.",
            "",
            f"`pointsman replay yesterday.sqlite --policy new.yaml`, run twice: {same}. What it says:",
            "",
            body.rstrip("\n"),
            "",
            table(found),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=500)
    parser.add_argument("--write", action="store_true", help="into the page")
    arguments = parser.parse_args()
    report, is_same = large_day()
    text = page_of(report, is_same, coverage(arguments.days))
    print(text)
    if arguments.write:
        rewrite(PAGE, "replay", text)
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())

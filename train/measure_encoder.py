"""What stage 2 is worth and what it costs, on requests that nobody trained on.

    python -m train.measure_encoder [--set train/heldout] [--json]

Figures: the tasks of the requests that stage 1 is unsure of, answered by it alone and by both; how long such a request
waits on one core; the memory the encoder adds. `train.measure_decisions` has the whole classifier.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import psutil
from train.check_corpus import Row
from train.measured import Figure, bootstrap, macro_f1, write
from train.rows import request_of

from pointsman.clock import SystemClock
from pointsman.encoder.base import Vector
from pointsman.encoder.e5 import E5
from pointsman.encoder.service import SecondStage
from pointsman.settings import EncoderSettings, RoutingSettings
from pointsman.signals.classifier import Classifier
from pointsman.signals.opinion import load_opinion
from pointsman.types import Request, Signals, UseCase

HERE = Path(__file__).parent
PATIENT_MS, TARGET_MS, TARGET_MB = 10_000.0, 60.0, 200.0
LANGUAGES = "en hi ta te bn mr gu kn ml pa".split()


class Timed:
    """The encoder with its own use of a core, which other people's work on the machine does not lengthen."""

    def __init__(self) -> None:
        self._own = E5()
        self.name, self.languages = self._own.name, self._own.languages
        self.cpu_ms: list[float] = []

    def encode(self, text: str) -> Vector:
        began_s = time.thread_time()
        vector = self._own.encode(text)
        self.cpu_ms.append((time.thread_time() - began_s) * 1000)
        return vector


class Case(NamedTuple):
    """One request, its right answer, and what each stage made of it."""

    language: str
    truth: str
    first: Signals
    both: Signals
    waited_ms: float
    cpu_ms: float


def rows_of(folder: Path) -> list[Row]:
    """The set's rows in the ten languages; what is out of scope has no task."""
    paths = [path for name in LANGUAGES if (path := folder / f"{name}.jsonl").exists()]
    lines = (line for path in paths for line in path.read_text(encoding="utf-8").splitlines())
    return [msgspec.json.decode(line, type=Row) for line in lines]


def task_of(row: Row) -> str:
    return str(row.intent if row.use_case == "agent" else row.use_case)


def told(signals: Signals) -> str:
    """The task: a use case or, of an agent, the intent."""
    return signals.intent.label if signals.use_case.label == UseCase.AGENT else signals.use_case.label


def cases_of(folder: Path) -> tuple[list[Case], float]:
    """Every request of the set through both stages, one after the other; and the megabytes that the encoder added."""
    classifier, clock = Classifier(RoutingSettings()), SystemClock()
    settings = EncoderSettings.model_validate({"deadline_ms": PATIENT_MS, "cache": 0})
    rows = rows_of(folder)
    process = psutil.Process()
    before = process.memory_info().rss
    timed = Timed()

    async def run() -> list[Case]:
        async with SecondStage(lambda: timed, load_opinion(0.4), settings, clock) as second:
            first = request_of(rows[0])
            loading = msgspec.structs.replace(classifier.measure(first), unsure=("use_case",))
            await second.refine(first, loading)  # the encoder is loaded before anything is timed
            return [await one(second, request_of(row), row.language, task_of(row)) for row in rows]

    async def one(second: SecondStage, request: Request, language: str, truth: str) -> Case:
        first = classifier.measure(request)
        began_s = clock.now()
        both = await second.refine(request, first)
        return Case(language, truth, first, both, (clock.now() - began_s) * 1000, timed.cpu_ms[-1])

    cases = asyncio.run(run())
    return cases, (process.memory_info().rss - before) / 1e6


def scored(what: str, cases: Sequence[Case], name: str) -> Figure:
    """Macro-F1 of both stages, beside stage 1 alone."""
    truth = np.array([case.truth for case in cases])
    both, first = np.array([told(case.both) for case in cases]), np.array([told(case.first) for case in cases])
    low, high = bootstrap(len(cases), lambda at: macro_f1(list(truth[at]), list(both[at])))
    gain = bootstrap(len(cases), lambda at: float((both[at] == truth[at]).mean() - (first[at] == truth[at]).mean()))
    controls = {
        "stage 1 alone": macro_f1(list(truth), list(first)),
        "accuracy": float((both == truth).mean()),
        "accuracy of stage 1": float((first == truth).mean()),
        "gain in accuracy, low": gain[0],
        "gain in accuracy, high": gain[1],
    }
    return Figure(what, name, len(cases), macro_f1(list(truth), list(both)), low, high, controls)


def figures_of(folder: Path) -> list[Figure]:
    name = folder.name
    cases, added_mb = cases_of(folder)
    doubtful = [case for case in cases if case.first.unsure]
    waits = np.array([case.waited_ms for case in doubtful])
    cpu = np.array([case.cpu_ms for case in doubtful])
    p95 = float(np.percentile(cpu, 95))
    low, high = bootstrap(len(cpu), lambda at: float(np.percentile(cpu[at], 95)))
    times = {"p50": float(np.median(cpu)), "longest": float(cpu.max())}
    times |= {"p50 by the clock": float(np.median(waits)), "p95 by the clock": float(np.percentile(waits, 95))}
    target, holds = f"≤ {TARGET_MS:g}", p95 <= TARGET_MS
    total_mb = psutil.Process().memory_info().rss / 1e6
    return [
        scored("task, macro-F1, all requests, both stages", cases, name),
        scored("task, macro-F1, requests stage 1 is unsure of", doubtful, name),
        share_of(cases, doubtful, name),
        Figure("stage 2, p95, ms of a core", name, len(waits), p95, low, high, times, target, holds),
        Figure(
            "memory, classifier and encoder, MB", name, 1, total_mb, None, None, {"the encoder added": added_mb},
            f"≤ {TARGET_MB:g}", total_mb <= TARGET_MB,
        ),
    ]  # fmt: skip


def share_of(cases: Sequence[Case], doubtful: Sequence[Case], name: str) -> Figure:
    """How many requests need stage 2."""
    share = len(doubtful) / len(cases)
    low, high = bootstrap(len(cases), lambda at: float(np.mean([bool(cases[i].first.unsure) for i in at])), 200)
    return Figure(
        "share of requests that need stage 2", name, len(cases), share, low, high, {}, "≤ 0.15", share <= 0.15
    )


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m train.measure_encoder", description=__doc__)
    parser.add_argument("--set", type=Path, default=HERE / "heldout", dest="folder")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    asked = parser.parse_args(arguments)
    found = figures_of(asked.folder)
    if asked.json:
        write(found)
        return 0
    for one in found:
        beside = ", ".join(f"{name} {value:.3f}" for name, value in one.controls.items())
        sys.stdout.write(f"{one.what}: {one.value:.3f} [{one.low or 0:.3f}, {one.high or 0:.3f}] ({beside})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

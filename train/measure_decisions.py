"""What the whole classifier gets right, both stages together, on requests nobody trained it on; and what it costs.

    python -m train.measure_decisions [--set train/heldout | train/final | train/dev] [--stage-1]

Prints figures as JSON lines. Labels: the six use cases, `agent` split into its three intents, makes eight.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from train import disturbance
from train.measured import Figure, auroc, bootstrap, calibration_error, macro_f1, write

from pointsman.app import world_after_start
from pointsman.cli.classify import Asked, request_of
from pointsman.clock import SystemClock
from pointsman.encoder.e5 import E5
from pointsman.encoder.service import SecondStage
from pointsman.policy.router import Router
from pointsman.settings import load
from pointsman.signals.classifier import Classifier
from pointsman.signals.opinion import load_opinion
from pointsman.types import Complexity, Request, Signals

SETTINGS = Path(__file__).parents[1] / "src/pointsman/pointsman.yaml"
INDIAN = ("hi", "ta", "te", "bn", "mr", "gu", "kn", "ml", "pa")
BOOTSTRAPS = 500
Floats = NDArray[np.float64]


class Row(NamedTuple):
    """One labelled request."""

    text: str
    language: str
    script: str
    label: str
    complexity: str
    attachments: tuple[str, ...]
    needs_tools: bool


class Told(NamedTuple):
    """What was said of it."""

    label: str
    p: float
    complexity: str
    novelty: float
    stage: int
    signals: Signals


def label_of(use_case: str, intent: str | None) -> str:
    """`agent/code` and its like, or the use case."""
    return f"agent/{intent}" if use_case == "agent" else use_case


def rows_of(folder: Path, name: str) -> list[Row]:
    """The rows of one file, in the corpus' format."""
    lines = (json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
    return [
        Row(
            text=one["text"],
            language=one["language"],
            script=one["script"],
            label=label_of(one["use_case"] or "agent", one["intent"] or "general"),
            complexity=one["complexity"] or "",
            attachments=tuple(one["attachments"]),
            needs_tools=bool(one["needs_tools"]),
        )
        for one in lines
    ]


class Teller:
    """The classifier as the gateway runs it, without deadline."""

    def __init__(self, *, with_encoder: bool) -> None:
        self.settings = load(SETTINGS, {})
        routing = self.settings.routing
        self.classifier = Classifier(routing)
        self._second = SecondStage(E5, load_opinion(routing.abstain_below), routing.encoder, SystemClock())
        self._with_encoder = with_encoder

    def tell(self, request: Request) -> Told:
        signals = self.classifier.measure(request)
        if self._with_encoder:
            signals = self._second.refine_now(request, signals)
        use_case, intent = signals.use_case, signals.intent
        p = use_case.p * intent.p if use_case.label == "agent" else use_case.p
        label = label_of(use_case.label, intent.label)
        return Told(label, p, signals.complexity.label, signals.novelty, signals.stage, signals)

    def tell_all(self, rows: Sequence[Row], change: Callable[[Row], str] = lambda row: row.text) -> list[Told]:
        return [self.tell(asked(row, change(row))) for row in rows]


def asked(row: Row, text: str) -> Request:
    return request_of(Asked(id="m", text=text, attachments=list(row.attachments)))


def understood(name: str, rows: Sequence[Row], told: Sequence[Told], target: float | None = None) -> Figure:
    """Macro-F1 of the eight labels, beside always saying the commonest."""
    truth, said = np.array([row.label for row in rows]), np.array([one.label for one in told])
    value = macro_f1(list(truth), list(said))
    low, high = bootstrap(len(rows), lambda at: macro_f1(list(truth[at]), list(said[at])), BOOTSTRAPS)
    labels, counts = np.unique(truth, return_counts=True)
    common = str(labels[counts.argmax()])
    controls = {
        "accuracy": float((truth == said).mean()),
        "commonest label": macro_f1(list(truth), [common] * len(rows)),
    }
    promised = f"≥ {target}" if target else ""
    holds = value >= target if target else None
    return Figure("use case and intent, macro-F1", name, len(rows), value, low, high, controls, promised, holds)


def by_language(rows: Sequence[Row], told: Sequence[Told]) -> list[Figure]:
    found, indian = [], []
    for language in ("en", *INDIAN):
        at = [place for place, row in enumerate(rows) if row.language == language]
        if not at:
            continue
        target = 0.93 if language == "en" else 0.82
        found.append(understood(language, [rows[i] for i in at], [told[i] for i in at], target))
        if language != "en":
            indian.append(found[-1])
    mean = float(np.mean([one.value for one in indian]))
    n = sum(one.n for one in indian)
    half = float(np.sqrt(np.mean([((one.high or 0) - (one.low or 0)) ** 2 for one in indian]) / len(indian)) / 2)
    found.append(
        Figure("use case and intent, macro-F1", "mean of nine Indian languages", n, mean, mean - half, mean + half,
               {"worst": min(one.value for one in indian)}, "≥ 0.9", mean >= 0.9)
    )  # fmt: skip
    for script in ("latin", "mixed"):
        at = [place for place, row in enumerate(rows) if row.script == script]
        if at:
            found.append(understood(f"{script} script", [rows[i] for i in at], [told[i] for i in at], 0.85))
    return found


def hardness(rows: Sequence[Row], told: Sequence[Told]) -> Figure:
    """Complexity as people labelled it, beside the length of the prompt (thirds)."""
    truth, said = np.array([row.complexity for row in rows]), np.array([one.complexity for one in told])
    lengths = np.array([len(row.text) for row in rows])
    marks = np.quantile(lengths, [1 / 3, 2 / 3])
    by_length = np.array(["low", "medium", "high"])[np.searchsorted(marks, lengths)]
    low, high = bootstrap(len(rows), lambda at: macro_f1(list(truth[at]), list(said[at])), BOOTSTRAPS)
    controls = {"length": macro_f1(list(truth), list(by_length)), "accuracy": float((truth == said).mean())}
    return Figure("complexity, macro-F1", "all", len(rows), macro_f1(list(truth), list(said)), low, high, controls)


def hard_ones(rows: Sequence[Row], told: Sequence[Told]) -> list[Figure]:
    """Those called high among those that are, and the other way round. (People label a comparison by the work in it;
    the classifier calls each of them high, as promised, which costs precision here.)"""
    is_high = np.array([row.complexity == Complexity.HIGH for row in rows])
    called = np.array([one.complexity == Complexity.HIGH for one in told])
    found = []
    for name, among in (("precision", called), ("recall", is_high)):
        at = np.flatnonzero(among)
        found.append(_share(f"complexity high, {name}", (is_high & called)[at].astype(float)))
    return found


def _share(what: str, right: Floats) -> Figure:
    low, high = bootstrap(len(right), lambda at: float(right[at].mean()), BOOTSTRAPS)
    return Figure(what, "all", len(right), float(right.mean()), low, high)


def sureness(rows: Sequence[Row], told: Sequence[Told]) -> list[Figure]:
    """Of each label: how far its probability is from how often it is right."""
    pairs = list(zip(rows, told, strict=True))
    return [
        _sureness("the label", [(row.label == one.label, one.p) for row, one in pairs]),
        _sureness("complexity", [(row.complexity == one.complexity, one.signals.complexity.p) for row, one in pairs]),
        _sureness("the language", [(row.language == (own := one.signals.language).label, own.p) for row, one in pairs]),
    ]


def _sureness(what: str, said: Sequence[tuple[bool, float]]) -> Figure:
    rights, p = (np.array(column) for column in zip(*said, strict=True))
    value = calibration_error(list(p), list(rights))
    low, high = bootstrap(len(said), lambda at: calibration_error(list(p[at]), list(rights[at])), BOOTSTRAPS)
    controls = {"mean p": float(p.mean()), "accuracy": float(rights.mean())}
    name = f"calibration error of {what}"
    return Figure(name, "all", len(said), value, low, high, controls, "≤ 0.05", value <= 0.05)


def strangers(told: Sequence[Told], strange: Sequence[Told], rows: Sequence[Row], odd: Sequence[Row]) -> Figure:
    known = np.array([one.novelty for one in told])
    novel = np.array([one.novelty for one in strange])
    value = auroc(list(novel), list(known))
    generator = np.random.default_rng(0)

    def again(_: Any) -> float:
        mine, theirs = (generator.integers(0, len(a), len(a)) for a in (novel, known))
        return auroc(list(novel[mine]), list(known[theirs]))

    low, high = bootstrap(1, again, 200)
    short = auroc([-len(row.text) for row in odd], [-len(row.text) for row in rows])
    return Figure(
        "novelty, AUROC", "out of scope", len(odd), value, low, high, {"shortness": short}, "≥ 0.95", value >= 0.95
    )


def steadiness(teller: Teller, rows: Sequence[Row], told: Sequence[Told]) -> list[Figure]:
    """Share of decisions that noise leaves as they were."""
    rng = random.Random(1)
    kinds: dict[str, Callable[[Row], str]] = {
        "5 % typing errors": lambda row: disturbance.typos(row.text, rng),
        "case": lambda row: disturbance.case(row.text, rng),
        "politeness": lambda row: disturbance.polite(row.text, rng, row.language, row.script),
    }
    found, kept_all = [], []
    for name, change in kinds.items():
        kept = np.array([a.label == b.label for a, b in zip(told, teller.tell_all(rows, change), strict=True)], float)
        kept_all.append(kept)
        found.append(_kept(name, kept))
    return [*found, _kept("all three kinds", np.concatenate(kept_all), "≥ 0.95")]


def _kept(name: str, kept: Any, target: str = "") -> Figure:
    value = float(kept.mean())
    low, high = bootstrap(len(kept), lambda at: float(kept[at].mean()), BOOTSTRAPS)
    return Figure(
        "decisions unchanged under noise",
        name,
        len(kept),
        value,
        low,
        high,
        {},
        target,
        value >= 0.95 if target else None,
    )


def costs(teller: Teller, rows: Sequence[Row], told: Sequence[Told]) -> list[Figure]:
    """Stage 1 alone, each text once per round, in time of a core; decisions a second with the router's share."""
    router, world = Router(teller.settings), world_after_start(teller.settings)
    requests = [asked(row, row.text) for row in rows]
    spent: list[float] = []
    began, decided = time.process_time(), 0
    for _ in range(5):
        for request in requests:
            start = time.thread_time()
            signals = teller.classifier.measure(request)
            spent.append((time.thread_time() - start) * 1e6)
            router.decide(request, signals, world)
            decided += 1
    rate = decided / (time.process_time() - began)
    second = float(np.mean([one.stage == 2 for one in told]))
    p50, p99 = np.percentile(spent, [50, 99])
    return [
        Figure("stage 1, µs of a core", "p50", len(spent), float(p50), target="≤ 300", holds=bool(p50 <= 300)),
        Figure("stage 1, µs of a core", "p99", len(spent), float(p99), target="≤ 2000", holds=bool(p99 <= 2000)),
        Figure(
            "decisions a second, one core", "stage 1 and router", decided, rate, target="≥ 3000", holds=rate >= 3000
        ),
        Figure("share that needs stage 2", "all", len(told), second, target="≤ 0.15", holds=second <= 0.15),
    ]


def memory(teller: Teller, rows: Sequence[Row]) -> Figure:
    """Of this process once stage 1 has measured everything; to be called before the encoder is asked."""
    for row in rows:
        teller.classifier.measure(asked(row, row.text))
    megabytes = _rss_mb()
    return Figure("memory of this process, MB", "stage 1", 1, megabytes, target="≤ 150", holds=megabytes <= 150)


def _rss_mb() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", type=Path, default=Path(__file__).parent / "heldout")
    parser.add_argument("--stage-1", action="store_true", help="without the encoder")
    parser.add_argument("--errors", type=Path, help="write the wrong ones here, as JSON lines")
    options = parser.parse_args()
    teller = Teller(with_encoder=not options.stage_1)
    rows = [row for language in ("en", *INDIAN) for row in rows_of(options.set, language)]
    used = memory(teller, rows)
    told = teller.tell_all(rows)
    figures = [*by_language(rows, told), hardness(rows, told), *hard_ones(rows, told), *sureness(rows, told)]
    if (options.set / "out_of_scope.jsonl").exists():
        odd = rows_of(options.set, "out_of_scope")
        figures.append(strangers(told, teller.tell_all(odd), rows, odd))
    figures += [*steadiness(teller, rows, told), *costs(teller, rows, told), used]
    write(figures)
    if options.errors:
        wrong = [
            {
                "text": row.text,
                "truth": row.label,
                "told": one.label,
                "p": one.p,
                "language": row.language,
                "stage": one.stage,
            }
            for row, one in zip(rows, told, strict=True)
            if row.label != one.label
        ]
        options.errors.write_text(
            "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in wrong), encoding="utf-8"
        )


if __name__ == "__main__":
    main()

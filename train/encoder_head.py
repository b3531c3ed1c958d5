"""The heads of the second opinion: `python -m train.encoder_head` fits them on the corpus and writes their weights.

A logistic regression for each question on the encoder's vector and what is attached; its strength of regularisation is
a constant, chosen once by cross-validation. Every row also appears carelessly typed. The weights of the pool are fitted
on out-of-fold predictions, so that neither opinion has seen the row it is judged by; folds are cut by row, never by
twin. Seeded: the same corpus gives the same weights.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold
from train.check_corpus import Row
from train.encoder_vectors import Sample, rows_of, samples_of, vectors_of

from pointsman.settings import RoutingSettings
from pointsman.signals.classifier import Classifier
from pointsman.signals.opinion import (
    COMPLEXITY,
    INTENT,
    LABELS,
    QUESTIONS,
    TOOLS,
    USE_CASE,
    WEIGHTS,
    Floats,
    features_of,
    pool,
    spread,
)
from pointsman.types import Signals

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "src/pointsman/signals/weights" / WEIGHTS
CACHE = HERE.parent / "build/encoder"
FOLDS, SEED = 5, 7
STRENGTH = {USE_CASE: 0.06, INTENT: 0.06, COMPLEXITY: 0.03, TOOLS: 0.06}  # scikit-learn's C
FEWEST_UNSURE = 200  # rows that stage 1 is unsure of, from which the pool is fitted on those alone

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]


def label_of(row: Row, question: str) -> str:
    """The row's answer to a question; empty where it has none (the intent of what is no agent's)."""
    if question == TOOLS:
        return "yes" if row.needs_tools else "no"
    return str(getattr(row, question) or "")


def targets(rows: Sequence[Row], question: str) -> Ints:
    """Positions in `LABELS`; −1 where the row has no answer."""
    names = LABELS[question]
    return np.array([names.index(label) if (label := label_of(row, question)) else -1 for row in rows])


class Fitted(NamedTuple):
    """The mean vector, and weights and bias of each question."""

    centre: Floats
    linear: Mapping[str, tuple[Floats, Floats]]

    def logits(self, question: str, samples: Sequence[Sample], vectors: Floats) -> Doubles:
        weights, bias = self.linear[question]
        x = features(samples, vectors, self.centre)
        return np.asarray(x @ weights.T + bias, dtype=np.float64)


def features(samples: Sequence[Sample], vectors: Floats, centre: Floats) -> Floats:
    """What the heads see, a row each."""
    return np.stack(
        [features_of(vector, centre, sample.request.media) for sample, vector in zip(samples, vectors, strict=True)]
    )


def fit(samples: Sequence[Sample], vectors: Floats) -> Fitted:
    """The heads of all questions."""
    centre = vectors.mean(axis=0)
    x = features(samples, vectors, centre)
    rows = [sample.row for sample in samples]
    return Fitted(centre, {question: _fit_one(x, targets(rows, question), question) for question in QUESTIONS})


def _fit_one(x: Floats, y: Ints, question: str) -> tuple[Floats, Floats]:
    known = y >= 0
    model = LogisticRegression(C=STRENGTH[question], max_iter=1000).fit(x[known], y[known])
    weights, bias = model.coef_.astype(np.float32), model.intercept_.astype(np.float32)
    if len(LABELS[question]) == 2:  # one row of logits: give the other label none
        weights, bias = np.vstack((np.zeros_like(weights), weights)), np.append(np.float32(0), bias)
    return weights, bias


def out_of_fold(samples: Sequence[Sample], vectors: Floats, folds: Sequence[tuple[Ints, Ints]]) -> dict[str, Doubles]:
    """Log-probabilities of every sample by heads that have not seen its row."""
    found = {question: np.zeros((len(samples), len(LABELS[question]))) for question in QUESTIONS}
    for train, test in folds:
        fitted = fit([samples[at] for at in train], vectors[train])
        held = [samples[at] for at in test]
        for question in QUESTIONS:
            found[question][test] = log_softmax(fitted.logits(question, held, vectors[test]))
    return found


def log_softmax(logits: Doubles) -> Doubles:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def by_row(samples: Sequence[Sample]) -> list[tuple[Ints, Ints]]:
    """Folds that keep a row and its twin together."""
    groups = np.array([sample.group for sample in samples])
    shuffled = np.random.default_rng(SEED).permutation(groups.max() + 1)[groups]
    return list(GroupKFold(FOLDS).split(np.zeros(len(samples)), groups=shuffled))


def by_language(samples: Sequence[Sample]) -> Iterator[tuple[str, tuple[Ints, Ints]]]:
    """Leave one language out."""
    languages = np.array([sample.row.language for sample in samples])
    for name in sorted(set(languages)):
        yield name, (np.flatnonzero(languages != name), np.flatnonzero(languages == name))


# ---------------------------------------------------------------- the pool


def fit_pool(first: Doubles, second: Doubles, y: Ints) -> tuple[float, float]:
    """(a, b) of `p ∝ p₁^a · p₂^b` by maximum likelihood; neither is negative."""

    def loss(trust: Doubles) -> float:
        pooled = log_softmax(trust[0] * first + trust[1] * second)
        return float(-pooled[np.arange(len(y)), y].mean())

    best = minimize(loss, np.array([0.5, 1.0]), bounds=((0, 3), (0, 3)), method="L-BFGS-B").x
    return float(best[0]), float(best[1])


def trusts(samples: Sequence[Sample], measured: Sequence[Signals], own: Mapping[str, Doubles]) -> dict[str, Doubles]:
    """The pool's weights by question, from rows that stage 1 is unsure of; tools have no stage-1 probability."""
    found = {TOOLS: np.array([0.0, 1.0])}
    for question in (USE_CASE, INTENT, COMPLEXITY):
        y = targets([sample.row for sample in samples], question)
        unsure = np.array([question in signals.unsure for signals in measured]) & (y >= 0)
        chosen = unsure if unsure.sum() >= FEWEST_UNSURE else y >= 0
        first = np.log(stage_one(measured, question))
        found[question] = np.array(fit_pool(first[chosen], own[question][chosen], y[chosen]))
    return found


def stage_one(measured: Sequence[Signals], question: str) -> Floats:
    return np.stack([spread(getattr(signals, question), LABELS[question]) for signals in measured])


# ---------------------------------------------------------------- what it is worth


def speaks(language: str, row: Row) -> bool:
    return row.language == language


SLICES: Mapping[str, Callable[[Row], bool]] = {
    **{name: partial(speaks, name) for name in "en hi ta te bn mr gu kn ml pa".split()},
    "latin": lambda row: row.script == "latin",
    "mixed": lambda row: row.script == "mixed",
    "all": lambda _: True,
}


def joint(rows: Sequence[Row]) -> Ints:
    """Use case and, inside agent, intent: eight labels."""
    use_case, intent = targets(rows, USE_CASE), targets(rows, INTENT)
    return np.where(intent >= 0, 10 + intent, use_case)


def joint_guess(use_case: Doubles, intent: Doubles) -> Ints:
    best = use_case.argmax(axis=1)
    return np.asarray(np.where(best == LABELS[USE_CASE].index("agent"), 10 + intent.argmax(axis=1), best))


def table(title: str, rows: Sequence[Row], truth: Ints, guess: Ints) -> str:
    """Macro-F1 of each slice, in one line."""
    cells = []
    for name, belongs in SLICES.items():
        chosen = np.array([belongs(row) for row in rows])
        if chosen.any():
            score = f1_score(truth[chosen], guess[chosen], average="macro", labels=np.unique(truth[chosen]))
            cells.append(f"{name} {score:.3f}")
    return f"{title:<28} " + "  ".join(cells)


def report(
    samples: Sequence[Sample], measured: Sequence[Signals], own: Mapping[str, Doubles], trust: Mapping[str, Doubles]
) -> Iterator[str]:
    """Head alone, stage 1 alone, both; macro-F1 on rows none of the three was trained on, as far as stage 1 allows."""
    rows = [sample.row for sample in samples]
    truth = joint(rows)
    first = {
        question: np.log(stage_one(measured, question)).astype(np.float64) for question in trust if question != TOOLS
    }
    both = {
        name: np.log(np.stack([pool(np.exp(a), np.exp(b), *trust[name]) for a, b in zip(p, own[name], strict=True)]))
        for name, p in first.items()
    }
    for title, log_p in (("stage 1", first), ("encoder head", own), ("both", both)):
        yield table(f"use case and intent, {title}", rows, truth, joint_guess(log_p[USE_CASE], log_p[INTENT]))
    for title, log_p in (("stage 1", first), ("encoder head", own), ("both", both)):
        yield table(f"complexity, {title}", rows, targets(rows, COMPLEXITY), log_p[COMPLEXITY].argmax(axis=1))
    yield table("tools, encoder head", rows, targets(rows, TOOLS), own[TOOLS].argmax(axis=1))


def left_out(samples: Sequence[Sample], vectors: Floats) -> Iterator[str]:
    """Zero-shot: each language judged by heads that never saw it."""
    for name, (train, test) in by_language(samples):
        fitted = fit([samples[at] for at in train], vectors[train])
        held = [samples[at] for at in test if samples[at].request.turns[0].text == samples[at].row.text]
        chosen = np.array([at for at in test if samples[at].request.turns[0].text == samples[at].row.text])
        use_case, intent = (fitted.logits(question, held, vectors[chosen]) for question in (USE_CASE, INTENT))
        rows = [sample.row for sample in held]
        yield table(f"never saw {name}", rows, joint(rows), joint_guess(use_case, intent))


# ---------------------------------------------------------------- the command


def save(path: Path, fitted: Fitted, trust: Mapping[str, Doubles]) -> None:
    """Weights in 16 bits: their rounding moves no probability by .001."""
    arrays = {"centre": fitted.centre.astype(np.float32)}
    for question in QUESTIONS:
        weights, bias = fitted.linear[question]
        arrays[f"{question}_weights"] = weights.astype(np.float16)
        arrays[f"{question}_bias"] = bias
        arrays[f"{question}_trust"] = trust[question].astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)  # type: ignore[arg-type]  # the stubs take a name of an array for an option


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="not needed: the corpus is the only source")
    parser.add_argument("--corpus", type=Path, default=HERE / "corpus")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where vectors are kept")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--brief", action="store_true", help="without the figures of languages left out")
    options = parser.parse_args()
    samples = samples_of(rows_of(options.corpus), SEED)
    vectors = vectors_of(samples, options.cache)
    plain = len(samples) // 2
    own = {name: p[:plain] for name, p in out_of_fold(samples, vectors, by_row(samples)).items()}
    classifier = Classifier(RoutingSettings())
    measured = [classifier.measure(sample.request) for sample in samples[:plain]]
    trust = trusts(samples[:plain], measured, own)
    print(f"{plain} rows;", "; ".join(f"{name} pool {a:.2f} {b:.2f}" for name, (a, b) in trust.items()))
    print("\n".join(report(samples[:plain], measured, own, trust)))
    if not options.brief:
        print("\n".join(left_out(samples, vectors)))
    save(options.out, fit(samples, vectors), trust)
    print(f"{options.out.name}: {options.out.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())

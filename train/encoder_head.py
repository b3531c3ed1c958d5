"""The heads of the second opinion: `python -m train.encoder_head` fits them on the corpus and writes their weights.

1 Kernel ridge regression onto the labels, on the encoder's vector along its main axes and what is attached. 2 Landmarks
are the support vectors of a support vector machine for the task, so that they lie where labels meet. 3 Every row also
appears badly typed, and without its attachments, at less weight. 4 The exponents of the pool are fitted on out-of-fold
predictions of both stages, so that neither has seen the row it is judged by; what is made of a row shares its fold.
Seeded: the same corpus gives the same weights.

Beside it stand a linear head (logistic regression, the same features) and stage 1 alone. Constants were chosen once, by
cross-validation on the corpus.
"""

import argparse
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC
from train import heads as first_training
from train.check_corpus import Row
from train.encoder_vectors import vectors_of
from train.measured import macro_f1
from train.rows import bare, corpus, noisy, request_of

from pointsman.signals import heads as first_heads
from pointsman.signals.look import Looker
from pointsman.signals.opinion import (
    COLUMNS,
    COMPLEXITY,
    GAMMA,
    HARD,
    INTENT,
    LABELS,
    NEED,
    QUESTIONS,
    TASK,
    TASKS,
    TOOLS,
    USE_CASE,
    WEIGHTS,
    Floats,
    Heads,
    Trust,
    answers_of,
    features_of,
    kernels_of,
)
from pointsman.signals.rulebook import Rulebook, builtin_rules

OUT = Path("src/pointsman/signals/weights") / WEIGHTS
FOLDS, SEED = 4, 7
AXES, LANDMARKS, RIDGE, JITTER = 128, 2500, 0.1, 1e-3
SVM_STRENGTH, LINEAR_STRENGTH = 6.0, 0.06  # scikit-learn's C
TWIN_WEIGHT, BARE_WEIGHT = 0.5, 0.3
NO_TRUST = {name: Trust(0.0, 1.0) for name in QUESTIONS}

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]
Answers = Mapping[str, Doubles]  # question → log-probabilities, rows × labels


# ---------------------------------------------------------------- labels


def label_of(row: Row, question: str) -> str:
    """The row's answer; empty where it has none (the intent of what is no agent's matter)."""
    return ("yes" if row.needs_tools else "no") if question == TOOLS else str(getattr(row, question) or "")


def targets(rows: Sequence[Row], question: str) -> Ints:
    """Positions in `LABELS`; −1 where the row has no answer."""
    return np.array([LABELS[question].index(label) if (label := label_of(row, question)) else -1 for row in rows])


def task_of(row: Row) -> str:
    return str(row.intent if row.use_case == "agent" else row.use_case)


def wanted(rows: Sequence[Row]) -> Doubles:
    """Rows × COLUMNS, one where the label is right; every question's columns have mean zero."""
    found = np.zeros((len(rows), COLUMNS))
    for at, row in enumerate(rows):
        found[at, TASK.start + TASKS.index(task_of(row))] = 1
        found[at, HARD.start + LABELS[COMPLEXITY].index(str(row.complexity))] = 1
        found[at, NEED.start + int(row.needs_tools)] = 1
    for columns in (TASK, HARD, NEED):
        found[:, columns] -= 1 / (columns.stop - columns.start)
    return found


# ---------------------------------------------------------------- fitting


def fit(rows: Sequence[Row], vectors: Floats, weights: Doubles) -> Heads:
    """Rows of full weight lay the axes and the landmarks."""
    whole = np.flatnonzero(weights == 1)
    centre = vectors[whole].mean(axis=0)
    moved = vectors[whole] - centre
    _, _, turned = np.linalg.svd(moved / np.linalg.norm(moved, axis=1, keepdims=True), full_matrices=False)
    axes: Floats = turned[:AXES].astype(np.float32)
    features = seen(rows, vectors, centre, axes)
    landmarks = features[whole][landmarks_of(features[whole], [task_of(rows[at]) for at in whole.tolist()])]
    kernels = kernels_of(features, landmarks).astype(np.float64)
    weighed = kernels * weights[:, None]
    own = kernels_of(landmarks, landmarks) + JITTER * np.eye(len(landmarks))
    solved = np.linalg.solve(weighed.T @ kernels + RIDGE * own, weighed.T @ wanted(rows))
    return Heads(centre, axes, landmarks, solved.astype(np.float32), NO_TRUST)


def seen(rows: Sequence[Row], vectors: Floats, centre: Floats, axes: Floats) -> Floats:
    """Features, a row each."""
    return np.stack(
        [features_of(vector, centre, axes, request_of(row).media) for row, vector in zip(rows, vectors, strict=True)]
    )


def landmarks_of(features: Floats, tasks: Sequence[str]) -> Ints:
    """Support vectors first, then rows by chance."""
    chance = np.random.default_rng(SEED)
    support = chance.permutation(SVC(C=SVM_STRENGTH, gamma=GAMMA).fit(features, tasks).support_)
    rest = chance.permutation(np.setdiff1d(np.arange(len(features)), support))
    return np.concatenate((support, rest))[:LANDMARKS]


def told(heads: Heads, rows: Sequence[Row], vectors: Floats) -> Answers:
    """What the heads answer."""
    scores = kernels_of(seen(rows, vectors, heads.centre, heads.axes), heads.landmarks) @ heads.weights
    answers = [answers_of(one) for one in scores]
    return {name: np.log(np.stack([one[name] for one in answers]).clip(1e-6)).astype(np.float64) for name in QUESTIONS}


def twin_of(row: Row) -> Row:
    """The row badly typed; always in the same way, so that the corpus may grow and kept vectors stay of use."""
    return noisy([row], zlib.crc32(row.id.encode()))[0]


class Sets:
    """The corpus, and behind it what is made of its rows: badly typed twins, and those with attachments without them,
    since people name what they forgot to attach. `origins`: the row that each is made of."""

    def __init__(self, rows: Sequence[Row], cache: Path) -> None:
        self.size = len(rows)
        places = {row.id: at for at, row in enumerate(rows)}
        self.rows = [*rows, *map(twin_of, rows), *bare(rows)]
        self.origins = np.array([places[row.id] for row in self.rows])
        self.vectors = vectors_of([request_of(row) for row in self.rows], cache)
        others = len(self.rows) - 2 * self.size
        self.weights = np.r_[np.ones(self.size), np.full(self.size, TWIN_WEIGHT), np.full(others, BARE_WEIGHT)]

    def fitted(self, chosen: Ints) -> Heads:
        """On these rows and what is made of them."""
        every = np.flatnonzero(np.isin(self.origins, chosen))
        return fit([self.rows[at] for at in every.tolist()], self.vectors[every], self.weights[every])

    def told(self, heads: Heads, chosen: Ints) -> Answers:
        return told(heads, [self.rows[at] for at in chosen.tolist()], self.vectors[chosen])

    def out_of_fold(self) -> Answers:
        """Of every row, by heads that have seen neither it nor its twin."""
        found = {name: np.zeros((self.size, len(LABELS[name]))) for name in QUESTIONS}
        fold = np.random.default_rng(SEED).permutation(self.size) % FOLDS
        for number in range(FOLDS):
            test = np.flatnonzero(fold == number)
            for name, p in self.told(self.fitted(np.flatnonzero(fold != number)), test).items():
                found[name][test] = p
        return found

    def linear(self) -> Ints:
        """The control: tasks by logistic regression, out of fold."""
        rows, vectors = self.rows[: self.size], self.vectors[: self.size]
        features = seen(rows, vectors, vectors.mean(axis=0), np.eye(vectors.shape[1], dtype=np.float32))
        tasks = np.array([TASKS.index(task_of(row)) for row in rows])
        fold = np.random.default_rng(SEED).permutation(self.size) % FOLDS
        found = np.zeros(self.size, np.int64)
        for number in range(FOLDS):
            train, test = fold != number, fold == number
            model = LogisticRegression(C=LINEAR_STRENGTH, max_iter=500).fit(features[train], tasks[train])
            found[test] = model.predict(features[test])
        return found


# ---------------------------------------------------------------- the pool


def stage_one(rows: Sequence[Row], data: Path | None) -> tuple[Answers, NDArray[np.bool_]]:
    """What the fast heads say of rows they have not seen, and which of them they are unsure of."""
    looker = Looker(Rulebook(builtin_rules()))
    whole, copies = first_training.see_all(looker, rows), first_training.beside(rows, looker, data)
    odds = first_training.out_of_fold(rows, whole, copies)
    heats, floor = first_training.calibrated(odds, rows)
    task = first_training.softmax(odds[:, first_heads.TASK] / heats[0])
    hard = first_training.softmax(odds[:, first_heads.HARD] / heats[1])
    need = 1 / (1 + np.exp(-odds[:, first_heads.TOOLS] / heats[2]))
    best = np.sort(task, axis=1)
    own = task[:, len(first_heads.NOT_AGENT) :]
    total = own.sum(axis=1, keepdims=True)
    answers = {
        USE_CASE: np.hstack((task[:, : len(first_heads.NOT_AGENT)], total)),
        INTENT: own / total,
        COMPLEXITY: hard,
        TOOLS: np.hstack((1 - need, need)),
    }
    return {name: np.log(p.clip(1e-3)) for name, p in answers.items()}, best[:, -1] - best[:, -2] < floor


def log_softmax(logits: Doubles) -> Doubles:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def fit_pool(first: Doubles, second: Doubles, y: Ints) -> Trust:
    """`p ∝ p₁^a · p₂^b` by maximum likelihood; neither exponent is negative."""

    def loss(trust: Doubles) -> float:
        pooled = log_softmax(trust[0] * first + trust[1] * second)
        return float(-pooled[np.arange(len(y)), y].mean())

    best = minimize(loss, np.array([0.5, 1.0]), bounds=((0, 3), (0, 3)), method="L-BFGS-B").x
    return Trust(float(best[0]), float(best[1]))


def trusts(rows: Sequence[Row], first: Answers, own: Answers, unsure: NDArray[np.bool_]) -> dict[str, Trust]:
    """From the rows that stage 1 is unsure of: those that stage 2 will see."""
    found = {}
    for name in QUESTIONS:
        y = targets(rows, name)
        chosen = unsure & (y >= 0)
        found[name] = fit_pool(first[name][chosen], own[name][chosen], y[chosen])
    return found


def pooled(first: Answers, own: Answers, trust: Mapping[str, Trust], where: NDArray[np.bool_]) -> Answers:
    """Both opinions where stage 1 is unsure, the first elsewhere."""
    return {
        name: np.where(where[:, None], log_softmax(trust[name].first * p + trust[name].encoder * own[name]), p)
        for name, p in first.items()
    }


# ---------------------------------------------------------------- what it is worth


def speaks(language: str, row: Row) -> bool:
    return row.language == language


SLICES: Mapping[str, Callable[[Row], bool]] = {
    "all": lambda _: True,
    **{name: partial(speaks, name) for name in "en hi ta te bn mr gu kn ml pa".split()},
    "latin": lambda row: row.script == "latin",
    "mixed": lambda row: row.script == "mixed",
}


def tasks_of(answers: Answers) -> list[str]:
    use_case, intent = answers[USE_CASE].argmax(axis=1), answers[INTENT].argmax(axis=1)
    return [
        TASKS[len(TASKS) - 3 + i] if LABELS[USE_CASE][u] == "agent" else LABELS[USE_CASE][u]
        for u, i in zip(use_case, intent, strict=True)
    ]


def table(title: str, rows: Sequence[Row], truth: Sequence[str], guess: Sequence[str]) -> str:
    """Macro-F1 of each slice, in one line."""
    cells = []
    for name, belongs in SLICES.items():
        chosen = [at for at, row in enumerate(rows) if belongs(row)]
        if chosen:
            cells.append(f"{name} {macro_f1([truth[at] for at in chosen], [guess[at] for at in chosen]):.3f}")
    return f"{title:<32} " + "  ".join(cells)


def report(
    sets: Sets, first: Answers, own: Answers, trust: Mapping[str, Trust], unsure: NDArray[np.bool_]
) -> Iterator[str]:
    """All out of fold: each opinion alone, both; of all rows and of those that stage 1 is unsure of."""
    rows = sets.rows[: sets.size]
    truth = [task_of(row) for row in rows]
    everywhere = np.ones_like(unsure)
    told_by = {
        "stage 1": first,
        "encoder head": own,
        "both where unsure": pooled(first, own, trust, unsure),
        "both everywhere": pooled(first, own, trust, everywhere),
    }
    yield table("task, linear encoder head", rows, truth, [TASKS[at] for at in sets.linear()])
    for title, answers in told_by.items():
        yield table(f"task, {title}", rows, truth, tasks_of(answers))
    doubtful = np.flatnonzero(unsure).tolist()
    some = [rows[at] for at in doubtful]
    for title in ("stage 1", "encoder head", "both everywhere"):
        guess = tasks_of(told_by[title])
        right, told_them = [truth[at] for at in doubtful], [guess[at] for at in doubtful]
        yield table(f"task of the unsure, {title}", some, right, told_them)
    for title, answers in told_by.items():
        guess = [LABELS[COMPLEXITY][at] for at in answers[COMPLEXITY].argmax(axis=1)]
        yield table(f"complexity, {title}", rows, [str(row.complexity) for row in rows], guess)


def left_out(sets: Sets) -> Iterator[str]:
    """Zero-shot: each language judged by heads that never saw it."""
    languages = np.array([row.language for row in sets.rows[: sets.size]])
    for name in sorted(set(languages)):
        test = np.flatnonzero(languages == name)
        answers = sets.told(sets.fitted(np.flatnonzero(languages != name)), test)
        rows = [sets.rows[at] for at in test.tolist()]
        yield table(f"task, never saw {name}", rows, [task_of(row) for row in rows], tasks_of(answers))


# ---------------------------------------------------------------- the command


def save(path: Path, heads: Heads) -> None:
    """Landmarks in whole steps of their column's size, the rest in 16 bits."""
    unit = np.abs(heads.landmarks).max(axis=0) / 127
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        centre=heads.centre,
        axes=heads.axes.astype(np.float16),
        landmarks=np.rint(heads.landmarks / unit).astype(np.int8),
        unit=unit.astype(np.float32),
        weights=heads.weights.astype(np.float16),
        trust=np.array([heads.trust[name] for name in QUESTIONS], np.float32),
    )


def save_soft(path: Path, rows: Sequence[Row], own: Answers) -> None:
    """Out-of-fold probabilities of the eight tasks, for whoever distils them."""
    agent = own[USE_CASE][:, -1:] + own[INTENT]
    p = np.exp(np.hstack((own[USE_CASE][:, :-1], agent)))
    np.savez(path, id=np.array([row.id for row in rows]), p=p.astype(np.float32), labels=np.array(TASKS))


def main(arguments: Sequence[str]) -> int:
    """Train, measure out of fold, write."""
    parser = argparse.ArgumentParser(prog="python -m train.encoder_head", description=__doc__)
    parser.add_argument("--data", type=Path, help="public data, of which stage 1 learns a little")
    parser.add_argument("--cache", type=Path, default=Path(".cache"), help="where vectors are kept")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--soft", type=Path, help="also write the out-of-fold probabilities there")
    parser.add_argument("--languages", action="store_true", help="also measure each language left out")
    asked = parser.parse_args(arguments)
    sets = Sets(corpus(), asked.cache / "encoder")
    rows = sets.rows[: sets.size]
    first, unsure = stage_one(rows, asked.data)
    own = sets.out_of_fold()
    if asked.soft:
        save_soft(asked.soft, rows, own)
    trust = trusts(rows, first, own, unsure)
    lines = [f"{name}: trust {one.first:.2f} {one.encoder:.2f}" for name, one in trust.items()]
    lines += report(sets, first, own, trust, unsure)
    save(asked.out, sets.fitted(np.arange(sets.size))._replace(trust=trust))
    lines.append(f"{sets.size} rows, {unsure.mean():.0%} unsure, {asked.out.stat().st_size / 1000:.0f} kB")
    if asked.languages:
        lines += left_out(sets)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

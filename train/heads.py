"""Makes the weights of the learned heads, `src/pointsman/signals/weights/heads.npz`, from the project's corpus.

`python -m train.heads --data DATA` takes a few minutes; the same rows give the same weights.

1 Every request is looked at as the classifier will look (`signals.look`). 2 Beside each row stand copies of it, typed
badly, wrapped in courtesy or without its attachments, and rows of other origins (`train.rows`). 3 A multinomial
logistic model a question, over hashed pieces of words and the row of numbers. 4 Out-of-fold probabilities give
temperatures and the margin below which stage 2 is asked. 5 Novelty: requests against noise made for it (`train.noise`).

Knows: rows, the method. Does not know: the held-out set.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from train.check_corpus import Row
from train.noise import noise
from train.rows import bare, corpus, noisy, phrases, plain, public, request_of, said, wordless

from pointsman.signals import heads
from pointsman.signals.features import BUCKETS, pieces
from pointsman.signals.language import LanguageTeller
from pointsman.signals.look import Looked, Looker
from pointsman.signals.rulebook import Rulebook, builtin_rules

SEED, FOLDS = 20261121, 3
PIECE_SCALE = 2.0  # pieces beside numbers: what the penalty sees
STRENGTH = {"task": 4.0, "hard": 1.0, "tools": 1.0, "answer": 1.0}  # inverse of the penalty
FEWEST = 2  # requests that a piece must occur in
NOISY, BARE, PLAIN, PHRASE, PUBLIC = 0.3, 0.4, 2.0, 0.1, 0.03  # weights beside a row's 1
STRANGE_SCALE, STRANGE_STRENGTH = 2.0, 5.0
UNSURE_SHARE = 0.185  # of the corpus, which is harder than traffic
Array = NDArray[np.float64]


class Fitted(NamedTuple):
    """All questions' linear models, before they are rounded: BUCKETS × COLUMNS, numbers × COLUMNS, COLUMNS."""

    table: Array
    row: Array
    bias: Array


class Seen(NamedTuple):
    """Requests as the heads see them: requests × BUCKETS, requests × numbers."""

    pieces: sp.csr_matrix
    numbers: Array


def see(looked: Sequence[Looked]) -> Seen:
    """Rows of pieces are divided as `heads` divides them."""
    starts, columns, values = [0], [], []
    for one in looked:
        share = np.array(one.weights)
        share = share / np.sqrt(max(float(share @ share), 1e-9))
        for word, weight in zip(one.words, share, strict=True):
            found = pieces(word)
            columns += found
            values += [weight / np.sqrt(len(found))] * len(found)
        starts.append(len(columns))
    matrix = sp.csr_matrix((values, columns, starts), shape=(len(looked), BUCKETS))
    matrix.sum_duplicates()
    return Seen(matrix, np.array([one.numbers for one in looked]))


class Copies(NamedTuple):
    """Rows with what they were copied from, by place in the corpus (−1: from nothing), and what each is worth."""

    seen: Seen
    rows: list[Row]
    origins: list[int]
    weight: float

    def of(self, places: set[int]) -> "Copies":
        """Those of these origins."""
        kept = [at for at, origin in enumerate(self.origins) if origin in places or origin < 0]
        return Copies(
            part(self.seen, np.array(kept)),
            [self.rows[at] for at in kept],
            [self.origins[at] for at in kept],
            self.weight,
        )


def part(seen: Seen, places: NDArray[np.int64]) -> Seen:
    return Seen(seen.pieces[places], seen.numbers[places])


def stacked(every: Sequence[Copies]) -> tuple[Seen, list[Row], Array]:
    """(what is seen, rows, weights) of all of them."""
    seen = Seen(sp.vstack([one.seen.pieces for one in every]).tocsr(), np.vstack([one.seen.numbers for one in every]))
    return (
        seen,
        [row for one in every for row in one.rows],
        np.concatenate([np.full(len(one.rows), one.weight) for one in every]),
    )


def beside(rows: Sequence[Row], looker: Looker, data: Path | None) -> list[Copies]:
    """Copies of the rows, and rows of other origins."""
    places = {row.id: at for at, row in enumerate(rows)}
    others = [
        (noisy(rows, SEED), NOISY),
        (noisy(rows, SEED + 7), NOISY),
        (bare(rows), BARE),
        (wordless(), 0.5),
        (plain(), PLAIN),
    ]
    weighed = [rule for rule in builtin_rules() if not rule.override]
    others += [(phrases(weighed), PHRASE)] + ([(public(data, SEED), PUBLIC)] if data else [])
    return [
        Copies(see_all(looker, copies), copies, [places.get(row.id, -1) for row in copies], weight)
        for copies, weight in others
    ]


def see_all(looker: Looker, rows: Sequence[Row]) -> Seen:
    return see([looker.look(request_of(row)) for row in rows])


# ---------------------------------------------------------------- labels

QUESTIONS = {"task": heads.TASK, "hard": heads.HARD, "tools": heads.TOOLS, "answer": heads.ANSWER}
LABELS: dict[str, tuple[str, ...]] = {
    "task": heads.TASKS, "hard": heads.HARDNESS, "tools": ("no", "yes"), "answer": heads.ANSWERS,
}  # fmt: skip


def label_of(row: Row, question: str) -> int:
    """The label's place; −1 where the row does not say."""
    said: object = {
        "task": row.intent if row.use_case == "agent" else row.use_case,
        "hard": row.complexity,
        "tools": None if row.needs_tools is None else ("no", "yes")[row.needs_tools],
        "answer": row.answer,
    }[question]
    return -1 if said is None else LABELS[question].index(str(said))


# ---------------------------------------------------------------- fitting


def fit(seen: Seen, rows: Sequence[Row], weights: Array) -> Fitted:
    """All questions' models."""
    used = np.flatnonzero(np.diff(seen.pieces.tocsc().indptr) >= FEWEST)
    by_piece = seen.pieces[:, used] * PIECE_SCALE
    every = sp.hstack([by_piece, seen.numbers]).tocsr().astype(np.float32)
    narrow, width = len(used), seen.numbers.shape[1]
    table = np.zeros((BUCKETS, heads.COLUMNS))
    row = np.zeros((width, heads.COLUMNS))
    bias = np.zeros(heads.COLUMNS)
    for question, columns in QUESTIONS.items():
        labels = np.array([label_of(one, question) for one in rows])
        model = LogisticRegression(C=STRENGTH[question], max_iter=120, tol=1e-3)
        known = np.flatnonzero(labels >= 0)
        model.fit(every[known], labels[known], sample_weight=weights[known])
        coefficients = model.coef_.T
        table[used, columns] = coefficients[:narrow] * PIECE_SCALE
        row[:, columns] = coefficients[narrow:]
        bias[columns] = model.intercept_
    return Fitted(table, row, bias)


def odds_of(fitted: Fitted, seen: Seen) -> Array:
    """Requests × COLUMNS."""
    return np.asarray(seen.pieces @ fitted.table + seen.numbers @ fitted.row + fitted.bias)


def softmax(odds: Array) -> Array:
    raised = np.exp(odds - odds.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def fit_novelty(looker: Looker, rows: Sequence[Row], data: Path | None) -> tuple[Array, Array]:
    """(BUCKETS, oddities and bias): requests against noise made for it and languages that are not ours."""
    requests = [row.text for row in [*rows, *noisy(rows, SEED + 1)[::2], *plain()]]
    nonsense = noise(requests, data, SEED)
    teller, starts, columns, values, odd = LanguageTeller(), [0], [], [], []
    for text in [*requests, *nonsense]:
        looked = looker.look(request_of(said(text, "agent", None, None)))
        words = looked.reading.words[: heads.MOST_STRANGE]
        odd.append(looked.oddities(teller.tell(looked.reading.words, looked.reading.ask).language))
        for word in words:
            found = pieces(word)
            columns += found
            values += [STRANGE_SCALE / np.sqrt(len(found)) / len(words)] * len(found)
        starts.append(len(columns))
    matrix = sp.csr_matrix((values, columns, starts), shape=(len(odd), BUCKETS))
    matrix.sum_duplicates()
    every = sp.hstack([matrix, np.array(odd)]).tocsr()
    labels = np.r_[np.zeros(len(requests)), np.ones(len(nonsense))]
    model = LogisticRegression(C=STRANGE_STRENGTH, max_iter=200).fit(every, labels)
    return model.coef_[0, :BUCKETS] * STRANGE_SCALE, np.r_[model.coef_[0, BUCKETS:], model.intercept_]


# ---------------------------------------------------------------- calibration


def out_of_fold(rows: Sequence[Row], seen: Seen, copies: Sequence[Copies]) -> Array:
    """Odds of each row from models that saw neither it nor a copy of it."""
    fold = np.random.default_rng(SEED).permutation(len(rows)) % FOLDS
    odds = np.zeros((len(rows), heads.COLUMNS))
    for number in range(FOLDS):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        others = [copy.of(set(train.tolist())) for copy in copies]
        fitted = fit(
            *stacked([Copies(part(seen, train), [rows[at] for at in train.tolist()], train.tolist(), 1.0), *others])
        )
        odds[test] = odds_of(fitted, part(seen, test))
    return odds


def heat_of(odds: Array, labels: Array) -> float:
    """The temperature that makes held-out labels most likely (Guo et al. 2017)."""
    if odds.shape[1] == 1:
        odds = np.hstack([np.zeros_like(odds), odds])

    def loss(heat: float) -> float:
        return float(-np.log(softmax(odds / heat)[np.arange(len(labels)), labels].clip(1e-9)).mean())

    return float(minimize_scalar(loss, bounds=(0.2, 5.0), method="bounded").x)


def calibrated(odds: Array, rows: Sequence[Row]) -> tuple[Array, float]:
    """(temperatures, the least sure margin)."""
    heats = [
        heat_of(odds[:, columns], np.array([label_of(row, question) for row in rows]))
        for question, columns in QUESTIONS.items()
    ]
    best = np.sort(softmax(odds[:, heads.TASK] / heats[0]), axis=1)
    return np.array(heats), float(np.quantile(best[:, -1] - best[:, -2], UNSURE_SHARE))


# ---------------------------------------------------------------- writing


def rounded(fitted: Fitted) -> tuple[NDArray[np.int8], Array]:
    """The table in whole steps of a column's own size; the rarest large weights are cut off."""
    used = np.abs(fitted.table)
    unit = np.array([np.quantile(column[column > 0], 0.9995) if column.any() else 1.0 for column in used.T]) / 127
    return np.clip(np.rint(fitted.table / unit), -127, 127).astype(np.int8), unit


def write(path: Path, fitted: Fitted, heats: Array, floor: float, odd: Array, rules: Sequence[str]) -> None:
    table, unit = rounded(fitted)
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        path,
        table=table,
        unit=unit.astype(np.float32),
        row=fitted.row.astype(np.float32),
        bias=fitted.bias.astype(np.float32),
        heat=heats.astype(np.float32),
        floor=np.float32(floor),
        odd=odd.astype(np.float32),
        rules=np.array(rules),
    )


def main(arguments: Sequence[str]) -> int:
    """Train, calibrate, write."""
    parser = argparse.ArgumentParser(prog="python -m train.heads", description=__doc__)
    parser.add_argument("--data", type=Path, help="public data: a little of it is trained on")
    parser.add_argument("--out", type=Path, default=Path("src/pointsman/signals") / heads.DATA)
    asked = parser.parse_args(arguments)
    looker, rows = Looker(Rulebook(builtin_rules())), corpus()
    seen, copies = see_all(looker, rows), beside(rows, looker, asked.data)
    odds = out_of_fold(rows, seen, copies)
    heats, floor = calibrated(odds, rows)
    report(odds, rows)
    fitted = fit(*stacked([Copies(seen, rows, list(range(len(rows))), 1.0), *copies]))
    strange, odd = fit_novelty(looker, rows, asked.data)
    fitted.table[:, heads.STRANGE] = strange
    write(asked.out, fitted, heats, floor, odd, looker.rules)
    sys.stdout.write(f"heat {heats.round(2)}, floor {floor:.3f}, {asked.out.stat().st_size / 1e6:.2f} MB\n")
    return 0


def report(odds: Array, rows: Sequence[Row]) -> None:
    """The share of rows right, out of fold."""
    for question, columns in QUESTIONS.items():
        labels = np.array([label_of(row, question) for row in rows])
        own = odds[:, columns]
        best = own.argmax(axis=1) if own.shape[1] > 1 else (own[:, 0] > 0).astype(int)
        sys.stdout.write(f"{question}: {np.mean(best == labels):.3f} right of {len(rows)}, out of fold\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Fits one `WordModel`: multinomial logistic regression on words and their pieces, kept small, then calibrated.

Knows: sparse counts, L-BFGS, how weights are pruned and rounded. Does not know: languages.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize

from pointsman.signals.ngrams import MOST_WORDS, PIECE_POWER, Scales, WordModel, pieces_of

Words = Sequence[str]
Matrix = NDArray[np.float32]
ROUNDED_TO = 127
CAUTION = {1: 0.6, 2: 0.9}  # of so many words: lists of words promise more than what people type alone
HEAVIEST = 8.0  # times the median weight


class Recipe(NamedTuple):
    """What is fitted how. `ridge`: the penalty; a word's weight is penalised `word_ridge` times a piece's."""

    sizes: tuple[int, ...]
    fewest_words: int
    fewest_pieces: int
    most_words: int
    most_pieces: int
    most_known: int  # words of which only the sum of their pieces is kept, so that they need one look-up
    power: float = 0.5
    ridge: float = 1.5e-5
    word_ridge: float = 1.0
    rounds: int = 40


class Fitted(NamedTuple):
    """A model's parts, as they are stored."""

    labels: tuple[str, ...]
    words: list[str]
    pieces: list[str]
    weights: NDArray[np.int8]
    steps: Matrix  # (labels,): what one unit of a weight is worth
    bias: Matrix
    scales: Scales
    silent: tuple[str, ...] = ()

    def model(self) -> WordModel:
        weights = self.weights.astype(np.float32) * self.steps
        return WordModel(self.labels, self.words, self.pieces, weights, self.bias, self.scales, self.silent)


def fit(texts: Sequence[Words], labels: Sequence[str], weights: Sequence[float], recipe: Recipe) -> Fitted:
    """`weights`: of each text. The order of labels is alphabetical."""
    names = tuple(sorted(set(labels)))
    words, more, pieces = _vocabulary(texts, recipe)
    counts = _counts(texts, words, pieces, recipe)
    targets = np.zeros((len(texts), len(names)), np.float32)
    targets[np.arange(len(texts)), [names.index(label) for label in labels]] = 1.0
    beta, bias = _solve(counts, targets, np.asarray(weights, np.float32), recipe, len(words))
    return _small(names, (words, more, pieces), beta, bias, recipe)


def _vocabulary(texts: Sequence[Words], recipe: Recipe) -> tuple[list[str], list[str], list[str]]:
    """The words that get weights, those that are merely known, and the pieces, each the most frequent first."""
    seen: Counter[str] = Counter(word for text in texts for word in set(text))
    inside: Counter[str] = Counter()
    for word, count in seen.items():
        for piece in set(pieces_of(word, recipe.sizes)):
            inside[piece] += min(count, 3)  # a piece counts by the words that have it, not by one frequent word
    words = [word for word, count in seen.most_common(recipe.most_words) if count >= recipe.fewest_words]
    pieces = [piece for piece, count in inside.most_common(4 * recipe.most_pieces) if count >= recipe.fewest_pieces]
    weighted = set(words)
    more = [word for word, _ in seen.most_common(recipe.most_known) if word not in weighted and word >= " "]
    return words, more, pieces


def _counts(texts: Sequence[Words], words: list[str], pieces: list[str], recipe: Recipe) -> sparse.csr_matrix:
    """(texts, words + pieces): how often each occurs, divided by a power of the text's length."""
    word_at = {word: at for at, word in enumerate(words)}
    piece_at = {piece: at for at, piece in enumerate(pieces, len(words))}
    known: dict[str, tuple[list[int], list[float]]] = {}
    indices: list[int] = []
    values: list[float] = []
    ends = [0]
    for text in texts:
        share = max(len(text), 1) ** -recipe.power
        for word in text[:MOST_WORDS]:
            if word not in known:
                found = [piece_at[piece] for piece in pieces_of(word, recipe.sizes) if piece in piece_at]
                own = [word_at[word]] if word in word_at else []
                known[word] = found + own, [max(len(found), 1) ** PIECE_POWER] * len(found) + [1.0] * len(own)
            columns, worth = known[word]
            indices += columns
            values += [share * one for one in worth]
        ends.append(len(indices))
    shape = (len(texts), len(words) + len(pieces))
    parts = np.asarray(values, np.float32), np.asarray(indices, np.int32), np.asarray(ends)
    matrix = sparse.csr_matrix(parts, shape=shape)
    matrix.sum_duplicates()
    return matrix


def _solve(
    counts: sparse.csr_matrix, targets: Matrix, weights: Matrix, recipe: Recipe, words: int
) -> tuple[Matrix, Matrix]:
    """Weights (features, labels) and bias that maximise the penalised likelihood."""
    features, labels = counts.shape[1], targets.shape[1]
    weights = (weights / weights.sum())[:, None]
    penalty = np.full((features, 1), recipe.ridge, np.float32)
    penalty[:words] *= recipe.word_ridge
    turned = counts.T.tocsr()

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        both = flat.astype(np.float32).reshape(features + 1, labels)
        beta, bias = both[:-1], both[-1]
        scores = counts @ beta + bias
        scores -= scores.max(axis=1, keepdims=True)
        p = np.exp(scores)
        total = p.sum(axis=1, keepdims=True)
        p /= total
        likelihood = float((weights * ((targets * scores).sum(axis=1, keepdims=True) - np.log(total))).sum())
        error = weights * (p - targets)
        slope = np.vstack([turned @ error + 2 * penalty * beta, error.sum(axis=0, keepdims=True)])
        return float((penalty * beta**2).sum()) - likelihood, slope.ravel().astype(np.float64)

    start = np.zeros((features + 1) * labels)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": recipe.rounds, "maxcor": 8})
    both = found.x.astype(np.float32).reshape(features + 1, labels)
    return both[:-1], both[-1]


def _small(
    names: tuple[str, ...],
    vocabulary: tuple[list[str], list[str], list[str]],
    beta: Matrix,
    bias: Matrix,
    recipe: Recipe,
) -> Fitted:
    """The strongest pieces and every word with its pieces, in eight bits a weight. A row is centred: a constant
    changes no probability."""
    words, more, pieces = vocabulary
    beta = beta - beta.mean(axis=1, keepdims=True)
    of_pieces = beta[len(words) :]
    strongest = np.sort(np.argsort(-np.abs(of_pieces).max(axis=1))[: recipe.most_pieces])
    at = {pieces[row]: row for row in strongest.tolist()}
    every = [*words, *more]
    of_words = np.zeros((len(every), len(names)), np.float32)
    of_words[: len(words)] = beta[: len(words)]
    for row, word in enumerate(every):
        if rows := [at[piece] for piece in pieces_of(word, recipe.sizes) if piece in at]:
            of_words[row] += of_pieces[rows].sum(axis=0) * len(rows) ** PIECE_POWER
    kept = np.vstack([np.zeros((1, len(names)), np.float32), of_words, of_pieces[strongest]])
    steps = np.maximum(np.quantile(np.abs(kept), 0.9999, axis=0), 1e-6).astype(np.float32) / ROUNDED_TO
    rounded = np.clip(np.rint(kept / steps), -ROUNDED_TO, ROUNDED_TO).astype(np.int8)
    scales = Scales(recipe.sizes, recipe.power, (1.0,))
    return Fitted(names, every, list(at), rounded, steps, bias, scales)


def sharpened(
    fitted: Fitted, texts: Sequence[Words], labels: Sequence[str], weights: Sequence[float], longest: int = 40
) -> Fitted:
    """The same with a temperature `a · words^b`, found on texts of its own; no text weighs more than many others."""
    model = fitted.model()
    scores = np.stack([model.weigh(text).scores for text in texts])
    at = np.asarray([fitted.labels.index(label) for label in labels])
    share = np.minimum(weights, HEAVIEST * np.median(weights))
    lengths = np.clip([len(text) for text in texts], 1, longest)

    def loss(scale: float, growth: float) -> float:
        scaled = scores * (scale * lengths**growth)[:, None]
        top = scaled.max(axis=1)
        missed = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)) - scaled[np.arange(len(at)), at]
        return float((share * missed).sum() / share.sum())

    pairs = [(scale, growth) for scale in np.geomspace(0.2, 2.5, 24) for growth in np.linspace(-0.3, 0.5, 9)]
    scale, growth = min(pairs, key=lambda pair: loss(*pair))
    sharpness = [float(scale * max(count, 1) ** growth) for count in range(longest + 1)]
    for count, caution in CAUTION.items():
        sharpness[count] *= caution
    return fitted._replace(scales=fitted.scales._replace(sharpness=tuple(sharpness)))

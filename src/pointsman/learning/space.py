"""The map: hashed n-grams of many texts → a basis of few dimensions (latent semantic analysis).

Knows: inverse frequencies, the truncated decomposition, 8-bit rounding. Does not know: scores.
"""

from typing import Any

import numpy as np

from pointsman.policy.quality_parts import SQUARED_HALF, Basis, Places, unit
from pointsman.policy.quality_text import BUCKETS, WORD_BUCKETS, Floats, Grams, read
from pointsman.types import Value

DIMENSIONS = 64
TEXTS_AT_MOST = 8000  # from which a basis is learned; more change little
RARE = 2  # a bucket seen in fewer texts places nothing
BUCKETS_AT_MOST = 40_000


class Texts(Value, frozen=True):
    """Texts as read: hashed n-grams, and shapes `(N, s)`."""

    grams: tuple[Grams, ...]
    shapes: Floats


def read_texts(prompts: tuple[str, ...]) -> Texts:
    """Read each text once."""
    found = [read(prompt) for prompt in prompts]
    return Texts(grams=tuple(grams for grams, _ in found), shapes=np.array([shape for _, shape in found], np.float32))


def place_texts(basis: Basis, texts: Texts) -> Places:
    """Where the texts lie on a map."""
    places = np.array([basis.place(grams) for grams in texts.grams], np.float32)
    return Places(places=places, units=unit(places), shapes=texts.shapes)


def learn_basis(texts: Texts, seed: int, dimensions: int = DIMENSIONS) -> Basis:
    """A map of these texts: TF-IDF, then its first singular vectors (Halko et al. 2011)."""
    from sklearn.utils.extmath import randomized_svd

    chosen = np.random.default_rng(seed).permutation(len(texts.grams))[:TEXTS_AT_MOST]
    matrix = _matrix([texts.grams[row] for row in np.sort(chosen)])
    frequency = np.bincount(matrix.indices, minlength=BUCKETS)
    kept = np.flatnonzero(frequency >= min(RARE, frequency.max()))
    if len(kept) > BUCKETS_AT_MOST:
        kept = np.sort(kept[np.argsort(-frequency[kept], kind="stable")[:BUCKETS_AT_MOST]])
    idf = np.log((1 + matrix.shape[0]) / (1 + frequency[kept])) + 1
    blank = Basis(
        buckets=kept.astype(np.int32),
        idf=idf.astype(np.float32),
        rows=np.zeros((len(kept), 0), np.int8),
        scale=np.zeros(0, np.float32),
    )
    weighted = matrix[:, kept].multiply(idf[None]).tocsr()
    rank = max(1, min(dimensions, weighted.shape[0] - 1, len(kept) - 1))
    _, _, axes = randomized_svd(_normed(weighted, kept), rank, n_iter=4, random_state=seed)
    return _rounded(blank, axes.T)


def _matrix(grams: list[Grams]) -> Any:
    from scipy.sparse import csr_matrix

    ends = np.cumsum([0, *(len(one.buckets) for one in grams)])
    data = np.concatenate([one.weights for one in grams]).astype(np.float64)
    return csr_matrix((data, np.concatenate([one.buckets for one in grams]), ends), shape=(len(grams), BUCKETS))


def _normed(matrix: Any, kept: Any) -> Any:
    """Each block of each row at its length, as `Basis.place` does it."""
    from scipy.sparse import hstack
    from sklearn.preprocessing import normalize

    split = int(np.searchsorted(kept, WORD_BUCKETS))
    return hstack([normalize(matrix[:, :split]), normalize(matrix[:, split:])]).tocsr() * SQUARED_HALF**0.5


def _rounded(basis: Basis, axes: Any) -> Basis:
    """The axes in 8 bits, one scale an axis."""
    scale = np.maximum(np.abs(axes).max(0), 1e-9) / 127
    rows = np.rint(axes / scale).astype(np.int8)
    return Basis(buckets=basis.buckets, idf=basis.idf, rows=rows, scale=scale.astype(np.float32))

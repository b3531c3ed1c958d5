"""The parts of a quality profile: a map of texts, and simple estimators that read a place on it. Pure arrays.

Knows: how a text becomes a place (hashed TF-IDF, then a fixed basis: latent semantic analysis, Deerwester et al. 1990),
and what each estimator says of a place: cells of k-means, nearest neighbours, ridge regressions, soft groups, labels.
Does not know: how any of them was fitted, which one to believe (`quality` blends them), files.

Shapes: n texts, d dimensions of the map, M models, k cells. Every estimator answers deviations from the models' overall
means, `(n, M)`, shrunken towards zero where answers are few (empirical Bayes; Efron & Morris 1975).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from pointsman.policy.quality_text import WORD_BUCKETS, Floats, Grams, Ints
from pointsman.types import Value

Reals = npt.NDArray[np.floating[Any]]  # 16 bits in a file, 32 where it is asked

SQUARED_HALF = 0.5  # each block of n-grams, words and characters, has this squared length


class Basis(Value, frozen=True):
    """The map: `buckets` (b,) ascending, their inverse frequencies (b,), `rows` (b, d) in `scale` (d,) units.

    A bucket that is not listed is a word never seen: it lengthens the text's vector and places it nowhere, so that
    a text of strange words lies near the origin.
    """

    buckets: npt.NDArray[np.int32]
    idf: Floats
    rows: npt.NDArray[np.int8]
    scale: Floats

    def place(self, grams: Grams) -> Floats:
        """Where a text lies, `(d,)`; its length, at most about 1, says how much of the text the map knows."""
        at = np.minimum(np.searchsorted(self.buckets, grams.buckets), len(self.buckets) - 1)
        known = self.buckets[at] == grams.buckets
        weights = grams.weights * np.where(known, self.idf[at], self.idf.max())
        weights *= _block_scales(grams.buckets, weights)
        placed: Floats = (weights[known] @ self.rows[at[known]].astype(np.float32)) * self.scale
        return placed


def _block_scales(buckets: Ints, weights: Floats) -> Floats:
    """What brings the words' block and the characters' block to their length, each."""
    split = int(np.searchsorted(buckets, WORD_BUCKETS))
    scales = np.ones(len(buckets), np.float32)
    for part in (slice(0, split), slice(split, None)):
        square = float(weights[part] @ weights[part])
        scales[part] = (SQUARED_HALF / square) ** 0.5 if square else 0.0
    return scales


class Cells(Value, frozen=True):
    """Regions of the map with soft borders: a text belongs to each by a softmax of `sharpness` times the cosine.

    `centres` (k, d) of length 1, `deviations` (k, M), `counts` (k, M) of answers. Soft borders measured better than
    hard ones on MMLU with 1,500 answers (APGR .65 against .62 to .64).
    """

    centres: Floats
    sharpness: float
    deviations: Floats
    counts: Floats

    def read(self, units: Floats) -> tuple[Floats, Floats]:
        """Deviations (n, M), and the answers behind them (n, M)."""
        shares = self.shares(units)
        return shares @ self.deviations, shares @ self.counts

    def shares(self, units: Floats) -> Floats:
        """How much a text belongs to each cell, `(n, k)`, rows summing to one."""
        odds = np.exp(self.sharpness * (units @ self.centres.T - 1))
        found: Floats = odds / odds.sum(1, keepdims=True)
        return found


class Neighbours(Value, frozen=True):
    """Graded texts: `units` (N, d) of length 1 and `deviations` (N, M), NaN where not graded; shrunken by `prior`."""

    units: Reals
    deviations: Reals
    k: int
    prior: float

    def nearest(self, units: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
        """Rows and cosines of the k nearest, `(n, k)` both; cosines below zero count as zero."""
        cosines = units @ self.units.T.astype(np.float32, copy=False)
        k = min(self.k, cosines.shape[1])
        rows = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        return rows, np.maximum(np.take_along_axis(cosines, rows, axis=1), 0.0)

    def read(self, rows: npt.NDArray[np.intp], cosines: Floats) -> tuple[Floats, Floats]:
        """Deviations (n, M), and the effective number of graded neighbours behind each, (n, M) (Kish 1965)."""
        near = self.deviations[rows].astype(np.float32, copy=False)
        graded = ~np.isnan(near)
        weights = cosines[:, :, None] * graded
        total = weights.sum(1)
        sums = (weights * np.where(graded, near, 0.0)).sum(1)
        squares = np.maximum((weights**2).sum(1), 1e-9)
        effective = total**2 / squares
        shrunk = np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)
        return shrunk * effective / (effective + self.prior), effective


class Ridge(Value, frozen=True):
    """Linear in standardised features: `centre`, `scale` (f,), `weights` (f, M)."""

    centre: Floats
    scale: Floats
    weights: Floats

    def read(self, features: Floats) -> Floats:
        """Deviations; a feature further out than three standard deviations counts as three."""
        found: Floats = np.clip((features - self.centre) / self.scale, -3, 3) @ self.weights
        return found


class Groups(Value, frozen=True):
    """Named groups of texts, recognised from the place: `weights` (d + 1, G) of a softmax, `deviations` (G, M)."""

    names: tuple[str, ...]
    weights: Floats
    deviations: Floats

    def read(self, units: Floats) -> Floats:
        logits = units @ self.weights[:-1] + self.weights[-1]
        odds = np.exp(logits - logits.max(1, keepdims=True))
        found: Floats = (odds / odds.sum(1, keepdims=True)) @ self.deviations
        return found


class LabelTable(Value, frozen=True):
    """Additive effects of labels: `keys` like `intent=code`, `language=hi`, or a whole cell `code|hi|low`; (K, M)."""

    keys: tuple[str, ...]
    deviations: Floats

    def read(self, labels: tuple[str, str, str]) -> Floats:
        """The sum of what is known of the labels, `(M,)`; unknown labels say nothing."""
        rows = [self.keys.index(key) for key in label_keys(labels) if key in self.keys]
        found: Floats = self.deviations[rows].sum(0)
        return found


def label_keys(labels: tuple[str, str, str]) -> tuple[str, ...]:
    """The effects that speak of a cell: its three labels, then the cell itself."""
    intent, language, complexity = labels
    return f"intent={intent}", f"language={language}", f"complexity={complexity}", "|".join(labels)


PARTS = ("coarse cells", "cells", "fine cells", "neighbours", "map ridge", "shape ridge", "groups", "labels")
FINE = 2  # the cells whose answers stand behind an estimate


class Places(Value, frozen=True):
    """Texts on a map: `places` (n, d), `units` (n, d) the same of length 1, `shapes` (n, s)."""

    places: Floats
    units: Floats
    shapes: Floats

    def take(self, rows: npt.NDArray[np.intp] | slice) -> "Places":
        """Only these texts."""
        return Places(places=self.places[rows], units=self.units[rows], shapes=self.shapes[rows])


class Reading(Value, frozen=True):
    """What each of PARTS says, `deviations` (P, n, M); `n`: effective answers behind it (n, M).

    `familiarity` (n,): mean cosine of the five nearest, times the length of the text's own place.
    """

    deviations: Floats
    n: Floats
    familiarity: Floats


class Parts(Value, frozen=True):
    """Everything that reads a place, fitted on the same answers; `cells` from coarse to fine."""

    cells: tuple[Cells, Cells, Cells]
    neighbours: Neighbours
    map_ridge: Ridge
    shape_ridge: Ridge
    groups: Groups | None
    labels: LabelTable | None

    def widened(self) -> "Parts":
        """The same with neighbours in 32 bits: twice the memory, a quarter of the time."""
        near = self.neighbours
        wide = Neighbours(
            units=near.units.astype(np.float32),
            deviations=near.deviations.astype(np.float32),
            k=near.k,
            prior=near.prior,
        )
        return Parts(
            cells=self.cells, neighbours=wide, map_ridge=self.map_ridge, shape_ridge=self.shape_ridge,
            groups=self.groups, labels=self.labels,
        )  # fmt: skip

    def read(self, where: Places, labels: tuple[tuple[str, str, str], ...] = ()) -> Reading:
        """All parts at once; a part that is missing, or texts without labels, say nothing."""
        rows, cosines = self.neighbours.nearest(where.units)
        near, effective = self.neighbours.read(rows, cosines)
        nothing = np.zeros_like(near)
        regions = [cells.read(where.units) for cells in self.cells]
        found = [deviations for deviations, _ in regions]
        found += [near, self.map_ridge.read(where.places), self.shape_ridge.read(where.shapes)]
        found.append(self.groups.read(where.units) if self.groups else nothing)
        found.append(np.stack([self.labels.read(one) for one in labels]) if self.labels and labels else nothing)
        return Reading(
            deviations=np.stack(found),
            n=np.maximum(regions[FINE][1], effective),
            familiarity=familiarity(cosines, where.places),
        )


def familiarity(cosines: Floats, places: Floats) -> Floats:
    """Mean of the five greatest cosines, times the length of the text's own place: 0 is like nothing known."""
    five = min(5, cosines.shape[1])
    nearest = -np.partition(-cosines, five - 1, axis=1)[:, :five]
    found: Floats = np.maximum(nearest, 0.0).mean(1) * np.minimum(np.linalg.norm(places, axis=1), 1.0)
    return found


def unit(places: Floats) -> Floats:
    """Places at length 1; the origin stays."""
    lengths = np.linalg.norm(places, axis=-1, keepdims=True)
    found: Floats = places / np.maximum(lengths, 1e-6)
    return found

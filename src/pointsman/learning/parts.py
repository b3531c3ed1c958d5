"""Fits the parts of a profile on graded places.

Knows: how many cells, how far to shrink, what to do where answers are missing. Does not know: how parts are blended.
"""

from typing import Any

import numpy as np

from pointsman.policy.quality import Labels
from pointsman.policy.quality_parts import Cells, Groups, LabelTable, Neighbours, Parts, Places, Ridge, label_keys
from pointsman.policy.quality_text import Floats

NEIGHBOURS_AT_MOST = 6000
CELL_SIZES = (90, 40, 18)  # questions a cell, coarse to fine
CELLS_AT_MOST = (32, 96, 192)
MAP_PENALTY, SHAPE_PENALTY = 2.0, 0.3  # of ridges, in units of the number of answers
LABEL_PRIOR = 12.0  # answers that a label must bring before it counts half


def centres_of(units: Floats, seed: int) -> tuple[Floats, Floats, Floats]:
    """Centres of k-means at three grains; they depend on the texts alone."""
    from sklearn.cluster import KMeans

    found = []
    for step, (size, most) in enumerate(zip(CELL_SIZES, CELLS_AT_MOST, strict=True)):
        k = max(1, min(len(units) // size, most))
        means = KMeans(k, n_init=3, random_state=seed + step).fit(units)
        found.append(means.cluster_centers_.astype(np.float32))
    return found[0], found[1], found[2]


def fit_parts(
    places: Places,
    deviations: Floats,
    centres: tuple[Floats, Floats, Floats],
    groups: tuple[str, ...] = (),
    labels: tuple[Labels, ...] = (),
) -> Parts:
    """All parts, from deviations of scores from the models' means, `(N, M)`, NaN where not graded."""
    coarse, middle, fine = (fit_cells(centre, places.units, deviations) for centre in centres)
    return Parts(
        cells=(coarse, middle, fine),
        neighbours=fit_neighbours(places.units, deviations),
        map_ridge=fit_ridge(places.places, deviations, MAP_PENALTY),
        shape_ridge=fit_ridge(places.shapes, deviations, SHAPE_PENALTY),
        groups=fit_groups(groups, places.units, deviations) if groups else None,
        labels=fit_labels(labels, deviations) if labels else None,
    )


def fit_cells(centres: Floats, units: Floats, deviations: Floats) -> Cells:
    """A table of shrunken means a cell and model; a cell without answers says nothing."""
    nothing = np.zeros((len(centres), 0), np.float32)
    blank = Cells(centres=centres, deviations=nothing, counts=nothing)
    sums, counts = _sums(blank.nearest(units), deviations, len(centres))
    table, _ = shrunken(sums, counts, deviations)
    return Cells(centres=centres, deviations=table, counts=counts)


def _sums(rows: Any, deviations: Floats, size: int) -> tuple[Floats, Floats]:
    """Sums and counts of the graded deviations that fall on each row, `(size, M)` both."""
    graded = ~np.isnan(deviations)
    sums = np.zeros((size, deviations.shape[1]), np.float32)
    counts = np.zeros_like(sums)
    np.add.at(sums, rows, np.where(graded, deviations, 0.0))
    np.add.at(counts, rows, graded)
    return sums, counts


def shrunken(sums: Floats, counts: Floats, deviations: Floats) -> tuple[Floats, float]:
    """Means drawn towards zero by n / (n + κ), κ = noise / signal by the method of moments (Morris 1983), and κ."""
    noise = float(np.nanvar(deviations))
    n = np.maximum(counts, 1e-9)
    means = np.where(counts > 0, sums / n, 0.0)
    weight = counts.sum()
    signal = float((counts * (means**2 - noise / n))[counts > 0].sum() / weight) if weight else 0.0
    prior = float(np.clip(noise / max(signal, 1e-6), 2.0, 200.0))
    return (means * counts / (counts + prior)).astype(np.float32), prior


def fit_neighbours(units: Floats, deviations: Floats) -> Neighbours:
    """Graded texts themselves; of very many, an even selection."""
    kept = np.linspace(0, len(units) - 1, min(len(units), NEIGHBOURS_AT_MOST)).astype(int)
    return Neighbours(
        units=units[kept].astype(np.float16),
        deviations=deviations[kept].astype(np.float16),
        k=int(np.clip(1.5 * len(kept) ** 0.5, 5, 80)),
        prior=3.0,
    )


def fit_ridge(features: Floats, deviations: Floats, penalty: float, like: Ridge | None = None) -> Ridge:
    """One regression a model on standardised features (by the standard of `like`), each on the answers it has."""
    centre = like.centre if like else features.mean(0)
    scale = like.scale if like else np.maximum(features.std(0), 1e-6)
    standard = np.clip((features - centre) / scale, -3, 3).astype(np.float64)
    graded = ~np.isnan(deviations)
    filled = np.where(graded, deviations, 0.0)
    weights = np.zeros((features.shape[1], deviations.shape[1]))
    patterns, which = np.unique(graded, axis=1, return_inverse=True)
    for pattern in range(patterns.shape[1]):
        rows, columns = patterns[:, pattern], np.flatnonzero(which == pattern)
        if rows.sum() > 1:
            part = standard[rows]
            gram = part.T @ part + penalty * rows.sum() * np.eye(part.shape[1])
            weights[:, columns] = np.linalg.solve(gram, part.T @ filled[np.ix_(rows, columns)])
    return Ridge(
        centre=centre.astype(np.float32), scale=scale.astype(np.float32), weights=weights.astype(np.float32)
    )  # fmt: skip


def fit_groups(groups: tuple[str, ...], units: Floats, deviations: Floats) -> Groups | None:
    """A softmax that recognises the named groups from the place, and a shrunken table of them."""
    from sklearn.linear_model import LogisticRegression

    names, which = np.unique(np.array(groups), return_inverse=True)
    if len(names) < 2:
        return None
    model = LogisticRegression(C=10.0, max_iter=150).fit(units, which)
    coefficients = np.column_stack((model.coef_, model.intercept_))
    if len(names) == 2:
        coefficients = np.vstack((-coefficients, coefficients)) / 2
    table, _ = shrunken(*_sums(which, deviations, len(names)), deviations)
    return Groups(names=tuple(str(name) for name in names), weights=coefficients.T.astype(np.float32), deviations=table)


def fit_labels(labels: tuple[Labels, ...], deviations: Floats) -> LabelTable:
    """Effects of single labels, then of whole cells on what these leave, each shrunken; two rounds of backfitting."""
    named = [label_keys(one) for one in labels]
    keys = tuple(dict.fromkeys(key for step in range(4) for key in (row[step] for row in named)))
    index = {key: place for place, key in enumerate(keys)}
    rows = np.array([[index[key] for key in row] for row in named])
    effects = np.zeros((len(keys), deviations.shape[1]), np.float32)
    for _ in range(2):
        for step in range(4):
            others = effects[np.delete(rows, step, axis=1)].sum(1)
            sums, counts = _sums(rows[:, step], deviations - others, len(keys))
            touched = np.unique(rows[:, step])
            effects[touched] = (sums / (counts + LABEL_PRIOR))[touched]
    return LabelTable(keys=keys, deviations=effects)

"""Graded answers → a quality profile.

Order: 1 read the texts; 2 learn the map and its cells from texts alone; 3 fit the parts without each fold in turn;
4 from what they say of the unseen fold, the blend, the intervals and the guard; 5 fit the parts again on everything.
"""

from typing import Any

import numpy as np

from pointsman.learning.blend import ROWS_A_CELL, cross_fit, fit_blend, fit_spread, folds_of
from pointsman.learning.parts import centres_of, fit_cells, fit_parts, kept_rows
from pointsman.learning.rows import Graded
from pointsman.learning.space import learn_basis, place_texts, read_texts
from pointsman.policy.quality import FORMAT, VERSION, Costs, Guard, ProfileData
from pointsman.policy.quality_parts import FINE, Cells, Parts, Places, familiarity
from pointsman.policy.quality_text import Floats

QUESTIONS_AT_LEAST = 20
MEAN_PRIOR = 4.0  # answers of an average model that every model starts with
Z_GUARD, NOVEL = 0.7, 0.75  # a gain that is above zero three times in four; the three quarters most like the rest
LADDER = 200  # rungs of the familiarity


class FitError(ValueError):
    """These rows cannot make a profile; the message says what is missing."""


def fit_profile(graded: Graded, *, incumbent: str = "", seed: int = 0) -> ProfileData:
    """A profile of these answers. Raises FitError: too few questions, an incumbent that nobody graded."""
    _check(graded, incumbent)
    means, counts = model_means(graded.scores)
    row = graded.models.index(incumbent) if incumbent else int(np.argmax(means))
    texts = read_texts(graded.prompts)
    basis = learn_basis(texts, seed)
    places = place_texts(basis, texts)
    centres = centres_of(places.units, seed)
    deviations = (graded.scores - means).astype(np.float32)

    def on(rows: Any) -> Parts:
        part = graded.take(rows)
        return fit_parts(places.take(rows), deviations[rows], centres, part.groups, part.labels)

    unseen = cross_fit(on, places, graded.labels, folds_of(len(graded.prompts), seed), len(graded.models))
    blend = fit_blend(unseen.deviations, deviations, with_labels=False)
    parts = on(np.arange(len(graded.prompts)))
    return ProfileData(
        format=FORMAT,
        version=VERSION,
        models=graded.models,
        incumbent=graded.models[row],
        means=means,
        counts=counts,
        basis=basis,
        parts=parts,
        blend=blend,
        labelled_blend=fit_blend(unseen.deviations, deviations, with_labels=True) if graded.labels else blend,
        spread=fit_spread(unseen, blend, deviations, row, _check_cells(places.units, seed)),
        guard=Guard(z=Z_GUARD, novel=NOVEL, familiarity=_ladder(places.take(kept_rows(len(places.units))))),
        costs=fit_costs(graded.costs, parts.cells[FINE], places.units),
        note=_note(graded),
    )


def _check(graded: Graded, incumbent: str) -> None:
    if len(graded.prompts) < QUESTIONS_AT_LEAST:
        raise FitError(f"{len(graded.prompts)} questions; at least {QUESTIONS_AT_LEAST} are needed")
    if incumbent and incumbent not in graded.models:
        raise FitError(f"no answers of {incumbent!r}; graded were: {', '.join(graded.models)}")


def model_means(scores: Floats) -> tuple[Floats, Floats]:
    """Mean score of each model, drawn to the mean of all where answers are few, and the number of answers, `(M,)`."""
    known = ~np.isnan(scores)
    counts = known.sum(0).astype(np.float32)
    overall = float(np.nanmean(scores))
    sums = np.where(known, scores, 0.0).sum(0)
    return ((sums + MEAN_PRIOR * overall) / (counts + MEAN_PRIOR)).astype(np.float32), counts


def _check_cells(units: Floats, seed: int) -> Any:
    """Cells of another k-means than the parts', to check coverage on."""
    from sklearn.cluster import KMeans

    k = max(1, min(len(units) // ROWS_A_CELL, 300, len(np.unique(np.round(units, 4), axis=0))))
    return KMeans(k, n_init=1, random_state=seed + 101).fit_predict(units)


def _ladder(places: Places) -> Floats:
    """Quantiles of how near each of the texts that stay as neighbours lies to the others."""
    found = []
    for at in range(0, len(places.units), 512):
        rows = slice(at, at + 512)
        cosines = places.units[rows] @ places.units.T
        cosines[np.arange(len(cosines)), np.arange(at, at + len(cosines))] = -1.0
        found.append(familiarity(cosines, places.places[rows]))
    ladder: Floats = np.quantile(np.concatenate(found), np.linspace(0, 1, LADDER)).astype(np.float32)
    return ladder


def _note(graded: Graded) -> str:
    """What a reader of the profile should know of its rows."""
    without = [model for at, model in enumerate(graded.models) if np.isnan(graded.costs[:, at]).all()]
    if not without or len(without) == len(graded.models):
        return ""
    return f"no costs of {', '.join(without)}: counted as dear as the dearest."


def fit_costs(costs: Floats, cells: Cells, units: Floats) -> Costs | None:
    """Mean costs, and a cell's shrunken ratio to them; a model without costs counts as the dearest, since what is not
    known is not free. None: no costs at all."""
    known = ~np.isnan(costs)
    if not known.any():
        return None
    means = np.where(known, costs, 0.0).sum(0) / np.maximum(known.sum(0), 1)
    dearest = float(means.max()) or 1.0
    means[~known.any(0)] = dearest
    ratios = costs / np.maximum(means, 1e-12) - 1
    table = fit_cells(cells.centres, cells.sharpness, units, ratios.astype(np.float32)).deviations
    scaled = means / dearest
    return Costs(
        means=scaled.astype(np.float32),
        cells=(scaled * np.maximum(1 + table, 0.05)).astype(np.float32),
        unit=dearest,
    )

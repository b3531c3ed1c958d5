"""A new model joins a profile: the map, its cells and every other model stay as they are.

Knows: how the parts of one more model are fitted from few answers on a fixed map. Does not know: how the map was made.
"""

from typing import Any

import msgspec
import numpy as np

from pointsman.learning.fit import FitError, model_means
from pointsman.learning.parts import MAP_PENALTY, SHAPE_PENALTY, fit_cells, fit_labels, fit_ridge
from pointsman.learning.rows import Graded
from pointsman.learning.space import place_texts, read_texts
from pointsman.policy.quality import Costs, Labels, ProfileData, QualityProfile, Spread, blended
from pointsman.policy.quality_parts import Cells, Groups, LabelTable, Neighbours, Parts, Places
from pointsman.policy.quality_text import Floats

ANSWERS_AT_LEAST = 20
SAME_TEXT = 0.999  # cosine from which two texts are one


def join_models(profile: QualityProfile, graded: Graded) -> ProfileData:
    """The profile with the models of `graded` that it did not know. Raises FitError: none, or too few answers."""
    old = profile.data
    new = [model for model in graded.models if model not in old.models]
    if not new:
        raise FitError("every model of these rows is in the profile already")
    columns = [graded.models.index(model) for model in new]
    rows = np.flatnonzero(~np.isnan(graded.scores[:, columns]).all(1))
    part = graded.take(rows)
    scores = part.scores[:, columns]
    for model, count in zip(new, (~np.isnan(scores)).sum(0), strict=True):
        if count < ANSWERS_AT_LEAST:
            raise FitError(f"{count} answers of {model}; at least {ANSWERS_AT_LEAST} are needed to join")
    means, counts = model_means(scores)
    places = place_texts(old.basis, read_texts(part.prompts))
    deviations = (scores - means).astype(np.float32)
    parts = _parts(old.parts, places, deviations, part.labels)
    said = blended(parts.read(places).deviations, old.blend)[:, len(old.models) :]
    return msgspec.structs.replace(
        old,
        models=(*old.models, *new),
        means=_beside(old.means, means),
        counts=_beside(old.counts, counts),
        parts=parts,
        spread=_spread(old.spread, deviations - said),
        costs=_costs(old.costs, part.costs[:, columns]),
        note=f"{old.note} joined: {', '.join(new)}.".strip(),
    )


def _costs(old: Costs | None, known: Floats) -> Costs | None:
    """The new models' mean costs, the same in every cell; one without costs counts as the dearest."""
    if old is None:
        return None
    seen = ~np.isnan(known)
    means = np.where(seen, known, 0.0).sum(0) / np.maximum(seen.sum(0), 1) / old.unit
    means[~seen.any(0)] = max(1.0, float(old.means.max()))
    cells = np.broadcast_to(means, (len(old.cells), len(means)))
    return Costs(means=_beside(old.means, means), cells=_beside(old.cells, cells), unit=old.unit)


def _beside(old: Any, new: Any) -> Any:
    return np.concatenate((old, new), axis=-1).astype(old.dtype)


def _parts(old: Parts, places: Places, deviations: Floats, labels: tuple[Labels, ...]) -> Parts:
    """The old parts, a column wider for each new model."""
    cells = [_cells(one, fit_cells(one.centres, one.sharpness, places.units, deviations)) for one in old.cells]
    on_map = fit_ridge(places.places, deviations, MAP_PENALTY, old.map_ridge)
    on_shape = fit_ridge(places.shapes, deviations, SHAPE_PENALTY, old.shape_ridge)
    models = deviations.shape[1]
    return Parts(
        cells=(cells[0], cells[1], cells[2]),
        neighbours=_neighbours(old.neighbours, places.units, deviations),
        map_ridge=msgspec.structs.replace(old.map_ridge, weights=_beside(old.map_ridge.weights, on_map.weights)),
        shape_ridge=msgspec.structs.replace(
            old.shape_ridge, weights=_beside(old.shape_ridge.weights, on_shape.weights)
        ),
        groups=_groups(old.groups, models),
        labels=_labels(old.labels, fit_labels(labels, deviations) if labels else None, models),
    )


def _cells(old: Cells, new: Cells) -> Cells:
    return msgspec.structs.replace(
        old, deviations=_beside(old.deviations, new.deviations), counts=_beside(old.counts, new.counts)
    )


def _neighbours(old: Neighbours, units: Floats, deviations: Floats) -> Neighbours:
    """The new model's answers beside the old ones' on the same texts; texts that only it answered are left out, so
    that nobody else's neighbours change."""
    column = np.full((len(old.units), deviations.shape[1]), np.nan, np.float32)
    cosines = old.units.astype(np.float32) @ units.T
    same = cosines.argmax(1)
    found = cosines[np.arange(len(same)), same] > SAME_TEXT
    column[found] = deviations[same[found]]
    return msgspec.structs.replace(old, deviations=_beside(old.deviations, column))


def _groups(old: Groups | None, models: int) -> Groups | None:
    if old is None:
        return None
    nothing = np.zeros((len(old.names), models), np.float32)
    return msgspec.structs.replace(old, deviations=_beside(old.deviations, nothing))


def _labels(old: LabelTable | None, new: LabelTable | None, models: int) -> LabelTable | None:
    if old is None:
        return None
    table = np.zeros((len(old.keys), models), np.float32)
    for row, key in enumerate(old.keys):
        if new is not None and key in new.keys:
            table[row] = new.deviations[new.keys.index(key)]
    return msgspec.structs.replace(old, deviations=_beside(old.deviations, table))


def _spread(old: Spread, residuals: Floats) -> Spread:
    """In-sample residuals understate: a new model's variance is at least the average of the old ones."""
    own = np.maximum(np.nanmean(residuals**2, 0), old.variance.mean())
    variance = np.concatenate((old.variance, own)).astype(np.float32)
    size = len(old.variance)
    paired = variance[:, None] + variance[None]  # as if answers were independent: the widest that is honest
    paired[:size, :size] = old.paired
    np.fill_diagonal(paired, 0.0)
    return Spread(
        variance=variance, paired=paired.astype(np.float32), inflation=old.inflation,
        paired_inflation=max(old.paired_inflation, 1.0),
    )  # fmt: skip

"""The report's pictures: right answers with their intervals, speed, quality against cost.

Knows: matplotlib (imported when something is drawn), colours that the colour-blind can tell apart (Okabe and Ito
2008), each with a marker of its own. Does not know: how a figure was computed; it reads the same cells as the report.
Invariants: every axis names its unit; a share is drawn from 0 to 100 %; only Latin text is drawn: any font has it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pointsman.calibration.measured import MONEY, WORK, Cell, Measured, Speed, cells, speeds
from pointsman.calibration.report import BY_FAMILY, BY_LABEL, BY_LANGUAGE, PICTURES, family, label, language
from pointsman.calibration.routing import Policy, Simulation, Standing, standings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
GREY, DPI = "#666666", 144
AXES = {MONEY: "mean cost of an answer (price units)", WORK: "mean cost of an answer (GB of weights × tokens)"}


def draw(measured: Measured, simulation: Simulation | None, folder: Path) -> tuple[Path, ...]:
    """Every picture that can be drawn, into `folder`; their paths. Raises ImportError without matplotlib, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {
        BY_FAMILY: _accuracy(measured, cells(measured, family), "kind of question"),
        BY_LANGUAGE: _accuracy(measured, cells(measured, language), "language of the question"),
        BY_LABEL: _labels(measured),
        "speed": _speed(speeds(measured)),
    }
    if simulation is not None:
        pictures["routing"] = _routing(simulation, measured.seed)
    paths = []
    for name, figure in pictures.items():
        paths.append(folder / PICTURES[name])
        figure.savefig(paths[-1], dpi=DPI, facecolor="white")
    return tuple(paths)


def _figure(width_in: float, height_in: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained")


def _style(place: int) -> tuple[str, str]:
    return COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]


def _plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)


# ---------------------------------------------------------------- right answers


def _accuracy(measured: Measured, found: Sequence[Cell], what: str) -> "Figure":
    """Groups down; in each group a point and an interval a model."""
    groups = list(dict.fromkeys(cell.group for cell in found))
    models = measured.models
    height_in = 1.3 + len(groups) * (0.22 * len(models) + 0.2)
    figure = _figure(8.0, height_in)
    axes = figure.add_subplot()
    for place, model in enumerate(models):
        colour, marker = _style(place)
        mine = [cell for cell in found if cell.model == model and cell.score.n]
        offset = (place - (len(models) - 1) / 2) * 0.8 / max(len(models), 2)
        means = np.array([100 * cell.score.mean for cell in mine])
        below = means - [100 * cell.score.low for cell in mine]
        above = np.array([100 * cell.score.high for cell in mine]) - means
        axes.errorbar(
            means,
            [groups.index(cell.group) + offset for cell in mine],
            xerr=np.clip([below, above], 0, None),
            fmt=marker,
            color=colour,
            markersize=5,
            capsize=2,
            linewidth=1.4,
            label=model,
        )
    counts = {group: max(cell.score.n for cell in found if cell.group == group) for group in groups}
    axes.set_yticks(range(len(groups)), [f"{group} ({counts[group]})" for group in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlim(-1, 101)
    axes.set_xlabel("right answers (%), with 95 % interval")
    axes.set_ylabel(f"{what} (answers)")
    _plain(axes)
    _legend(figure, axes, len(models))
    return figure


def _legend(figure: "Figure", axes: "Axes", entries: int) -> None:
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(entries, 3), frameon=False)


def _labels(measured: Measured) -> "Figure":
    """A panel a model: intent across, complexity down, the share written in each field."""
    found = cells(measured, label)
    groups = {cell.group for cell in found}
    intents = sorted({group.partition(", ")[0] for group in groups})
    levels = [level for level in ("low", "medium", "high") if any(group.endswith(level) for group in groups)]
    models = measured.models
    figure = _figure(max(5.0, 1.2 + (0.5 + 0.95 * len(intents)) * len(models)), 1.5 + 0.62 * len(levels))
    panels = figure.subplots(1, max(len(models), 1), squeeze=False, sharey=True)[0]
    image = None
    for panel, model in zip(panels, models, strict=True):
        by = {cell.group: cell.score for cell in found if cell.model == model and cell.score.n}
        shares = np.array([[_share(by.get(f"{intent}, {level}")) for intent in intents] for level in levels])
        image = panel.imshow(shares, vmin=0, vmax=100, cmap="Blues", aspect="auto")
        for (row, column), share in np.ndenumerate(shares):
            if not np.isnan(share):
                colour = "white" if share > 55 else "black"
                panel.text(column, row, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=10)
        panel.set_xticks(range(len(intents)), intents)
        panel.set_yticks(range(len(levels)), levels)
        panel.set_xlabel("intent")
        panel.set_title(model, fontsize=9)
    panels[0].set_ylabel("complexity")
    if image is not None:
        figure.colorbar(image, ax=list(panels), label="right answers (%)", shrink=0.9)
    return figure


def _share(score: object) -> float:
    return float("nan") if score is None else 100 * float(getattr(score, "mean", 0.0))


# ---------------------------------------------------------------- speed


def _speed(found: Sequence[Speed]) -> "Figure":
    """Left: how fast an answer is written. Right: how long an answer takes, median to 95th percentile."""
    figure = _figure(8.5, 1.4 + 0.45 * len(found))
    left, right = figure.subplots(1, 2, sharey=True)
    places = range(len(found))
    for place, one in enumerate(found):
        colour, marker = _style(place)
        left.barh(place, one.tokens_per_s, color=colour, height=0.55)
        left.text(one.tokens_per_s, place, f" {one.tokens_per_s:.3g}", va="center", fontsize=9)
        right.plot([one.p50_s, one.p95_s], [place, place], color=colour, linewidth=2)
        right.plot([one.p50_s], [place], marker=marker, color=colour, markersize=7)
        right.plot([one.p95_s], [place], marker="|", color=colour, markersize=12, markeredgewidth=2)
    left.set_yticks(places, [one.model for one in found])
    left.set_ylim(len(found) - 0.5, -0.5)
    left.set_xlim(0, 1.15 * max((one.tokens_per_s for one in found), default=1.0) or 1.0)
    left.set_xlabel("writing speed of one answer (tokens/s)")
    right.set_xlabel("time to the whole answer (s): median to p95")
    right.set_xlim(left=0)
    for axes in (left, right):
        _plain(axes)
    return figure


# ---------------------------------------------------------------- routing


def _routing(simulation: Simulation, seed: int) -> "Figure":
    """Quality over cost: each model alone, mixtures of two by chance, the profile at rising cost weights, the bound."""
    figure = _figure(8.0, 5.6)
    axes = figure.add_subplot()
    table = simulation.table
    singles = standings(simulation, simulation.singles, seed)
    _mixtures(axes, simulation.singles)
    for place, one in enumerate(singles):
        colour, marker = _style(place)
        _point(axes, one, colour, marker, one.name)
    axes.plot(
        [one.cost.mean() for one in simulation.sweep],
        [100 * one.quality.mean() for one in simulation.sweep],
        *("-",),
        color="black",
        linewidth=1.2,
        marker=".",
        label="profile, cost weight 0 (right) to 2 (left)",
    )
    axes.plot(
        [one.cost.mean() for one in simulation.group_sweep],
        [100 * one.quality.mean() for one in simulation.group_sweep],
        color=GREY,
        linewidth=1.0,
        linestyle="--",
        label="group means, the same weights",
    )
    shown = [policy for policy in simulation.policies if policy.name.startswith("profile, ")]
    for place, one in enumerate(standings(simulation, (*shown, simulation.oracle), seed)):
        colour = ("#CC79A7", "#E69F00", "#56B4E9")[place % 3]
        _point(axes, one, colour, ("P", "X", "*")[place % 3], one.name)
    axes.set_xlabel(AXES.get(table.unit, "mean time of an answer (s)"))
    axes.set_ylabel("right answers (%), with 95 % interval")
    axes.set_xlim(left=0)
    _plain(axes)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _mixtures(axes: "Axes", singles: Sequence[Policy]) -> None:
    """Between any two models lies what dealing questions to them by chance gives."""
    corners = [(float(one.cost.mean()), 100 * float(one.quality.mean())) for one in singles]
    drawn = False
    for place, first in enumerate(corners):
        for second in corners[place + 1 :]:
            axes.plot(
                *zip(first, second, strict=True),
                color=GREY,
                linestyle=":",
                linewidth=1,
                label="" if drawn else "two models, dealt by chance",
            )
            drawn = True


def _point(axes: "Axes", one: Standing, colour: str, marker: str, name: str) -> None:
    quality = one.quality
    axes.errorbar(
        [one.cost.mean],
        [100 * quality.mean],
        yerr=[[100 * (quality.mean - quality.low)], [100 * (quality.high - quality.mean)]],
        fmt=marker,
        color=colour,
        markersize=8,
        capsize=3,
        linewidth=1.3,
        label=name,
    )

"""The dashboards as pictures, without Grafana: each panel where its page puts it, with the series it got.

A preview to judge data, units and layout by; colours and fonts are not Grafana's.
"""

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

UNIT = {"reqps": "req/s", "cpm": "a minute", "percentunit": "share", "s": "s", "bytes": "bytes", "short": ""}
INK, PAPER, MUTED = "#d8d9da", "#181b1f", "#8e8e8e"


def named(legend: str, series: dict[str, Any]) -> str:
    """The legend as Grafana fills it in."""
    labels = series["metric"]
    if legend == "__auto":
        return " ".join(labels.values())
    return re.sub(r"\{\{(\w+)\}\}", lambda found: str(labels.get(found[1], "")), legend)


def points(series: dict[str, Any]) -> tuple[list[float], list[float]]:
    values = [(float(at), float(value)) for at, value in series["values"] if value not in {"NaN", "+Inf", "-Inf"}]
    first = values[0][0] if values else 0.0
    return [at - first for at, _ in values], [value for _, value in values]


def number(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{100 * value:.2f} %"
    if unit == "bytes":
        return f"{value / 1e9:.2f} GB" if value > 1e8 else f"{value / 1e6:.1f} MB"
    return f"{1000 * value:.1f} ms" if unit == "s" and value < 1 else f"{value:.3g} {UNIT.get(unit, unit)}"


def draw_panel(axes: Any, panel: dict[str, Any], found: list[Any]) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    axes.set_title(panel["title"], fontsize=7, color=INK, loc="left")
    axes.tick_params(labelsize=5, colors=MUTED)
    axes.set_facecolor(PAPER)
    for side in axes.spines.values():
        side.set_color("#2c3235")
    lines = [(named(legend, series), *points(series)) for legend, series in found]
    if not lines:
        axes.text(0.5, 0.5, "No data", ha="center", color=MUTED, transform=axes.transAxes, fontsize=8)
        axes.set_axis_off()
    elif panel["type"] == "stat":
        axes.text(
            0.5, 0.4, number(lines[0][2][-1], unit), ha="center", color="#73bf69", fontsize=13, transform=axes.transAxes
        )
        axes.set_xticks([])
        axes.set_yticks([])
    elif panel["type"] == "bargauge":
        names, values = [name for name, _, _ in lines], [ys[-1] for _, _, ys in lines]
        axes.barh(names, values, color="#73bf69")
        for place, value in enumerate(values):
            axes.text(value, place, f" {number(value, unit)}", color=INK, va="center", fontsize=5)
    elif panel["fieldConfig"]["defaults"]["custom"].get("stacking", {}).get("mode") == "normal":
        stacked(axes, lines)
    else:
        for name, xs, ys in lines:
            axes.plot(xs, ys, linewidth=0.8, label=name)
        axes.legend(fontsize=4, frameon=False, labelcolor=INK, loc="upper left", ncols=2)
    if panel["type"] == "timeseries":
        limits = panel["fieldConfig"]["defaults"]
        axes.set_ylim(bottom=limits["min"], top=limits.get("max"))
        axes.set_ylabel(UNIT.get(unit, unit), fontsize=5, color=MUTED)


def stacked(axes: Any, lines: list[tuple[str, list[float], list[float]]]) -> None:
    longest = max((xs for _, xs, _ in lines), key=len)
    padded = [[0.0] * (len(longest) - len(ys)) + ys for _, _, ys in lines]
    axes.stackplot(longest, *padded, labels=[name for name, _, _ in lines], alpha=0.75)
    axes.legend(fontsize=4, frameon=False, labelcolor=INK, loc="upper left", ncols=2)


def draw(drawn: dict[str, Any], out: Path) -> None:
    """One picture a page, `preview-NAME.png`."""
    for page in dict.fromkeys(key.split("/")[0] for key in drawn):
        panels = [value for key, value in drawn.items() if key.startswith(f"{page}/")]
        height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel, _ in panels)
        figure = plt.figure(figsize=(14, height * 0.33), facecolor="#111217")
        for panel, found in panels:
            grid = panel["gridPos"]
            left, width = grid["x"] / 24 + 0.022, grid["w"] / 24 - 0.032
            bottom, tall = 1 - (grid["y"] + grid["h"]) / height, grid["h"] / height
            axes = figure.add_axes((left, bottom + 0.18 * tall, width, 0.62 * tall))
            draw_panel(axes, panel, found)
        figure.savefig(out / f"preview-{page}.png", dpi=110, facecolor=figure.get_facecolor())
        plt.close(figure)

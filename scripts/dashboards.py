"""Grafana's dashboards, written from a few lines each: `python -m scripts.dashboards` writes
deploy/grafana/dashboards/*.json; with `--check` it writes nothing and says what would change (exit status 1).

The pages are in `dashboard_pages` and `dashboard_more`. What is the same everywhere (grids, units, colours, links
between the pages) stands here once.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scripts.dashboard_more import EXPERIMENTS, MONEY, ROUTING
from scripts.dashboard_pages import FLEET, TRAFFIC
from scripts.dashboard_parts import PLAIN, Dashboard, Panel, Row, Thresholds

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "grafana" / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
DASHBOARDS = (TRAFFIC, FLEET, ROUTING, MONEY, EXPERIMENTS)


def steps(limits: Thresholds) -> dict[str, Any]:
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in limits]}


def targets(panel: Panel) -> list[dict[str, Any]]:
    is_now = panel.kind in {"stat", "bars"}
    return [
        {
            "refId": chr(ord("A") + index),
            "datasource": SOURCE,
            "expr": expr,
            "legendFormat": legend or "__auto",
            "instant": is_now and panel.kind != "stat",
            "range": not is_now or panel.kind == "stat",
        }
        for index, (legend, expr) in enumerate(panel.asks)
    ]


def drawn(panel: Panel) -> dict[str, Any]:
    """How a kind of panel looks."""
    stacked = panel.kind == "stack"
    legend: dict[str, Any] = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    match panel.kind:
        case "stat":
            options: dict[str, Any] = {
                "colorMode": "value" if panel.limits == PLAIN else "background",
                "graphMode": "area",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "textMode": "value",
            }
            return {"type": "stat", "options": options, "custom": {}}
        case "bars":
            options = {
                "displayMode": "basic",
                "orientation": "horizontal",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                "showUnfilled": True,
                "valueMode": "color",
            }
            return {"type": "bargauge", "options": options, "custom": {}}
        case "states":
            options = {"mergeValues": True, "showValue": "auto", "rowHeight": 0.8, "legend": legend}
            return {"type": "state-timeline", "options": options, "custom": {"fillOpacity": 80, "lineWidth": 0}}
        case _:
            custom = {
                "drawStyle": "line",
                "lineInterpolation": "linear",
                "lineWidth": 1,
                "fillOpacity": 40 if stacked else 8,
                "showPoints": "never",
                "spanNulls": 60000,
                "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
                "thresholdsStyle": {"mode": "off" if panel.limits == PLAIN else "dashed"},
            }
            tooltip = {"mode": "multi", "sort": "desc"}
            return {"type": "timeseries", "options": {"legend": legend, "tooltip": tooltip}, "custom": custom}


def overrides(panel: Panel) -> list[dict[str, Any]]:
    return [
        {
            "matcher": {"id": "byRegexp" if name.startswith("/") else "byName", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for name, colour in panel.colours
    ]


def panel_json(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    look = drawn(panel)
    defaults: dict[str, Any] = {
        "unit": "cpm" if panel.unit == "short" and "60 * " in panel.asks[0][1] else panel.unit,
        "min": 0,
        "thresholds": steps(panel.limits),
        "color": {"mode": "thresholds" if panel.kind in {"stat", "bars", "states"} else "palette-classic"},
        "custom": look["custom"],
        "mappings": [
            {"type": "value", "options": {f"{value:g}": {"text": word, "color": colour, "index": index}}}
            for index, (value, word, colour) in enumerate(panel.words)
        ],
    }
    if panel.lowest is not None:
        defaults["min"] = panel.lowest
    if panel.highest is not None:
        defaults["max"] = panel.highest
    return {
        "id": number,
        "type": look["type"],
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "fieldConfig": {"defaults": defaults, "overrides": overrides(panel)},
        "options": look["options"],
        "targets": targets(panel),
    }


def packed(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows one below the other, their panels from left to right."""
    placed: list[dict[str, Any]] = []
    y = 0
    for row in rows:
        heading = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        placed.append(
            {
                "id": len(placed) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": heading,
                "panels": [],
            }
        )
        x, y, tallest = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, tallest = 0, y + tallest, 0
            placed.append(panel_json(panel, len(placed) + 1, x, y))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return placed


def variables(dashboard: Dashboard) -> list[dict[str, Any]]:
    source: dict[str, Any] = {
        "name": "datasource",
        "label": "Source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
    }
    asked: list[dict[str, Any]] = [
        {
            "name": name,
            "label": name.capitalize(),
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }
        for name, query in dashboard.variables
    ]
    return [source, *asked]


def dashboard_json(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": f"pointsman-{dashboard.name}",
        "title": f"Pointsman: {dashboard.title}",
        "description": dashboard.about,
        "tags": ["pointsman"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [
            {"title": "Pointsman", "type": "dashboards", "tags": ["pointsman"], "asDropdown": False, "keepTime": True}
        ],
        "annotations": {"list": []},
        "templating": {"list": variables(dashboard)},
        "panels": packed(dashboard.rows),
    }


def main(arguments: list[str]) -> int:
    is_check, stale = arguments == ["--check"], 0
    for dashboard in DASHBOARDS:
        path = FOLDER / f"{dashboard.name}.json"
        text = json.dumps(dashboard_json(dashboard), indent=1, ensure_ascii=False) + "\n"
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        print(f"{'stale' if is_check else 'wrote'}: {path.name}")
        if not is_check:
            path.write_text(text, encoding="utf-8")
    return 1 if is_check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

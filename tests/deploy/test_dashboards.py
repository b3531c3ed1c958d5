"""The dashboards: as their script writes them, and laid out without holes that overlap."""

import json
from itertools import combinations
from typing import Any

import pytest
from scripts.dashboards import DASHBOARDS, FOLDER, main

PAGES = [dashboard.name for dashboard in DASHBOARDS]


def page(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def test_the_files_are_what_the_script_writes() -> None:
    """If not: `python -m scripts.dashboards`."""
    assert main(["--check"]) == 0
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_panels_have_a_place_of_their_own(name: str) -> None:
    panels = page(name)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        grid = panel["gridPos"]
        assert 0 <= grid["x"] <= grid["x"] + grid["w"] <= 24
    for one, other in combinations(panels, 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart = apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert apart, f"{one['title']} and {other['title']}"


@pytest.mark.parametrize("name", PAGES)
def test_what_is_asked_for_by_name_is_a_variable(name: str) -> None:
    loaded = page(name)
    text = json.dumps(loaded["panels"])
    for variable in loaded["templating"]["list"]:
        assert f"${variable['name']}" in text or f"${{{variable['name']}}}" in text
    assert loaded["uid"] == f"pointsman-{name}"
    assert all(target["expr"] for panel in loaded["panels"] for target in panel.get("targets", ()))


@pytest.mark.parametrize("name", PAGES)
def test_grafana_knows_what_stands_in_them(name: str) -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="grafana-foundation-sdk is not installed")
    from scripts.dashboard_schema import unknown_to_grafana

    loaded = page(name)
    assert unknown_to_grafana(loaded) == []
    drawn = next(panel for panel in loaded["panels"] if panel["type"] == "timeseries")
    drawn["options"]["tooltip"]["mod"] = "single"
    drawn["fieldConfig"]["defaults"]["custom"]["linesWidth"] = 2
    assert len(unknown_to_grafana(loaded)) == 2

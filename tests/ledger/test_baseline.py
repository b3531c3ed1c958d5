"""Whom costs and latencies are compared with, as the whole gateway is wired."""

from pathlib import Path

import pytest

from pointsman.app import App
from pointsman.cli.common import shipped_config
from pointsman.settings import parse

PAIR = """
models:
  - {id: 3b, backend: openai, url: "http://h/1"}
  - {id: 8b, backend: openai, url: "http://h/2"PRICE}
aliases: {small: 3b, large: 8b}
"""
RATIO = {"AB_TEST_RATIO": "0.5"}


@pytest.mark.parametrize(
    ("text", "environ", "baseline"),
    [
        (shipped_config().read_text(), {}, "qwen2.5-coder-0.5b-instruct"),
        (PAIR.replace("PRICE", ""), RATIO, "8b"),
        (PAIR.replace("PRICE", "").replace('h/1"', 'h/1", cost_per_mtok: 1'), RATIO, "3b"),
        (PAIR.replace("PRICE", ""), {}, ""),
    ],
)
def test_somebody_is_compared_with(text: str, environ: dict[str, str], baseline: str, tmp_path: Path) -> None:
    settings = parse(text, environ=environ | {"POINTSMAN_CACHE_DIR": str(tmp_path)})
    assert App(settings).rooms.prices.baseline == baseline

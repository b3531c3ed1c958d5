"""Figures of earlier runs in the whole app: read at the start, and said where they cannot be."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from pointsman.app import App
from pointsman.fleet.remembered import Figures, Remembered
from pointsman.settings import parse

GB = 10**9


def app_of(folder: Path) -> App:
    weights = folder / "m.gguf"
    weights.write_bytes(b"GGUF")
    text = f"cache_dir: {folder}\nmodels:\n  - {{id: m, backend: llama_cpp, source: {{file: {weights}}}}}\n"
    return App(parse(text))


def test_the_first_admission_knows_what_the_last_run_measured(tmp_path: Path) -> None:
    async def run() -> tuple[int, float | None]:
        first = app_of(tmp_path)
        backend, models = first.fleet.backends["m"], {"m": first.settings.models[0]}
        remembered = Remembered.of_models(tmp_path / "measured.json", models)
        remembered.keep("m", backend.footprint().weights_bytes, Figures(host_bytes=3 * GB, load_s=4.5))
        remembered.write()
        first.log.close()
        async with app_of(tmp_path).running() as app:
            [status] = app.fleet.status().deployments
            return status.memory.reserved_bytes, status.load_s

    assert asyncio.run(run()) == (3 * GB, 4.5)


def test_a_damaged_file_is_a_line_in_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "measured.json").write_bytes(b"{")

    async def run() -> None:
        async with app_of(tmp_path).running():
            pass

    asyncio.run(run())
    lines = [line for line in capfd.readouterr().err.splitlines() if "figures_ignored" in line or "ignored" in line]
    assert any("measured.json" in line for line in lines)
    assert msgspec.json.decode((tmp_path / "measured.json").read_bytes())["version"] == 1

"""The bench of engines: what it calls a miss, how it counts memory; the plain swapper beside the fleet."""

import asyncio
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bench.fleet.engines import PAGE, Row, judged_again, line_of, machine
from bench.fleet.house import LONG, REQUESTS, SHORT, alone_bytes, request_for, settings_for
from bench.fleet.page import said_on
from bench.fleet.sidebyside import Outcome, Swapper
from bench.fleet.soak import copies

from pointsman.clock import SystemClock
from pointsman.settings import load
from pointsman.testing.backend import ScriptedBackend

ROW = Row("m", "llama_cpp", 1.2, 1.0, None, 1.5, 0.05, 100, 95)
SHIPPED = load(Path(__file__).parents[2] / "pointsman.yaml").models


def test_each_target_can_be_missed() -> None:
    assert line_of(ROW) == "| m | llama_cpp | 1.20 | 1.00 | – | 1.50 | 0.05 | 0 | 0 | +5.3% | met |"
    assert "| 1.20 | 1.00 | – | – | 0.05 |" in line_of(replace(ROW, switch_s=None))
    for miss, name in (
        ({"load_s": 5.0}, "load from disk"),
        ({"again_s": 5.0}, "load again"),
        ({"wake_s": 2.0}, "wake"),
        ({"switch_s": 2.0}, "switch"),
        ({"measured_bytes": 80}, "estimate"),
        ({"estimated_bytes": 80}, "estimate"),
        ({"load_s": 6.0, "switch_s": 3.0}, "load from disk, switch"),
    ):
        assert line_of(replace(ROW, **miss)).endswith(f" | misses {name} |")
    assert line_of(replace(ROW, switch_s=None)).endswith(" | met |")
    assert "of memory" in machine()


def test_the_page_says_of_its_own_figures_which_targets_they_miss() -> None:
    """If not: `python -m bench.fleet.engines --judge`."""
    said = said_on(PAGE, "engines")
    assert judged_again(said) == said
    assert said.count("| met |") + len(re.findall(r"\| misses [a-z, ]+ \|$", said, re.MULTILINE)) > 3


def test_memory_counts_a_shared_file_once_and_whole(tmp_path: Path) -> None:
    size = 40_000_000
    file = tmp_path / "weights"
    file.write_bytes(os.urandom(size))
    code = "import mmap, sys; f = open(sys.argv[1]); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); "
    code += "sum(m[::4096]); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(file)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as two,
    ):
        for process in (one, two):
            assert process.stdout
            process.stdout.readline()
        alone, both = alone_bytes([one.pid]), alone_bytes([one.pid, two.pid])
        assert size < alone < size + 30_000_000
        assert alone < both < alone + size / 2
        one.kill()
        two.kill()
    assert alone_bytes([one.pid]) == 0


@pytest.mark.parametrize("model", SHIPPED, ids=lambda model: model.id)
def test_every_shipped_model_has_a_request_and_settings_of_its_own(model: object) -> None:
    (one,) = (each for each in SHIPPED if each is model)
    assert one.backend in {"llama_cpp", *REQUESTS}
    alone = settings_for((one,), memory_budget_gb=2.0)
    assert [each.id for each in alone.models] == [one.id]
    assert (alone.fleet.min_resident_s, alone.fleet.memory_budget_gb) == (0, 2.0)
    for words in (SHORT, LONG):
        path, content_type, body = request_for(one, words)
        assert path.startswith("/v1/")
        assert content_type
        assert one.id.encode() in body


def test_the_swapper_serves_in_order_and_evicts_the_longest_unused() -> None:
    async def scenario() -> tuple[int, list[int]]:
        backends = {name: ScriptedBackend(SystemClock(), name) for name in "abc"}
        swapper = Swapper(backends, 2)
        for name in "abaca":
            async with swapper.lend(name) as endpoint:
                assert endpoint.base_url
        await swapper.close()
        return swapper.loads, [backends[name].stop_count for name in "abc"]

    loads, stops = asyncio.run(scenario())
    assert loads == 3
    assert stops == [1, 1, 1]


def test_outcomes_are_rows() -> None:
    one = Outcome(waits_s=[3.0, 1.0, 2.0], gave_up=2, loads=10)
    assert one.row(0.5, "fleet") == "| 0.5 s | fleet | 3 | 2 | 2.0 | 2.0 | 7 |"


def test_copies_share_no_file(tmp_path: Path) -> None:
    weights = tmp_path / "w"
    weights.write_bytes(b"GGUF")
    made = copies(weights, tmp_path, 3, prefix="x")
    assert [one["id"] for one in made] == ["x-0", "x-1", "x-2"]
    assert len({Path(one["source"]["file"]).stat().st_ino for one in made}) == 3

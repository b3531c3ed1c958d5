"""Seconds of abuse with real engines: more callers, more models and more kills than anybody deserves."""

from pathlib import Path

import pytest
from bench.fleet.clients import Ending
from bench.fleet.soak import Plan, report, soak

pytestmark = pytest.mark.real


def test_every_request_ends_once_and_nothing_is_left(tmp_path: Path) -> None:
    plan = Plan(seconds=20, clients=40, models=4, resident=2, kill_every_s=3)
    found = soak(plan, tmp_path)
    assert found.violations() == [], "\n".join(report(plan, found))
    assert found.kills > 0
    assert sum(told.ending is Ending.ANSWERED for told in found.told) > 20
    assert max(sample.ready for sample in found.samples) == plan.resident

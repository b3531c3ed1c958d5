"""The fleet's news reach the log and the metrics."""

import os

from pointsman.clock import SystemClock
from pointsman.fleet import values as fleet
from pointsman.ledger.log import Log
from pointsman.ledger.metrics import Metrics
from pointsman.ledger.writer import LineWriter
from pointsman.newsroom import Newsroom
from pointsman.types import World

NEWS: tuple[fleet.News, ...] = (
    fleet.Loaded(deployment_id="m#0", model_id="m", load_s=1.5, memory_bytes=10),
    fleet.LoadFailed(deployment_id="m#0", model_id="m", why="no such file", failures=2, retry_in_s=1),
    fleet.Died(deployment_id="m#0", model_id="m", code=-9, why="killed", lived_s=3, leases=1),
    fleet.Restarting(deployment_id="m#0", model_id="m", restarts=1),
    fleet.Unloading(deployment_id="m#0", model_id="m", why=fleet.Why.EVICTED, age_s=7, memory_bytes=10),
)


def test_all_news_are_written_and_counted() -> None:
    readable, writable = os.pipe()
    log = Log(LineWriter(writable), SystemClock())
    metrics = Metrics(["m"], World, "0")
    newsroom = Newsroom(log, metrics.fleet)
    for news in NEWS:
        newsroom.hear(news)
    log.close()
    os.close(writable)
    with os.fdopen(readable, "rb") as lines:
        written = lines.read().decode().splitlines()
    assert len(written) == len(NEWS)
    for said in ("model_loaded", "no such file", "killed", "number 1", "evicted"):
        assert any(said in line for line in written)
    exposition = metrics.render().decode()
    for series in (
        'agent_router_fleet_loads_total{model="m",result="ok"} 1.0',
        'agent_router_fleet_loads_total{model="m",result="failed"} 1.0',
        'agent_router_fleet_exits_total{model="m"} 1.0',
        'agent_router_fleet_evictions_total{model="m"} 1.0',
    ):
        assert series in exposition

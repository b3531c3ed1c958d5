"""The fleet's news reach the log and the metrics."""

import asyncio
import os

from pointsman.clock import SystemClock
from pointsman.edge.admin import Action, Change
from pointsman.fleet import events as fleet
from pointsman.fleet.values import Why
from pointsman.ledger.log import Log
from pointsman.ledger.metrics import Metrics
from pointsman.ledger.writer import LineWriter
from pointsman.newsroom import Newsroom
from pointsman.testing.clock import FakeClock
from pointsman.types import Breaker, World

NEWS: tuple[fleet.News, ...] = (
    fleet.Loaded(deployment_id="m#0", model_id="m", load_s=1.5, memory_bytes=10),
    fleet.LoadFailed(deployment_id="m#0", model_id="m", why="no such file", failures=2, retry_in_s=1),
    fleet.Died(deployment_id="m#0", model_id="m", code=-9, why="killed", lived_s=3, leases=1),
    fleet.Restarting(deployment_id="m#0", model_id="m", restarts=1),
    fleet.Unloading(deployment_id="m#0", model_id="m", why=Why.EVICTED, age_s=7, memory_bytes=10),
    fleet.FellAsleep(deployment_id="m#0", model_id="m", took_s=1.5, memory_bytes=10, freed_bytes=77_000_000),
    fleet.Sleepless(deployment_id="m#0", model_id="m", why="nothing came back"),
    fleet.Woke(deployment_id="m#0", model_id="m", took_s=0.7, memory_bytes=10),
    fleet.WakeUpFailed(deployment_id="m#0", model_id="m", why="no answer"),
    fleet.BreakerMoved(
        deployment_id="m#0", model_id="m", before=Breaker.CLOSED, after=Breaker.OPEN, why="5 in a row", retry_in_s=10
    ),
)


def heard(*news: fleet.News, attached: frozenset[str] = frozenset()) -> tuple[list[str], str]:
    """The lines and the exposition."""
    readable, writable = os.pipe()
    log = Log(LineWriter(writable), SystemClock())
    metrics = Metrics(["m"], World, "0")
    newsroom = Newsroom(log, metrics.fleet, lambda name: name in attached)
    for one in news:
        newsroom.hear(one)
    log.close()
    os.close(writable)
    with os.fdopen(readable, "rb") as lines:
        return lines.read().decode().splitlines(), metrics.render().decode()


def test_what_runs_elsewhere_is_neither_loaded_nor_stopped() -> None:
    lines, exposition = heard(*NEWS, attached=frozenset({"m#0"}))
    assert len(lines) == len(NEWS) - 1
    assert "answers at its URL" in lines[0]
    assert not any("model_loaded" in line or "unloading" in line for line in lines)
    assert 'loads_total{model="m",result="ok"} 1.0' not in exposition
    assert 'agent_router_fleet_exits_total{model="m"} 1.0' in exposition


def test_all_news_are_written_and_counted() -> None:
    written, exposition = heard(*NEWS)
    assert len(written) == len(NEWS)
    for said in (
        "model_loaded",
        "no such file",
        "killed",
        "number 1",
        "evicted",
        "77 MB",
        "nothing came back",
        "0.7 s",
        "no answer",
        "5 in a row",
    ):
        assert any(said in line for line in written)
    for series in (
        'agent_router_fleet_loads_total{model="m",result="ok"} 1.0',
        'agent_router_fleet_loads_total{model="m",result="failed"} 1.0',
        'agent_router_fleet_exits_total{model="m"} 1.0',
        'agent_router_fleet_evictions_total{model="m"} 1.0',
        'agent_router_fleet_sleeps_total{model="m",result="ok"} 1.0',
        'agent_router_fleet_sleeps_total{model="m",result="failed"} 1.0',
        'agent_router_fleet_sleep_seconds_sum{model="m"} 1.5',
        'agent_router_fleet_wakes_total{model="m",result="ok"} 1.0',
        'agent_router_fleet_wakes_total{model="m",result="failed"} 1.0',
        'agent_router_fleet_wake_seconds_sum{model="m"} 0.7',
        'agent_router_breaker_transitions_total{model="m",state="open"} 1.0',
    ):
        assert series in exposition


def test_a_switch_is_from_the_eviction_to_the_answer() -> None:
    metrics, clock = Metrics(["a", "b", "c"], World, "0"), FakeClock()
    log = Log(LineWriter(os.open(os.devnull, os.O_WRONLY)), clock)
    newsroom = Newsroom(log, metrics.fleet, lambda _: False, clock)

    def loaded(model: str, load_s: float) -> None:
        newsroom.hear(fleet.Loaded(deployment_id=model, model_id=model, load_s=load_s, memory_bytes=1))

    async def scene() -> None:
        loaded("a", 1.0)  # nobody left for it
        for victim in ("a", "c"):
            gone = fleet.Unloading(deployment_id=victim, model_id=victim, why=Why.EVICTED, age_s=1, memory_bytes=1)
            newsroom.hear(gone)
            await clock.advance(0.25)
        await clock.advance(2)
        loaded("b", 2.0)  # began when both had gone
        await clock.advance(9)
        loaded("c", 1.0)

    asyncio.run(scene())
    log.close()
    exposition = metrics.render().decode()
    assert 'agent_router_fleet_switch_seconds_sum{model="b"} 2.5' in exposition
    assert 'agent_router_fleet_switch_seconds_count{model="b"} 1.0' in exposition
    assert 'agent_router_fleet_switch_seconds_count{model="c"}' not in exposition


def test_an_operator_s_change_is_written_and_counted() -> None:
    readable, writable = os.pipe()
    log, metrics = Log(LineWriter(writable), SystemClock()), Metrics(["m"], World, "0")
    newsroom = Newsroom(log, metrics.fleet)
    newsroom.hear_change(Change(action=Action.LOAD, model_id="m", result="loading_failed", who="127.0.0.1"))
    newsroom.hear_change(Change(action=Action.POINT, model_id="m", result="ok", who="127.0.0.1", alias="small"))
    log.close()
    os.close(writable)
    with os.fdopen(readable, "rb") as lines:
        first, second = lines.read().decode().splitlines()
    assert '"level":"warning"' in first
    assert "load m: loading_failed" in first
    assert "point small → m: ok" in second
    exposition = metrics.render().decode()
    assert 'agent_router_admin_changes_total{action="load",model="m",result="loading_failed"} 1.0' in exposition

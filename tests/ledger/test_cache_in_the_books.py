"""What the books say of a kept answer: whose it once was, what it saved, and nothing of a model's work."""

import asyncio

import msgspec
from prometheus_client import CollectorRegistry, generate_latest

from pointsman.ledger.cache_metrics import CacheMetrics
from pointsman.ledger.cost import Spent
from pointsman.ledger.entry import Ledger
from pointsman.ledger.lines import line_of
from pointsman.ledger.metrics import Metrics
from pointsman.ledger.series import Maker
from pointsman.ledger.stats import statistics_of
from pointsman.ledger.tally import Tally
from pointsman.ledger.terminal import request_line
from pointsman.testing.clock import FakeClock
from pointsman.testing.decisions import ask, measured
from pointsman.types import Outcome, Reply, RoutingMetadata, Usage, World
from pointsman.types_cache import CacheView, Found

BODY = b'{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}'


class Kept:
    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def closed(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


def found(how: str = "hit", waited_s: float = 0.0) -> Found:
    reply = Reply(status=200, content_type="application/json", body=BODY)
    return Found(how=how, reply=reply, model_id="small", signals=measured("code"), waited_s=waited_s)


def booked(*looks: Found, advance_s: float = 0.0) -> tuple[Outcome, RoutingMetadata | None]:
    """The Outcome of a request whose looks into the cache came to these, and the reply's metadata."""
    kept, clock = Kept(), FakeClock()

    async def run() -> RoutingMetadata | None:
        request = msgspec.structs.replace(ask(), received_s=clock.now())
        async with Ledger(clock, (kept,), {"small": "Small 1B"}).open(request) as entry:
            await clock.advance(advance_s)
            replies = [entry.sought(look) for look in looks]
            assert all(reply is None for reply in replies[:-1])
            return replies[-1].metadata if replies[-1] is not None else None

    metadata = asyncio.run(run())
    return kept.outcomes[0], metadata


def test_a_hit_names_the_model_that_once_answered_and_costs_nothing() -> None:
    outcome, metadata = booked(found())
    assert (outcome.status, outcome.cache, outcome.cached_model, outcome.attempts) == ("success", "hit", "small", ())
    assert (outcome.usage, outcome.saved) == (Usage(), Usage(prompt_tokens=7, completion_tokens=2))
    assert metadata is not None
    assert (metadata.model_id, metadata.model_name, metadata.intent) == ("small", "Small 1B", "code")
    assert (metadata.cache, metadata.attempts, metadata.fallback_used) == ("hit", 0, False)


def test_a_semantic_hit_comes_after_a_miss_and_bypass_is_the_default() -> None:
    assert booked(Found(how="miss"), found("semantic"))[0].cache == "semantic"
    assert booked(Found(how="miss"), Found(how="miss"))[0].cache == "miss"
    assert booked(Found(how="bypass"))[0].cache == booked(Found(how="bypass"), Found(how="bypass"))[0].cache == "bypass"


def test_waiting_for_an_equal_request_is_no_work_of_ours() -> None:
    outcome, _ = booked(found(waited_s=2.0), advance_s=2.0)
    assert (outcome.total_s, outcome.overhead_s) == (2.0, 0.0)


def test_the_line_says_so() -> None:
    line = line_of(booked(found())[0])
    assert (line.model, line.cache, line.prompt_tokens) == ("small", "hit", 0)
    assert b"cache hit" in request_line(line)
    assert b"cache" not in request_line(line_of(booked(Found(how="miss"), Found(how="miss"))[0]))


def test_metrics_count_looks_and_what_was_saved_but_no_work() -> None:
    metrics = Metrics(("small",), World, "0")
    metrics.cache.watch(lambda: CacheView(entries=3, size_bytes=99, evicted=2, failed=1, is_up=False))
    outcome, _ = booked(found())
    metrics.closed(outcome)
    page = metrics.render().decode()
    for sample in (
        'agent_router_cache_requests_total{result="hit"} 1.0',
        'agent_router_cache_saved_tokens_total{model="small"} 9.0',
        'agent_router_requests_total{intent="code",model="small",status="success"} 1.0',
        "agent_router_classification_latency_seconds_count 0.0",
        "agent_router_cache_entries 3.0",
        "agent_router_cache_bytes 99.0",
        "agent_router_cache_evictions_total 2.0",
        "agent_router_cache_store_errors_total 1.0",
        "agent_router_cache_store_up 0.0",
    ):
        assert sample in page
    assert "agent_router_tokens_total{" not in page
    assert "agent_router_latency_seconds_count{" not in page


def test_a_name_nobody_configured_mints_no_series() -> None:
    metrics = Metrics(("other",), World, "0")
    metrics.closed(booked(found())[0])
    assert 'agent_router_cache_saved_tokens_total{model="unknown"} 9.0' in metrics.render().decode()


def test_without_a_cache_nothing_is_said_of_what_it_holds() -> None:
    registry = CollectorRegistry()
    CacheMetrics(Maker(registry))
    assert b"cache_entries" not in generate_latest(registry)


def test_a_kept_answer_says_nothing_of_a_models_latency() -> None:
    tally = Tally(("small",), lambda: 0.0)
    tally.closed(booked(found())[0], Spent(cost=0.0, baseline_cost=0.0, gpu_s=0.0))
    stats = statistics_of(tally, 0)
    (model,) = stats.models
    assert (model.model_id, model.count, model.avg_latency_ms) == ("small", 1, 0.0)
    assert (stats.p50_latency_ms, stats.prompt_tokens) == (0.0, 0)

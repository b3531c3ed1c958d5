"""The names operators rely on, bounded labels, and what an update costs."""

import platform

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from pointsman.ledger.metrics import Metrics
from pointsman.testing.decisions import cold, hot, measured, world
from pointsman.types import Attempt, Breaker, Candidate, DeploymentView, Kind, Outcome, Plan, Signals, Usage, World

CONTRACT = {
    "agent_router_requests_total": {"model", "intent", "status"},
    "agent_router_model_requests_total": {"model"},
    "agent_router_fallback_requests_total": {"from_model", "to_model"},
    "agent_router_fallback_rate": {"model"},
    "agent_router_latency_seconds": {"model", "intent"},
    "agent_router_classification_latency_seconds": set(),
    "agent_router_intent_classification_total": {"intent", "confidence"},
    "agent_router_model_health": {"model"},
    "agent_router_errors_total": {"model", "error_type"},
}
MORE = {
    "agent_router_time_to_first_token_seconds",
    "agent_router_overhead_seconds",
    "agent_router_tokens_total",
    "agent_router_language_requests_total",
    "agent_router_requests_in_flight",
    "agent_router_fleet_loads_total",
    "agent_router_fleet_load_seconds",
    "agent_router_fleet_evictions_total",
    "agent_router_fleet_age_at_eviction_seconds",
    "agent_router_fleet_switch_seconds",
    "agent_router_fleet_sleeps_total",
    "agent_router_fleet_sleep_seconds",
    "agent_router_fleet_wakes_total",
    "agent_router_fleet_wake_seconds",
    "agent_router_fleet_gpu_memory_used_bytes",
    "agent_router_fleet_gpu_memory_budget_bytes",
    "agent_router_fleet_exits_total",
    "agent_router_fleet_restarts_total",
    "agent_router_fleet_memory_used_bytes",
    "agent_router_fleet_memory_budget_bytes",
    "agent_router_deployment_queued",
    "agent_router_deployment_in_flight",
    "agent_router_build_info",
    "process_resident_memory_bytes",
}


def attempt(model: str, error: str = "") -> Attempt:
    return Attempt(deployment_id=f"{model}/1", model_id=model, started_s=0.0, error=error)


def outcome(
    *attempts: Attempt,
    meant: str = "small",
    asked: str = "auto",
    status: str = "success",
    error: str = "",
    signals: Signals | None = None,
    stream: bool = True,
) -> Outcome:
    candidates = (Candidate(deployment_id=meant, model_id=meant, score=1.0),) if meant else ()
    return Outcome(
        request_id="r",
        kind=Kind.CHAT,
        asked_model=asked,
        status=status,
        http_status=200,
        signals=signals or measured("code", p=0.9),
        plan=Plan(candidates=candidates, rejected=(), strategy="balanced", reason=""),
        attempts=attempts,
        usage=Usage(prompt_tokens=2, completion_tokens=3),
        stream=stream,
        total_s=0.7,
        classify_s=0.0004,
        decide_s=0.0,
        wait_s=0.0,
        upstream_s=0.6,
        first_byte_s=0.2,
        error=error,
        overhead_s=0.002,
    )


def metrics_of(*outcomes: Outcome, of: World | None = None) -> Metrics:
    metrics = Metrics(("small", "large"), lambda: of or world(), "1.2.3", lambda: 3)
    for one in outcomes:
        metrics.closed(one)
    return metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[name, tuple(sorted(labels.items()))]


def test_names_and_labels_are_the_contract() -> None:
    metrics = metrics_of(outcome(attempt("small", "upstream_timeout"), attempt("large")), of=world(hot("small", "s/1")))
    metrics.fleet.loaded("small", 0.7)
    metrics.fleet.evicted("large", 60.0)
    metrics.fleet.exited("small")
    metrics.fleet.switched("small", 1.5)
    metrics.fleet.slept("small", 0.5)
    metrics.fleet.woke("small", 0.5)
    metrics.fleet.watch_gpus(lambda: ((0, 6, 8), (1, 0, 8)))
    assert value(metrics, "agent_router_fleet_gpu_memory_used_bytes", gpu="0") == 6
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            name = sample.name
            if family.type == "histogram":
                name = name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
            found.setdefault(name, set()).update(set(sample.labels) - {"le"})
    assert {name: found.get(name) for name in CONTRACT} == CONTRACT
    assert found.keys() >= MORE
    assert not [name for name in found if name.endswith("_created")]


def test_one_success() -> None:
    metrics = metrics_of(outcome(attempt("small")))
    assert value(metrics, "agent_router_requests_total", model="small", intent="code", status="success") == 1
    assert value(metrics, "agent_router_model_requests_total", model="small") == 1
    assert value(metrics, "agent_router_latency_seconds_sum", model="small", intent="code") == 0.7
    assert value(metrics, "agent_router_time_to_first_token_seconds_sum", model="small") == 0.2
    assert value(metrics, "agent_router_overhead_seconds_sum") == 0.002
    assert value(metrics, "agent_router_classification_latency_seconds_bucket", le="0.0005") == 1
    assert value(metrics, "agent_router_intent_classification_total", intent="code", confidence="high") == 1
    assert value(metrics, "agent_router_tokens_total", model="small", direction="prompt") == 2
    assert value(metrics, "agent_router_tokens_total", model="small", direction="completion") == 3
    assert value(metrics, "agent_router_requests_in_flight") == 3
    assert value(metrics, "agent_router_fallback_rate", model="small") == 0
    assert value(metrics, "agent_router_build_info", version="1.2.3", python=platform.python_version()) == 1


def test_a_fallback_counts_for_the_model_that_was_meant() -> None:
    fell = outcome(attempt("small", "upstream_timeout"), attempt("large"))
    metrics = metrics_of(fell, outcome(attempt("small")), outcome(attempt("small")), outcome(attempt("small")))
    assert value(metrics, "agent_router_fallback_requests_total", from_model="small", to_model="large") == 1
    assert value(metrics, "agent_router_fallback_rate", model="small") == 0.25
    assert value(metrics, "agent_router_fallback_rate", model="large") == 0
    assert value(metrics, "agent_router_errors_total", model="small", error_type="upstream_timeout") == 1
    assert value(metrics, "agent_router_requests_total", model="large", intent="code", status="success") == 1


def test_the_fallback_rate_is_of_recent_requests() -> None:
    metrics = metrics_of()
    for _ in range(1000):
        metrics.closed(outcome(attempt("large")))
    for _ in range(900):
        metrics.closed(outcome(attempt("small")))
    assert value(metrics, "agent_router_fallback_rate", model="small") == 0.1


def test_an_error_is_counted_once() -> None:
    alone = outcome(attempt("small", "upstream_timeout"), status="error", error="upstream_timeout")
    walk = outcome(
        attempt("small", "upstream_cut"), attempt("large", "upstream_cut"), status="error", error="plan_exhausted"
    )
    before = outcome(status="client_error", error="context_length_exceeded")
    metrics = metrics_of(alone, walk, before)
    errors = {k[1]: v for k, v in samples(metrics).items() if k[0] == "agent_router_errors_total"}
    assert {(dict(k)["model"], dict(k)["error_type"]): v for k, v in errors.items()} == {
        ("small", "upstream_timeout"): 1,
        ("small", "upstream_cut"): 1,
        ("large", "upstream_cut"): 1,
        ("large", "plan_exhausted"): 1,
        ("small", "context_length_exceeded"): 1,
    }


def test_misspelt_names_mint_no_series() -> None:
    odd = msgspec.structs.replace(measured("code"), intent=measured("code").language)
    metrics = metrics_of(outcome(meant="", asked="smal", status="client_error", error="model_not_found"))
    before = len(samples(metrics))
    for number in range(10_000):
        missing = outcome(meant="", asked=f"smal{number}", status="client_error", error="model_not_found")
        metrics.closed(missing)
        metrics.closed(outcome(attempt(f"m{number}", f"e{number}"), status="error", error=f"e{number}", signals=odd))
        metrics.fleet.exited(f"m{number}")
    after = samples(metrics)
    assert len(after) - before < 10
    assert {dict(labels).get("model", "small") for _, labels in after} <= {"small", "large", "unknown"}
    assert after["agent_router_errors_total", (("error_type", "internal_error"), ("model", "unknown"))] == 10_000


def test_health_is_that_of_the_best_deployment() -> None:
    def ill(view: DeploymentView, breaker: Breaker) -> DeploymentView:
        return msgspec.structs.replace(view, breaker=breaker, queued=3, restarts=2)

    now = world(ill(hot("small", "s/1"), Breaker.OPEN), ill(hot("small", "s/2"), Breaker.HALF_OPEN), cold("large"))
    metrics = metrics_of(of=now)
    assert value(metrics, "agent_router_model_health", model="small") == 0.5
    assert value(metrics, "agent_router_model_health", model="large") == 1
    assert value(metrics, "agent_router_deployment_queued", deployment="s/1", model="small") == 3
    assert value(metrics, "agent_router_fleet_restarts_total", deployment="s/2", model="small") == 2
    assert value(metrics, "agent_router_deployment_tier", deployment="large", model="large", tier="cold") == 1
    assert value(metrics, "agent_router_deployment_tier", deployment="large", model="large", tier="hot") == 0


def test_fleet_events() -> None:
    metrics = metrics_of()
    metrics.fleet.loaded("small", 0.8)
    metrics.fleet.load_failed("small")
    metrics.fleet.evicted("small", 61.0)
    metrics.fleet.exited("small")
    assert value(metrics, "agent_router_fleet_loads_total", model="small", result="ok") == 1
    assert value(metrics, "agent_router_fleet_loads_total", model="small", result="failed") == 1
    assert value(metrics, "agent_router_fleet_load_seconds_sum", model="small") == 0.8
    assert value(metrics, "agent_router_fleet_age_at_eviction_seconds_sum", model="small") == 61.0
    assert value(metrics, "agent_router_fleet_evictions_total", model="small") == 1
    assert value(metrics, "agent_router_fleet_exits_total", model="small") == 1


def test_two_registries_do_not_meet() -> None:
    assert value(metrics_of(outcome(attempt("small"))), "agent_router_model_requests_total", model="small") == 1
    assert ("agent_router_model_requests_total", (("model", "small"),)) not in samples(metrics_of())


def test_languages_are_a_closed_set_whatever_a_caller_names() -> None:
    metrics = Metrics(["small"], World, "0")
    for language in ("hi", "und", "tlh", "x" * 99):
        metrics.closed(outcome(attempt("small"), signals=measured(language=language)))
    found = {line.split("{")[1].split("}")[0] for line in metrics.render().decode().splitlines() if "language=" in line}
    assert found == {f'complexity="medium",language="{name}"' for name in ("hi", "und", "other")}

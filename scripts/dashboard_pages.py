"""The pages of an operator: traffic, and the models behind it."""

from scripts.dashboard_parts import (
    BAD,
    FAILED_SHARE,
    FIRST,
    GOOD,
    HEALTH,
    LATENCY,
    MEMORY_LIMITS,
    OF_MODEL,
    REQUESTS,
    SHARE_LIMITS,
    STATUS_COLOURS,
    WARN,
    Dashboard,
    Panel,
    Row,
    a_minute,
    p,
    rate,
)

OURS = '{job="pointsman"}'

TRAFFIC = Dashboard(
    "traffic",
    "Traffic and latency",
    "What comes in, how it ends and how long it takes.",
    (
        Row(
            "Now",
            (
                Panel("Requests", (("", rate(REQUESTS)),), "stat", "reqps", 4, 4),
                Panel("Fail", (("", FAILED_SHARE),), "stat", "percentunit", 4, 4, limits=SHARE_LIMITS),
                Panel("p95", (("", p(0.95, LATENCY)),), "stat", "s", 4, 4, "From arrival to the last byte."),
                Panel("First token, p95", (("", p(0.95, FIRST)),), "stat", "s", 4, 4, "Of streams, from arrival."),
                Panel("Under way", (("", "sum(agent_router_requests_in_flight)"),), "stat", "short", 4, 4),
                Panel(
                    "Own work, p99",
                    (("", p(0.99, "agent_router_overhead_seconds")),),
                    "stat",
                    "s",
                    4,
                    4,
                    "What the gateway itself adds: time to the answer less all waiting.",
                    ((None, GOOD), (0.01, WARN), (0.05, BAD)),
                ),
            ),
        ),
        Row(
            "Traffic",
            (
                Panel(
                    "Requests by how they ended",
                    (("{{status}}", rate(REQUESTS, "status")),),
                    "stack",
                    "reqps",
                    12,
                    colours=STATUS_COLOURS,
                ),
                Panel("Requests by model", (("{{model}}", rate(REQUESTS, "model", OF_MODEL)),), "stack", "reqps", 12),
                Panel(
                    "Errors by model and kind",
                    (("{{model}} {{error_type}}", rate("agent_router_errors_total", "model, error_type")),),
                    "stack",
                    "reqps",
                    12,
                    about="Failed attempts, and requests that failed without one.",
                ),
                Panel(
                    "Error budget: how fast it burns",
                    (
                        ("over 5 minutes", "pointsman:failures:ratio_rate5m / 0.001"),
                        ("over an hour", "pointsman:failures:ratio_rate1h / 0.001"),
                        ("over six hours", "pointsman:failures:ratio_rate6h / 0.001"),
                    ),
                    unit="short",
                    width=12,
                    about="1 spends the budget of 0.1 % in a month; 14.4 spends 2 % of it in an hour, and pages.",
                    limits=((None, GOOD), (1, WARN), (14.4, BAD)),
                ),
            ),
        ),
        Row(
            "Latency",
            (
                Panel(
                    "All answers",
                    tuple((name, p(q, LATENCY)) for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))),
                    unit="s",
                ),
                Panel("p95 by model", (("{{model}}", p(0.95, LATENCY, "model", OF_MODEL)),), unit="s"),
                Panel("First token of streams, p95", (("{{model}}", p(0.95, FIRST, "model", OF_MODEL)),), unit="s"),
                Panel(
                    "Own work",
                    tuple(
                        (name, p(q, "agent_router_overhead_seconds"))
                        for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
                    ),
                    unit="s",
                    width=12,
                ),
                Panel(
                    "Understanding",
                    (
                        ("classify, p50", p(0.5, "agent_router_classification_latency_seconds")),
                        ("classify, p99", p(0.99, "agent_router_classification_latency_seconds")),
                    ),
                    unit="s",
                    width=12,
                ),
            ),
        ),
        Row(
            "The gateway itself",
            (
                Panel(
                    "Memory",
                    (("{{instance}}", f"process_resident_memory_bytes{OURS}"),),
                    unit="bytes",
                    width=6,
                    about="Resident, engines not counted.",
                ),
                Panel("Cores", (("{{instance}}", rate("process_cpu_seconds_total", "instance", OURS)),), width=6),
                Panel(
                    "Open files, of those it may have",
                    (("{{instance}}", f"process_open_fds{OURS} / process_max_fds{OURS}"),),
                    unit="percentunit",
                    width=6,
                ),
                Panel(
                    "Told to webhooks and collectors",
                    (
                        ("alerts {{result}}", a_minute("agent_router_alerts_total", "result")),
                        ("traces {{result}}", a_minute("agent_router_traces_total", "result")),
                    ),
                    width=6,
                ),
            ),
        ),
    ),
    (("model", "label_values(agent_router_model_health, model)"),),
)

USED, BUDGET = "agent_router_fleet_memory_used_bytes", "agent_router_fleet_memory_budget_bytes"
BUSY, SLOTS = "agent_router_deployment_in_flight", "agent_router_deployment_slots"
GPU_USED, GPU_BUDGET = "agent_router_fleet_gpu_memory_used_bytes", "agent_router_fleet_gpu_memory_budget_bytes"

FLEET = Dashboard(
    "fleet",
    "Models and fleet",
    "Which models are there, what they hold, and how they come and go.",
    (
        Row(
            "Memory",
            (
                Panel(
                    "Of the budget",
                    (
                        ("host {{instance}}", f"{USED} / ({BUDGET} > 0)"),
                        ("GPU {{gpu}} {{instance}}", f"{GPU_USED} / ({GPU_BUDGET} > 0)"),
                    ),
                    "bars",
                    "percentunit",
                    8,
                    limits=MEMORY_LIMITS,
                    highest=1,
                ),
                Panel(
                    "By deployment",
                    (("{{deployment}}", "sum by (deployment) (agent_router_deployment_memory_bytes) > 0"),),
                    "bars",
                    "bytes",
                    8,
                    about="What a deployment holds, or would when it is ready.",
                ),
                Panel(
                    "Used and budget",
                    (("used {{instance}}", USED), ("budget {{instance}}", BUDGET)),
                    unit="bytes",
                    colours=(("/budget.*/", "red"),),
                ),
            ),
        ),
        Row(
            "Health and load",
            (
                Panel("Health", (("{{model}}", "max by (model) (agent_router_model_health)"),), "states", words=HEALTH),
                Panel(
                    "Ready",
                    (("{{deployment}}", 'max by (deployment) (agent_router_deployment_tier{tier="hot"})'),),
                    "states",
                    words=((0, "not loaded", "text"), (1, "hot", GOOD)),
                ),
                Panel(
                    "Breakers that opened",
                    (("{{model}}", a_minute("agent_router_breaker_transitions_total", "model", '{state="open"}')),),
                    "stack",
                ),
                Panel(
                    "Busy: answers under way, of what it can",
                    (
                        (
                            "{{deployment}}",
                            f"sum by (deployment) ({BUSY}) / (sum by (deployment) ({SLOTS}) > 0)",
                        ),
                    ),
                    unit="percentunit",
                ),
                Panel("Queue", (("{{deployment}}", "sum by (deployment) (agent_router_deployment_queued)"),), "stack"),
                Panel(
                    "Estimated time until it could answer",
                    (("{{deployment}}", "max by (deployment) (agent_router_deployment_ready_in_seconds)"),),
                    unit="s",
                ),
            ),
        ),
        Row(
            "Coming and going",
            (
                Panel(
                    "Loads",
                    (("{{model}} {{result}}", a_minute("agent_router_fleet_loads_total", "model, result")),),
                    "stack",
                ),
                Panel(
                    "Put out for want of room",
                    (("{{model}}", a_minute("agent_router_fleet_evictions_total", "model")),),
                    "stack",
                ),
                Panel(
                    "Died, and were restarted",
                    (
                        ("{{model}} died", a_minute("agent_router_fleet_exits_total", "model")),
                        ("{{model}} restarted", a_minute("agent_router_fleet_restarts_total", "model")),
                    ),
                    "stack",
                ),
                Panel(
                    "How long a load takes, p95",
                    (("{{model}}", p(0.95, "agent_router_fleet_load_seconds", "model")),),
                    unit="s",
                    width=6,
                ),
                Panel(
                    "How long a switch takes, p95",
                    (("{{model}}", p(0.95, "agent_router_fleet_switch_seconds", "model")),),
                    unit="s",
                    width=6,
                    about="From the first eviction before a load began to the answer of the model it was for.",
                ),
                Panel(
                    "How long those had been ready, median",
                    (("{{model}}", p(0.5, "agent_router_fleet_age_at_eviction_seconds", "model")),),
                    unit="s",
                    width=6,
                    about="Models put out for want of room. Short lives are thrash.",
                ),
                Panel(
                    "Sleeping and waking, p95",
                    (
                        ("{{model}} sleeps", p(0.95, "agent_router_fleet_sleep_seconds", "model")),
                        ("{{model}} wakes", p(0.95, "agent_router_fleet_wake_seconds", "model")),
                    ),
                    unit="s",
                    width=6,
                ),
            ),
        ),
    ),
)

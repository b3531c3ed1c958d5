"""The pages of an owner: what is asked, what it costs, who is on trial."""

from scripts.dashboard_parts import BAD, CALM, GOOD, REQUESTS, WARN, YES_NO, Dashboard, Panel, Row, a_minute, p, rate

INTENTS, LANGUAGES = "agent_router_intent_classification_total", "agent_router_language_requests_total"

ROUTING = Dashboard(
    "routing",
    "Routing and languages",
    "What is asked, how sure that is, and who answers.",
    (
        Row(
            "What is asked",
            (
                Panel("Tasks", (("{{intent}}", rate(INTENTS, "intent")),), "stack", "reqps", 12),
                Panel("Languages", (("{{language}}", rate(LANGUAGES, "language")),), "stack", "reqps", 12),
                Panel("How hard", (("{{complexity}}", rate(LANGUAGES, "complexity")),), "stack", "reqps"),
                Panel(
                    "How sure",
                    (("{{confidence}}", rate(INTENTS, "confidence")),),
                    "stack",
                    "reqps",
                    colours=(("high", "green"), ("medium", "yellow"), ("low", "orange"), ("none", "red")),
                ),
                Panel(
                    "Languages, of all",
                    (("{{language}}", f"sum by (language) ({LANGUAGES}) / on () group_left sum({LANGUAGES})"),),
                    "bars",
                    "percentunit",
                    about="Since the gateway started.",
                ),
            ),
        ),
        Row(
            "Who answers",
            (
                Panel(
                    "Model by task",
                    (("{{intent}} → {{model}}", rate(REQUESTS, "intent, model", '{status="success"}')),),
                    "stack",
                    "reqps",
                    12,
                ),
                Panel(
                    "Answered by another than was meant",
                    (("{{model}}", "max by (model) (agent_router_fallback_rate)"),),
                    unit="percentunit",
                    about="Share of each model's last 1000 requests.",
                    limits=((None, GOOD), (0.1, BAD)),
                    width=6,
                ),
                Panel(
                    "From whom to whom",
                    (
                        (
                            "{{from_model}} → {{to_model}}",
                            a_minute("agent_router_fallback_requests_total", "from_model, to_model"),
                        ),
                    ),
                    "stack",
                    width=6,
                ),
            ),
        ),
        Row(
            "The second opinion",
            (
                Panel(
                    "Asked, and what came of it",
                    (
                        ("answered", rate("pointsman_encoder_answered_total")),
                        ("without: {{reason}}", rate("pointsman_encoder_degraded_total", "reason")),
                    ),
                    "stack",
                    "reqps",
                    12,
                ),
                Panel(
                    "What asking costs",
                    (
                        ("p50", p(0.5, "pointsman_encoder_latency_seconds")),
                        ("p99", p(0.99, "pointsman_encoder_latency_seconds")),
                    ),
                    unit="s",
                    width=12,
                ),
            ),
        ),
    ),
)

CACHE, COST = "agent_router_cache_requests_total", "agent_router_cost_total"
HIT_SHARE = (
    f'(sum(rate({CACHE}{{result=~"hit|semantic"}}[$__rate_interval])) or vector(0))'
    f" / sum(rate({CACHE}[$__rate_interval]))"
)

MONEY = Dashboard(
    "money",
    "Cache and cost",
    "What answers cost, and what need not be asked again.",
    (
        Row(
            "Now",
            (
                Panel(
                    "Saved against the baseline",
                    (("", "avg(agent_router_savings_ratio)"),),
                    "stat",
                    "percentunit",
                    6,
                    4,
                    "Share of what the same tokens would have cost at the baseline model.",
                    ((None, WARN), (0.0, GOOD)),
                    lowest=-1,
                ),
                Panel(
                    "Spent in an hour", (("", f"sum(rate({COST}[$__rate_interval])) * 3600"),), "stat", "short", 6, 4
                ),
                Panel("Answered from the cache", (("", HIT_SHARE),), "stat", "percentunit", 6, 4),
                Panel("Tokens", (("", rate("agent_router_tokens_total")),), "stat", "short", 6, 4, "In a second."),
            ),
        ),
        Row(
            "Cost",
            (
                Panel(
                    "Spent, and what the baseline would have cost",
                    (
                        ("spent", f"sum(rate({COST}[$__rate_interval])) * 3600"),
                        ("baseline", "sum(rate(agent_router_baseline_cost_total[$__rate_interval])) * 3600"),
                    ),
                    width=8,
                    about="In an hour, in the settings' currency.",
                    colours=(("baseline", "red"), ("spent", "green")),
                ),
                Panel("By model", (("{{model}}", f"sum by (model) (rate({COST}[$__rate_interval])) * 3600"),), "stack"),
                Panel(
                    "By key",
                    (("{{key}}", "sum by (key) (rate(agent_router_key_cost_total[$__rate_interval])) * 3600"),),
                    "stack",
                ),
                Panel(
                    "Tokens by model",
                    (("{{model}} {{direction}}", rate("agent_router_tokens_total", "model, direction")),),
                    "stack",
                ),
                Panel("Time on GPUs", (("{{model}}", rate("agent_router_gpu_seconds_total", "model")),), "stack", "s"),
                Panel(
                    "Verdicts",
                    (
                        (
                            "{{model}} {{verdict}}",
                            a_minute("agent_router_feedback_total", "model, verdict"),
                        ),
                    ),
                    "stack",
                    about="What callers say of answers.",
                ),
            ),
        ),
        Row(
            "Cache",
            (
                Panel(
                    "What looking came to",
                    (("{{result}}", rate(CACHE, "result")),),
                    "stack",
                    "reqps",
                    colours=(("hit", "green"), ("semantic", "blue"), ("miss", "orange"), ("bypass", "text")),
                ),
                Panel(
                    "Tokens saved",
                    (("{{model}}", rate("agent_router_cache_saved_tokens_total", "model")),),
                    "stack",
                ),
                Panel("Kept", (("{{instance}}", "agent_router_cache_bytes"),), unit="bytes"),
                Panel(
                    "Coming and going",
                    (
                        ("kept", a_minute("agent_router_cache_puts_total")),
                        ("too old", a_minute("agent_router_cache_expired_total")),
                        ("no room", a_minute("agent_router_cache_evictions_total")),
                        ("too large", a_minute("agent_router_cache_too_large_total")),
                    ),
                ),
                Panel("Shared store", (("{{instance}}", "agent_router_cache_store_up"),), "states", words=YES_NO),
                Panel(
                    "Rows for the ledger",
                    (("{{result}}", a_minute("agent_router_ledger_rows_total", "result")),),
                    "stack",
                    colours=(("dropped", "red"), ("refused", "red"), ("written", "green")),
                ),
            ),
        ),
    ),
)

EXPERIMENT = '{experiment=~"$experiment"}'

EXPERIMENTS = Dashboard(
    "experiments",
    "Experiments",
    "Who is on trial, with how much of the traffic, and what is known so far.",
    (
        Row(
            "Where they stand",
            (
                Panel(
                    "Verdict",
                    (
                        (
                            "{{experiment}} {{status}}",
                            f"max by (experiment, status) (agent_router_experiment_status{EXPERIMENT}) == 1",
                        ),
                    ),
                    "states",
                    width=12,
                    words=((1, "so it is", CALM),),
                ),
                Panel(
                    "The treatment's share",
                    (("{{experiment}}", f"max by (experiment) (agent_router_experiment_ratio{EXPERIMENT})"),),
                    unit="percentunit",
                    width=12,
                    highest=1,
                ),
            ),
        ),
        Row(
            "Evidence",
            (
                Panel(
                    "Loss of quality, with its confidence sequence",
                    (
                        (
                            "{{experiment}} {{bound}}",
                            f"max by (experiment, bound) (agent_router_experiment_loss{EXPERIMENT})",
                        ),
                    ),
                    unit="percentunit",
                    width=12,
                    about="Valid however often it is looked at. Below 5 % passes, above 10 % is rolled back.",
                    lowest=-0.5,
                    highest=0.5,
                    limits=((None, GOOD), (0.05, WARN), (0.10, BAD)),
                ),
                Panel(
                    "Mean verdict by arm",
                    (
                        (
                            "{{experiment}} {{arm}}",
                            f"max by (experiment, arm) (agent_router_experiment_quality{EXPERIMENT})",
                        ),
                    ),
                    unit="percentunit",
                    width=12,
                ),
                Panel(
                    "Requests of this step",
                    (
                        (
                            "{{experiment}} {{arm}}",
                            f"sum by (experiment, arm) (agent_router_experiment_requests{EXPERIMENT})",
                        ),
                    ),
                ),
                Panel(
                    "Verdicts of this step",
                    (
                        (
                            "{{experiment}} {{arm}}",
                            f"sum by (experiment, arm) (agent_router_experiment_verdicts{EXPERIMENT})",
                        ),
                    ),
                ),
                Panel(
                    "Shadows' copies",
                    (("{{result}}", a_minute("agent_router_experiment_copies_total", "result")),),
                    "stack",
                ),
            ),
        ),
    ),
    (("experiment", "label_values(agent_router_experiment_ratio, experiment)"),),
)

"""Outcomes as Prometheus series, in a registry of its own.

Knows: the exact names operators rely on. Does not know: who scrapes, where the numbers come from.
Invariants: every label value is a configured model, a deployment of the fleet or a member of a closed vocabulary, so
that no caller can mint a series; the fleet is read when scraped, never before.
"""

import platform
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Gauge, Info, generate_latest
from prometheus_client.process_collector import ProcessCollector

from pointsman.errors import TABLE
from pointsman.ledger.cache_metrics import CacheMetrics
from pointsman.ledger.config_metrics import ConfigMetrics
from pointsman.ledger.encoder_metrics import EncoderMetrics
from pointsman.ledger.fleet_metrics import FleetMetrics
from pointsman.ledger.series import UNKNOWN, Counts, Maker, Share
from pointsman.types import Outcome, World

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCY_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300)
FIRST_TOKEN_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60)
CLASSIFY_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1)
OVERHEAD_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)
LANGUAGES = frozenset("en hi ta te bn mr gu kn ml pa und".split())
"""Those the product speaks; a hint may name any."""
RECENT = 1000
"""Requests meant for a model over which its fallback rate is taken."""


class Metrics:
    """A sink. `models` are the configured ids; `world` and `in_flight` are called on every scrape; the parts by name
    take events."""

    def __init__(
        self, models: Iterable[str], world: Callable[[], World], version: str, in_flight: Callable[[], int] = int
    ) -> None:
        self._models: frozenset[str] = frozenset()
        self.registry = CollectorRegistry()
        self._make = make = Maker(self.registry)
        self.fleet = FleetMetrics(make, (), world)
        self.config = ConfigMetrics(make)
        self.encoder = EncoderMetrics(make)
        self.cache = CacheMetrics(make)
        self._make_counters(make)
        self._make_histograms(make)
        Gauge(
            "agent_router_requests_in_flight", "Requests that have not ended yet", registry=self.registry
        ).set_function(in_flight)
        self._shares: dict[str, Share] = {}
        self._rate = Gauge(
            "agent_router_fallback_rate",
            f"Share of the last {RECENT} requests meant for a model that another one answered",
            ("model",),
            registry=self.registry,
        )
        self.know(models)
        Info("agent_router_build", "What runs here", registry=self.registry).info(
            {"version": version, "python": platform.python_version()}
        )
        ProcessCollector(registry=self.registry)

    def count(self, name: str, what: str, read: Callable[[], Iterable[tuple[str, float]]]) -> None:
        """A counter by result that somebody else keeps, read on every scrape."""
        self.registry.register(Counts(name, what, read))

    def _make_counters(self, make: Maker) -> None:
        self._requests = make.counter(
            "agent_router_requests", "Requests by model, task and how they ended", ("model", "intent", "status")
        )
        self._model_requests = make.counter("agent_router_model_requests", "Attempts at a model", ("model",))
        self._fallbacks = make.counter(
            "agent_router_fallback_requests", "Requests another model answered", ("from_model", "to_model")
        )
        self._intents = make.counter(
            "agent_router_intent_classification", "Tasks found, with the band of confidence", ("intent", "confidence")
        )
        self._languages = make.counter(
            "agent_router_language_requests", "Requests by language and how hard they are", ("language", "complexity")
        )
        self._errors = make.counter(
            "agent_router_errors", "Failed attempts, and failed requests without one", ("model", "error_type")
        )
        self._tokens = make.counter(
            "agent_router_tokens", "Tokens in (prompt) and out (completion)", ("model", "direction")
        )

    def _make_histograms(self, make: Maker) -> None:
        self._latency_s = make.histogram(
            "agent_router_latency_seconds", "From arrival to the last byte of an answer", ("model", "intent"), LATENCY_S
        )
        self._first_token_s = make.histogram(
            "agent_router_time_to_first_token_seconds",
            "From arrival to a stream's first event",
            ("model",),
            FIRST_TOKEN_S,
        )
        self._classify_s = make.histogram(
            "agent_router_classification_latency_seconds", "Time spent classifying a request", (), CLASSIFY_S
        )[()]
        self._overhead_s = make.histogram(
            "agent_router_overhead_seconds",
            "What the gateway itself added: time to the answer less all waiting",
            (),
            OVERHEAD_S,
        )[()]

    def know(self, models: Iterable[str]) -> None:
        """These are configured now, and series of others end."""
        known = frozenset(models)
        gone, self._models = self._models - known, known
        self._make.forget(gone)
        self.fleet.know(known)
        for model in gone:
            del self._shares[model]
            self._rate.remove(model)
        for model in sorted(known - self._shares.keys()):
            self._shares[model] = Share(RECENT)
            self._rate.labels(model).set_function(self._shares[model].value)

    def closed(self, outcome: Outcome) -> None:
        """One Outcome, in about ten updates."""
        model, task, signals = self._label(outcome.model_id), outcome.task, outcome.signals
        self._requests[model, task, outcome.status] += 1
        if not outcome.is_turned_away:
            self._overhead_s.observe(outcome.overhead_s)
        self.cache.closed(outcome, model)
        if signals is not None:
            language = signals.language.label
            self._intents[task, signals.task.band] += 1
            self._languages[language if language in LANGUAGES else "other", signals.complexity.label] += 1
            if outcome.cache != "hit":  # a hit is not classified
                self._classify_s.observe(outcome.classify_s)
        for attempt in outcome.attempts:
            self._model_requests[self._label(attempt.model_id),] += 1
            if attempt.error:
                self._count_error(self._label(attempt.model_id), attempt.error)
        if outcome.error and not (outcome.attempts and outcome.attempts[-1].error == outcome.error):
            self._count_error(model, outcome.error)
        if outcome.answered_by:
            self._answered(outcome, model, task)
        if outcome.plan and (share := self._shares.get(outcome.plan.meant)):
            share.add(outcome.fallback_from != "")

    def _answered(self, outcome: Outcome, model: str, task: str) -> None:
        self._latency_s[model, task].observe(outcome.total_s)
        if outcome.stream and outcome.first_byte_s is not None:
            self._first_token_s[model,].observe(outcome.first_byte_s)
        self._tokens[model, "prompt"] += outcome.usage.prompt_tokens
        self._tokens[model, "completion"] += outcome.usage.completion_tokens
        if outcome.fallback_from:
            self._fallbacks[self._label(outcome.fallback_from), self._label(outcome.answered_by)] += 1

    def _count_error(self, model: str, code: str) -> None:
        self._errors[model, code if code in TABLE else "internal_error"] += 1

    def _label(self, model_id: str) -> str:
        return model_id if model_id in self._models else UNKNOWN

    def render(self) -> bytes:
        """The exposition in Prometheus' text format; its content type is CONTENT_TYPE."""
        return generate_latest(self.registry)

    def __repr__(self) -> str:
        return f"Metrics({len(self._models)} models)"

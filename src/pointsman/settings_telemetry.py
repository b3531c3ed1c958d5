"""Who is told what happens here: the sections `telemetry` (traces) and `alerts[]` (webhooks)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pointsman import settings_words as words
from pointsman.settings_base import Section, Share, Url, Variable, Words

EVENTS = (
    *("model_loaded", "model_load_failed", "model_died", "model_restarting", "model_unloading", "model_reachable"),
    *("model_asleep", "model_awake", "model_sleepless", "model_wake_failed", "model_replaced", "model_kept"),
    *("breaker", "administered", "config_reloaded", "config_invalid", "config_failed"),
    *("cache_store_lost", "cache_store_back", "limit_store_lost", "limit_store_back"),
    *("experiment_store_lost", "experiment_store_back"),
    *("ledger_store_lost", "ledger_store_back", "ledger_rows_lost", "statistics_reset"),
    *("experiment_started", "experiment_step", "experiment_passed", "experiment_better", "experiment_review"),
    *("experiment_rolled_back", "experiment_ratio", "experiment_paused", "experiment_resumed"),
    *("figures_ignored", "experiments_ignored", "learned_ignored", "log_lines_dropped", "unforeseen_error"),
)
"""What the log tells of the server's life, by name; what only a library says is not among them."""


class TelemetrySettings(Section):
    """Traces, sent to an OpenTelemetry collector; needs the extra `telemetry`. No prompt and no answer is in them."""

    otlp_endpoint: Url | None = Field(
        None, description="Base URL of a collector that takes OTLP over HTTP, such as http://127.0.0.1:4318; none: off."
    )
    sample: Share = Field(
        0.1, description="Share of the requests without a trace of their own that are traced; a caller's word counts."
    )
    service_name: Words = Field("pointsman", description="`service.name` of the spans.")
    timeout_s: float = Field(5.0, gt=0, description="A batch that is not taken within this is given up, and counted.")


class AlertSettings(Section):
    """A webhook that hears of events as they happen, as JSON. Failures are counted; nothing waits for it."""

    url: Url | None = Field(None, description="Where events are POSTed. Redirects are not followed.")
    url_env: Variable | None = Field(None, description="The variable that holds the URL instead, where it is a secret.")
    severity: Literal["info", "warning", "error"] = Field("warning", description="The least severe event it hears of.")
    events: tuple[Annotated[str, *words.one_of(EVENTS)], ...] = Field(
        (),
        description="These events, whatever their severity, by their names in the log; empty: by severity.",
    )
    secret_env: Variable | None = Field(
        None,
        description="The variable that holds the secret for `X-Pointsman-Signature`; default: unsigned.",
    )
    text: Words = Field(
        "[{severity}] {source}: {message}",
        description="The member `text`, which Slack and its like show; {event}, {severity}, {message}, {source}.",
    )
    quiet_s: float = Field(300, ge=0, description="The same event of the same model is told once in this time.")
    per_minute: int = Field(30, ge=1, description="More are dropped, and counted.")

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Self:
        if (self.url is None) == (self.url_env is None):
            raise words.said("needs one of `url` and `url_env`, not both")
        return self

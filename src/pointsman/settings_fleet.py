"""The section `fleet`: how much memory models may take, and when a deployment is left alone.

Knows: names and ranges. Does not know: how a fleet works, or a breaker.
"""

from typing import Literal

from pydantic import Field

from pointsman.settings_base import Section

GB = 1e9


class BreakerSettings(Section):
    """When calls to a deployment fail, or take too long, it is left alone for a while."""

    failures_in_a_row: int = Field(5, ge=1, description="So many failed calls in a row open the breaker.")
    window: int = Field(20, ge=2, le=1000, description="The last calls of each deployment that the rates are of.")
    failure_rate: float = Field(0.5, gt=0, lt=1, description="A greater share of failed calls among them opens it.")
    slow_call_s: float | None = Field(
        None,
        gt=0,
        description="A call whose first byte (of a whole answer: the answer) takes longer is slow; default: none is.",
    )
    slow_call_rate: float = Field(0.5, gt=0, lt=1, description="A greater share of slow calls opens it.")
    open_s: float = Field(10, gt=0, description="How long it stays open at first; twice as long each time in a row.")
    open_max_s: float = Field(120, gt=0, description="The longest it stays open.")
    trials: int = Field(3, ge=1, description="Then so many calls are let through at once; as many successes close it.")
    outliers: bool = Field(
        True,
        description="Open it, too, for one of three or more instances of a model that fails or lags far more than the "
        "others.",
    )
    outlier_share: float = Field(
        0.3, gt=0, lt=1, description="At most this share of a model's instances, but one, is left alone for that."
    )


class FleetSettings(Section):
    """How much memory the managed models may take, and how they are started and watched."""

    memory_budget_gb: float | None = Field(
        None, gt=0, description="Budget for all managed models; default: a fraction of the machine's memory."
    )
    memory_fraction: float = Field(0.8, gt=0, le=1, description="The fraction taken where no budget is given.")
    gpu_memory_budget_gb: float | None = Field(
        None, gt=0, description="Budget on each GPU; default: the same fraction of that GPU's memory."
    )
    load_timeout_s: float = Field(180, gt=0, description="A start (fetch excluded) that takes longer has failed.")
    max_queue: int = Field(
        512, ge=1, description="Requests that may wait for one deployment; one more is refused with 503."
    )
    restart_backoff_s: float = Field(
        0.5, gt=0, description="Pause before the first restart of a dead child; doubles up to 30 s."
    )
    probe_interval_s: float = Field(30, gt=0, description="How often a deployment's own health endpoint is asked.")
    min_resident_s: float = Field(5, ge=0, description="A model is not evicted before it has been ready this long.")
    max_wait_s: float = Field(
        30, gt=0, description="A request that has waited this long for memory makes busy models stop taking new ones."
    )
    eviction: Literal["cost_aware", "lfu", "lru"] = Field(
        "cost_aware", description="Who leaves first: whose absence costs least, the least often or least recently used."
    )
    breaker: BreakerSettings = Field(
        BreakerSettings.model_construct(), description="When a deployment is left alone for a while."
    )

    def budget_bytes(self, total_bytes: int) -> int:
        """Of a machine with so much memory."""
        return _limit_bytes(self.memory_budget_gb, self.memory_fraction, total_bytes)

    def gpu_budget_bytes(self, total_bytes: int) -> int:
        """Of a GPU with so much memory."""
        return _limit_bytes(self.gpu_memory_budget_gb, self.memory_fraction, total_bytes)


def _limit_bytes(limit_gb: float | None, fraction: float, total_bytes: int) -> int:
    return int(fraction * total_bytes if limit_gb is None else limit_gb * GB)

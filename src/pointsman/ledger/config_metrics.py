"""Reloads of the configuration as Prometheus series.

Knows: the names. Does not know: what was changed.
"""

from prometheus_client import Gauge

from pointsman.ledger.series import Maker


class ConfigMetrics:
    """What became of each reload: `ok`, `unchanged`, or `invalid`."""

    def __init__(self, make: Maker) -> None:
        self._reloads = make.counter("agent_router_config_reloads", "Reloads of the configuration", ("result",))
        self._is_good = Gauge(
            "agent_router_config_last_reload_successful",
            "1 while the file last read is in force, 0 while it could not be used",
            registry=make.registry,
        )
        self._since = Gauge(
            "agent_router_config_loaded_timestamp_seconds",
            "When the configuration in force was read",
            registry=make.registry,
        )
        self._is_good.set(1)

    def loaded(self, unix_s: float) -> None:
        """A tree is in force since then."""
        self._since.set(unix_s)

    def reloaded(self, result: str) -> None:
        """One of the three has come of a reload."""
        self._reloads[result,] += 1
        self._is_good.set(0 if result == "invalid" else 1)

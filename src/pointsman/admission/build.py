"""Which counters limits are kept in, by the settings."""

import os
from collections.abc import Callable

from pointsman.admission.counters import Counters, LocalCounters
from pointsman.clock import Clock
from pointsman.settings import AdmissionSettings


def counters_of(settings: AdmissionSettings, clock: Clock, changed: Callable[[bool, str], None]) -> Counters:
    """Those of this process, or shared ones. `changed` hears whether a shared store is up, and why not."""
    if settings.url is None:
        return LocalCounters(clock)
    from pointsman.admission.shared import SharedCounters  # an extra: only who counts together needs the client

    password = os.environ.get(settings.password_env, "") if settings.password_env else ""
    return SharedCounters(settings.url, password, settings.timeout_ms / 1000, clock, changed)

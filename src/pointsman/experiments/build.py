"""Which store gateways hear each other's experiments by, by the settings."""

import os
import socket
from collections.abc import Callable

from pointsman.clock import Clock
from pointsman.errors import ConfigError
from pointsman.experiments.controller import Company
from pointsman.settings import Settings


def company_of(settings: Settings, clock: Clock, changed: Callable[[bool, str], None]) -> Company | None:
    """The Valkey that limits are counted in, else that of the cache; None where neither is shared. `changed` hears
    whether it is up, and why not. Raises ConfigError."""
    section = settings.admission if settings.admission.url else settings.cache
    if section.url is None:
        return None
    try:
        from pointsman.experiments.company import ValkeyCompany  # an extra: only who shares needs the client
    except ImportError:
        key = "admission.url" if settings.admission.url else "cache.url"
        raise ConfigError((f"{key}: needs the package valkey; pip install 'pointsman[valkey]'",)) from None
    password = os.environ.get(section.password_env, "") if section.password_env else ""
    me = f"{socket.gethostname()}:{settings.cache_path()}"
    return ValkeyCompany(section.url, password, me, clock, changed)

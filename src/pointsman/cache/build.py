"""Settings → a cache, or what stands in its place where nothing is kept."""

import os
from collections.abc import Callable

from pointsman.cache.exact import MEGABYTE, Cache, NoCache
from pointsman.cache.guard import Guard
from pointsman.cache.memory import Memory
from pointsman.cache.semantic import Judge, Semantic
from pointsman.cache.store import Store
from pointsman.clock import Clock
from pointsman.errors import ConfigError
from pointsman.settings import Settings
from pointsman.settings_cache import CacheSettings


def build_cache(
    settings: Settings, clock: Clock, changed: Callable[[bool, str], None], judge: Judge
) -> Cache | NoCache:
    """`judge` tells how near two questions are; `changed` hears when a shared store is left alone and why, and when it
    is back. Raises ConfigError."""
    if settings.cache.exact == "off":
        return NoCache()
    store = _store_of(settings.cache, clock, changed)
    semantic = settings.cache.semantic
    return Cache(
        store,
        settings.cache,
        clock,
        timeout_s=settings.server.request_timeout_s,
        similar=Semantic(judge, semantic.entries) if semantic.enabled else None,
    )


def _store_of(settings: CacheSettings, clock: Clock, changed: Callable[[bool, str], None]) -> Store:
    if settings.url is None:
        return Memory(int(settings.memory_mb * MEGABYTE), clock.now)
    try:
        from pointsman.cache.redis import Redis  # an extra: only who shares answers needs the client
    except ImportError:
        raise ConfigError(("cache.url: needs the package valkey; pip install 'pointsman[valkey]'",)) from None
    password = os.environ.get(settings.password_env, "") if settings.password_env else ""
    return Guard(Redis(settings.url, password, settings.timeout_ms / 1000), settings.timeout_ms / 1000, clock, changed)

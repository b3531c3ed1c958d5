"""The section `cache`: what it takes, what it refuses and how it says so."""

import pytest

from pointsman.errors import ConfigError
from pointsman.settings import CacheSettings, parse

MODELS = "models: [{id: a, backend: openai, url: http://127.0.0.1:1/v1}]\n"


def cache(entries: str) -> CacheSettings:
    return parse(f"{MODELS}cache: {{{entries}}}", environ={}).cache


def test_it_is_off_until_it_is_switched_on() -> None:
    assert cache("").exact == "off"
    assert cache("exact: off").exact == "off"
    assert not cache("exact: all").semantic.enabled


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("redis://redis.example:6379/1", "valkey://redis.example:6379/1"),
        ("rediss://h", "valkeys://h"),
        ("valkey://redis.example", "valkey://redis.example"),
        ("valkeys://[::1]:6380/0", "valkeys://[::1]:6380/0"),
    ],
)
def test_a_store_goes_by_either_name(given: str, taken: str) -> None:
    assert cache(f"exact: all, url: '{given}'").url == taken


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ("exact: some", "must be one of off, deterministic, all"),
        ("exact: all, url: 'http://h'", "must be a URL such as valkey://127.0.0.1:6379/0"),
        ("exact: all, url: 'valkey://h/x'", "must be a URL such as"),
        ("exact: all, url: 'valkey://h:0'", "must be a URL such as"),
        ("exact: all, url: 'valkey://me:secret@h'", "name the variable that holds it in `password_env`"),
        ("exact: all, max_entry_mb: 65", "lower the one or raise the other"),
        ("semantic: {enabled: true}", "set `exact` to"),
        ("exact: all, ttl_s: 0", "must be greater than 0"),
        ("exakt: all", "exakt"),
    ],
)
def test_what_cannot_work_is_refused_in_words(entries: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        cache(entries)
    assert told in str(error.value)
    assert "secret@" not in str(error.value)


def test_variables_reach_it() -> None:
    environ = {"POINTSMAN_CACHE__EXACT": "all", "POINTSMAN_CACHE__TTL_S": "5", "POINTSMAN_CACHE_DIR": "/var/cache/pm"}
    settings = parse(MODELS, environ=environ)
    assert (settings.cache.exact, settings.cache.ttl_s, settings.cache_dir) == ("all", 5, "/var/cache/pm")

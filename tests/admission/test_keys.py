"""Whose key is it?"""

import hashlib

import pytest

from pointsman.admission.keys import Keyring, hash_of, new_key
from pointsman.errors import RequestError
from pointsman.settings import KeySettings

KEYS = {name: new_key() for name in ("alice", "bob")}
RING = Keyring(tuple(KeySettings(name=name, sha256=hash_of(key)) for name, key in KEYS.items()))


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("scheme", ["Bearer {}", "bearer {}", "Bearer  {} "])
def test_a_key_tells_its_owner(name: str, scheme: str) -> None:
    owner = RING.owner(scheme.format(KEYS[name]))
    assert owner is not None
    assert owner.name == name


def test_anthropics_header_will_do() -> None:
    owner = RING.owner("", KEYS["bob"])
    assert owner is not None
    assert owner.name == "bob"


@pytest.mark.parametrize(
    "given", ["", "Basic YTpi", "Bearer ", "Bearer nope", "Bearer " + "x" * 100_000, "Bearer \udcff"]
)
def test_anything_else_is_refused_and_never_said_back(given: str) -> None:
    with pytest.raises(RequestError) as caught:
        RING.owner(given)
    assert caught.value.code == "invalid_api_key"
    assert "nope" not in caught.value.message


def test_a_key_longer_than_any_is_not_its_beginning() -> None:
    with pytest.raises(RequestError):
        RING.owner(f"Bearer {KEYS['bob']}{'x' * 300}")


def test_without_keys_nobody_is_asked() -> None:
    assert Keyring(()).owner("Bearer whatever") is None


def test_the_settings_keep_a_plain_sha256() -> None:
    assert hash_of("pm-x") == hashlib.sha256(b"pm-x").hexdigest()
    assert len({new_key() for _ in range(100)}) == 100

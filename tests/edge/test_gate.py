"""Who may pass the gate: key, loopback, proxies, web pages."""

import pytest

from pointsman.edge.gate import Gate
from pointsman.errors import ConfigError, RequestError

HERE = {"host": "127.0.0.1:8001"}


def refusal(gate: Gate, client: str, **headers: str) -> str:
    """The code, or nothing where it may pass."""
    sent = HERE | {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        gate.check(client, sent)
    except RequestError as error:
        return error.code
    return ""


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_without_a_key_this_machine_may_ask(client: str) -> None:
    assert refusal(Gate(), client) == ""
    assert refusal(Gate(), client, host="localhost:8001", origin="http://localhost:8001") == ""


@pytest.mark.parametrize(
    ("client", "headers"),
    [
        ("192.168.0.7", {}),
        ("", {}),
        ("::ffff:10.0.0.1", {}),
        ("127.0.0.1", {"x_forwarded_for": "10.0.0.1"}),
        ("127.0.0.1", {"forwarded": "for=10.0.0.1"}),
        ("127.0.0.1", {"via": "1.1 proxy"}),
        ("127.0.0.1", {"host": "evil.example:8001"}),  # a name pointed here: DNS rebinding
        ("127.0.0.1", {"origin": "https://evil.example"}),  # a page that a browser here has loaded
        ("127.0.0.1", {"origin": "null"}),
        ("127.0.0.1", {"origin": "http://127.0.0.1:3000"}),
    ],
)
def test_without_a_key_nobody_else_may(client: str, headers: dict[str, str]) -> None:
    assert refusal(Gate(), client, **headers) == "permission_denied"


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("Bearer s3cret-key", ""),
        ("bearer s3cret-key", ""),
        ("", "invalid_api_key"),
        ("Bearer ", "invalid_api_key"),
        ("Bearer s3cret-ke", "invalid_api_key"),
        ("Basic s3cret-key", "invalid_api_key"),
        ("Bearer s3cret-key\udcff", "invalid_api_key"),
    ],
)
@pytest.mark.parametrize("client", ["127.0.0.1", "10.0.0.1"])
def test_with_a_key_only_the_key_counts(client: str, authorization: str, code: str) -> None:
    headers = {"authorization": authorization} if authorization else {}
    assert refusal(Gate("s3cret-key"), client, host="evil.example", **headers) == code


def test_a_variable_that_holds_nothing_is_told_at_the_start() -> None:
    assert refusal(Gate.of(None, {}), "127.0.0.1") == ""
    key = "a-key of 16 bytes"
    assert refusal(Gate.of("ADMIN", {"ADMIN": f"{key}\n"}), "10.0.0.1", authorization=f"Bearer {key}") == ""
    assert "k" not in repr(Gate("kkkk")).replace("key", "")
    for environ in ({}, {"ADMIN": " "}):
        with pytest.raises(ConfigError, match=r"server\.admin_key_env: the variable ADMIN is not set"):
            Gate.of("ADMIN", environ)


@pytest.mark.parametrize("weak", ["admin", "changeme", "1234567890abcde", "aaaaaaaaaaaaaaaaaaaaaaaa"])
def test_a_key_that_could_be_guessed_is_refused_at_the_start_and_not_repeated(weak: str) -> None:
    with pytest.raises(ConfigError, match=r"the key in ADMIN could be guessed") as raised:
        Gate.of("ADMIN", {"ADMIN": weak})
    assert f"`{weak}`" not in str(raised.value)

"""What is hidden: known secrets in every form that we write, and what has the shape of one. And what is not."""

import json

import pytest

from pointsman.redact import HIDDEN, Redactor, redact, secrets_of, variables_in


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("api_key: abcdefgh", "api_key: [redacted]"),
        ("args: {'api_key': ['abcd1234'], 'port': 1}", "args: {'api_key': ['[redacted]'], 'port': 1}"),
        (r"{\"api_key\": \"abcd1234\"}", r"{\"api_key\": \"[redacted]\"}"),
        ("serve --api-key abcd1234 --port 3", "serve --api-key [redacted] --port 3"),
        ("['--hf-token', 'zzzzzz']", "['--hf-token', '[redacted]']"),
        ("Authorization: Bearer abcdefghijk", "Authorization: Bearer [redacted]"),
        ("using hf_abcdefghijk and sk-abcdefghijk", "using hf_[redacted] and sk-[redacted]"),
        ("Incorrect API key provided: pm-0123456789abcdefghijklmn.", "Incorrect API key provided: pm-[redacted]."),
        ("valkey://:hunter22@db:6379/0", "valkey://:[redacted]@db:6379/0"),
        ("https://me:pass@host/x and http://[::1]:80/", "https://me:[redacted]@host/x and http://[::1]:80/"),
        ("token of mine: open-sesame!", "token of mine: [redacted]"),
        ("n_ctx = 4096, BOS token = 1, prompt tokens: 12", "n_ctx = 4096, BOS token = 1, prompt tokens: 12"),
        ("password required", "password required"),
        ("the API key is missing: send `Authorization: Bearer KEY`", None),
    ],
)
def test_shapes_and_values(written: str, shown: str | None) -> None:
    secrets = secrets_of({"MY_TOKEN": "open-sesame!", "HOME": "n_ctx = 4096", "SHORT_KEY": "BOS"})
    assert secrets == ("open-sesame!",)
    assert redact(written, secrets) == (written if shown is None else shown)


def test_variables_that_settings_name_are_secret_whatever_they_are_called() -> None:
    tree = {
        "server": {"admin_key_env": "BOSS"},
        "cache": {"password_env": None},
        "models": [{"id": "a", "api_key_env": "VENDOR"}, {"pass_env": ("PASSED",)}],
    }
    assert list(variables_in(tree)) == ["BOSS", "VENDOR", "PASSED"]
    environ = {"BOSS": "ninety-nine", "VENDOR": "luftballons", "PASSED": "horizonte", "OTHER": "harmless-text"}
    hide = Redactor.of(environ, tree)
    assert hide("ninety-nine luftballons horizonte harmless-text") == f"{HIDDEN} {HIDDEN} {HIDDEN} harmless-text"


def test_a_secret_is_hidden_in_json_and_in_urls_and_for_good() -> None:
    odd = 'qu"ote\\slash/ü&x'
    hide = Redactor.of({"A_KEY": odd})
    hide.learn({"A_KEY": "the-next-one"})
    written = json.dumps({"said": f"{odd}, the-next-one"}, ensure_ascii=False)
    assert json.loads(hide(written)) == {"said": f"{HIDDEN}, {HIDDEN}"}
    assert hide("?key=qu%22ote%5Cslash%2F%C3%BC%26x") == f"?key={HIDDEN}"
    assert "quote" not in repr(hide)

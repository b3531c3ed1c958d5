"""The one redactor: text as others may see it, without what is, or looks like, a secret.

Knows: the shapes of keys, and the values that this process was given as secrets. Does not know: where the text comes
from, or goes. It stands at the log's writer, where error bodies are made, and where a child's last words are read.
Invariant: what was once a secret stays one: a key that a reload has replaced is still nobody's business.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self
from urllib.parse import quote

import msgspec

Hide = Callable[[str], str]
"""Text, and what others may see of it: `redact` itself, or a `Redactor`."""
HIDDEN = "[redacted]"
SECRET_NAME = re.compile(r"(?i)(^|_)(key|token|secret|password|credentials?)s?($|_)")
SHORTEST = 8
"""A shorter value would hide ordinary words."""
NAMED = r"(?:api|admin|access|auth|secret|private|hf)[-_ ]?(?:key|token)s?|password|authorization"
SHAPES = (
    re.compile(
        rf"(?i)(?P<keep>(?:{NAMED})[\"'\\]*\s*[:=]\s*[\[\"'\\]*(?:bearer\s+)?)(?!bearer\b)[^\s\"'`,\]}}\\]{{4,}}"
    ),
    re.compile(r"(?i)(?P<keep>--[\w-]*(?:key|token|password)[\"'\\,=\s]+)[^\s\"',\]\\]+"),
    re.compile(r"(?i)(?P<keep>(?:bearer|basic)\s+)[a-z0-9._~+/=-]{8,}"),
    re.compile(r"(?P<keep>\b(?:hf_|sk-))[A-Za-z0-9_-]{8,}"),
    re.compile(r"(?P<keep>\bpm-)[A-Za-z0-9_-]{20,}"),
    re.compile(r"(?P<keep>://[^\s/@:\"'\\]*:)[^\s/@\"'\\]+(?=@)"),
)
SIGN = re.compile("api|admin|access|auth|secret|private|hf|password|bearer|basic|--|sk-|pm-|://")
"""A lower-case text without any of these has none of the shapes; to look for them is ten times cheaper."""


def secrets_of(environ: Mapping[str, str], named: Iterable[str] = ()) -> tuple[str, ...]:
    """The values of variables that are `named`, or whose names say that they hold a secret; the longest first."""
    names = {name for name in environ if SECRET_NAME.search(name)} | set(named)
    found = {value for name in names if len(value := environ.get(name, "").strip()) >= SHORTEST}
    return tuple(sorted(found, key=len, reverse=True))


def variables_in(settings: Any) -> Iterator[str]:
    """The names of variables that a settings tree of plain values gives under keys that end in `_env`."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            if str(key).endswith("_env"):
                yield from (value,) if isinstance(value, str) else value or ()
            else:
                yield from variables_in(value)
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from variables_in(value)


def redact(text: str, secrets: tuple[str, ...] = ()) -> str:
    """The text with every known secret, and whatever has the shape of one, replaced."""
    if len(text) < SHORTEST:
        return text
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    if SIGN.search(text.lower()):
        for shape in SHAPES:
            text = shape.sub(rf"\g<keep>{HIDDEN}", text)
    return text


class Redactor:
    """`redact` with the secrets that have been learnt so far, as they are and as JSON and URLs write them."""

    def __init__(self, *secrets: str) -> None:
        self._secrets: tuple[str, ...] = ()
        self._learn(secrets)

    @classmethod
    def of(cls, environ: Mapping[str, str], settings: Any = None) -> Self:
        """All that the environment holds, by its names and by those that the settings tree gives."""
        redactor = cls()
        redactor.learn(environ, settings)
        return redactor

    def learn(self, environ: Mapping[str, str], settings: Any = None) -> None:
        """Know more secrets; none is ever forgotten."""
        self._learn(secrets_of(environ, variables_in(settings)))

    def _learn(self, secrets: Iterable[str]) -> None:
        written = {
            form
            for secret in secrets
            for form in (secret, msgspec.json.encode(secret).decode()[1:-1], quote(secret, safe=""))
        }
        self._secrets = tuple(sorted(written | set(self._secrets), key=len, reverse=True))

    def __call__(self, text: str) -> str:
        return redact(text, self._secrets)

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"

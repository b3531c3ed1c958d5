"""A child's log as an operator may see it: without what looks like a secret. Pure.

Knows: the shapes of keys, and the values of this process's own secrets. Does not know: where the text comes from.
"""

import re
from collections.abc import Mapping

HIDDEN = "[redacted]"
SECRET_NAME = re.compile(r"(?i)(^|_)(key|token|secret|password|credentials?)s?($|_)")
SHORTEST = 8
"""A shorter value would hide ordinary words."""
NAMED = r"(?:api|admin|access|auth|secret|private|hf)[-_ ]?(?:key|token)s?|password|authorization"
SHAPES = (
    re.compile(rf"(?i)(?P<keep>(?:{NAMED})[\"']?\s*[:=]\s*[\[\"']*(?:bearer\s+)?)[^\s\"',\]}}]{{4,}}"),
    re.compile(r"(?i)(?P<keep>--[\w-]*(?:key|token|password)[\"',=\s]+)[^\s\"',\]]+"),
    re.compile(r"(?i)(?P<keep>bearer\s+)[a-z0-9._~+/=-]{8,}"),
    re.compile(r"(?P<keep>\b(?:hf_|sk-))[A-Za-z0-9_-]{8,}"),
)


def secrets_of(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values of variables whose names say that they hold a secret, the longest first."""
    found = {value for name, value in environ.items() if SECRET_NAME.search(name) and len(value) >= SHORTEST}
    return tuple(sorted(found, key=len, reverse=True))


def redact(text: str, secrets: tuple[str, ...] = ()) -> str:
    """The text with every known secret, and whatever has the shape of one, replaced."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    for shape in SHAPES:
        text = shape.sub(rf"\g<keep>{HIDDEN}", text)
    return text

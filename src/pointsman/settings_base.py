"""What every section of the settings is made of: the strict frozen base, and the scalars with their words.

Knows: shapes of names, URLs, hashes. Does not know: any section.
"""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from pointsman import settings_words as words
from pointsman.labels import COMPLEXITY_NAMES, ComplexityName
from pointsman.types import Complexity, Intent, UseCase

LABELS = (*UseCase, *Intent)


def _hardness(said: object) -> object:
    """A second name made the first; what is none is left to be refused."""
    return COMPLEXITY_NAMES.get(said, said) if isinstance(said, str) else said


def _url(value: str) -> str:
    """Scheme, host and port must be there; a name, a password, a query must not."""
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_good = False
    if not is_good or parts.query or parts.fragment or any(not char.isprintable() or char == " " for char in value):
        raise words.said(
            f"must be a URL such as http://127.0.0.1:8000/v1, not {words.quoted(value.rpartition('@')[2])}"
        )
    if parts.username is not None or parts.password is not None:
        raise words.said("must not hold a password; name the variable that holds the key in `api_key_env`")
    return value


Id = Annotated[str, *words.matching(r"[A-Za-z0-9][A-Za-z0-9._:-]*", "be letters, digits and any of . _ : -")]
Alias = Annotated[
    str,
    *words.matching(
        r"[A-Za-z0-9][A-Za-z0-9._:-]*(/[A-Za-z0-9][A-Za-z0-9._:-]*)*", "be letters, digits and any of . _ : - /"
    ),
]
Label = Annotated[str, *words.one_of(LABELS)]
Hardness = Annotated[Complexity, BeforeValidator(_hardness, json_schema_input_type=ComplexityName)]
Language = Annotated[str, *words.matching(r"[a-z]{2,3}([-_][A-Za-z0-9]+)*", "be a language code such as en or hi")]
Words = Annotated[str, *words.matching(r"[\s\S]*\S[\s\S]*", "hold at least one word")]
Url = Annotated[str, AfterValidator(_url), Field(json_schema_extra={"format": "uri", "pattern": "^https?://"})]
Sha256 = Annotated[str, *words.matching(r"[0-9a-f]{64}", "be 64 hexadecimal digits, lower case")]
HubRepo = Annotated[
    str,
    *words.matching(
        r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*", "be ORG/NAME, as a hub names a repository"
    ),
]
HubRevision = Annotated[
    str, *words.matching(r"[A-Za-z0-9][A-Za-z0-9._/-]*", "be a branch, a tag or a commit, such as main")
]
Variable = Annotated[
    str,
    *words.matching(
        r"[A-Za-z_][A-Za-z0-9_]*", "be the name of an environment variable, never the key itself", is_secret=True
    ),
]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Frozen and strict, and refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())

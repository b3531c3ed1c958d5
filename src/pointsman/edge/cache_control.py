"""The header Cache-Control of a request → what the caller will take of kept answers (RFC 9111, section 5.2.1). Pure.

Unknown directives and numbers that are none are ignored, as the standard has it.
"""

from typing import NamedTuple


class Wish(NamedTuple):
    """`cache` as in `Limits.cache`, "" where nothing is said; how old an answer may be."""

    cache: str = ""
    max_age_s: float | None = None


NO_WISH = Wish()


def wish_of(header: str) -> Wish:
    """1 `no-store`: nothing is looked up or kept. 2 `only-if-cached`. 3 `no-cache`, or an age of 0: a new answer.
    4 `max-age`: none older."""
    if not header:
        return NO_WISH
    said = {name.strip().lower(): value.strip(' "') for name, _, value in map(_parted, header.split(","))}
    age = said.get("max-age", "")
    max_age_s = float(age) if age.isascii() and age.isdecimal() else None
    if "no-store" in said:
        return Wish("off")
    if "only-if-cached" in said:
        return Wish("only", max_age_s)
    if "no-cache" in said or max_age_s == 0:
        return Wish("refresh")
    return Wish("", max_age_s)


def _parted(directive: str) -> tuple[str, str, str]:
    return directive.partition("=")

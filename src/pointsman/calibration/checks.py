"""The named checks of the `constraints` grader: what an instruction asked, looked up in the answer.

Knows: how to count items, words and letters, in any script. Does not know: items or scores. All pure.
A check returns "" where the answer keeps the instruction, else what is wrong with it, for an operator to read.
"""

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from pointsman.calibration.items import Check
from pointsman.calibration.text import folded, has_phrase, plain, script_share, words

_MARKER = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+")
_SENTENCE_END = re.compile(r"[.!?।॥]+(?=\s|$)")


def failure(check: Check, answer: str) -> str:
    """What is wrong, or "". Raises KeyError on an unknown name."""
    return CHECKS[check.name](check, answer)


def listed(answer: str) -> list[str]:
    """The items of a list: its lines, without bullets and a heading; of one line, what its commas divide."""
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        lines = lines[1:]
    if len(lines) == 1 and not _MARKER.match(lines[0]):
        lines = re.split(r"[,;،、|]", lines[0])
    return [item for line in lines if (item := _MARKER.sub("", line).strip(" .*।"))]


def _items(check: Check, answer: str) -> str:
    found = listed(answer)
    if len(found) != check.n:
        return f"has {len(found)} items, not {check.n}"
    return "" if len({plain(item) for item in found}) == check.n else "names an item twice"


def _mentions(check: Check, answer: str) -> str:
    found = sum(has_phrase(answer, word) for word in check.words)
    wanted = max(check.n, 1)
    return "" if found >= wanted else f"has {found} of the expected words, not {wanted}"


def _listed_from(check: Check, answer: str) -> str:
    allowed = {plain(word) for word in check.words}
    other = [item for item in listed(answer) if plain(item) not in allowed]
    return f"{other[0]!r} does not belong" if other else ""


def _forbids(check: Check, answer: str) -> str:
    found = [word for word in check.words if has_phrase(answer, word)]
    return f"uses the forbidden word {found[0]!r}" if found else ""


def _without_letters(check: Check, answer: str) -> str:
    found = [letter for letter in folded(check.text) if letter in folded(answer)]
    return f"uses the forbidden letter {found[0]!r}" if found else ""


def _script(check: Check, answer: str) -> str:
    share = script_share(answer, check.text)
    return "" if share >= check.share else f"only {share:.0%} of the letters are {check.text.title()}"


def _upper(_: Check, answer: str) -> str:
    return "" if answer == answer.upper() and answer != answer.lower() else "is not in capitals"


def _lower(_: Check, answer: str) -> str:
    return "" if answer == answer.lower() and answer != answer.upper() else "is not in small letters"


def _ends(check: Check, answer: str) -> str:
    return "" if plain(answer).endswith(plain(check.text)) else f"does not end with {check.text!r}"


def _starts(check: Check, answer: str) -> str:
    return "" if plain(answer).startswith(plain(check.text)) else f"does not start with {check.text!r}"


def _word_count(check: Check, answer: str) -> str:
    count = len(words(answer))
    return "" if check.n <= count <= max(check.high, check.n) else f"has {count} words, not {_span(check)}"


def _sentences(check: Check, answer: str) -> str:
    count = len([part for part in _SENTENCE_END.split(answer) if words(part)])
    return "" if count == check.n else f"has {count} sentences, not {check.n}"


def _times(check: Check, answer: str) -> str:
    count = words(answer).count(plain(check.text))
    return "" if count == check.n else f"has {check.text!r} {count} times, not {check.n}"


def _only_json(_: Check, answer: str) -> str:
    try:
        json.loads(answer)
    except ValueError:
        return "is not JSON alone"
    return ""


def _no_digits(_: Check, answer: str) -> str:
    return "uses digits" if any(mark.isdecimal() for mark in answer) else ""


def _matches(check: Check, answer: str) -> str:
    return "" if re.fullmatch(check.text, answer.strip()) else "has not the form that was asked for"


def _each_starts(check: Check, answer: str) -> str:
    wrong = [item for item in listed(answer) if not plain(item).startswith(plain(check.text))]
    return f"{wrong[0]!r} does not start with {check.text!r}" if wrong else ""


def _sorted(_: Check, answer: str) -> str:
    found = [plain(item) for item in listed(answer)]
    return "" if found == sorted(found) else "is not in alphabetical order"


def _span(check: Check) -> str:
    return f"{check.n}–{check.high}" if check.high > check.n else f"{check.n}"


CHECKS: Mapping[str, Callable[[Check, str], str]] = MappingProxyType(
    {
        "items": _items,  # exactly n, all different
        "listed_from": _listed_from,  # every item is one of words
        "mentions": _mentions,  # at least n (1) of words
        "forbids": _forbids,  # none of words
        "without_letters": _without_letters,  # none of the letters of text
        "script": _script,  # share of the letters are of the script text
        "upper": _upper,
        "lower": _lower,
        "ends": _ends,  # with text, punctuation aside
        "starts": _starts,
        "words": _word_count,  # n to high
        "sentences": _sentences,  # exactly n
        "times": _times,  # the word text stands there n times
        "only_json": _only_json,
        "no_digits": _no_digits,
        "matches": _matches,  # the regular expression text, whole answer
        "each_starts": _each_starts,  # with text
        "sorted": _sorted,
    }
)

"""The built-in suite: questions whose answers a program can check, written for this project.

Knows: what an item is, what each grader is told (`expected`), how the suite is read and validated. Does not know: how
an answer is graded (`graders`) or got (`runner`).
Invariants: ids are unique; `expected` decodes to the parameters of its grader and holds a reference `answer` (of code,
a `solution`) that earns the full score; `SUITE_VERSION` names the content, so that runs are compared only where they
answered the same questions.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files

import msgspec

from pointsman.types import Complexity, Intent, Value

SUITE_VERSION = "c154302026f7"  # `content_version(load_suite())`; a test compares
FAMILIES = ("arithmetic", "reasoning", "code", "extraction", "translation", "instruction", "knowledge")
LANGUAGES = ("en", "hi", "bn", "ta", "te", "mr", "gu", "kn", "ml", "pa")


class Item(Value, frozen=True, kw_only=True):
    """One question. `grader` says how its answer is graded, `expected` (JSON) with which parameters."""

    id: str
    family: str
    language: str
    intent: str
    complexity: str
    prompt: str
    system: str = ""
    max_tokens: int
    grader: str
    expected: str


# ---------------------------------------------------------------- what graders are told


class NumberKey(Value, frozen=True, forbid_unknown_fields=True):
    """`answer`: the number, as text. `tolerance`: how far off is still right, absolute."""

    answer: str
    tolerance: float = 0.0


class ChoiceKey(Value, frozen=True, forbid_unknown_fields=True):
    """`answer`: the letter. `options`: their texts, A first."""

    answer: str
    options: tuple[str, ...]


class PhraseKey(Value, frozen=True, forbid_unknown_fields=True):
    """`accepted`: further right phrases. `rejected`: phrases that make the answer wrong, wherever they stand."""

    answer: str
    accepted: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    max_words: int = 30


class ExactKey(Value, frozen=True, forbid_unknown_fields=True):
    """The answer and nothing else. `case`: capitals and punctuation count."""

    answer: str
    accepted: tuple[str, ...] = ()
    case: bool = False


class KeywordsKey(Value, frozen=True, forbid_unknown_fields=True):
    """`groups`: of each group one word or phrase is wanted. `script`: what most letters must be in."""

    answer: str
    groups: tuple[tuple[str, ...], ...]
    script: str = ""


class ChrfKey(Value, frozen=True, forbid_unknown_fields=True):
    """`references`: further good translations. chrF from `floor` to `full` is scaled to 0…1."""

    answer: str
    references: tuple[str, ...] = ()
    floor: float = 0.3
    full: float = 0.6


class JsonKey(Value, frozen=True, forbid_unknown_fields=True):
    """`answer`: the object as JSON text. `also`: further right values by field."""

    answer: str
    also: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Check(Value, frozen=True, forbid_unknown_fields=True):
    """One named check of `constraints`; which parameters it reads is said in `checks`."""

    name: str
    n: int = 0
    high: int = 0
    words: tuple[str, ...] = ()
    text: str = ""
    share: float = 0.9


class ConstraintsKey(Value, frozen=True, forbid_unknown_fields=True):
    """Every check must pass."""

    answer: str
    checks: tuple[Check, ...]


class PythonKey(Value, frozen=True, forbid_unknown_fields=True):
    """`entry`: the function asked for. `tests`: assert statements. `solution`: a function that passes them."""

    entry: str
    tests: str
    solution: str


GRADER_KEYS = {
    "number": NumberKey,
    "choice": ChoiceKey,
    "any_of": PhraseKey,
    "exact": ExactKey,
    "contains_all": KeywordsKey,
    "chrf": ChrfKey,
    "json_fields": JsonKey,
    "constraints": ConstraintsKey,
    "python_tests": PythonKey,
}


# ---------------------------------------------------------------- reading


class _Row(Item, frozen=True, kw_only=True, forbid_unknown_fields=True):
    expected: msgspec.Raw  # type: ignore[assignment]  # on disk an object, for people to read; in an Item its text


@cache
def load_suite() -> tuple[Item, ...]:
    """The suite in order of family and file. Raises ValueError where an item is not valid, naming it."""
    folder = files("pointsman.calibration") / "suite"
    return validated(
        item for family in FAMILIES for item in parse((folder / f"{family}.jsonl").read_text(encoding="utf-8"))
    )


def parse(lines: str) -> Iterator[Item]:
    """Items of JSON lines. Raises ValueError (msgspec.ValidationError) on an unknown or missing field."""
    for line in filter(str.strip, lines.splitlines()):
        row = msgspec.json.decode(line, type=_Row)
        fields = {**msgspec.structs.asdict(row), "expected": bytes(row.expected).decode()}
        yield Item(**fields)


def validated(items: Iterable[Item]) -> tuple[Item, ...]:
    """The same items. Raises ValueError on a double id, an unknown name or parameters that do not fit the grader."""
    seen: dict[str, Item] = {}
    for item in items:
        if item.id in seen:
            raise ValueError(f"item {item.id} is there twice")
        seen[item.id] = item
        _check(item)
    return tuple(seen.values())


def _check(item: Item) -> None:
    known = (
        ("family", item.family, FAMILIES),
        ("language", item.language, LANGUAGES),
        ("intent", item.intent, tuple(Intent)),
        ("complexity", item.complexity, tuple(Complexity)),
        ("grader", item.grader, tuple(GRADER_KEYS)),
    )
    for field, value, names in known:
        if value not in names:
            raise ValueError(f"item {item.id}: {field} {value!r} is none of {', '.join(names)}")
    if not 1 <= item.max_tokens <= 200:
        raise ValueError(f"item {item.id}: max_tokens {item.max_tokens} is not between 1 and 200")
    try:
        msgspec.json.decode(item.expected, type=GRADER_KEYS[item.grader])
    except msgspec.MsgspecError as error:
        raise ValueError(f"item {item.id}: expected of grader {item.grader}: {error}") from error


def content_version(items: Iterable[Item]) -> str:
    """Twelve hex digits that change with any change of any item."""
    return hashlib.sha256(msgspec.json.encode(tuple(items))).hexdigest()[:12]

"""Graders: an answer becomes a score in [0, 1] and a reason, without a judge model. All pure.

Knows: how chatty models wrap an answer, and how an answer games a grader. Does not know: models, or how to run code
(`needs_sandbox`).
Invariants: an empty answer and the question said back score 0; naming every option is no answer; the reference answer
of an item scores 1.

An answer is read in this order: 1. what a model thinks aloud (`<think>`) and the question, quoted, are cut off; 2. what
remains is empty: 0; 3. the item's grader reads it.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from pointsman.calibration.checks import failure
from pointsman.calibration.items import (
    ChoiceKey,
    ChrfKey,
    ConstraintsKey,
    ExactKey,
    Item,
    JsonKey,
    KeywordsKey,
    NumberKey,
    PhraseKey,
)
from pointsman.calibration.text import Number, chrf, folded, has_phrase, numbers, plain, script_share, words
from pointsman.types import Value

K = TypeVar("K")


class Grade(Value, frozen=True):
    """`score` in [0, 1]; `why` is a short sentence for the operator."""

    score: float
    why: str


def needs_sandbox(item: Item) -> bool:
    """Whether the answer is code that must be run to be graded."""
    return item.grader == "python_tests"


def grade(item: Item, answer: str) -> Grade:
    """The grade of an answer. Raises ValueError for an item that `needs_sandbox`."""
    if needs_sandbox(item):
        raise ValueError(f"item {item.id} is graded by running its tests in the sandbox")
    said = without_prompt(without_thoughts(answer), item.prompt).strip()
    if not plain(said):
        return Grade(score=0.0, why="says the question back" if plain(answer) else "is empty")
    return GRADERS[item.grader](item, said)


def without_thoughts(answer: str) -> str:
    """The answer without `<think>…</think>`, closed or cut off."""
    return re.sub(r"<think>.*?(?:</think>|\Z)", "", answer, flags=re.DOTALL)


def without_prompt(answer: str, prompt: str) -> str:
    """The answer without the question, where it is quoted in full; spaces and case aside."""
    pattern = r"\s+".join(map(re.escape, prompt.split()))
    return re.sub(pattern, " ", answer, flags=re.IGNORECASE)


def _key(item: Item, key_type: type[K]) -> K:
    return msgspec.json.decode(item.expected, type=key_type)


def _right(what: str) -> Grade:
    return Grade(score=1.0, why=f"is {what}")


def _wrong(why: str) -> Grade:
    return Grade(score=0.0, why=why)


# ---------------------------------------------------------------- a number

_ANSWER_WORDS = (
    "final answer|answer|ans|result|उत्तर|जवाब|জবাব|উত্তর|பதில்|விடை|సమాధానం|జవాబు|જવાબ|ಉತ್ತರ|ഉത്തരം|ਜਵਾਬ|ਉੱਤਰ|uttar|jawab"
)
_MARKED = re.compile(rf"(?:{_ANSWER_WORDS})\b[^\n\d]{{0,24}}?(?:is|:|=|है|आहे|\*\*)[^\n\d.-]{{0,8}}(?=[-.]?\d)")
_BARE = re.compile(r"[^\w\n-]*(-?[\d.,/]+)(?:[^\w\n:]+[^\W\d][^\s:]*){0,3}[^\w\n:]*(?=\n|$)")
_OPERATOR = re.compile(r"\s*[-+*/×÷^]\s*\d")
_HEDGE = re.compile(r"\s*(?:,|,?\s*(?:or|and|या|और))\s*(?:maybe|perhaps|even)?\s*")


def _grade_number(item: Item, said: str) -> Grade:
    key = _key(item, NumberKey)
    text = re.sub(r"\\(?:text|boxed|mathrm)|[{}$]|\*\*", " ", folded(said))
    found = numbers(text)
    if not found:
        return _wrong("has no number")
    if len(found) > 2 and not re.search(r"[^\W\d_]|=", text):
        return _wrong("lists several numbers")
    value = _meant(text, found)
    if value is None:
        return _wrong("leaves open which number it means")
    wanted = numbers(folded(key.answer))[0].value
    if abs(value - wanted) <= Fraction(key.tolerance):
        return _right(f"{key.answer}")
    return _wrong(f"says {float(value):g}, not {key.answer}")


def _hedges(text: str, found: list[Number]) -> bool:
    """Whether the last number is one of several to choose from: `41 or 42`, `40, 41, 42`."""
    if len(found) < 2 or found[-1].value == found[-2].value:
        return False
    return _HEDGE.fullmatch(text[found[-2].end : found[-1].start]) is not None


def _meant(text: str, found: list[Number]) -> Fraction | None:
    """The number given as the answer: 1. behind the word "answer", unless a calculation begins there; 2. alone in the
    first line, with a unit; 3. the last one, or None where that is one of several to choose from."""
    for match in reversed(list(_MARKED.finditer(text))):
        at = next((index for index, one in enumerate(found) if one.start >= match.end() - 1), None)
        if at is not None and not _OPERATOR.match(text, found[at].end):
            return _with_fraction(text, found, at)
    first = _BARE.match(text)
    if first and not re.match(r"\s*\d+[.)]\s+\S", text):
        return _with_fraction(text, found, 0)
    return None if _hedges(text, found) else _with_fraction(text, found, len(found) - 1)


def _with_fraction(text: str, found: list[Number], at: int) -> Fraction:
    """`3/4` is three quarters, whichever of its two numbers was pointed at."""
    for over, under in ((at, at + 1), (at - 1, at)):
        if over >= 0 and under < len(found) and found[under].value:
            between = text[found[over].end : found[under].start]
            if between == "/":
                return found[over].value / found[under].value
    return found[at].value


# ---------------------------------------------------------------- a letter

_LETTER_MARKED = re.compile(r"(?i:answer|option|choice|ans|correct)\b[^\nA-D]{0,20}?[\s:(*\"']([A-D])(?![\w'’])")
_LETTER_FIRST = re.compile(r"^[\s(*\[\"']*([A-D])(?:[).:,*\]\"'\-–।]|\s*$)", re.MULTILINE)
_LETTER_ALONE = re.compile(r"(?<![\w'’])(A(?! (?!is\b)[a-z])|[B-D])(?![\w'’])")
_LETTERS_HEDGED = re.compile(r"(?<!\w)([A-D])\)?(?=\s*(?:,|/|&|\bor\b|\band\b|या|और)\s*\(?([A-D])(?!\w))")


def _grade_choice(item: Item, said: str) -> Grade:
    key = _key(item, ChoiceKey)
    letters = _letters(said) or _options_named(key, said)
    if not letters:
        return _wrong("names no option")
    if len(letters) > 1:
        return _wrong(f"names several options: {', '.join(sorted(letters))}")
    (letter,) = letters
    return _right(key.answer) if letter == key.answer else _wrong(f"says {letter}, not {key.answer}")


def _letters(said: str) -> set[str]:
    """Letters that are given as the answer; several where the answer hedges."""
    bare = said.strip(" \n.()*\"'`[]")
    if len(bare) == 1 and bare.upper() in "ABCD":
        return {bare.upper()}
    first = set(_LETTER_FIRST.findall(said))
    marked = set(_LETTER_MARKED.findall(said))
    hedged = {letter for pair in _LETTERS_HEDGED.findall(said) for letter in pair}
    return first | marked | hedged or set(_LETTER_ALONE.findall(said))


def _options_named(key: ChoiceKey, said: str) -> set[str]:
    """Letters of the options whose text is said, an option inside a longer one that is said left out."""
    named = {index: option for index, option in enumerate(key.options) if has_phrase(said, option)}
    inside = {i for i, one in named.items() for j, other in named.items() if i != j and has_phrase(other, one)}
    return {"ABCDEFGH"[index] for index in named.keys() - inside}


# ---------------------------------------------------------------- words


def _grade_any_of(item: Item, said: str) -> Grade:
    key = _key(item, PhraseKey)
    denied = [phrase for phrase in key.rejected if has_phrase(said, phrase)]
    if denied:
        return _wrong(f"says {denied[0]}")
    if len(words(said)) > key.max_words:
        return _wrong(f"says {len(words(said))} words where a few were asked for")
    for phrase in (key.answer, *key.accepted):
        if has_phrase(said, phrase):
            return _right(phrase)
    return _wrong(f"does not say {key.answer}")


def _grade_exact(item: Item, said: str) -> Grade:
    key = _key(item, ExactKey)
    spelled = (lambda text: text.strip(" \n\"'`*")) if key.case else plain
    lines = [line for line in said.splitlines() if line.strip()]
    read = {spelled(text) for text in (said, lines[0], lines[-1], lines[-1].rpartition(":")[2] or said)}
    if any(spelled(right) in read for right in (key.answer, *key.accepted)):
        return _right("exactly what was asked for")
    return _wrong(f"is not exactly {key.answer}")


def _grade_contains_all(item: Item, said: str) -> Grade:
    key = _key(item, KeywordsKey)
    most = 3 * len(words(key.answer)) + 12
    if len(words(said)) > most:
        return _wrong(f"has {len(words(said))} words, more than {most}")
    if key.script and script_share(said, key.script) < 0.6:
        return _wrong(f"is not in {key.script.title()} script")
    missing = [group[0] for group in key.groups if not any(has_phrase(said, phrase) for phrase in group)]
    score = 1 - len(missing) / len(key.groups)
    return Grade(score=score, why=f"lacks {', '.join(missing)}" if missing else "has every key word")


def _grade_chrf(item: Item, said: str) -> Grade:
    """The best of the first lines and the whole, against the best reference."""
    key = _key(item, ChrfKey)
    lines = [line for line in said.splitlines() if line.strip()][:3]
    best = max(chrf(text, ref) for text in (said, *lines) for ref in (key.answer, *key.references))
    score = min(max((best - key.floor) / (key.full - key.floor), 0.0), 1.0)
    return Grade(score=score, why=f"chrF {best:.2f} to the nearest reference")


def _grade_constraints(item: Item, said: str) -> Grade:
    key = _key(item, ConstraintsKey)
    failed = [why for check in key.checks if (why := failure(check, said))]
    return _wrong(failed[0]) if failed else _right("as instructed")


# ---------------------------------------------------------------- JSON


def _grade_json(item: Item, said: str) -> Grade:
    key = _key(item, JsonKey)
    wanted: dict[str, Any] = json.loads(key.answer)
    found = next(objects(said), None)
    if found is None:
        return _wrong("has no JSON object")
    if len(found) > len(wanted) + 2:
        return _wrong(f"has {len(found)} fields where {len(wanted)} were asked for")
    given = {plain(name): value for name, value in found.items()}
    also = dict(key.also)
    wrong = [
        name
        for name, value in wanted.items()
        if not any(_same(given.get(plain(name)), right) for right in (value, *also.get(name, ())))
    ]
    score = 1 - len(wrong) / len(wanted)
    return Grade(score=score, why=f"wrong or missing: {', '.join(wrong)}" if wrong else "every field is right")


def objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a text, outermost, in order; fences and prose around them do not matter."""
    decoder, at = json.JSONDecoder(), text.find("{")
    while at >= 0:
        try:
            found, end = decoder.raw_decode(text, at)
        except ValueError:
            end = at + 1
        else:
            yield found
        at = text.find("{", end)


def _same(given: object, wanted: object) -> bool:
    """Equal once spelled alike: `"₹1,250"` is 1250, lists item by item in order, text without case and punctuation."""
    if isinstance(wanted, list):
        return (
            isinstance(given, list)
            and len(given) == len(wanted)
            and all(_same(ours, theirs) for ours, theirs in zip(given, wanted, strict=True))
        )
    if isinstance(wanted, bool) or wanted is None or given is None or isinstance(given, bool):
        return given is wanted or plain(str(given)) == plain(str(wanted)) != ""
    if isinstance(wanted, int | float):
        found = numbers(folded(str(given))) if isinstance(given, int | float | str) else []
        return len(found) == 1 and float(found[0].value) == float(wanted)
    return not isinstance(given, list | dict) and plain(str(given)) == plain(str(wanted))


# ---------------------------------------------------------------- code

_FENCE = re.compile(r"```[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
_CODE_START = re.compile(r"^(?:def |class |import |from |@|async def )", re.MULTILINE)


def extract_code(answer: str) -> str:
    """The Python code of an answer: of fenced blocks the longest that defines a function, else from the first line that
    looks like code as far as it parses; "" where there is none."""
    answer = without_thoughts(answer)
    fenced: list[str] = [block for block in _FENCE.findall(answer) if "def " in block or "lambda" in block]
    if fenced:
        return max(fenced, key=len)
    start = _CODE_START.search(answer)
    if start is None or "```" in answer[: start.start()]:
        return ""
    lines = answer[start.start() :].splitlines()
    return next((code for end in range(len(lines), 0, -1) if _parses(code := "\n".join(lines[:end]))), "")


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError):
        return False
    return True


GRADERS: Mapping[str, Callable[[Item, str], Grade]] = MappingProxyType(
    {
        "number": _grade_number,
        "choice": _grade_choice,
        "any_of": _grade_any_of,
        "exact": _grade_exact,
        "contains_all": _grade_contains_all,
        "chrf": _grade_chrf,
        "json_fields": _grade_json,
        "constraints": _grade_constraints,
    }
)

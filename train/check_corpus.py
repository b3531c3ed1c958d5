"""Checks the corpus of requests: every row's keys, values and script, ids and near-duplicates; prints the balance.

`train/check_corpus.py FILE…` prints each problem as `file:line: what`, then a table of each file and, where there are
several, of all. Exit status 1 where there is a problem, 2 where no file is named.

Knows: what a row may hold, and that a label of script must fit the letters. Does not know whether a label is right:
that is the reader's to judge. Balance is shown, never judged.
"""

import json
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

GRAM = 5  # characters
NEAR = 0.6  # Jaccard of the two texts' grams; above it they are one text
LATIN_IN_NATIVE = 0.15  # share of letters: a unit or a brand does not make a text mixed
LENGTHS = ((3, "1-3 words"), (20, "4-20 words"), (60, "21-60 words"), (10**6, "over 60 words"))

BLOCKS = {  # language → its Unicode block, by the first word of the characters' names
    "hi": "DEVANAGARI",
    "mr": "DEVANAGARI",
    "ta": "TAMIL",
    "te": "TELUGU",
    "bn": "BENGALI",
    "gu": "GUJARATI",
    "kn": "KANNADA",
    "ml": "MALAYALAM",
    "pa": "GURMUKHI",
}


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request and its labels, in the order of the file's keys."""

    id: str
    text: str
    language: Literal["en", "hi", "ta", "te", "bn", "mr", "gu", "kn", "ml", "pa"]
    script: Literal["native", "latin", "mixed"]
    use_case: Literal["stt", "tts", "avatar", "video", "multimodal", "agent"]
    intent: Literal["code", "reasoning", "general"] | None
    complexity: Literal["low", "medium", "high"]
    attachments: list[Literal["image", "audio", "video", "document"]]
    needs_tools: bool
    answer: Literal["short", "medium", "long"]


class Placed(NamedTuple):
    """A row and where it stands: `file:line`."""

    place: str
    row: Row


def letters(text: str) -> Counter[str]:
    """Block → how many of the text's letters lie in it; vowel signs belong to the letter before them."""
    return Counter(unicodedata.name(char, "?").split()[0] for char in text if char.isalpha())


def script_problem(row: Row) -> str | None:
    """What is wrong with the label of script, or None. A text without letters (emoji, digits) may have any."""
    if row.language == "en":
        return None if row.script == "native" else "English is native"
    found = letters(row.text)
    latin, own, total = found["LATIN"], found[BLOCKS[row.language]], found.total()
    if not total:
        return None
    if row.script == "latin":
        return "latin, with native letters" if own else None
    if row.script == "mixed":
        return None if latin else "mixed, without a Latin letter"
    if not own:
        return "native, without a native letter"
    return f"native, with {latin / total:.0%} Latin letters" if latin / total > LATIN_IN_NATIVE else None


def row_problems(row: Row) -> Iterator[str]:
    """What is wrong within one row."""
    if not re.fullmatch(rf"((dev|test)-)?{row.language}-\d{{3,4}}", row.id):
        yield f"id {row.id!r} is not {row.language}-0000"
    if not row.text or row.text != row.text.strip():
        yield "text is empty or has space around it"
    if any(char == "\ufffd" or (unicodedata.category(char) == "Cc" and char not in "\n\t") for char in row.text):
        yield "text holds a broken or control character"
    if (row.intent is not None) != (row.use_case == "agent"):
        yield f"intent {row.intent} with use case {row.use_case}"
    if len(set(row.attachments)) != len(row.attachments):
        yield "an attachment is named twice"
    problem = script_problem(row)
    if problem:
        yield problem


def read(path: Path) -> tuple[list[Placed], list[str]]:
    """The file's rows that can be read, and the problems within them."""
    placed, problems = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], 1):
        place = f"{path.name}:{number}"
        try:
            row = msgspec.json.decode(line, type=Row)
        except msgspec.DecodeError as error:
            problems.append(f"{place}: {error}")
            continue
        if list(json.loads(line)) != list(Row.__struct_fields__):
            problems.append(f"{place}: keys in another order than {', '.join(Row.__struct_fields__)}")
        problems += [f"{place}: {problem}" for problem in row_problems(row)]
        placed.append(Placed(place, row))
    return placed, problems


def grams(text: str) -> frozenset[str]:
    """The text's runs of five characters, blind to case, spacing and punctuation."""
    plain = re.sub(r"[\s!-/:-@\[-`{-~।]+", " ", text.casefold()).strip()
    return frozenset(plain[i : i + GRAM] for i in range(max(1, len(plain) - GRAM + 1)))


def twins(placed: Sequence[Placed]) -> Iterator[str]:
    """Rows that repeat an earlier row's id, or nearly its text."""
    holders: dict[str, list[int]] = defaultdict(list)  # gram → rows that hold it
    sizes: list[int] = []
    ids: dict[str, str] = {}
    for number, (place, row) in enumerate(placed):
        if row.id in ids:
            yield f"{place}: id {row.id} again, first at {ids[row.id]}"
        ids.setdefault(row.id, place)
        mine = grams(row.text)
        shared = Counter(other for gram in mine for other in holders[gram])
        for other, count in shared.items():
            alike = count / (len(mine) + sizes[other] - count)
            if alike > NEAR:
                yield f"{place}: {alike:.2f} like {placed[other].place}: {row.text[:60]!r}"
        for gram in mine:
            holders[gram].append(number)
        sizes.append(len(mine))


def length(row: Row) -> str:
    """The row's bucket of length."""
    words = len(row.text.split())
    return next(name for most, name in LENGTHS if words <= most)


VIEWS: dict[str, Callable[[Row], str]] = {
    "use case": lambda row: row.use_case if row.intent is None else f"{row.use_case}/{row.intent}",
    "complexity": lambda row: row.complexity,
    "script": lambda row: row.script,
    "length": length,
    "attached": lambda row: "+".join(row.attachments) or "nothing",
    "tools": lambda row: "needed" if row.needs_tools else "none",
    "answer": lambda row: row.answer,
}


def balance(title: str, rows: Sequence[Row]) -> Iterator[str]:
    """The table's lines: each view's values, their count and share."""
    yield f"{title}: {len(rows)} rows"
    for name, view in VIEWS.items():
        counted = Counter(map(view, rows)).most_common()
        cells = [f"{value} {count} ({count / len(rows):.0%})" for value, count in counted]
        yield f"  {name:<10} " + ", ".join(cells)


def main(names: Sequence[str]) -> int:
    """Print problems and balance; 0 where there is no problem."""
    if not names:
        sys.stderr.write("name the files to check: train/check_corpus.py FILE…\n")
        return 2
    every: list[Placed] = []
    problems: list[str] = []
    tables: list[str] = []
    for name in names:
        placed, found = read(Path(name))
        every += placed
        problems += found
        tables += balance(Path(name).name, [row for _, row in placed])
    problems += twins(every)
    if len(names) > 1:
        tables += balance("all", [row for _, row in every])
    sys.stdout.write("\n".join([*problems, *tables, f"{len(problems)} problems"]) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

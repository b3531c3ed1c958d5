"""The journal of a calibration: every answer on a line of its own, on disk before the next question is asked.

Knows: the file, what makes an old line count. Does not know: models, graders, statistics.
Invariants: one process writes at a time; a line is whole or does not count, so whatever ends a run (a kill, a full
disk) loses at most the answers in flight; an answer counts only for the very question and the very model that it was
given by; nothing is ever rewritten.

    <out>/journal.jsonl            the answers, oldest first; of several to one question the last counts
    <out>/journal-1.jsonl, …       earlier journals, set aside by `--fresh`
"""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pointsman.calibration.items import Item
from pointsman.types import Value

NAME = "journal.jsonl"


class JournalInUseError(Exception):
    """Another process writes this journal."""


class Answered(Value, frozen=True):
    """One question put to one model, and what came of it.

    `error` is set where there was no answer to grade: then `score` means nothing. `item_print` and `model_print` name
    the very question and the very model; `suite` the suite's version. `first_token_ms` is None where unknown.
    `concurrency`: how many questions were asked at the same time, which slows each.
    """

    item: str
    item_print: str
    model: str
    model_print: str
    suite: str
    score: float = 0.0
    why: str = ""
    error: str = ""
    answer: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_ms: float = 0.0
    first_token_ms: float | None = None
    cost: float = 0.0
    concurrency: int = 1
    at_unix_s: float = 0.0


class Standing(Value, frozen=True):
    """What a journal is good for: the answers that count, the failures that nothing made good, and how many lines count
    for nothing, by reason."""

    answers: tuple[Answered, ...]
    failed: tuple[Answered, ...] = ()
    other_question: int = 0
    other_model: int = 0
    no_such_item: int = 0
    torn: int = 0

    def remarks(self) -> tuple[str, ...]:
        """What the operator should know of it, in words."""
        said = (
            (len(self.failed), "failed and are asked again"),
            (self.other_question, "were to earlier wordings of their questions and are asked again"),
            (self.other_model, "are by models that have changed since (file or settings) and are asked again"),
            (self.no_such_item, "are to questions that are no longer in the suite and are left out"),
            (self.torn, "are torn lines and are left out"),
        )
        return tuple(f"{count} earlier answers {what}" for count, what in said if count)


def print_of(*parts: object) -> str:
    """Twelve hex digits that change with any change of the parts (JSON values)."""
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:12]


def item_print(item: Item) -> str:
    """What the answer and its grade depend on; labels may be corrected without asking anew."""
    return print_of(item.prompt, item.system, item.max_tokens, item.grader, item.expected)


def read(path: Path) -> tuple[tuple[Answered, ...], int]:
    """The whole lines of a journal, and how many are torn. An absent file is an empty journal."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    answers: list[Answered] = []
    for line in filter(None, lines):
        try:
            answers.append(msgspec.json.decode(line, type=Answered))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return tuple(answers), sum(bool(line) for line in lines) - len(answers)


def standing(
    answers: Iterable[Answered], torn: int, items: Mapping[str, Item], model_prints: Mapping[str, str]
) -> Standing:
    """Which answers still count for these items and models; of several to one question the last that is no error."""
    kept: dict[tuple[str, str], Answered] = {}
    failed: dict[tuple[str, str], Answered] = {}
    counts = {"other_question": 0, "other_model": 0, "no_such_item": 0}
    prints = {name: item_print(item) for name, item in items.items()}
    for one in answers:
        key = (one.item, one.model)
        if one.model not in model_prints:
            continue
        if one.item not in prints:
            counts["no_such_item"] += 1
        elif one.item_print != prints[one.item]:
            counts["other_question"] += 1
        elif one.model_print != model_prints[one.model]:
            counts["other_model"] += 1
        elif one.error:
            failed[key] = one
        else:
            kept[key] = one
    open_ = tuple(one for key, one in failed.items() if key not in kept)
    return Standing(answers=tuple(kept.values()), failed=open_, torn=torn, **counts)


class Journal:
    """An open journal. Made by `opened`."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    def append(self, answered: Answered) -> None:
        """Write one line and wait until the disk has it. Raises OSError."""
        os.write(self._fd, msgspec.json.encode(answered) + b"\n")
        os.fsync(self._fd)

    def __repr__(self) -> str:
        return f"Journal({self.path})"


@contextmanager
def opened(folder: Path, *, is_fresh: bool = False) -> Iterator[Journal]:
    """The journal in a folder, for this process alone. Raises JournalInUseError, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    if is_fresh and path.exists():
        path.rename(_free_name(folder))
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalInUseError(f"another calibration writes {path}; wait for it, or give another --out") from None
        _end_torn_line(fd)
        yield Journal(path, fd)
    finally:
        os.close(fd)


def _end_torn_line(fd: int) -> None:
    """What a kill left half-written must not swallow the next line."""
    size_bytes = os.lseek(fd, 0, os.SEEK_END)
    if size_bytes and os.pread(fd, 1, size_bytes - 1) != b"\n":
        os.write(fd, b"\n")


def _free_name(folder: Path) -> Path:
    number = 1
    while (path := folder / f"journal-{number}.jsonl").exists():
        number += 1
    return path

"""Graded answers, read from JSON lines or Parquet into one table of questions by models.

Knows: the columns, what is wrong with a row. Does not know: what becomes of them.

A row is one answer: `prompt`, `model`, `score` in [0, 1], and perhaps `cost`, `latency_ms`, `group`, `intent`,
`language`, `complexity`. Two grades of one answer are averaged. Other columns are ignored, with a note.
"""

import codecs
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pointsman.policy.quality import Labels
from pointsman.policy.quality_text import Floats
from pointsman.types import Value

COLUMNS = ("prompt", "model", "score", "cost", "latency_ms", "group", "intent", "language", "complexity")
TEXTS = ("group", "intent", "language", "complexity")
PROBLEMS_SHOWN = 20
PARQUET_SUFFIXES, PARQUET_MARK = (".parquet", ".pq"), b"PAR1"
ROUNDING = 1e-6


class RowsError(ValueError):
    """Rows that cannot be used, each problem with its line or row; `problems` has at most PROBLEMS_SHOWN + 1."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems[:PROBLEMS_SHOWN])
        if len(problems) > PROBLEMS_SHOWN:
            self.problems += (f"and {len(problems) - PROBLEMS_SHOWN} more",)
        super().__init__("\n".join(self.problems))


class Answer(Value, frozen=True):
    """One graded answer."""

    prompt: str
    model: str
    score: float
    cost: float | None = None
    latency_ms: float | None = None
    group: str | None = None
    intent: str | None = None
    language: str | None = None
    complexity: str | None = None


class Graded(Value, frozen=True):
    """Questions by models. `scores`, `costs`, `latencies_ms`: (N, M), NaN where unknown; one group and label each.

    `groups` and `labels` are empty where no row carried any; "" stands for a question without.
    """

    prompts: tuple[str, ...]
    models: tuple[str, ...]
    scores: Floats
    costs: Floats
    latencies_ms: Floats
    groups: tuple[str, ...] = ()
    labels: tuple[Labels, ...] = ()
    notes: tuple[str, ...] = ()

    def take(self, rows: Any) -> "Graded":
        """The questions of these rows alone; the models stay."""
        rows = np.asarray(rows)
        return msgspec.structs.replace(
            self,
            prompts=tuple(self.prompts[row] for row in rows),
            scores=self.scores[rows],
            costs=self.costs[rows],
            latencies_ms=self.latencies_ms[rows],
            groups=tuple(self.groups[row] for row in rows) if self.groups else (),
            labels=tuple(self.labels[row] for row in rows) if self.labels else (),
        )


def read_graded(path: str | Path) -> Graded:
    """The table in a file: Parquet by its name's end or its first bytes, else JSON lines. Raises RowsError, OSError."""
    source = Path(path)
    answers, problems, unknown = [], [], set()
    for place, found in rows_of(source):
        if isinstance(found, str):
            problems.append(f"{place}: {found}")
            continue
        unknown |= found.keys() - set(COLUMNS)
        answer = _answer(found)
        if isinstance(answer, str):
            problems.append(f"{place}: {answer}")
        else:
            answers.append(answer)
    if not problems and not answers:
        problems.append(f"{source.name}: no rows")
    if problems:
        raise RowsError(problems)
    notes = (f"columns ignored: {', '.join(sorted(unknown))}",) if unknown else ()
    return graded(answers, notes)


def rows_of(source: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Every row with its place, or what is wrong with it: of Parquet, else of JSON lines. Raises OSError."""
    return _parquet(source) if _is_parquet(source) else _json_lines(source)


def _is_parquet(path: Path) -> bool:
    if path.suffix.lower() in PARQUET_SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(len(PARQUET_MARK)) == PARQUET_MARK


def _json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    with path.open("rb") as lines:
        for number, raw in enumerate(lines, 1):
            line = raw.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                continue
            try:
                row = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                yield f"line {number}", f"not JSON: {error}"
                continue
            yield f"line {number}", row if isinstance(row, dict) else "not an object"


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    from pyarrow import ArrowInvalid, parquet

    try:
        table = parquet.read_table(path)
    except ArrowInvalid as error:
        yield path.name, f"not Parquet: {error}"
        return
    for number, row in enumerate(table.to_pylist(), 1):
        yield f"row {number}", row


def _answer(row: dict[str, Any]) -> Answer | str:
    """The answer, or what is wrong with it."""
    known = {name: row[name] for name in COLUMNS if not _is_unknown(row.get(name))}
    known |= {name: str(known[name]) for name in TEXTS if isinstance(known.get(name), int | float)}
    for name in ("prompt", "model"):
        if not isinstance(known.get(name), str) or not known[name].strip():
            return f"`{name}` must be a text that is not empty"
    if isinstance(known.get("score"), bool):
        known["score"] = float(known["score"])
    try:
        answer = msgspec.convert(known, Answer)
    except msgspec.ValidationError as error:
        return str(error)
    if not -ROUNDING <= answer.score <= 1 + ROUNDING:
        return f"`score` must lie in [0, 1], not {answer.score!r}"
    answer = msgspec.structs.replace(answer, score=min(1.0, max(0.0, answer.score)))
    for name, value in (("cost", answer.cost), ("latency_ms", answer.latency_ms)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            return f"`{name}` must be a number from 0, not {value:g}"
    return answer


def _is_unknown(value: Any) -> bool:
    """Tables write what they do not know as nothing, or as a number that is none."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def graded(answers: list[Answer], notes: tuple[str, ...] = ()) -> Graded:
    """The table of these answers, questions in order of appearance, models by name."""
    models = tuple(sorted({answer.model for answer in answers}))
    column = {model: place for place, model in enumerate(models)}
    row: dict[str, int] = {}
    for answer in answers:
        row.setdefault(answer.prompt, len(row))
    first: list[Answer | None] = [None] * len(row)
    for answer in reversed(answers):
        first[row[answer.prompt]] = answer
    firsts = [answer for answer in first if answer]
    at = [(row[answer.prompt], column[answer.model]) for answer in answers]
    shape = (len(row), len(models))
    has_labels = any(answer.intent or answer.language or answer.complexity for answer in firsts)
    return Graded(
        prompts=tuple(row),
        models=models,
        scores=_means(at, [answer.score for answer in answers], shape),
        costs=_means(at, [answer.cost for answer in answers], shape),
        latencies_ms=_means(at, [answer.latency_ms for answer in answers], shape),
        groups=tuple(answer.group or "" for answer in firsts) if any(answer.group for answer in firsts) else (),
        labels=tuple((a.intent or "", a.language or "", a.complexity or "") for a in firsts) if has_labels else (),
        notes=notes,
    )


def _means(at: list[tuple[int, int]], values: list[Any], shape: tuple[int, int]) -> Floats:
    """Mean of the values that fall on each place, NaN where none does."""
    sums, counts = np.zeros(shape), np.zeros(shape)
    for place, value in zip(at, values, strict=True):
        if value is not None:
            sums[place] += value
            counts[place] += 1
    means: Floats = np.divide(sums, counts, out=np.full(shape, np.nan), where=counts > 0).astype(np.float32)
    return means

"""Reading a trace of requests: Parquet, CSV, JSON lines → `simulate.Trace`.

Knows: the columns, and how to name the line that is wrong. Does not know: what is done with the rows.
"""

import codecs
import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec

from pointsman.fleet.simulate import Trace
from pointsman.types import Value

MAX_PROBLEMS = 20

Seconds = Annotated[float, msgspec.Meta(ge=0)]
Line = tuple[int, Mapping[str, Any]]


class TraceError(Exception):
    """The trace cannot be used; `problems` name file and line."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Row(Value, frozen=True):
    """One request: when it comes, for which model, how long its call takes, how long its model takes to load.

    `size_bytes` is its model's, 0 or absent where it is not known; `deadline_s` counts from arrival.
    """

    t_s: float
    model: Annotated[str, msgspec.Meta(min_length=1)]
    service_s: Seconds
    load_s: Seconds
    size_bytes: Annotated[float, msgspec.Meta(ge=0)] | None = None
    deadline_s: Seconds | None = None


COLUMNS = tuple(Row.__struct_fields__)


class Reading(Value, frozen=True):
    """A trace in order of time, and what its reader should be told (`notes`)."""

    trace: Trace
    notes: tuple[str, ...]


def read(path: Path, *, sized: bool) -> Reading:
    """The whole file. `sized`: every model needs a size in one of its rows; otherwise sizes are ignored.

    Raises TraceError, and OSError where the file cannot be read.
    """
    rows: list[Row] = []
    problems: list[str] = []
    ignored: dict[str, None] = {}
    word = "row" if path.suffix == ".parquet" else "line"
    for number, cells in _lines(path):
        ignored.update(dict.fromkeys(cells.keys() - set(COLUMNS)) if len(cells) > 4 else {})
        try:
            rows.append(_row(cells, is_text=path.suffix == ".csv"))
        except ValueError as error:
            problems.append(f"{path}: {word} {number}: {error}")
            if len(problems) == MAX_PROBLEMS:
                raise TraceError(*problems, "and perhaps more: reading stopped here") from None
    if problems or not rows:
        raise TraceError(*problems or [f"{path}: holds no rows; each needs {', '.join(COLUMNS[:4])}"])
    notes = [f"ignored: {', '.join(sorted(ignored))}; known columns are {', '.join(COLUMNS)}"] if ignored else []
    if any(later.t_s < earlier.t_s for earlier, later in pairwise(rows)):
        rows.sort(key=lambda row: row.t_s)
        notes.append("the rows are not in order of t_s; they were sorted")
    return Reading(trace=_trace(path, rows, sized=sized), notes=tuple(notes))


def _lines(path: Path) -> Iterator[Line]:
    match path.suffix:
        case ".parquet":
            return _parquet(path)
        case ".csv":
            return _csv(path)
        case ".jsonl" | ".ndjson":
            return _json_lines(path)
    raise TraceError(f"{path}: a trace is *.parquet, *.csv or *.jsonl")


def _parquet(path: Path) -> Iterator[Line]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise TraceError(f"{path}: reading Parquet needs pyarrow: pip install 'pointsman[learn]'") from None
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            _require_columns(path, file.schema_arrow.names)
            for batch in file.iter_batches():
                for cells in batch.to_pylist():
                    number += 1
                    yield number, cells
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # without a number it is pyarrow's word for broken contents
            raise
        after = f" after row {number}" if number else ""
        raise TraceError(f"{path}: is not Parquet{after} ({error})") from None


def _csv(path: Path) -> Iterator[Line]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="(cells without a heading)", skipinitialspace=True)
            if reader.fieldnames:
                reader.fieldnames = [name.strip() for name in reader.fieldnames]
                _require_columns(path, reader.fieldnames)
            for cells in reader:
                yield (
                    reader.line_num,
                    {name: cell.strip() if isinstance(cell, str) else cell for name, cell in cells.items() if cell},
                )
    except (csv.Error, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: is not CSV in UTF-8 ({error})") from None


def _require_columns(path: Path, names: Sequence[str]) -> None:
    missing = [name for name in COLUMNS[:4] if name not in names]
    if missing:
        raise TraceError(f"{path}: no column {', '.join(missing)}; the columns are {', '.join(names)}")


def _json_lines(path: Path) -> Iterator[Line]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            line = raw.removeprefix(codecs.BOM_UTF8)
            if line.strip():
                try:
                    yield number, msgspec.json.decode(line, type=dict[str, Any])
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise TraceError(f"{path}: line {number}: {error}") from None


def _row(cells: Mapping[str, Any], *, is_text: bool) -> Row:
    """Raises ValueError in words. What is not known may be absent, null or no number; a model may be a number."""
    cells = {name: cell for name, cell in cells.items() if not (isinstance(cell, float) and math.isnan(cell))}
    if isinstance(cells.get("model"), int):
        cells["model"] = str(cells["model"])
    missing = [name for name in COLUMNS[:4] if cells.get(name) is None]
    if missing:
        raise ValueError(f"{', '.join(missing)}: missing")
    try:
        row = msgspec.convert(cells, Row, strict=not is_text)
    except msgspec.ValidationError as error:
        said, _, where = str(error).partition(" - at `$.")
        raise ValueError(f"{where.rstrip('`')}: {said}") from None
    for name in ("t_s", "service_s", "load_s", "size_bytes"):
        if not math.isfinite(getattr(row, name) or 0):
            raise ValueError(f"{name}: must be finite")
    if row.deadline_s is not None and math.isnan(row.deadline_s):
        raise ValueError("deadline_s: must be a number")
    return row


def _trace(path: Path, rows: list[Row], *, sized: bool) -> Trace:
    if sized and (unsized := {row.model for row in rows} - {row.model for row in rows if row.size_bytes}):
        names = ", ".join(sorted(unsized)[:5])
        raise TraceError(f"{path}: size_bytes: no row of {names} has one; give sizes, or --slots instead of bytes")
    return Trace(
        at_s=[row.t_s for row in rows],
        models=[row.model for row in rows],
        service_s=[row.service_s for row in rows],
        load_s=[row.load_s for row in rows],
        size_bytes=[int(row.size_bytes or 0) for row in rows] if sized else (),
        deadline_s=[math.inf if row.deadline_s is None else row.deadline_s for row in rows],
    )

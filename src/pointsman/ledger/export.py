"""Rows into a file that other programs read: Parquet (needs the extra `learn`) or JSON lines.

Knows: the two formats. Does not know: where rows come from, names of files. Memory does not grow with the rows.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, BinaryIO

import msgspec

from pointsman.types_record import Record

BATCH = 2000
SUFFIXES = (".parquet", ".jsonl")


class ExportError(Exception):
    """It cannot be written so; the message says what to do."""


def write(records: Iterable[Record], file: BinaryIO, suffix: str) -> int:
    """All rows in their order; how many. Raises ExportError."""
    if suffix == ".parquet":
        return _parquet(records, file)
    if suffix == ".jsonl":
        return _json_lines(records, file)
    raise ExportError(f"an export is *{' or *'.join(SUFFIXES)}, not *{suffix}")


def _json_lines(records: Iterable[Record], file: BinaryIO) -> int:
    encode, count = msgspec.json.Encoder().encode, 0
    for count, record in enumerate(records, 1):  # noqa: B007  # the last number is the answer
        file.write(encode(record) + b"\n")
    return count


def _parquet(records: Iterable[Record], file: BinaryIO) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ExportError("writing Parquet needs pyarrow: pip install 'pointsman[learn]', or export *.jsonl") from None
    columns: dict[object, Any] = {
        str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), float | None: pa.float64()
    }  # fmt: skip
    fields = msgspec.structs.fields(Record)
    schema = pa.schema([(field.name, columns[field.type]) for field in fields])
    count = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in _batches(records):
            writer.write_table(pa.Table.from_pylist([msgspec.structs.asdict(row) for row in batch], schema=schema))
            count += len(batch)
    return count


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    rest = iter(records)
    while batch := list(islice(rest, BATCH)):
        yield batch

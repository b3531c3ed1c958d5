"""The few facts of a GGUF file's header that decide how much memory it takes.

Knows: the GGUF container, version 2 and 3, little endian. Does not know: tensors, tokens.
Reads a few kilobytes: the facts stand before the vocabulary, of which only the length is read.
"""

import struct
from pathlib import Path
from typing import BinaryIO

from pointsman.errors import UpstreamError
from pointsman.types import Value

MAGIC = b"GGUF"
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
VOCABULARY = "tokenizer.ggml.tokens"
MAX_ITEMS = 4096  # per-layer lists are short; anything longer before the vocabulary is not ours to read
MAX_STRING_BYTES = 1 << 24

Scalar = int | float | str | bool
Fact = Scalar | tuple[Scalar, ...]


class Header(Value, frozen=True):
    """Sizes of one model.

    `context_tokens`: what it was trained for, 0 where unknown. `kv_bytes_per_token`: of a 16-bit cache, all layers.
    """

    context_tokens: int
    vocabulary: int
    kv_bytes_per_token: int
    has_pooling: bool
    size_bytes: int


def read_header(path: Path) -> Header:
    """The header of a GGUF file. Raises UpstreamError `loading_failed` where it is none."""
    try:
        with path.open("rb") as file:
            facts = _facts(file)
        return _header(facts, path.stat().st_size)
    except (OSError, struct.error, KeyError, ValueError, ArithmeticError) as error:
        raise UpstreamError(
            f"{path} is not a readable GGUF file ({type(error).__name__}: {error}); fetch it again",
            code="loading_failed",
        ) from error


def _header(facts: dict[str, Fact], size_bytes: int) -> Header:
    architecture = str(facts["general.architecture"])

    def number(name: str, default: int | None = None) -> int:
        value = facts.get(f"{architecture}.{name}", default)
        if value is None:
            raise KeyError(f"{architecture}.{name}")
        return int(max(value) if isinstance(value, tuple) else value)

    layers, heads = number("block_count"), number("attention.head_count")
    head_width = number("embedding_length") // heads
    kv_heads = facts.get(f"{architecture}.attention.head_count_kv", heads)
    all_kv_heads = sum(int(n) for n in kv_heads) if isinstance(kv_heads, tuple) else int(kv_heads) * layers
    widths = number("attention.key_length", head_width) + number("attention.value_length", head_width)
    return Header(
        context_tokens=number("context_length", 0),
        vocabulary=number("vocab_size", int(str(facts.get(VOCABULARY, 0)))),
        kv_bytes_per_token=all_kv_heads * widths * 2,
        has_pooling=f"{architecture}.pooling_type" in facts,
        size_bytes=size_bytes,
    )


def _facts(file: BinaryIO) -> dict[str, Fact]:
    """Key → value up to the vocabulary, whose value is its length."""
    if file.read(4) != MAGIC:
        raise ValueError("no GGUF magic")
    version, _, count = _unpack(file, "IQQ")
    if version not in {2, 3}:
        raise ValueError(f"version {version}")
    facts: dict[str, Fact] = {}
    for _ in range(int(count)):
        key, kind = _string(file), int(_unpack(file, "I")[0])
        if key == VOCABULARY:
            facts[key] = int(_unpack(file, "IQ")[1])
            break
        facts[key] = _value(file, kind)
    return facts


def _value(file: BinaryIO, kind: int) -> Fact:
    if kind == STRING:
        return _string(file)
    if kind != ARRAY:
        return _unpack(file, SCALARS[kind])[0]
    kind, count = (int(n) for n in _unpack(file, "IQ"))
    if count > MAX_ITEMS or kind == ARRAY:
        raise ValueError(f"a list of {count} items before the vocabulary")
    return tuple(_string(file) if kind == STRING else _unpack(file, SCALARS[kind])[0] for _ in range(count))


def _string(file: BinaryIO) -> str:
    length = int(_unpack(file, "Q")[0])
    if length > MAX_STRING_BYTES:
        raise ValueError(f"a string of {length} bytes")
    return file.read(length).decode()


def _unpack(file: BinaryIO, layout: str) -> tuple[int | float | bool, ...]:
    shape = struct.Struct("<" + layout)
    return shape.unpack(file.read(shape.size))

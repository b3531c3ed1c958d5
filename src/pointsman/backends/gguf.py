"""The few facts of a GGUF file's header that decide how much memory it takes, and where.

Knows: the GGUF container, version 2 and 3, little endian, in one file or split in several. Does not know: tensors'
contents, tokens, which engine reads it. The vocabulary is passed over: a 150,000-word one takes a tenth of a second.
"""

import mmap
import re
import struct
from pathlib import Path

from pointsman.errors import UpstreamError
from pointsman.types import Value

MAGIC = b"GGUF"
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
VOCABULARY = "tokenizer.ggml.tokens"
ALIGNMENT = "general.alignment"
MOST_LAYERS = 4096  # more is damage, and would be a list of as many numbers
MAX_ITEMS = 4096  # per-layer lists are short; of a longer one only the length is kept
MAX_DIMENSIONS = 4
SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
LENGTH = struct.Struct("<Q")
GLOBAL_EVERY = {"gemma2": 2, "gemma3": 6, "gpt-oss": 2, "cohere2": 4, "exaone4": 4}
"""Of these architectures every n-th layer looks at all tokens, the others at a window, where the file does not say."""

Scalar = int | float | str | bool
Fact = Scalar | tuple[Scalar, ...]


class Tensor(Value, frozen=True):
    """`kind`: GGML's number of its type. `rows`: of its matrix, the second dimension."""

    name: str
    kind: int
    rows: int
    size_bytes: int

    @property
    def layer(self) -> int | None:
        """Of which block it is; None: of the input or the output."""
        head, _, rest = self.name.partition(".")
        number = rest.partition(".")[0]
        return int(number) if head == "blk" and number.isdigit() else None


class Header(Value, frozen=True):
    """Sizes of one model.

    `context_tokens`: what it was trained for, 0 where unknown. `kv_bytes_per_token`: of a 16-bit cache, all layers, and
    `kv_by_layer` of each. `windows`: how many tokens each layer looks back, 0 for all of them; nothing where none is
    bounded. `ffn_width`: of all feed-forward networks that work on one token.
    """

    context_tokens: int
    vocabulary: int
    hidden_width: int
    ffn_width: int
    kv_by_layer: tuple[int, ...]
    has_pooling: bool
    size_bytes: int
    windows: tuple[int, ...] = ()
    tensors: tuple[Tensor, ...] = ()

    @property
    def kv_bytes_per_token(self) -> int:
        return sum(self.kv_by_layer)


def gguf_of(path: Path) -> Path:
    """The file itself, or the first model in a folder; its other parts, where it is split, lie beside it.

    Raises UpstreamError `loading_failed` where there is none.
    """
    if not path.is_dir():
        return path
    models = sorted(file for file in path.rglob("*.gguf") if "mmproj" not in file.name)
    if not models:
        raise UpstreamError(f"{path} holds no .gguf file; name one with `include`", code="loading_failed")
    return models[0]


def read_header(path: Path) -> Header:
    """The header of a GGUF file. Raises UpstreamError `loading_failed` where it is none."""
    try:
        parts = [_Part(file) for file in _files(path)]
        tensors = tuple(tensor for part in parts for tensor in part.tensors)
        return _header(parts[0].facts, tensors, sum(part.size_bytes for part in parts))
    except (OSError, struct.error, KeyError, ValueError, ArithmeticError, IndexError) as error:
        raise UpstreamError(
            f"{path} is not a readable GGUF file ({type(error).__name__}: {error}); fetch it again",
            code="loading_failed",
        ) from error


def _files(path: Path) -> list[Path]:
    split = SPLIT.search(path.name)
    if not split:
        return [path]
    stem, count = path.name[: split.start()], int(split[2])
    return [path.with_name(f"{stem}-{number:05d}-of-{count:05d}.gguf") for number in range(1, count + 1)]


def _header(facts: dict[str, Fact], tensors: tuple[Tensor, ...], size_bytes: int) -> Header:
    architecture = str(facts["general.architecture"])

    def each(name: str, count: int, default: int | None = None) -> tuple[int, ...]:
        """One number a layer."""
        value = facts.get(f"{architecture}.{name}", default)
        if value is None:
            raise KeyError(f"{architecture}.{name}")
        return tuple(int(n) for n in value) if isinstance(value, tuple) else (int(value),) * count

    def number(name: str, default: int | None = None) -> int:
        return max(each(name, 1, default))

    layers, heads, width = number("block_count"), number("attention.head_count"), number("embedding_length")
    if not 0 < layers <= MOST_LAYERS:
        raise ValueError(f"{layers} layers")
    widths = number("attention.key_length", width // heads) + number("attention.value_length", width // heads)
    experts = number("expert_feed_forward_length", 0) * number("expert_used_count", 0)
    return Header(
        context_tokens=number("context_length", 0),
        vocabulary=number("vocab_size", int(str(facts.get(VOCABULARY, 0)))),
        hidden_width=width,
        ffn_width=max(number("feed_forward_length", 4 * width), experts),
        kv_by_layer=tuple(count * widths * 2 for count in each("attention.head_count_kv", layers, heads)),
        has_pooling=f"{architecture}.pooling_type" in facts,
        size_bytes=size_bytes,
        windows=_windows(facts, architecture, layers),
        tensors=tensors,
    )


def _windows(facts: dict[str, Fact], architecture: str, layers: int) -> tuple[int, ...]:
    window = facts.get(f"{architecture}.attention.sliding_window", 0)
    pattern = facts.get(f"{architecture}.attention.sliding_window_pattern", GLOBAL_EVERY.get(architecture, 0))
    if not isinstance(window, int) or not window or not pattern:
        return ()
    if isinstance(pattern, tuple):
        return tuple(window if is_bounded else 0 for is_bounded in pattern)
    every = int(pattern)
    return tuple(window if layer % every < every - 1 else 0 for layer in range(layers))


class _Part:
    """One file, read from its beginning to where the tensors' data begin."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            self._data = data
            self._at = 0
            self.size_bytes = len(data)
            if data[:4] != MAGIC:
                raise ValueError("no GGUF magic")
            self._at = 4
            version, tensors, facts = (int(n) for n in self._take("IQQ"))
            if version not in {2, 3}:
                raise ValueError(f"version {version}")
            self.facts = dict(self._fact() for _ in range(facts))
            self.tensors = self._tensors(tensors)

    def _tensors(self, count: int) -> tuple[Tensor, ...]:
        """In the order of their data; each ends where the next begins."""
        told = sorted((self._tensor() for _ in range(count)), key=lambda one: one[3])
        alignment = int(str(self.facts.get(ALIGNMENT, 32)))
        begin = -(-self._at // alignment) * alignment
        ends = [offset for _, _, _, offset in told[1:]] + [max(0, self.size_bytes - begin)]
        return tuple(
            Tensor(name=name, kind=kind, rows=rows, size_bytes=max(0, end - offset))
            for (name, kind, rows, offset), end in zip(told, ends, strict=False)
        )

    def _tensor(self) -> tuple[str, int, int, int]:
        name, dimensions = self._string(), int(self._take("I")[0])
        if dimensions > MAX_DIMENSIONS:
            raise ValueError(f"a tensor of {dimensions} dimensions")
        shape = [int(n) for n in self._take("Q" * dimensions)]
        kind, offset = (int(n) for n in self._take("IQ"))
        return name, kind, shape[1] if dimensions > 1 else 1, offset

    def _fact(self) -> tuple[str, Fact]:
        key, kind = self._string(), int(self._take("I")[0])
        if kind == STRING:
            return key, self._string()
        return key, self._array(key) if kind == ARRAY else self._take(SCALARS[kind])[0]

    def _array(self, key: str) -> Fact:
        """The items, or of a long one, and of the vocabulary, the length."""
        kind, count = (int(n) for n in self._take("IQ"))
        if count <= MAX_ITEMS and kind != ARRAY and key != VOCABULARY:
            return tuple(self._string() if kind == STRING else self._take(SCALARS[kind])[0] for _ in range(count))
        self._pass_over(kind, count)
        return count

    def _pass_over(self, kind: int, count: int) -> None:
        if kind != STRING:
            self._at += count * struct.calcsize("<" + SCALARS[kind])
            return
        at, data, length_at = self._at, self._data, LENGTH.unpack_from
        for _ in range(count):
            at += 8 + length_at(data, at)[0]
        self._at = at

    def _string(self) -> str:
        length = int(self._take("Q")[0])
        said = self._data[self._at : self._at + length]
        if len(said) < length:
            raise ValueError(f"a string of {length} bytes")
        self._at += length
        return said.decode()

    def _take(self, layout: str) -> tuple[int | float | bool, ...]:
        shape = struct.Struct("<" + layout)
        values = shape.unpack_from(self._data, self._at)
        self._at += shape.size
        return values

"""The few facts of a folder of safetensors that decide how much memory a model takes.

Knows: the header of a safetensors file, `config.json` as Hugging Face writes it. Does not know: tensors, tokens.
Reads each file's header and nothing behind it.
"""

import struct
from math import prod
from pathlib import Path

import msgspec

from pointsman.errors import UpstreamError
from pointsman.types import Value

LENGTH = struct.Struct("<Q")
MAX_HEADER_BYTES = 100_000_000  # the format's own bound
FLOATS = frozenset({"F64", "F32", "F16", "BF16"})


class Facts(Value, frozen=True):
    """Sizes of one model.

    `dtype`: of most of its numbers, as the files say it (`BF16`). `kv_values_per_token`: numbers that one token adds to
    the cache of all layers together. `context_tokens`: what it was trained for, 0 where unknown. `plain`: whether
    every layer keeps keys and values of all tokens, or of a window of them.
    """

    parameters: int
    size_bytes: int
    dtype: str
    layers: int
    kv_values_per_token: int
    vocabulary: int
    context_tokens: int
    hidden: int
    plain: bool = True

    @property
    def is_float(self) -> bool:
        """Whether the numbers are what they say: a quantised model's are not to be converted."""
        return self.dtype in FLOATS


class _Tensor(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class _Config(msgspec.Struct, frozen=True):
    """Of `config.json`; a model that also sees or hears has its language part in `text_config`."""

    num_hidden_layers: int = 0
    num_attention_heads: int = 0
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_size: int = 0
    vocab_size: int = 0
    max_position_embeddings: int = 0
    layer_types: tuple[str, ...] | None = None
    text_config: "_Config | None" = None
    n_layer: int = 0
    n_head: int = 0
    n_embd: int = 0
    n_positions: int = 0


KEEPING = frozenset({"full_attention", "sliding_attention", "chunked_attention"})


def read_facts(folder: Path) -> Facts:
    """The facts of a folder with `config.json` and `*.safetensors`. Raises UpstreamError `loading_failed`."""
    try:
        tensors = [tensor for file in sorted(folder.glob("*.safetensors")) for tensor in _tensors(file)]
        config = msgspec.json.decode((folder / "config.json").read_bytes(), type=_Config)
        return _facts(tensors, config.text_config or config)
    except (OSError, struct.error, ValueError, ArithmeticError) as error:
        raise UpstreamError(
            f"{folder} is not a readable folder of safetensors ({type(error).__name__}: {error}); it needs "
            "`config.json` and `*.safetensors`",
            code="loading_failed",
        ) from error


def _facts(tensors: list[_Tensor], config: _Config) -> Facts:
    if not tensors:
        raise ValueError("no tensors")
    counts: dict[str, int] = {}
    for tensor in tensors:
        counts[tensor.dtype] = counts.get(tensor.dtype, 0) + prod(tensor.shape)
    layers, heads = config.num_hidden_layers or config.n_layer, config.num_attention_heads or config.n_head
    hidden = config.hidden_size or config.n_embd
    kinds = config.layer_types or ("full_attention",) * layers
    keeping = sum(kind in KEEPING for kind in kinds)
    head_width = config.head_dim or hidden // max(1, heads)
    return Facts(
        parameters=sum(counts.values()),
        size_bytes=sum(tensor.data_offsets[1] - tensor.data_offsets[0] for tensor in tensors),
        dtype=max(counts, key=lambda dtype: counts[dtype]),
        layers=layers,
        kv_values_per_token=2 * keeping * (config.num_key_value_heads or heads) * head_width,
        vocabulary=config.vocab_size,
        context_tokens=config.max_position_embeddings or config.n_positions,
        hidden=hidden,
        plain=keeping == layers,
    )


def _tensors(path: Path) -> list[_Tensor]:
    with path.open("rb") as file:
        (length,) = LENGTH.unpack(file.read(LENGTH.size))
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"{path.name}: a header of {length} bytes")
        header = msgspec.json.decode(file.read(length), type=dict[str, msgspec.Raw])
    return [msgspec.json.decode(raw, type=_Tensor) for name, raw in header.items() if name != "__metadata__"]

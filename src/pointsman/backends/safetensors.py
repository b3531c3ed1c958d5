"""The few facts of a folder of safetensors (a Hugging Face checkpoint) that decide how much memory it takes.

Knows: `config.json`, the header of a `.safetensors` file. Does not know: tensors' contents, tokens, engines.
Reads kilobytes: a shard's header lists its tensors with their shapes; what they hold is not looked at.
"""

import math
import struct
from pathlib import Path

import msgspec

from pointsman.errors import UpstreamError
from pointsman.types import Value

MAX_HEADER_BYTES = 100_000_000
TYPE_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}
FULL = "full_attention"
SLIDING = frozenset({"sliding_attention", "chunked_attention"})


class Checkpoint(Value, frozen=True):
    """Sizes of one model. `weights_bytes`: as stored; `parameters`: numbers in it, packed ones as they are packed.

    `type_bytes`: of one number in the type that the checkpoint names. `full_layers` keep keys and values of every
    token, `sliding_layers` of the last `window_tokens`; each keeps `kv_width` numbers a token. 0: unknown.
    """

    weights_bytes: int
    parameters: int
    type_bytes: int
    context_tokens: int
    vocabulary: int
    hidden_width: int
    ffn_width: int
    full_layers: int
    sliding_layers: int
    window_tokens: int
    kv_width: int

    def kv_bytes(self, tokens: int, type_bytes: int | None = None) -> int:
        """The cache of one sequence of so many tokens, in the checkpoint's type or another."""
        kept = self.full_layers * tokens + self.sliding_layers * min(tokens, self.window_tokens)
        return kept * self.kv_width * (self.type_bytes if type_bytes is None else type_bytes)


class _Config(msgspec.Struct):
    """What `config.json` calls it, today and in older checkpoints."""

    num_hidden_layers: int | None = None
    n_layer: int = 0
    num_attention_heads: int | None = None
    n_head: int = 1
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_size: int | None = None
    n_embd: int = 0
    intermediate_size: int | None = None
    n_inner: int | None = None
    vocab_size: int = 0
    max_position_embeddings: int | None = None
    n_positions: int = 0
    kv_lora_rank: int | None = None
    qk_rope_head_dim: int = 0
    sliding_window: int | None = None
    layer_types: list[str] | None = None
    torch_dtype: str | None = None
    dtype: str | None = None


class _Nested(msgspec.Struct):
    """A model of several modalities keeps its language model's figures apart."""

    text_config: _Config | None = None
    torch_dtype: str | None = None
    dtype: str | None = None


class _Tensor(msgspec.Struct):
    shape: list[int]


def read_folder(folder: Path) -> Checkpoint:
    """The facts of a checkpoint's folder. Raises UpstreamError `loading_failed` where it is none."""
    try:
        raw = (folder / "config.json").read_bytes()
        nested = msgspec.json.decode(raw, type=_Nested)
        config = nested.text_config or msgspec.json.decode(raw, type=_Config)
        dtype = config.dtype or config.torch_dtype or nested.dtype or nested.torch_dtype or "float32"
        return _checkpoint(config, _shards(folder), dtype)
    except (OSError, ValueError, ArithmeticError, struct.error) as error:
        raise UpstreamError(
            f"{folder} is not a readable checkpoint ({type(error).__name__}: {error}); fetch it again",
            code="loading_failed",
        ) from error


def _shards(folder: Path) -> list[Path]:
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise ValueError("it holds no .safetensors file")
    return shards


def _checkpoint(config: _Config, shards: list[Path], dtype: str) -> Checkpoint:
    layers = config.num_hidden_layers or config.n_layer
    kinds = config.layer_types or [FULL] * layers
    hidden_width = config.hidden_size or config.n_embd
    return Checkpoint(
        weights_bytes=sum(shard.stat().st_size for shard in shards),
        parameters=sum(_parameters(shard) for shard in shards),
        type_bytes=TYPE_BYTES.get(dtype.removeprefix("torch."), 2),
        context_tokens=config.max_position_embeddings or config.n_positions,
        vocabulary=config.vocab_size,
        hidden_width=hidden_width,
        ffn_width=config.intermediate_size or config.n_inner or 4 * hidden_width,
        full_layers=kinds.count(FULL),
        sliding_layers=sum(kind in SLIDING for kind in kinds),
        window_tokens=config.sliding_window or 0,
        kv_width=_kv_width(config, hidden_width),
    )


def _kv_width(config: _Config, hidden_width: int) -> int:
    """Numbers that one layer keeps of one token."""
    if config.kv_lora_rank:  # latent attention keeps one compressed vector for keys and values together
        return config.kv_lora_rank + config.qk_rope_head_dim
    heads = config.num_attention_heads or config.n_head
    return 2 * (config.num_key_value_heads or heads) * (config.head_dim or hidden_width // heads)


def _parameters(shard: Path) -> int:
    with shard.open("rb") as file:
        (size_bytes,) = struct.unpack("<Q", file.read(8))
        said = file.read(min(size_bytes, MAX_HEADER_BYTES))
    if len(said) < size_bytes:
        raise ValueError(f"{shard.name} ends within its header of {size_bytes} bytes")
    header = msgspec.json.decode(said, type=dict[str, msgspec.Raw])
    tensors = (raw for name, raw in header.items() if name != "__metadata__")
    return sum(math.prod(msgspec.json.decode(raw, type=_Tensor).shape) for raw in tensors)

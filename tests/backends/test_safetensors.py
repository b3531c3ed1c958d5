"""Checkpoints written here: what decides the memory, the shapes of attention, and rubbish."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from pointsman.backends.safetensors import Checkpoint, read_folder
from pointsman.errors import UpstreamError

QWEN: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "sliding_window": 32768,
    "use_sliding_window": False,
    "torch_dtype": "bfloat16",
}
TENSORS = {"a": [3, 5], "b": [7], "scalar": []}


def shard(tensors: dict[str, list[int]]) -> bytes:
    listed: dict[str, Any] = {
        name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]} for name, shape in tensors.items()
    }
    header = json.dumps({"__metadata__": {"format": "pt"}, **listed}).encode()
    return struct.pack("<Q", len(header)) + header


def checkpoint(folder: Path, config: dict[str, Any], *shards: bytes) -> Checkpoint:
    (folder / "config.json").write_text(json.dumps(config))
    for number, content in enumerate(shards or (shard(TENSORS),)):
        (folder / f"model-{number}.safetensors").write_bytes(content)
    return read_folder(folder)


def test_what_decides_the_memory(tmp_path: Path) -> None:
    one, two = shard(TENSORS), shard({"c": [2, 2, 2]}) + bytes(100)
    assert checkpoint(tmp_path, QWEN, one, two) == Checkpoint(
        weights_bytes=len(one) + len(two),
        parameters=15 + 7 + 1 + 8,
        type_bytes=2,
        context_tokens=32768,
        vocabulary=151936,
        hidden_width=896,
        ffn_width=4864,
        full_layers=24,
        sliding_layers=0,
        window_tokens=32768,
        kv_width=2 * 2 * 64,
    )


@pytest.mark.parametrize(
    ("more", "kv_bytes"),
    [
        ({}, 1000 * 24 * 256 * 2),
        ({"dtype": "float32"}, 1000 * 24 * 256 * 4),
        ({"torch_dtype": "torch.float16"}, 1000 * 24 * 256 * 2),
        ({"head_dim": 128}, 1000 * 24 * 512 * 2),
        ({"num_key_value_heads": None}, 1000 * 24 * 2 * 14 * 64 * 2),
        ({"kv_lora_rank": 512, "qk_rope_head_dim": 64}, 1000 * 24 * 576 * 2),
        (
            {"layer_types": ["sliding_attention"] * 20 + ["full_attention"] * 4, "sliding_window": 100},
            (4 * 1000 + 20 * 100) * 256 * 2,
        ),
        ({"layer_types": ["linear_attention"] * 18 + ["full_attention"] * 6}, 1000 * 6 * 256 * 2),
    ],
)
def test_the_cache_of_a_sequence(more: dict[str, Any], kv_bytes: int, tmp_path: Path) -> None:
    assert checkpoint(tmp_path, QWEN | more).kv_bytes(1000) == kv_bytes


def test_a_cache_in_another_type(tmp_path: Path) -> None:
    assert checkpoint(tmp_path, QWEN).kv_bytes(10, type_bytes=1) == 10 * 24 * 256


def test_older_names_and_a_language_model_inside_another(tmp_path: Path) -> None:
    gpt2 = {"n_layer": 12, "n_head": 12, "n_embd": 768, "n_positions": 1024, "vocab_size": 50257}
    old = checkpoint(tmp_path, gpt2)
    assert (old.full_layers, old.kv_width, old.context_tokens, old.ffn_width) == (12, 1536, 1024, 3072)
    assert old.type_bytes == 4
    text = {name: value for name, value in QWEN.items() if name != "torch_dtype"}
    inner = checkpoint(tmp_path, {"torch_dtype": "bfloat16", "hidden_size": 1, "text_config": text})
    assert (inner.hidden_width, inner.type_bytes) == (896, 2)


@pytest.mark.parametrize(
    "content", [b"", b"1234", struct.pack("<Q", 1 << 60), struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 9) + b"{}"]
)
def test_a_shard_that_is_none(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match="is not a readable checkpoint") as caught:
        checkpoint(tmp_path, QWEN, content)
    assert caught.value.code == "loading_failed"


def test_a_folder_without_weights(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match=r"config\.json"):
        read_folder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UpstreamError, match=r"it holds no \.safetensors file"):
        read_folder(tmp_path)

"""Facts from headers: sizes that are added up by hand here."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from pointsman.backends.safetensors import read_facts
from pointsman.errors import UpstreamError

LLAMA = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 32,
    "vocab_size": 100,
    "max_position_embeddings": 512,
}


def shard(path: Path, **tensors: tuple[str, list[int], int]) -> None:
    """Tensors as (dtype, shape, bytes of one number); no numbers follow the header: none are read."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape, width) in tensors.items():
        end = offset + width
        for side in shape:
            end = offset + (end - offset) * side
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw)


def folder(path: Path, config: dict[str, Any]) -> Path:
    (path / "config.json").write_text(json.dumps(config))
    shard(path / "model-1.safetensors", a=("BF16", [100, 32], 2), b=("F32", [7], 4))
    shard(path / "model-2.safetensors", c=("BF16", [10, 10], 2))
    return path


def test_sizes_of_all_shards(tmp_path: Path) -> None:
    facts = read_facts(folder(tmp_path, LLAMA))
    assert facts.parameters == 3200 + 7 + 100
    assert facts.size_bytes == 6400 + 28 + 200
    assert (facts.dtype, facts.is_float) == ("BF16", True)
    assert (facts.layers, facts.vocabulary, facts.context_tokens, facts.hidden) == (2, 100, 512, 32)
    assert facts.kv_values_per_token == 2 * 2 * 2 * 8
    assert facts.plain


@pytest.mark.parametrize(
    ("change", "values", "plain"),
    [
        ({"head_dim": 16}, 2 * 2 * 2 * 16, True),
        ({"num_key_value_heads": None}, 2 * 2 * 4 * 8, True),
        ({"layer_types": ["full_attention", "sliding_attention"]}, 2 * 2 * 2 * 8, True),
        ({"layer_types": ["full_attention", "linear_attention"]}, 2 * 1 * 2 * 8, False),
    ],
)
def test_what_a_token_adds_to_the_cache(change: dict[str, Any], values: int, plain: bool, tmp_path: Path) -> None:
    facts = read_facts(folder(tmp_path, {**LLAMA, **change}))
    assert (facts.kv_values_per_token, facts.plain) == (values, plain)


def test_the_language_part_of_a_model_that_sees(tmp_path: Path) -> None:
    assert read_facts(folder(tmp_path, {"vision_config": {}, "text_config": LLAMA})).context_tokens == 512


def test_names_of_older_models(tmp_path: Path) -> None:
    facts = read_facts(folder(tmp_path, {"n_layer": 2, "n_head": 4, "n_embd": 32, "n_positions": 64, "vocab_size": 9}))
    assert (facts.layers, facts.kv_values_per_token, facts.context_tokens) == (2, 2 * 2 * 4 * 8, 64)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: (path / "config.json").unlink(),
        lambda path: (path / "config.json").write_text("{"),
        lambda path: (path / "model-1.safetensors").write_bytes(b"\x01"),
        lambda path: (path / "model-1.safetensors").write_bytes(struct.pack("<Q", 1 << 60)),
        lambda path: [file.unlink() for file in path.glob("*.safetensors")],
    ],
)
def test_what_is_no_such_folder(spoil: Any, tmp_path: Path) -> None:
    spoil(folder(tmp_path, LLAMA))
    with pytest.raises(UpstreamError, match="not a readable folder") as caught:
        read_facts(tmp_path)
    assert caught.value.code == "loading_failed"

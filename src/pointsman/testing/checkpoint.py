"""A language model of a few thousand parameters, on disk as real ones are: safetensors, configuration, tokenizer.

Knows: the file formats. Does not know: torch, transformers; it is written by the standard library in milliseconds.
What it says is gibberish, in letters, digits and signs, and the same every time.
"""

import array
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SPECIALS = ("<|end|>", "<|user|>", "<|assistant|>", "<|system|>")
LETTERS = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]  # how byte-level tokenizers write space and line feed
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
HIDDEN, HEADS, KV_HEADS, LAYERS, INNER, CONTEXT = 64, 4, 2, 2, 128, 2048
MASK = (1 << 64) - 1


def write_checkpoint(folder: Path, seed: int = 1) -> Path:
    """A Llama with a tokenizer and a chat template. Greedy, it never ends by itself: its end has no weight."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: index for index, token in enumerate((*SPECIALS, *LETTERS))}
    _write(folder / "config.json", _config(len(vocabulary)))
    _write(folder / "generation_config.json", {"eos_token_id": 0})
    _write(folder / "tokenizer.json", _tokenizer(vocabulary))
    _write(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": SPECIALS[0], "chat_template": TEMPLATE},
    )
    (folder / "model.safetensors").write_bytes(_safetensors(_shapes(len(vocabulary)), _numbers(seed)))
    return folder


def _config(vocab_size: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": CONTEXT,
        "vocab_size": vocab_size,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": 0,
        "dtype": "float32",
    }


def _tokenizer(vocabulary: dict[str, int]) -> dict[str, Any]:
    special = [
        {
            "id": index, "content": token, "special": True,
            "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
        }
        for index, token in enumerate(SPECIALS)
    ]  # fmt: skip
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "added_tokens": special,
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }


def _shapes(vocab_size: int) -> dict[str, tuple[int, ...]]:
    wide, narrow = HIDDEN, HIDDEN // HEADS * KV_HEADS
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab_size, wide), "model.norm.weight": (wide,)}
    for layer in range(LAYERS):
        within: dict[str, tuple[int, ...]] = {
            "self_attn.q_proj.weight": (wide, wide),
            "self_attn.k_proj.weight": (narrow, wide),
            "self_attn.v_proj.weight": (narrow, wide),
            "self_attn.o_proj.weight": (wide, wide),
            "mlp.gate_proj.weight": (INNER, wide),
            "mlp.up_proj.weight": (INNER, wide),
            "mlp.down_proj.weight": (wide, INNER),
            "input_layernorm.weight": (wide,),
            "post_attention_layernorm.weight": (wide,),
        }
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in within.items()}
    return shapes


def _safetensors(shapes: dict[str, tuple[int, ...]], numbers: Iterator[float]) -> bytes:
    header, data = {}, array.array("f")
    for name, shape in shapes.items():
        start = len(data)
        if len(shape) == 1:
            data.extend([1.0] * shape[0])
        else:
            silent = HIDDEN if "embed" in name else 0  # the first token, which is the end
            data.extend([0.0] * silent)
            data.extend(next(numbers) for _ in range(shape[0] * shape[1] - silent))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": (start * 4, len(data) * 4)}
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data.tobytes()


def _numbers(seed: int) -> Iterator[float]:
    """Even over ±0.3, from a linear congruence: the same on every machine."""
    state = seed
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK
        yield ((state >> 40) / (1 << 24) - 0.5) * 0.6


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")

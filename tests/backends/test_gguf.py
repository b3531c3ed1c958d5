"""The header reader against files written here, a real one, and rubbish."""

import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.backends.gguf import Header, gguf_of, read_header
from pointsman.errors import UpstreamError

Plain = int | float | str | bool | list[int] | list[str] | list[bool]
LLAMA: dict[str, Plain] = {
    "general.architecture": "llama",
    "general.tags": ["a", "b"],
    "general.file_size_ratio": 0.5,
    "llama.is_causal": True,
    "llama.context_length": 8192,
    "llama.embedding_length": 576,
    "llama.feed_forward_length": 1536,
    "llama.block_count": 30,
    "llama.attention.head_count": 9,
    "llama.attention.head_count_kv": 3,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["x"] * 1000,
}


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def encoded(value: Plain) -> bytes:
    """Type and value."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    kind = 8 if isinstance(value[0], str) else 4
    if isinstance(value[0], bool):
        return struct.pack("<IIQ", 9, 7, len(value)) + bytes(value)
    items = b"".join(text(item) if isinstance(item, str) else struct.pack("<I", item) for item in value)
    return struct.pack("<IIQ", 9, kind, len(value)) + items


def gguf(
    facts: dict[str, Plain], tensors: dict[str, tuple[int, list[int], int]] | None = None, version: int = 3
) -> bytes:
    """`tensors`: name → (type, shape, bytes of data)."""
    pairs = b"".join(text(key) + encoded(value) for key, value in facts.items())
    infos, offset = b"", 0
    for name, (kind, shape, size_bytes) in (tensors or {}).items():
        infos += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += size_bytes
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors or {}), len(facts)) + pairs + infos
    return head + bytes(-len(head) % 32 + offset) if tensors else head


def header_of(folder: Path, content: bytes) -> Header:
    path = folder / "m.gguf"
    path.write_bytes(content)
    return read_header(path)


def test_what_decides_the_memory(tmp_path: Path) -> None:
    content = gguf(LLAMA) + b"tensors"
    assert header_of(tmp_path, content) == Header(
        context_tokens=8192,
        vocabulary=1000,
        hidden_width=576,
        ffn_width=1536,
        kv_by_layer=(768,) * 30,
        has_pooling=False,
        size_bytes=len(content),
    )


TENSORS = {
    "token_embd.weight": (14, [64, 1000], 4096),
    "blk.0.attn_q.weight": (12, [64, 32], 1024),
    "blk.11.ffn_up.weight": (2, [64, 7, 3], 96),
    "output_norm.weight": (0, [64], 256),
}


def test_tensors_are_told_with_their_layer_and_size(tmp_path: Path) -> None:
    header = header_of(tmp_path, gguf(LLAMA, TENSORS))
    assert [(one.layer, one.kind, one.rows, one.size_bytes) for one in header.tensors] == [
        (None, 14, 1000, 4096),
        (0, 12, 32, 1024),
        (11, 2, 7, 96),
        (None, 0, 1, 256),
    ]


def test_a_model_in_several_files_is_one(tmp_path: Path) -> None:
    first, second = gguf(LLAMA, TENSORS), gguf({"split.no": 1}, {"blk.12.x": (0, [8], 32)})
    (tmp_path / "m-00001-of-00002.gguf").write_bytes(first)
    with pytest.raises(UpstreamError, match="m-00002-of-00002"):
        read_header(tmp_path / "m-00001-of-00002.gguf")
    (tmp_path / "m-00002-of-00002.gguf").write_bytes(second)
    (tmp_path / "mmproj-m.gguf").write_bytes(b"")
    header = read_header(gguf_of(tmp_path))
    assert header.size_bytes == len(first) + len(second)
    assert header.tensors[-1].layer == 12
    assert header.context_tokens == 8192


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match=r"holds no \.gguf file") as caught:
        gguf_of(tmp_path)
    assert caught.value.code == "loading_failed"


def test_a_mixture_of_experts_works_on_some_at_a_time(tmp_path: Path) -> None:
    more: dict[str, Plain] = {"llama.expert_feed_forward_length": 700, "llama.expert_used_count": 8}
    assert header_of(tmp_path, gguf(LLAMA | more)).ffn_width == 5600


@pytest.mark.parametrize(
    ("more", "kv_bytes_per_token"),
    [
        ({"llama.attention.key_length": 128, "llama.attention.value_length": 64}, 30 * 3 * (128 + 64) * 2),
        ({"llama.attention.head_count_kv": [1, 2, 0, 3]}, 6 * 128 * 2),  # one number a layer
        ({"llama.attention.head_count_kv": 9}, 69_120),
    ],
)
def test_other_shapes_of_attention(tmp_path: Path, more: dict[str, Plain], kv_bytes_per_token: int) -> None:
    facts = {key: value for key, value in LLAMA.items() if key not in more}
    ordered: dict[str, Plain] = {"general.architecture": "llama", **more, **facts}
    assert header_of(tmp_path, gguf(ordered)).kv_bytes_per_token == kv_bytes_per_token


def test_without_grouped_heads_every_head_is_cached(tmp_path: Path) -> None:
    facts = {key: value for key, value in LLAMA.items() if not key.endswith("_kv")}
    assert header_of(tmp_path, gguf(facts)).kv_bytes_per_token == 30 * 9 * 128 * 2


@pytest.mark.parametrize(
    ("architecture", "more", "windows"),
    [
        ("llama", {}, ()),
        ("llama", {"attention.sliding_window": 512}, ()),  # nobody says which layers
        ("llama", {"attention.sliding_window": 512, "attention.sliding_window_pattern": 3}, (512, 512, 0) * 10),
        (
            "llama",
            {"attention.sliding_window": 8, "attention.sliding_window_pattern": [True] * 29 + [False]},
            (8,) * 29 + (0,),
        ),
        ("gemma3", {"attention.sliding_window": 512}, (512, 512, 512, 512, 512, 0) * 5),
        ("gpt-oss", {"attention.sliding_window": 128}, (128, 0) * 15),
    ],
)
def test_layers_that_look_at_a_window(
    architecture: str, more: dict[str, Plain], windows: tuple[int, ...], tmp_path: Path
) -> None:
    facts = {key.replace("llama.", f"{architecture}."): value for key, value in LLAMA.items()}
    facts |= {"general.architecture": architecture, **{f"{architecture}.{key}": value for key, value in more.items()}}
    assert header_of(tmp_path, gguf(facts)).windows == windows


def test_an_embedding_model(tmp_path: Path) -> None:
    facts: dict[str, Plain] = {"general.architecture": "llama", "llama.pooling_type": 1, **LLAMA}
    assert header_of(tmp_path, gguf(facts)).has_pooling


def test_a_real_model(smollm2: Path) -> None:
    header = read_header(smollm2)
    assert (header.vocabulary, header.kv_bytes_per_token, header.context_tokens) == (49_152, 23_040, 8192)
    assert header.size_bytes == 98_362_432
    assert len(header.tensors) == 272
    assert 0.98 < sum(tensor.size_bytes for tensor in header.tensors) / header.size_bytes < 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF",
        b"<html>not found</html>",
        gguf(LLAMA)[:100],
        gguf(LLAMA, version=1),
        gguf({"general.architecture": "llama"}),
        gguf({**LLAMA, "llama.attention.head_count": 0}),
        gguf({"tokenizer.ggml.model": "gpt2"}),
        gguf(LLAMA | {"tokenizer.ggml.merges": ["a b"] * 5000})[:-9],
        gguf(LLAMA, {"x": (0, [1, 1, 1, 1, 1], 32)}),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 60),
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("k") + struct.pack("<I", 77),
    ],
)
def test_what_is_none(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UpstreamError, match="not a readable GGUF file") as caught:
        header_of(tmp_path, content)
    assert caught.value.code == "loading_failed"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match="not a readable GGUF file"):
        read_header(tmp_path / "nothing.gguf")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 400), flipped=st.binary(min_size=1, max_size=8))
def test_damage_is_an_error_or_a_header(tmp_path: Path, position: int, flipped: bytes) -> None:
    whole = gguf(LLAMA)
    with suppress(UpstreamError):
        header_of(tmp_path, whole[:position] + flipped + whole[position + len(flipped) :])

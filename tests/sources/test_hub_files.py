"""Which files of a repository make a model."""

import pytest

from pointsman.errors import UpstreamError
from pointsman.sources.hub_files import HubFile, chosen, opened


def files(*paths: str) -> tuple[HubFile, ...]:
    return tuple(HubFile(path=path, size_bytes=1, sha256="a" * 64) for path in paths)


def picked(*paths: str, include: tuple[str, ...] = ()) -> list[str]:
    return [file.path for file in chosen(files(*paths), include, "hub/x")]


SMALL = ["config.json", "merges.txt", "tokenizer.json", "tokenizer.model"]


@pytest.mark.parametrize(
    ("others", "weights"),
    [
        (["pytorch_model.bin", "tf_model.h5", "original/consolidated.00.pth"], ["model.safetensors"]),
        (["consolidated.safetensors"], ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]),
        (["onnx/model.onnx", "onnx/config.json", "README.md", "LICENSE.txt"], ["model.safetensors"]),
        (["training_args.bin", "optimizer.bin"], ["model.bin"]),
        ([], ["consolidated.safetensors"]),
    ],
)
def test_weights_once_with_the_small_files_beside_them(others: list[str], weights: list[str]) -> None:
    assert picked(*others, *SMALL, *weights) == sorted([*SMALL, *weights])


def test_a_gguf_alone() -> None:
    assert picked("README.md", "config.json", "tiny-q4_k_m.gguf") == ["tiny-q4_k_m.gguf"]
    shards = ["big-00001-of-00002.gguf", "big-00002-of-00002.gguf"]
    assert picked(*reversed(shards)) == shards
    assert opened(files(*reversed(shards))) == shards[0]
    assert opened(files(shards[1], "small.gguf")) == "."


@pytest.mark.parametrize("paths", [["a.gguf", "b.gguf"], ["a-00001-of-00003.gguf", "a-00002-of-00003.gguf"]])
def test_several_ggufs_are_a_question(paths: list[str]) -> None:
    with pytest.raises(UpstreamError, match=f"has 2 GGUF files; name one by `include`. There are {paths[0]}"):
        picked(*paths)


def test_patterns_are_caseless_and_cross_folders() -> None:
    paths = ("Q4/tiny-q4_k_m.gguf", "Q8/tiny-q8_0.gguf", "config.json")
    assert picked(*paths, include=("*Q4_K_M.gguf",)) == ["Q4/tiny-q4_k_m.gguf"]
    assert picked(*paths, include=("q8/*", "*.json")) == ["Q8/tiny-q8_0.gguf", "config.json"]


def test_no_weights_at_all() -> None:
    with pytest.raises(
        UpstreamError, match=r"no weights that an engine here reads; name files by `include`. .*x\.onnx"
    ):
        picked("x.onnx")
    with pytest.raises(UpstreamError, match="It is empty"):
        picked()


@pytest.mark.parametrize(
    "path", ["../x.json", "/etc/x.json", "a/../../x.json", ".pointsman.json", "a\\b.json", "a\n.json"]
)
def test_paths_stay_inside(path: str) -> None:
    with pytest.raises(UpstreamError, match="no plain path"):
        picked("model.safetensors", path)


def test_a_file_without_a_hash_is_not_taken() -> None:
    with pytest.raises(UpstreamError, match="without a hash"):
        chosen((HubFile(path="model.safetensors", size_bytes=1),), (), "hub/x")

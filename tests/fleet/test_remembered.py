"""Figures that outlive a run: kept by what determines them, in a file that may be damaged."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from pointsman.fleet.remembered import MAX_ENTRIES, Figures, Remembered, fingerprint
from pointsman.settings import Model

GB = 10**9
FIGURES = Figures(host_bytes=GB, gpu_bytes=((0, 5), (1, 7)), asleep_bytes=9, load_s=1.5, wake_s=0.25)


def model(**more: Any) -> Model:
    tree = {"id": "m", "backend": "llama_cpp", "source": {"file": "m.gguf"}} | more
    return TypeAdapter[Model](Model).validate_python(tree)


def open_at(path: Path, **names: str) -> Remembered:
    return Remembered(path, names or {"a": "x"})


def test_figures_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "measured.json"
    first = open_at(path)
    assert first.figures("a", 100) == Figures()
    assert first.keep("a", 100, FIGURES)
    first.write()
    second = open_at(path)
    assert second.problem == ""
    assert second.figures("a", 100) == FIGURES
    assert second.figures("a", 101) == Figures()  # other weights
    assert open_at(path, a="y").figures("a", 100) == Figures()  # other settings
    assert open_at(path, b="x").figures("b", 100) == FIGURES  # another name of the same
    assert [file.name for file in path.parent.iterdir()] == ["measured.json"]


def test_a_lower_figure_of_memory_lowers_nothing_and_times_are_the_latest(tmp_path: Path) -> None:
    remembered = open_at(tmp_path / "f")
    remembered.keep("a", 1, FIGURES)
    assert not remembered.keep("a", 1, Figures())
    assert remembered.keep("a", 1, Figures(host_bytes=5, gpu_bytes=((0, 6),), asleep_bytes=8, load_s=1.0))
    assert remembered.figures("a", 1) == Figures(
        host_bytes=GB, gpu_bytes=((0, 6), (1, 7)), asleep_bytes=8, load_s=1.0, wake_s=0.25
    )


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"version":1}', b'{"version":1,"figures":{"x-1":{"load_s":"?"}}}']
)
def test_a_damaged_file_is_said_ignored_and_written_anew(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    path.write_bytes(content)
    remembered = open_at(path)
    assert str(path) in remembered.problem
    assert remembered.figures("a", 1) == Figures()
    remembered.keep("a", 1, FIGURES)
    remembered.write()
    assert open_at(path).figures("a", 1) == FIGURES


def test_a_file_of_another_version_counts_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    path.write_bytes(b'{"version":2,"figures":{}}')
    assert open_at(path).problem == ""


def test_a_disk_that_takes_nothing_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    remembered = open_at(tmp_path / "file" / "measured.json")
    remembered.keep("a", 1, FIGURES)
    remembered.write()
    assert remembered.figures("a", 1) == FIGURES
    Remembered().write()


def test_the_file_stays_small(tmp_path: Path) -> None:
    remembered = open_at(tmp_path / "f")
    for size in range(MAX_ENTRIES + 50):
        remembered.keep("a", size, FIGURES)
    remembered.keep("a", 0, FIGURES)  # seen again, so it is kept
    remembered.write()
    again = open_at(tmp_path / "f")
    assert again.figures("a", 0) == FIGURES
    assert again.figures("a", 10) == Figures()
    assert again.figures("a", MAX_ENTRIES + 49) == FIGURES


def test_what_determines_memory_and_what_does_not() -> None:
    same = fingerprint(model())
    more: dict[str, Any]
    for more in ({"id": "z"}, {"quality": {"code": 1.0}}, {"pin": True}, {"ttl_s": 5.0}, {"sampling": {"top_p": 0.5}}):
        assert fingerprint(model(**more)) == same, more
    for more in ({"n_ctx": 512}, {"slots": 2}, {"gpu_layers": 3}, {"source": {"file": "n.gguf"}}, {"gpus": (1,)}):
        assert fingerprint(model(**more)) != same, more


def test_only_managed_models_have_figures(tmp_path: Path) -> None:
    far = TypeAdapter[Model](Model).validate_python({"id": "f", "backend": "openai", "url": "http://h/v1"})
    remembered = Remembered.of_models(tmp_path / "f", {"m": model(), "f": far})
    assert remembered.keep("m", 1, FIGURES)
    assert not remembered.keep("f", 1, FIGURES)

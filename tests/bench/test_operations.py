"""A small run of the comparison, and that it would notice a difference."""

import pytest
from bench.operations import Compared, main, table


def test_every_figure_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    """Show 1, with 300 requests: stats, metrics, log, store and console tell what really happened."""
    assert main(["--requests", "300"]) == 0, capsys.readouterr().out
    assert "every figure agrees" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["stats", "metrics", "log", "store", "console"])
def test_one_request_too_many_is_noticed(place: str) -> None:
    compared = Compared()
    compared.add("truth", {"requests": 300, "cost": 0.5})
    compared.add(place, {"requests": 301, "cost": 0.5 + 1e-9})
    compared.judge()
    assert compared.wrong == [f"requests: {place} says 301, it is 300"]
    assert "301" in table(compared)


def test_what_only_the_gateway_knows_must_agree() -> None:
    compared = Compared()
    compared.add("store", {"task:code": 2})
    compared.add("metrics", {"task:code": 3})
    compared.judge()
    assert len(compared.wrong) == 1

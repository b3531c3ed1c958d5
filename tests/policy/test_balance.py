"""Which instance of one model: affinity within its bound, the better of two, everybody else behind."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pointsman.policy.balance import ordered
from pointsman.testing.decisions import ask, hot
from pointsman.types import DeploymentView, Request, Turn


def instance(name: str, busy: int = 0, latency_s: float | None = None, slots: int = 8) -> DeploymentView:
    return replace(hot("m", name), in_flight=busy, latency_s=latency_s, slots=slots)


def again(text: str = "Hello!") -> Request:
    """The same conversation, a turn later."""
    turns = (Turn(role="user", text=text), Turn(role="assistant", text="Yes?"), Turn(role="user", text="And now?"))
    return replace(ask(text), turns=turns)


def firsts(team: list[DeploymentView], request: Request, tickets: int = 200, held_by: str = "") -> Counter[str]:
    return Counter(ordered(team, held_by, request, ticket).ids[0] for ticket in range(tickets))


def test_of_two_the_one_that_is_expected_to_answer_sooner() -> None:
    assert set(firsts([instance("slow", latency_s=2.0), instance("fast", latency_s=0.5)], ask())) == {"fast"}
    assert set(firsts([instance("slow", 1, 2.0), instance("fast", 8, 0.5, slots=64)], ask())) == {"slow"}
    assert set(firsts([instance("full", 8, 0.1), instance("slow", 1, 9.0)], ask())) == {"slow"}


def test_who_has_answered_nothing_yet_is_tried() -> None:
    assert set(firsts([instance("new"), instance("old", 1, 0.5)], ask())) == {"new"}


def test_the_slowest_of_many_is_drawn_and_never_the_better_one() -> None:
    team = [instance(f"i{n}", latency_s=0.1 * (1 + n)) for n in range(5)]
    seen = firsts(team, ask(), tickets=1000)
    assert "i4" not in seen
    assert seen["i0"] > seen["i1"] > seen["i2"] > seen["i3"] > 0  # not all to the best one


def test_conversations_are_spread_and_each_keeps_its_instance() -> None:
    team = [instance(f"i{n}") for n in range(4)]
    homes = {text: firsts(team, again(text), tickets=5) for text in map(str, range(200))}
    assert all(len(home) == 1 for home in homes.values())
    spread = Counter(name for home in homes.values() for name in home)
    assert min(spread.values()) > 25


def test_an_instance_that_leaves_moves_only_its_own_conversations() -> None:
    team = [instance(f"i{n}") for n in range(4)]
    for text in map(str, range(100)):
        [home] = firsts(team, again(text), tickets=1)
        [left] = firsts(team[:3], again(text), tickets=1)
        assert left == home or home == "i3"


def test_a_crowded_home_spills_over_to_one_other() -> None:
    team = [instance(f"i{n}", 1) for n in range(4)]
    [home] = firsts(team, again(), tickets=1)
    crowded = [replace(one, in_flight=6 if one.id == home else 1) for one in team]
    spilled = firsts(crowded, again())
    assert home not in spilled
    assert len(spilled) == 1


views = st.lists(
    st.builds(
        instance,
        name=st.integers(0, 99).map(str),
        busy=st.integers(0, 20),
        latency_s=st.none() | st.floats(0.001, 100),
        slots=st.integers(1, 16),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda view: view.id,
)


@given(views, st.booleans(), st.integers(0, 2**40), st.data())
def test_everybody_is_there_once_whatever_the_order(
    team: list[DeploymentView], is_later: bool, ticket: int, data: st.DataObject
) -> None:
    request = again() if is_later else ask()
    held_by = data.draw(st.sampled_from(["", "elsewhere", *(view.id for view in team)]))
    found = ordered(team, held_by, request, ticket)
    assert sorted(found.ids) == sorted(view.id for view in team)
    assert ordered(team[::-1], held_by, request, ticket) == found
    first = next(view for view in team if view.id == found.ids[0])
    full = [view for view in team if view.in_flight >= view.slots]
    if first in full:  # only where two were drawn, and both are
        assert len(full) > 1 or len(team) == 1

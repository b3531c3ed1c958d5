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


def firsts(team: list[DeploymentView], request: Request | None = None, held_by: str = "") -> Counter[str]:
    """Who comes first, of two hundred conversations, or of two hundred tickets of one request."""
    asked = [request or ask(f"conversation {ticket}") for ticket in range(200)]
    return Counter(ordered(team, held_by, one, ticket).ids[0] for ticket, one in enumerate(asked))


def crowd(*busy: int) -> list[DeploymentView]:
    return [instance(f"i{n}", calls) for n, calls in enumerate(busy)]


def test_of_two_the_one_that_is_expected_to_answer_sooner() -> None:
    assert set(firsts([instance("slow", latency_s=2.0), instance("fast", latency_s=0.5)])) == {"fast"}
    assert set(firsts([instance("slow", 2, 2.0), instance("fast", 2, 0.5)])) == {"fast"}
    assert set(firsts([instance("full", 8, 0.1), instance("slow", 1, 9.0)])) == {"slow"}


def test_who_has_answered_nothing_yet_is_tried() -> None:
    assert set(firsts([instance("new"), instance("old", 1, 0.5)])) == {"new"}


def test_the_slowest_of_many_never_leads_and_the_others_share() -> None:
    seen = firsts([instance(f"i{n}", latency_s=0.1 * (1 + n)) for n in range(5)])
    assert "i4" not in seen
    assert seen["i0"] > seen["i1"] > seen["i2"] > seen["i3"] > 0  # not all to the best one


def test_conversations_are_spread_and_each_keeps_to_one_of_two() -> None:
    team = crowd(1, 1, 1, 1)
    assert min(firsts(team).values()) > 25
    for text in map(str, range(50)):
        homes = set(firsts(team, again(text))) | set(firsts(crowd(2, 1, 1, 1), again(text)))
        homes |= set(firsts(crowd(1, 2, 1, 1), again(text))) | set(firsts(crowd(1, 1, 2, 1), again(text)))
        assert len(homes) <= 2


def test_who_answered_before_goes_on_while_it_has_room() -> None:
    assert set(firsts(crowd(2, 2, 3, 2), again(), held_by="i2")) == {"i2"}
    assert "i2" not in firsts(crowd(2, 2, 6, 2), again(), held_by="i2")
    assert "i2" not in firsts([*crowd(4, 4), instance("i2", 2, slots=2)], again(), held_by="i2")  # full


def test_an_instance_that_leaves_moves_only_its_own_conversations() -> None:
    team = crowd(1, 1, 1, 1)
    for text in map(str, range(100)):
        [home] = firsts(team, again(text))
        [left] = firsts(team[:3], again(text))
        assert left == home or home == "i3"


def test_a_crowded_home_spills_over() -> None:
    [home] = firsts(crowd(1, 1, 1, 1), again())
    crowded = [replace(one, in_flight=6 if one.id == home else 1) for one in crowd(1, 1, 1, 1)]
    assert home not in firsts(crowded, again())


def test_what_cannot_be_hashed_is_drawn_by_the_ticket() -> None:
    silent = replace(ask(), turns=())
    assert len(firsts(crowd(1, 1, 1, 1), silent)) == 4


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
    bound = 1.5 * (sum(view.in_flight for view in team) + 1) / len(team) + 1
    if len(team) > 2 and first.in_flight >= bound:
        assert any(view.in_flight >= view.slots for view in team)  # nobody is asked beyond it without need

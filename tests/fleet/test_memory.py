"""Who leaves to make room, and what a measurement is worth."""

from hypothesis import given
from hypothesis import strategies as st

from pointsman.fleet.memory import (
    HOST,
    Eviction,
    Resident,
    added,
    choose_victims,
    corrected,
    corrected_sizes,
    device_in_words,
    in_order,
    in_words,
    least,
    most,
    total,
)


def resident(
    name: str, size: int | tuple[int, ...] = 100, worth: float = 1, *, busy: bool = False, held_by: str = ""
) -> Resident:
    sizes = (size,) if isinstance(size, int) else size
    return Resident(id=name, sizes=sizes, worth=worth, is_busy=busy, held_by=held_by)


def leaving(residents: list[Resident], need: tuple[int, ...], *, may_wait_for_busy: bool = False) -> Eviction:
    return choose_victims(in_order(residents, may_wait_for_busy=may_wait_for_busy), need)


def test_the_least_worth_leaves_first_and_of_equals_the_larger() -> None:
    assert leaving([resident("new", worth=9), resident("old", worth=-2)], (50,)).victims == ("old",)
    assert leaving([resident("small", 60), resident("large", 200)], (50,)).victims == ("large",)


def test_nobody_leaves_where_it_would_not_suffice() -> None:
    eviction = leaving([resident("a"), resident("b", busy=True), resident("c", held_by="is pinned")], (150,))
    assert eviction.victims == ()
    assert not eviction.is_enough


def test_who_is_not_needed_after_all_stays() -> None:
    eviction = leaving([resident("first", 30, worth=1), resident("second", 100, worth=2)], (90,))
    assert eviction.victims == ("second",)
    assert eviction.freed == (100,)


def test_a_starved_load_takes_busy_ones_too_but_idle_ones_first() -> None:
    residents = [resident("busy", 100, busy=True), resident("idle", 100, worth=5)]
    assert leaving(residents, (80,), may_wait_for_busy=True).victims == ("idle",)
    assert set(leaving(residents, (150,), may_wait_for_busy=True).victims) == {"busy", "idle"}
    held = [resident("busy", 100, busy=True, held_by="is pinned")]
    assert not leaving(held, (80,), may_wait_for_busy=True).is_enough


def test_every_device_that_is_short_is_freed_and_nobody_leaves_for_one_who_frees_nothing_there() -> None:
    host, first, second = (resident("host", (9, 0, 0)), resident("first", (1, 9, 0)), resident("second", (1, 0, 9)))
    assert leaving([host, first, second], (0, 5, 5)).victims == ("first", "second")
    assert leaving([host, first, second], (0, 5, 0)).victims == ("first",)
    assert leaving([host, first, second], (8, 5, 0)).victims == ("first", "host")
    assert not leaving([host, first], (0, 5, 1)).is_enough


RESIDENTS = st.lists(
    st.builds(
        resident,
        st.uuids().map(str),
        st.tuples(st.integers(0, 500), st.integers(0, 500)),
        st.floats(-1e4, 1e4),
        busy=st.booleans(),
        held_by=st.sampled_from(["", "is pinned"]),
    ),
    max_size=8,
)


@given(RESIDENTS, st.tuples(st.integers(1, 2000), st.integers(0, 2000)), st.booleans())
def test_an_eviction_is_enough_lawful_and_without_waste(
    residents: list[Resident], need: tuple[int, int], starved: bool
) -> None:
    eviction = leaving(residents, need, may_wait_for_busy=starved)
    by_id = {one.id: one for one in residents}
    victims = [by_id[name] for name in eviction.victims]
    able = [one for one in residents if not one.held_by and (starved or not one.is_busy)]
    assert eviction.is_enough == all(sum(one.sizes[i] for one in able) >= need[i] for i in (0, 1))
    assert eviction.freed == tuple(sum(one.sizes[i] for one in victims) for i in (0, 1))
    assert all(one in able for one in victims)
    if eviction.is_enough:
        assert all(any(need[i] > eviction.freed[i] - one.sizes[i] for i in (0, 1)) for one in victims)
    else:
        assert not victims


def test_a_measurement_raises_an_estimate_and_never_lowers_it() -> None:
    assert corrected(100, 150, 1000) == 150
    assert corrected(100, 60, 1000) == 100
    assert corrected(100, 0, 1000) == 100
    assert corrected(100, 5000, 1000) == 1000  # it runs alone
    assert corrected(3000, 0, 1000) == 3000  # can never fit


def test_sizes_are_compared_and_summed_device_by_device() -> None:
    assert corrected_sizes(((0, 5), (1, 9)), ((0, 7), (2, 3)), {0: 6}) == ((0, 6), (1, 9), (2, 0))
    assert most(((HOST, 5), (0, 9)), ((HOST, 7),)) == ((HOST, 7), (0, 9))
    assert least(((0, 5), (1, 9)), ((0, 3),)) == ((0, 3),)
    assert added([((HOST, 1), (0, 2)), ((0, 3),)]) == ((HOST, 1), (0, 5))
    assert total(((HOST, 1), (0, 5))) == 6


def test_bytes_in_words() -> None:
    assert in_words(1_117_000_000) == "1.12 GB"
    assert in_words(98_000_000) == "98 MB"
    assert (device_in_words(HOST), device_in_words(1)) == ("memory", "memory on GPU 1")

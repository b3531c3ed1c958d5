"""Each rule of the machine by an example; `tests/machine` tries every order of events. Devices and sleep."""

from collections.abc import Mapping

from tests.fleet.playing import Play, plain, refusal, spec

from pointsman.fleet.estimates import WAKE_S, ready_in_s
from pointsman.fleet.events import (
    Drain,
    Effect,
    Estimated,
    Exited,
    FellAsleep,
    Grant,
    LoadFailed,
    Measured,
    Rest,
    Sleep,
    SleepFailed,
    Sleepless,
    Slept,
    Start,
    Started,
    Stop,
    Unload,
    Wake,
    WakeFailed,
    Woke,
    Woken,
)
from pointsman.fleet.values import DeploymentSpec, Phase, Rules, Why
from pointsman.fleet.views import view_of
from pointsman.types import Tier

NOTHING: Mapping[str, tuple[tuple[int, int], ...]] = {}
NO_SLEEP: Mapping[str, int] = {}
RULES = Rules(max_wait_s=30, min_resident_s=5, backoff_s=0.5)


class Night(Play):
    """A fleet whose models may take GPU memory, and may sleep."""

    def __init__(
        self,
        *specs: DeploymentSpec,
        gpus: Mapping[str, tuple[tuple[int, int], ...]] = NOTHING,
        asleep: Mapping[str, int] = NO_SLEEP,
        budgets: tuple[tuple[int, int], ...] = (),
    ) -> None:
        super().__init__(*specs, rules=RULES, gpu_budgets=budgets)
        for one in specs:
            event = Estimated(
                at_s=self.now_s,
                deployment_id=one.id,
                footprint_bytes=1,
                gpu_bytes=gpus.get(one.id, ()),
                asleep_bytes=asleep.get(one.id, 0),
            )
            self.send(event)

    def rest(self, name: str) -> list[Effect]:
        return plain(self.send(Rest(at_s=self.now_s, deployment_id=name)))

    def unload(self, name: str) -> list[Effect]:
        return plain(self.send(Unload(at_s=self.now_s, deployment_id=name)))

    def slept(self, name: str, measured: int = 0) -> list[Effect]:
        life = self.of(name).life
        return plain(self.send(Slept(at_s=self.now_s, deployment_id=name, life=life, measured_bytes=measured)))

    def woken(self, name: str) -> list[Effect]:
        return plain(self.send(Woken(at_s=self.now_s, deployment_id=name, life=self.of(name).life)))

    def asleep(self, name: str) -> None:
        """Loaded, then put to sleep by an operator."""
        self.ready(name)
        assert self.rest(name) == [Sleep(deployment_id=name, life=self.of(name).life)]
        self.slept(name)
        assert self.of(name).phase is Phase.ASLEEP

    def told(self, effects: list[Effect]) -> list[str]:
        """`Stop a`, `Sleep b`."""
        orders = [one for one in effects if isinstance(one, Start | Stop | Sleep | Wake)]
        return [f"{type(one).__name__} {one.deployment_id}" for one in orders]


# ------------------------------------------------------------ devices


def test_a_load_must_fit_on_every_device_it_takes() -> None:
    on = {"a": ((0, 60),), "b": ((0, 60),), "c": ((1, 60),)}
    play = Night(spec("a", 10), spec("b", 10), spec("c", 10), gpus=on, budgets=((0, 100), (1, 100)))
    play.ready("a", "c")
    play.pause(20)
    assert play.told(play.want("b")) == ["Stop a"]  # c holds nothing where b is short
    assert play.state.used == ((-1, 20), (0, 60), (1, 60))
    assert play.told(play.stopped("a")) == ["Start b"]


def test_victims_must_free_every_device_that_is_short() -> None:
    on = {"a": ((0, 60),), "b": ((1, 60),), "wide": ((0, 80), (1, 80))}
    play = Night(spec("a", 10), spec("b", 10), spec("wide", 10), gpus=on, budgets=((0, 100), (1, 100)))
    play.ready("a", "b")
    play.busy("b")
    play.pause(20)
    assert play.told(play.want("wide")) == []  # what a could free alone helps nobody
    assert play.told(play.release("b", 3)) == ["Stop a", "Stop b"]


def test_what_can_never_fit_on_a_gpu_is_refused_with_the_device_and_the_bytes() -> None:
    on = {"a": ((0, 9_000_000_000),), "b": ((3, 1),), "p": ((0, 5_000_000_000),), "c": ((0, 4_000_000_000),)}
    budgets = ((0, 8_000_000_000),)
    play = Night(spec("a", 1), spec("b", 1), spec("p", 1, pin=True), spec("c", 1), gpus=on, budgets=budgets)
    assert "needs 9.00 GB of memory on GPU 0 and the budget is 8.00 GB; raise fleet.gpu" in refusal(play.want("a")).why
    assert "GPU 3; there is GPU 0 here" in refusal(play.want("b")).why
    play.ready("p")
    assert "of which 5.00 GB are pinned by `p`" in refusal(play.want("c")).why


def test_an_overdrawn_gpu_is_paid_back_by_who_holds_memory_there() -> None:
    on = {"a": ((0, 40),), "b": ((0, 40),)}
    play = Night(spec("host", 50), spec("a", 10), spec("b", 10), gpus=on, budgets=((0, 100),))
    play.ready("host", "a", "b")
    play.busy("b")
    play.pause(20)
    event = Measured(at_s=play.now_s, deployment_id="b", life=1, measured_bytes=0, gpu_bytes=((0, 70),))
    assert play.told(plain(play.send(event))) == ["Stop a"]
    assert play.of("b").gpu_bytes == ((0, 70),)


# ------------------------------------------------------------ falling asleep


def test_an_unused_model_falls_asleep_then_is_unloaded_when_its_ttl_ends() -> None:
    play = Night(spec("a", 60, sleep_after_s=10.0, ttl_s=30.0), asleep={"a": 20})
    play.ready("a")
    assert play.pause(9.9) == []
    assert play.pause(0.2) == [Sleep(deployment_id="a", life=1)]
    assert play.state.used_bytes == 60
    play.now_s += 1.5
    [news] = play.slept("a", measured=15)
    assert isinstance(news, FellAsleep)
    assert (news.memory_bytes, news.freed_bytes, play.state.used_bytes) == (15, 45, 15)
    assert play.told(play.pause(30)) == ["Stop a"]
    assert play.of("a").closing is Why.EXPIRED


def test_a_pinned_or_a_busy_one_and_one_that_cannot_stays_awake() -> None:
    specs = (spec(name, 20, sleep_after_s=10.0, pin=name == "p") for name in ("p", "busy", "never"))
    play = Night(*specs, asleep={"p": 5, "busy": 5})
    play.ready("p", "busy", "never")
    ticket = play.busy("busy")
    assert play.rest("busy") == []
    assert play.pause(100) == []
    assert play.rest("never") == []
    assert play.release("busy", ticket) == [Sleep(deployment_id="busy", life=1)]


def test_a_want_cancels_the_wish_for_rest() -> None:
    play = Night(spec("a", 20, slots=2), asleep={"a": 5})
    play.ready("a")
    ticket = play.busy("a")
    play.rest("a")
    assert play.of("a").closing is Why.RESTED
    assert play.want("a") == [Grant(ticket=play.tickets)]
    play.take("a", play.tickets)
    play.release("a", play.tickets)
    assert play.release("a", ticket) == []
    assert play.of("a").phase is Phase.READY


def test_sleep_that_needs_more_of_the_host_than_is_free_waits_for_it() -> None:
    on = {"a": ((0, 60),)}
    play = Night(spec("a", 10, sleep_after_s=10.0), spec("b", 70), gpus=on, asleep={"a": 50}, budgets=((0, 100),))
    play.ready("a", "b")
    assert play.pause(60) == []
    play.rest("a")
    assert "it is not free" in play.of("a").last_error
    play.unload("b")
    assert play.told(play.stopped("b")) == ["Sleep a"]
    assert play.state.used == ((-1, 50), (0, 60))


def test_one_that_did_not_fall_asleep_serves_on_and_is_not_asked_again() -> None:
    play = Night(spec("a", 60, sleep_after_s=10.0), spec("b", 60), asleep={"a": 20})
    play.ready("a")
    play.pause(11)
    assert play.want("a") == []
    failed = SleepFailed(at_s=play.now_s, deployment_id="a", life=1, why="nothing came back")
    effects = plain(play.send(failed))
    assert isinstance(effects[0], Sleepless)
    assert effects[1] == Grant(ticket=play.tickets)
    play.take("a", play.tickets)
    play.release("a", play.tickets)
    assert play.pause(60) == []
    assert "nothing came back" in play.of("a").last_error
    assert play.told(play.want("b")) == ["Stop a"]


# ------------------------------------------------------------ eviction into sleep


def test_a_victim_sleeps_where_that_frees_enough_else_stops() -> None:
    for asleep_bytes, order in ((30, "Sleep a"), (50, "Stop a")):
        play = Night(spec("a", 60), spec("b", 60), asleep={"a": asleep_bytes})
        play.ready("a")
        play.pause(20)
        assert play.told(play.want("b")) == [order]
    play = Night(spec("a", 60), spec("b", 60), asleep={"a": 30})
    play.ready("a")
    play.pause(20)
    play.want("b")
    assert play.told(play.slept("a", measured=55)) == ["Stop a"]  # it kept more than was hoped


def test_who_failed_to_sleep_for_another_is_stopped_for_it() -> None:
    play = Night(spec("a", 60), spec("b", 60), asleep={"a": 30})
    play.ready("a")
    play.pause(20)
    assert play.told(play.want("b")) == ["Sleep a"]
    failed = SleepFailed(at_s=play.now_s, deployment_id="a", life=1, why="no")
    assert play.told(plain(play.send(failed))) == ["Stop a"]


def test_a_starved_one_closes_a_busy_victim_that_then_sleeps() -> None:
    play = Night(spec("a", 60), spec("b", 60), asleep={"a": 30})
    play.ready("a")
    ticket = play.busy("a")
    play.want("b")
    play.pause(31)
    assert (play.of("a").closing, play.of("a").to_sleep) == (Why.EVICTED, True)
    assert play.told(play.release("a", ticket)) == ["Sleep a"]
    assert play.told(play.slept("a")) == ["Start b"]


# ------------------------------------------------------------ waking


def test_a_want_wakes_it_and_it_is_warm_until_then() -> None:
    play = Night(spec("a", 60), asleep={"a": 20})
    play.asleep("a")
    assert (view_of(play.of("a"), play.now_s).tier, ready_in_s(play.of("a"), play.now_s)) == (Tier.WARM, WAKE_S)
    assert play.want("a") == [Wake(deployment_id="a", life=1)]
    assert play.state.used_bytes == 60
    play.now_s += 0.5
    effects = play.woken("a")
    assert effects == [
        Woke(deployment_id="a", model_id="model-a", took_s=0.5, memory_bytes=60),
        Grant(ticket=play.tickets),
    ]
    play.cancel("a", play.tickets)
    play.rest("a")
    play.slept("a")
    assert ready_in_s(play.of("a"), play.now_s) == 0.5  # learned
    assert play.want("a", load=True) == [Wake(deployment_id="a", life=1)]


def test_a_want_while_it_falls_asleep_waits_and_wakes_it() -> None:
    play = Night(spec("a", 60), asleep={"a": 20})
    play.ready("a")
    play.rest("a")
    assert play.want("a") == []
    assert play.told(play.slept("a")) == ["Wake a"]


def test_a_wake_waits_for_memory_like_a_load() -> None:
    play = Night(spec("a", 60), spec("b", 60), asleep={"a": 20})
    play.asleep("a")
    play.ready("b")
    play.pause(20)
    assert play.told(play.want("a")) == ["Stop b"]
    assert play.told(play.stopped("b")) == ["Wake a"]


def test_one_that_does_not_wake_is_stopped_and_loaded_anew() -> None:
    play = Night(spec("a", 60), asleep={"a": 20})
    play.asleep("a")
    play.want("a")
    effects = plain(play.send(WakeFailed(at_s=play.now_s, deployment_id="a", life=1, why="no answer")))
    assert play.told(effects) == ["Stop a"]
    assert play.stopped("a") == [Start(deployment_id="a", life=2)]
    play.started("a")
    assert not play.of("a").can_sleep


def test_a_sleeper_that_dies_is_cold_and_one_that_is_unloaded_stops() -> None:
    play = Night(spec("a", 40, preload=True), spec("b", 40), asleep={"a": 20, "b": 20})
    play.asleep("a")
    play.asleep("b")
    play.send(Exited(at_s=play.now_s, deployment_id="a", life=1, code=-9))
    assert (play.of("a").phase, play.pause(100)) == (Phase.COLD, [])
    assert play.told(play.unload("b")) == ["Stop b"]
    assert play.state.used_bytes == 20
    play.stopped("b")
    assert play.rest("b") == []
    assert play.state.used_bytes == 0


def test_drain_stops_those_asleep_falling_asleep_and_waking() -> None:
    play = Night(*(spec(name, 30) for name in "abc"), asleep=dict.fromkeys("abc", 10))
    play.asleep("a")
    play.asleep("b")
    play.want("b")
    play.ready("c")
    play.rest("c")
    assert play.told(plain(play.send(Drain(at_s=play.now_s)))) == ["Stop a", "Stop b", "Stop c"]


# ------------------------------------------------------------ out of memory


def test_a_load_that_ran_out_of_memory_is_tried_once_more_when_the_idle_have_left() -> None:
    play = Night(spec("idle", 20), spec("pinned", 20, pin=True), spec("busy", 20), spec("a", 20))
    play.ready("idle", "pinned", "busy")
    play.busy("busy")
    play.want("a")
    effects = play.failed("a", code="out_of_memory")
    assert play.told(effects) == ["Stop idle"]
    assert isinstance(effects[0], LoadFailed)
    assert play.told(play.stopped("idle")) == ["Start a"]
    [news] = play.failed("a", code="out_of_memory")
    assert isinstance(news, LoadFailed)
    assert (news.failures, news.retry_in_s) == (1, 0.5)
    assert "0 MB of memory were reserved for it; next time" in news.why
    assert play.of("a").footprint_bytes == 25
    assert play.told(play.pause(1)) == ["Start a"]


def test_only_its_own_gpu_is_cleared_and_with_nobody_there_it_is_tried_at_once() -> None:
    on = {"a": ((0, 40),), "other": ((1, 40),)}
    play = Night(spec("a", 1), spec("other", 1), gpus=on, budgets=((0, 45), (1, 100)))
    play.ready("other")
    play.want("a")
    assert play.told(play.failed("a", code="out_of_memory")) == ["Start a"]
    play.failed("a", code="out_of_memory")
    assert (play.of("a").gpu_bytes, play.of("a").footprint_bytes) == (((0, 45),), 1)


def test_a_load_remembers_what_it_takes_on_its_gpus() -> None:
    play = Night(spec("a", 1), gpus={"a": ((0, 40),)}, budgets=((0, 100),))
    play.want("a")
    play.send(Started(at_s=play.now_s, deployment_id="a", life=1, measured_bytes=1, gpu_bytes=((0, 55),)))
    play.unload("a")
    play.cancel("a", 1)
    play.send(Estimated(at_s=play.now_s, deployment_id="a", footprint_bytes=1, gpu_bytes=((0, 40),)))
    assert play.of("a").gpu_bytes == ((0, 55),)

"""What happens to the fleet (events), and what follows (effects, news).

All are frozen. Every event carries its moment `at_s`; those about one run of a child carry its `life`, so that word
of an earlier life cannot harm a later one. `gpu_bytes` everywhere: (GPU index, bytes); `measured_bytes`: the host's
memory, 0 where nobody could tell.
"""

from pointsman.fleet.memory import Sizes
from pointsman.fleet.values import DeploymentSpec, Rules, Why
from pointsman.types import Breaker, Value

# ---------------------------------------------------------------- events


class Event(Value, frozen=True):
    at_s: float


class Tick(Event, frozen=True):
    """Time has passed."""


class Drain(Event, frozen=True):
    """No new grants from now on; stop everything as it falls idle."""


class Configure(Event, frozen=True):
    """There is such a deployment from now on; of one there is, other terms: its process is not touched."""

    spec: DeploymentSpec


class Govern(Event, frozen=True):
    """Other rules and budgets from now on."""

    rules: Rules
    budget_bytes: int
    gpu_budgets: Sizes = ()


class About(Event, frozen=True):
    """An event of one deployment; of one that is not there it changes nothing."""

    deployment_id: str


class Remove(About, frozen=True):
    """It goes: nobody is granted it any more, it ends when idle and is then forgotten."""


class Want(About, frozen=True):
    """Somebody wants a slot until `deadline_s`, or (`for_load`) the deployment to be ready."""

    ticket: int
    deadline_s: float
    for_load: bool = False
    may_evict: bool = True


class Cancel(About, frozen=True):
    """The one who wanted has left; legal at any time before Taken."""

    ticket: int


class Taken(About, frozen=True):
    """A granted slot has been taken: now it counts."""

    ticket: int


class Release(About, frozen=True):
    """A taken slot is free again. Only an `ok` one teaches how long calls take."""

    ticket: int
    ok: bool = True


class Started(About, frozen=True):
    """It answered its warm-up. `measured_bytes` is 0 where nobody could tell."""

    life: int
    measured_bytes: int = 0
    gpu_bytes: Sizes = ()


class StartFailed(About, frozen=True):
    """`code` `out_of_memory`: it is tried once more after others have left."""

    life: int
    why: str
    code: str = "loading_failed"


class Slept(About, frozen=True):
    """Its engine sleeps and its memory is back; what it still holds."""

    life: int
    measured_bytes: int = 0
    gpu_bytes: Sizes = ()


class SleepFailed(About, frozen=True):
    """It did not fall asleep, or nothing came back; it serves as before."""

    life: int
    why: str


class Woken(About, frozen=True):
    """It answered its warm-up."""

    life: int
    measured_bytes: int = 0
    gpu_bytes: Sizes = ()


class WakeFailed(About, frozen=True):
    """Nothing can be said of the child any more."""

    life: int
    why: str


class Exited(About, frozen=True):
    """The child ended, asked or not."""

    life: int
    code: int
    why: str = ""


class Stopped(About, frozen=True):
    """It is gone and its memory is back."""

    life: int


class StopOverdue(About, frozen=True):
    """It was told to stop and has not; somebody is still trying."""

    life: int
    why: str


class Measured(About, frozen=True):
    """What a running child takes now."""

    life: int
    measured_bytes: int
    gpu_bytes: Sizes = ()


class Estimated(About, frozen=True):
    """What it would take, what when asleep (0: it cannot sleep), and what would have to be fetched first.

    `load_s`, `wake_s`: how long that took in an earlier run; None: unknown. `is_another`: another quantisation than
    before, of which nothing was measured in this run.
    """

    footprint_bytes: int
    missing_bytes: int = 0
    gpu_bytes: Sizes = ()
    asleep_bytes: int = 0
    load_s: float | None = None
    wake_s: float | None = None
    is_another: bool = False


class Unload(About, frozen=True):
    """An operator wants the memory back: stop it as soon as it is idle."""


class Rest(About, frozen=True):
    """An operator wants it asleep as soon as it is idle; nothing happens where it cannot sleep."""


class Unhealthy(About, frozen=True):
    """Its probe failed too often in a row."""

    life: int
    why: str


class Healthy(About, frozen=True):
    """Its probe succeeds again."""

    life: int


class Report(About, frozen=True):
    """How a call went. `first_byte_s`: of one that answered, how long that took; `is_overload`: it said that it
    was asked too much; `is_late`: it kept silent for too long; `began_s`: when it began, None: just now."""

    ok: bool
    first_byte_s: float | None = None
    is_overload: bool = False
    is_late: bool = False
    began_s: float | None = None


class Force(About, frozen=True):
    """An operator wants its breaker to stay in a forced state; None: to see for itself again."""

    state: Breaker | None


# ---------------------------------------------------------------- effects


class Effect(Value, frozen=True):
    """Something the loop must do, or (`News`) tell."""


class Start(Effect, frozen=True):
    deployment_id: str
    life: int


class Stop(Effect, frozen=True):
    deployment_id: str
    life: int


class Sleep(Effect, frozen=True):
    deployment_id: str
    life: int


class Wake(Effect, frozen=True):
    deployment_id: str
    life: int


class Forgotten(Effect, frozen=True):
    """It was removed, and nothing of it is left."""

    deployment_id: str


class Grant(Effect, frozen=True):
    ticket: int


class Refuse(Effect, frozen=True):
    """`code` is one of `errors.TABLE`."""

    ticket: int
    code: str
    retry_after_s: float
    why: str


class WakeAt(Effect, frozen=True):
    """Send a Tick then. A later WakeAt replaces it."""

    at_s: float


# ---------------------------------------------------------------- news, for those who subscribe


class News(Effect, frozen=True):
    deployment_id: str
    model_id: str


class Loaded(News, frozen=True):
    load_s: float
    memory_bytes: int


class LoadFailed(News, frozen=True):
    why: str
    failures: int
    retry_in_s: float


class Died(News, frozen=True):
    """A child ended without being asked to. `code`: negative is a signal."""

    code: int
    why: str
    lived_s: float
    leases: int


class Restarting(News, frozen=True):
    restarts: int


class FellAsleep(News, frozen=True):
    """`memory_bytes`: of the host, still held; `freed_bytes`: on all devices together."""

    took_s: float
    memory_bytes: int
    freed_bytes: int


class Sleepless(News, frozen=True):
    """It was told to sleep and did not."""

    why: str


class Woke(News, frozen=True):
    took_s: float
    memory_bytes: int


class WakeUpFailed(News, frozen=True):
    """It is stopped, and started anew where somebody waits."""

    why: str


class BreakerMoved(News, frozen=True):
    """`retry_in_s`: of an open one, until it lets trials through."""

    before: Breaker
    after: Breaker
    why: str
    retry_in_s: float


class Unloading(News, frozen=True):
    """A deployment with a working child is being stopped; `age_s` is how long ago it was loaded or woken."""

    why: Why
    age_s: float
    memory_bytes: int

"""Asks every deployment how it is, in the background and free of token cost.

Knows: when to ask, how many answers in a row mean something. Does not know: what is done about it (the machine: a sick
child is stopped once idle and restarted, an attached one's breaker opens).
Also takes a running child's memory, and looks what a cold one would need.
"""

from collections.abc import Callable, Mapping

from pointsman.clock import Clock
from pointsman.errors import PointsmanError
from pointsman.fleet.events import Event, Healthy, Measured, Unhealthy
from pointsman.fleet.hardware import Hardware
from pointsman.fleet.loader import Backend
from pointsman.fleet.scales import Scales
from pointsman.fleet.timing import within
from pointsman.fleet.values import Deployment, Phase
from pointsman.types import Value

SICK_AFTER = 3
WELL_AFTER = 2
PROBE_LIMIT_S = 10.0
JITTER = 0.1


class Streak(Value, frozen=True):
    """Answers of one life, as far as they matter: how many of one kind in a row, and the verdict in force."""

    failures: int = 0
    successes: int = 0
    is_sick: bool = False

    def after(self, ok: bool) -> "Streak":
        """With one more answer."""
        if ok:
            successes = self.successes + 1
            return Streak(successes=successes, is_sick=self.is_sick and successes < WELL_AFTER)
        failures = self.failures + 1
        return Streak(failures=failures, is_sick=self.is_sick or failures >= SICK_AFTER)


class Prober:
    """`look` reads a deployment, `tell` takes events, `survey` looks at a cold one's weights."""

    def __init__(
        self,
        backends: Mapping[str, Backend],
        clock: Clock,
        hardware: Hardware,
        interval_s: float,
        *,
        look: Callable[[str], Deployment],
        tell: Callable[[Event], None],
        survey: Callable[[str], None],
    ) -> None:
        self._backends = backends
        self._clock = clock
        self._scales = Scales(hardware, clock)
        self.interval_s = interval_s
        self._look = look
        self._tell = tell
        self._survey = survey
        self._rng = clock.rng()

    async def watch(self, deployment_id: str, pid: Callable[[], int | None]) -> None:
        """For ever, one deployment. The jitter keeps many from being asked in the same moment."""
        streak, life = Streak(), 0
        while True:
            await self._clock.sleep(self.interval_s * self._rng.uniform(1 - JITTER, 1 + JITTER))
            d = self._look(deployment_id)
            if d.phase is Phase.COLD:
                self._survey(deployment_id)
            if d.phase is not Phase.READY:
                continue
            streak = streak if d.life == life else Streak()
            life = d.life
            streak = await self._ask(deployment_id, life, streak)
            await self._measure(deployment_id, life, pid())

    async def _ask(self, deployment_id: str, life: int, streak: Streak) -> Streak:
        """One probe: the streak after it; the machine hears of a sick one each time, of a recovery once."""
        why = await self._problem(deployment_id)
        after = streak.after(ok=not why)
        now_s = self._clock.now()
        if after.is_sick and why:
            self._tell(Unhealthy(at_s=now_s, deployment_id=deployment_id, life=life, why=why))
        elif streak.is_sick and not after.is_sick:
            self._tell(Healthy(at_s=now_s, deployment_id=deployment_id, life=life))
        return after

    async def _problem(self, deployment_id: str) -> str:
        try:
            await within(self._clock, PROBE_LIMIT_S, self._backends[deployment_id].probe())
        except TimeoutError:
            return f"its health probe was not answered within {PROBE_LIMIT_S:g} s"
        except PointsmanError as error:
            return f"its health probe failed: {error.message}"
        except Exception as error:  # noqa: BLE001  # the seam: a backend of somebody else may raise anything
            return f"its health probe failed: {type(error).__name__}: {error}"
        return ""

    async def _measure(self, deployment_id: str, life: int, pid: int | None) -> None:
        if pid is None:
            return
        held = await self._scales.weigh(pid)
        self._tell(
            Measured(
                at_s=self._clock.now(),
                deployment_id=deployment_id,
                life=life,
                measured_bytes=held.host_bytes,
                gpu_bytes=held.gpu_bytes,
            )
        )

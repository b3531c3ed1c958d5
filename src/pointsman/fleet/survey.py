"""What a deployment would take: the backend's estimate, and what earlier runs measured; keeping what this one does.

Knows: estimates, remembered figures, which of them counts. Does not know: what is decided from it.
"""

from collections.abc import Callable, Mapping

from pointsman.backends.base import Sleeper
from pointsman.clock import Clock
from pointsman.errors import PointsmanError
from pointsman.fleet.events import Estimated, Event
from pointsman.fleet.loader import Backend
from pointsman.fleet.memory import most
from pointsman.fleet.remembered import Figures, Remembered
from pointsman.fleet.values import Deployment
from pointsman.types import Footprint


class Surveyor:
    """`tell` takes what was found out. `missing_bytes(deployment_id)`: what would have to be fetched before a load.

    `counts_gpus`: whether there is a budget for GPUs; without one they are left out of the books.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        clock: Clock,
        tell: Callable[[Event], None],
        *,
        missing_bytes: Callable[[str], int],
        remembered: Remembered,
        counts_gpus: bool,
    ) -> None:
        self._backends = backends
        self._clock = clock
        self._tell = tell
        self._missing_bytes = missing_bytes
        self._counts_gpus = counts_gpus
        self.remembered = remembered

    def look(self, deployment_id: str) -> None:
        """At a cold one. Unreadable weights say nothing here; the load will say what is wrong."""
        footprint = self._footprint(deployment_id)
        if footprint is None:
            return
        known = self.remembered.figures(deployment_id, footprint.weights_bytes)
        backend = self._backends[deployment_id]
        can_sleep = isinstance(backend, Sleeper) and backend.can_sleep
        self._tell(
            Estimated(
                at_s=self._clock.now(),
                deployment_id=deployment_id,
                footprint_bytes=max(footprint.total_bytes, known.host_bytes),
                missing_bytes=self._missing_bytes(deployment_id),
                gpu_bytes=most(footprint.gpu_bytes, known.gpu_bytes) if self._counts_gpus else (),
                asleep_bytes=(known.asleep_bytes or footprint.asleep_bytes) if can_sleep else 0,
                load_s=known.load_s,
                wake_s=known.wake_s,
            )
        )

    def learn(self, d: Deployment) -> bool:
        """Keep what has been measured of one; whether anything of that is new."""
        footprint = self._footprint(d.spec.id) if d.spec.is_managed else None
        if footprint is None:
            return False
        figures = Figures(
            host_bytes=d.measured_bytes,
            gpu_bytes=d.measured_gpu_bytes,
            asleep_bytes=d.measured_asleep_bytes,
            load_s=d.load_s,
            wake_s=d.wake_s,
        )
        return self.remembered.keep(d.spec.id, footprint.weights_bytes, figures)

    def _footprint(self, deployment_id: str) -> Footprint | None:
        try:
            return self._backends[deployment_id].footprint()
        except PointsmanError:
            return None

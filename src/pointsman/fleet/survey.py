"""What a deployment would take: the backend's estimate, and what earlier runs measured; keeping what this one does.

Knows: estimates, remembered figures, operators' figures, which of them counts; which quantisation is chosen. Does not
know: what is decided from it.
"""

from collections.abc import Callable, Mapping

from pointsman.backends.base import Sleeper, Varied
from pointsman.clock import Clock
from pointsman.errors import PointsmanError
from pointsman.fleet.events import Estimated, Event
from pointsman.fleet.loader import Backend
from pointsman.fleet.memory import HOST, Sizes, most
from pointsman.fleet.remembered import Figures, Remembered
from pointsman.fleet.values import Deployment, DeploymentSpec, State
from pointsman.fleet.variants import Choice, Option, choose, room_for
from pointsman.types import Footprint


class Surveyor:
    """`tell` takes what was found out. `missing_bytes(deployment_id)`: what would have to be fetched before a load.

    `counts_gpus`: whether there is a budget for GPUs; without one they are left out of the books. `variants`: the
    quantisation chosen for each deployment that has several, with the reason where it is not the first.
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
        self.variants: dict[str, str] = {}
        self._chosen: dict[str, Choice] = {}

    def look(self, deployment_id: str, state: State) -> None:
        """At a cold one. Unreadable weights say nothing here; the load will say what is wrong."""
        d, backend = state.deployments[deployment_id], self._backends[deployment_id]
        try:
            is_another = self._choose(d, state)
            footprint = backend.footprint()
        except PointsmanError:
            return
        known = self._known(d.spec, footprint)
        takes = self._takes(d.spec, footprint)
        can_sleep = isinstance(backend, Sleeper) and backend.can_sleep
        self._tell(
            Estimated(
                at_s=self._clock.now(),
                deployment_id=deployment_id,
                footprint_bytes=takes[0][1],
                missing_bytes=self._missing_bytes(deployment_id),
                gpu_bytes=takes[1:],
                asleep_bytes=(known.asleep_bytes or footprint.asleep_bytes) if can_sleep else 0,
                load_s=known.load_s,
                wake_s=known.wake_s,
                is_another=is_another,
            )
        )

    def look_before_a_want(self, deployment_id: str, state: State) -> None:
        """Which quantisation fits depends on who is busy just now."""
        if deployment_id in self.variants and not state.deployments[deployment_id].is_resident:
            self.look(deployment_id, state)

    def forget(self, deployment_id: str) -> None:
        self.variants.pop(deployment_id, None)
        self._chosen.pop(deployment_id, None)

    def learn(self, d: Deployment) -> bool:
        """Keep what has been measured of one; whether anything of that is new."""
        if not d.spec.is_managed:
            return False
        try:
            weights_bytes = self._backends[d.spec.id].footprint().weights_bytes
        except PointsmanError:
            return False
        figures = Figures(
            host_bytes=d.measured_bytes,
            gpu_bytes=d.measured_gpu_bytes,
            asleep_bytes=d.measured_asleep_bytes,
            load_s=d.load_s,
            wake_s=d.wake_s,
        )
        return self.remembered.keep(d.spec.id, weights_bytes, figures)

    def _choose(self, d: Deployment, state: State) -> bool:
        """The quantisation that its next start will load; whether it is another than before."""
        backend = self._backends[d.spec.id]
        if not isinstance(backend, Varied) or d.is_resident:
            return False
        variants = backend.variants()
        if len(variants) < 2:
            return False
        options = [Option(name=one.name, takes=self._takes(d.spec, one.footprint)) for one in variants]
        choice = choose(options, *room_for(state, d.spec.id))
        backend.choose(choice.index)
        before = self._chosen.get(d.spec.id, choice)
        self._chosen[d.spec.id] = choice
        self.variants[d.spec.id] = options[choice.index].name + (f" ({choice.why})" if choice.why else "")
        return before.index != choice.index

    def _known(self, spec: DeploymentSpec, footprint: Footprint) -> Figures:
        return self.remembered.figures(spec.id, footprint.weights_bytes)

    def _takes(self, spec: DeploymentSpec, footprint: Footprint) -> Sizes:
        """On the host, first, and on each GPU that counts. An operator's word outranks any measurement before it."""
        known = self._known(spec, footprint)
        host_bytes = max(footprint.total_bytes, known.host_bytes) if spec.memory_bytes is None else spec.memory_bytes
        gpu_bytes: Sizes = ()
        if self._counts_gpus and spec.gpu_memory_bytes is not None:
            gpu_bytes = tuple((gpu, spec.gpu_memory_bytes) for gpu in spec.gpus or (0,))
        elif self._counts_gpus:
            gpu_bytes = most(footprint.gpu_bytes, known.gpu_bytes)
        return ((HOST, host_bytes), *gpu_bytes)

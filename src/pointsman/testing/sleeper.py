"""A backend that sleeps, on hardware that shows what it holds: for what the fleet measures rather than believes.

Knows: `backends.base.Sleeper`. Does not know: any engine.
"""

from pointsman.clock import Clock
from pointsman.errors import UpstreamError
from pointsman.testing.backend import ScriptedBackend
from pointsman.testing.hardware import FakeHardware
from pointsman.types import Footprint, Running

Sizes = tuple[tuple[int, int], ...]


class ScriptedSleeper(ScriptedBackend):
    """Holds its footprint awake and `asleep_bytes` asleep, on the host and on GPUs (asleep: nothing there).

    `holds_bytes`: what it holds awake on the host, where that is not what it estimates.
    `nap_s`: how long falling asleep and waking take. `sleep_problem`, `wake_problem`: what they raise; empty: nothing.
    `keeps`: it says that it sleeps and gives nothing back.
    """

    def __init__(
        self,
        clock: Clock,
        hardware: FakeHardware,
        name: str = "sleeper",
        *,
        footprint_bytes: int = 0,
        gpu_bytes: Sizes = (),
        asleep_bytes: int = 0,
        load_s: float = 0.0,
        nap_s: float = 0.0,
    ) -> None:
        super().__init__(clock, name, footprint_bytes=footprint_bytes, load_s=load_s)
        self.gpu_bytes = gpu_bytes
        self.asleep_bytes = asleep_bytes
        self.nap_s = nap_s
        self.sleep_problem = self.wake_problem = ""
        self.holds_bytes: int | None = None
        self.keeps = False
        self.is_asleep = False
        self.sleep_count = self.wake_count = 0
        self._nap_clock = clock
        self._hardware = hardware

    @property
    def can_sleep(self) -> bool:
        return self.asleep_bytes > 0

    def footprint(self) -> Footprint:
        return Footprint(weights_bytes=self.footprint_bytes, gpu_bytes=self.gpu_bytes, asleep_bytes=self.asleep_bytes)

    async def start(self) -> Running:
        running = await super().start()
        self._hold_all()
        return running

    async def sleep(self) -> None:
        self.sleep_count += 1
        await self._nap_clock.sleep(self.nap_s)
        if self.sleep_problem:
            raise UpstreamError(self.sleep_problem, code="sleep_failed")
        self.is_asleep = True
        if not self.keeps:
            self._hold(self.asleep_bytes, ())

    async def wake(self) -> None:
        self.wake_count += 1
        await self._nap_clock.sleep(self.nap_s)
        if self.wake_problem:
            raise UpstreamError(self.wake_problem, code="loading_failed")
        self.is_asleep = False
        self._hold_all()

    def crash(self, code: int = -9, words: str = "") -> None:
        """It ends now, and holds nothing."""
        super().crash(code, words)
        self.is_asleep = False
        self._hold(0, ())

    def _hold_all(self) -> None:
        self._hold(self.footprint_bytes if self.holds_bytes is None else self.holds_bytes, self.gpu_bytes)

    def _hold(self, host_bytes: int, gpu_bytes: Sizes) -> None:
        if self.pid is not None:
            self._hardware.processes[self.pid] = host_bytes
            self._hardware.gpu_processes = {**self._hardware.gpu_processes, self.pid: gpu_bytes}

"""A machine of any size, with GPUs. Sizes are set by the test, in bytes."""

from collections.abc import Mapping

from msgspec.structs import replace

from pointsman.fleet.hardware import Gpu


class FakeHardware:
    """`fleet.hardware.Hardware`. What was not said of a process cannot be measured.

    `processes`: pid → bytes; `gpu_processes`: pid → (GPU index, bytes). A GPU's `used_bytes` is what was given plus
    what the processes hold there.
    """

    def __init__(self, total_bytes: int, available_bytes: int | None = None, gpus: tuple[Gpu, ...] = ()) -> None:
        self._total_bytes = total_bytes
        self._available_bytes = total_bytes if available_bytes is None else available_bytes
        self._gpus = gpus
        self.processes: dict[int, int] = {}
        self.gpu_processes: Mapping[int, tuple[tuple[int, int], ...]] = {}

    def total_bytes(self) -> int:
        return self._total_bytes

    def available_bytes(self) -> int:
        return self._available_bytes

    async def process_bytes(self, pid: int) -> int:
        return self.processes.get(pid, 0)

    def gpus(self) -> tuple[Gpu, ...]:
        held = [one for each in self.gpu_processes.values() for one in each]
        return tuple(
            replace(gpu, used_bytes=gpu.used_bytes + sum(size for index, size in held if index == gpu.index))
            for gpu in self._gpus
        )

    async def process_gpu_bytes(self, pid: int) -> tuple[tuple[int, int], ...]:
        return self.gpu_processes.get(pid, ())

    def __repr__(self) -> str:
        return f"FakeHardware({self._total_bytes} bytes, {len(self._gpus)} GPUs)"

"""A machine of any size. Sizes are set by the test, in bytes."""


class FakeHardware:
    """`fleet.hardware.Hardware`. `processes`: pid → bytes; a pid that is not there cannot be measured."""

    def __init__(self, total_bytes: int, available_bytes: int | None = None) -> None:
        self._total_bytes = total_bytes
        self._available_bytes = total_bytes if available_bytes is None else available_bytes
        self.processes: dict[int, int] = {}

    def total_bytes(self) -> int:
        return self._total_bytes

    def available_bytes(self) -> int:
        return self._available_bytes

    async def process_bytes(self, pid: int) -> int:
        return self.processes.get(pid, 0)

    def __repr__(self) -> str:
        return f"FakeHardware({self._total_bytes} bytes)"

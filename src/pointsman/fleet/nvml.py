"""The GPUs of this machine and what processes hold on them, as NVIDIA's management library tells it.

Knows: NVML's functions (`nvidia-ml-py`, the extra `gpu`, imported when first needed). Does not know: CUDA, models.
Without the package, a driver or a GPU there is nothing to tell, which is no error; a device that will not answer is
left out. In a container whose processes have other numbers than the driver knows, no process holds anything.
"""

import contextlib
import importlib
from typing import Any

from pointsman.types import Value


class Gpu(Value, frozen=True):
    """One GPU, by NVML's index, which is that of `nvidia-smi` and of CUDA_DEVICE_ORDER=PCI_BUS_ID."""

    index: int
    name: str
    total_bytes: int
    used_bytes: int


class Nvml:
    """`nvml`: the module `pynvml` after `nvmlInit`, or None: no GPUs."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self._error: type[Exception] = OSError if nvml is None else nvml.NVMLError
        self._handles: tuple[tuple[int, Any], ...] = ()
        with contextlib.suppress(self._error):
            count = 0 if nvml is None else nvml.nvmlDeviceGetCount()
            self._handles = tuple((index, nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count))

    @property
    def has_gpus(self) -> bool:
        return bool(self._handles)

    def gpus(self) -> tuple[Gpu, ...]:
        """As of now."""
        found = []
        for index, handle in self._handles:
            with contextlib.suppress(self._error):  # such as a GPU without memory of its own
                memory, name = self._nvml.nvmlDeviceGetMemoryInfo(handle), self._nvml.nvmlDeviceGetName(handle)
                named = name.decode() if isinstance(name, bytes) else name  # older drivers' bindings give bytes
                found.append(Gpu(index=index, name=named, total_bytes=memory.total, used_bytes=memory.used))
        return tuple(found)

    def process_bytes(self, pids: frozenset[int]) -> tuple[tuple[int, int], ...]:
        """(index, bytes) of these processes together, for each GPU where they hold any."""
        held = []
        for index, handle in self._handles:
            with contextlib.suppress(self._error):
                listed = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
                size_bytes = sum(one.usedGpuMemory or 0 for one in listed if one.pid in pids)
                held += [(index, size_bytes)] if size_bytes else []
        return tuple(held)


def open_nvml(nvml: Any = None) -> Nvml:
    """`nvml`: what to ask in place of the module."""
    try:
        module = importlib.import_module("pynvml") if nvml is None else nvml
    except ImportError:
        return Nvml(None)
    try:
        module.nvmlInit()
    except module.NVMLError:  # no driver, or none that answers
        return Nvml(None)
    return Nvml(module)

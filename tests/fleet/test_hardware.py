"""Memory of the machine, of its GPUs and of processes: on made-up kernels and drivers, and once on the real one."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pointsman.fleet.hardware import Gpu, HostHardware

GIB = 1 << 30
MEMINFO = "MemTotal:       16777216 kB\nMemFree:         1000 kB\nMemAvailable:    8388608 kB\n"


def machine(root: Path, files: dict[str, str]) -> HostHardware:
    for name, text in {"proc/meminfo": MEMINFO, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return HostHardware(root / "proc", root / "cgroup")


def test_without_a_control_group_the_machine_counts(tmp_path: Path) -> None:
    hardware = machine(tmp_path, {})
    assert (hardware.total_bytes(), hardware.available_bytes()) == (16 * GIB, 8 * GIB)


def test_a_limit_of_version_2_counts_also_of_a_parent_group(tmp_path: Path) -> None:
    hardware = machine(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pods/pod1\n",
            "cgroup/pods/pod1/memory.max": "max\n",
            "cgroup/pods/pod1/memory.current": str(3 * GIB),
            "cgroup/pods/pod1/memory.stat": f"anon 5\ninactive_file {GIB}\n",
            "cgroup/pods/memory.max": str(4 * GIB),
        },
    )
    assert hardware.total_bytes() == 4 * GIB
    assert hardware.available_bytes() == 2 * GIB  # page cache that can be given up is not counted


def test_a_limit_of_version_1_counts_and_its_no_limit_does_not(tmp_path: Path) -> None:
    hardware = machine(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/\n",
            "cgroup/memory/docker/x/memory.limit_in_bytes": str(6 * GIB),
            "cgroup/memory/docker/x/memory.usage_in_bytes": str(GIB),
            "cgroup/memory/docker/x/memory.stat": "total_inactive_file 0\n",
            "cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        },
    )
    assert (hardware.total_bytes(), hardware.available_bytes()) == (6 * GIB, 5 * GIB)


def test_in_a_container_the_group_is_the_root(tmp_path: Path) -> None:
    hardware = machine(tmp_path, {"proc/self/cgroup": "0::/\n", "cgroup/memory.max": str(2 * GIB)})
    assert hardware.total_bytes() == 2 * GIB


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({"proc/self/cgroup": "0::/pod\n", "cgroup/pod/memory.events": "oom 5\noom_kill 3\n"}, 3),
        ({"proc/self/cgroup": "4:memory:/x\n", "cgroup/memory/x/memory.oom_control": "under_oom 0\noom_kill 2\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "proc/vmstat": "pgfault 9\noom_kill 1\n"}, 1),
        ({}, None),
    ],
)
def test_the_kernel_counts_whom_it_kills_for_memory(tmp_path: Path, files: dict[str, str], count: int | None) -> None:
    assert machine(tmp_path, files).oom_kills() == count


def test_a_process_counts_with_its_descendants(tmp_path: Path) -> None:
    hardware = machine(
        tmp_path,
        {
            "proc/10/smaps_rollup": "00-ff ---p 0 00:00 0 [rollup]\nRss:  900 kB\nPss:  500 kB\n",
            "proc/10/task/10/children": "11 ",
            "proc/10/task/12/children": "13",
            "proc/11/smaps_rollup": "Pss:  200 kB\n",
            "proc/13/status": "Name:\tx\nVmRSS:\t  300 kB\n",
        },
    )
    assert hardware.tree_bytes(10) == 1000 * 1024


def stat(start: int, state: str = "S") -> str:
    return f"10 (a b) c) {state} " + " ".join("0" * 18) + f" {start} 0\n"


def test_a_descendant_counts_as_long_as_it_lives_even_alone(tmp_path: Path) -> None:
    hardware = machine(
        tmp_path,
        {
            "proc/10/smaps_rollup": "Pss:  500 kB\n",
            "proc/10/stat": stat(7),
            "proc/10/task/10/children": "11",
            "proc/11/smaps_rollup": "Pss:  200 kB\n",
            "proc/11/stat": stat(8),
        },
    )
    assert hardware.tree_bytes(10) == 700 * 1024
    for name in ("10/smaps_rollup", "10/stat", "10/task/10/children"):
        (tmp_path / "proc" / name).unlink()
    assert hardware.tree_bytes(10) == 200 * 1024
    assert hardware.tree_bytes(10) == 200 * 1024
    (tmp_path / "proc/11/stat").write_text(stat(9))  # somebody else has its number
    assert hardware.tree_bytes(10) == 0


def test_nothing_to_read_is_unknown_not_an_error(tmp_path: Path) -> None:
    hardware = HostHardware(tmp_path / "none", tmp_path / "none")
    assert (hardware.total_bytes(), hardware.available_bytes(), hardware.tree_bytes(1)) == (0, 0, 0)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs a Linux kernel")
def test_on_this_machine_a_child_that_takes_memory_is_seen_to() -> None:
    hardware = HostHardware()
    assert 0 < hardware.available_bytes() <= hardware.total_bytes()
    take = "import sys; block = b'x' * 64_000_000; print('.', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", take], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        taken = asyncio.run(hardware.process_bytes(child.pid))
        with_children = hardware.tree_bytes(os.getpid())
        child.stdin.close()
    assert 64_000_000 < taken < 120_000_000
    assert with_children > taken
    assert "available" in repr(hardware)


# ---------------------------------------------------------------- GPUs


class FakeNvml:
    """What `pynvml` answers on a machine with these GPUs: (name, total, used, processes); None: it will not say."""

    class NVMLError(Exception):
        pass

    def __init__(
        self, *devices: tuple[str | bytes, int, int, dict[int, int | None]] | None, driver: bool = True
    ) -> None:
        self._devices = devices
        self._driver = driver

    def nvmlInit(self) -> None:
        if not self._driver:
            raise self.NVMLError("driver not loaded")

    def nvmlDeviceGetCount(self) -> int:
        return len(self._devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        return self._device(handle)[0]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        _, total, used, _ = self._device(handle)
        return SimpleNamespace(total=total, free=total - used, used=used)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:
        processes = self._device(handle)[3]
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in processes.items()]

    def _device(self, handle: int) -> tuple[str | bytes, int, int, dict[int, int | None]]:
        device = self._devices[handle]
        if device is None:
            raise self.NVMLError("not supported")
        return device


def test_gpus_are_told_by_index_name_and_memory(tmp_path: Path) -> None:
    nvml = FakeNvml(("A", 80 * GIB, 3 * GIB, {}), None, (b"B", 24 * GIB, 0, {}))
    assert HostHardware(tmp_path, tmp_path, nvml=nvml).gpus() == (
        Gpu(index=0, name="A", total_bytes=80 * GIB, used_bytes=3 * GIB),
        Gpu(index=2, name="B", total_bytes=24 * GIB, used_bytes=0),
    )


def test_what_a_process_holds_on_each_gpu_counts_with_its_descendants(tmp_path: Path) -> None:
    machine(tmp_path, {"proc/10/task/10/children": "11"})
    nvml = FakeNvml(
        ("A", 80, 60, {10: 5, 11: 20, 99: 30}), ("B", 80, 7, {11: 7, 10: None}), ("C", 80, 9, {99: 9}), None
    )
    hardware = HostHardware(tmp_path / "proc", tmp_path, nvml=nvml)
    assert asyncio.run(hardware.process_gpu_bytes(10)) == ((0, 25), (1, 7))
    assert asyncio.run(hardware.process_gpu_bytes(98)) == ()


def test_without_a_driver_there_are_no_gpus(tmp_path: Path) -> None:
    hardware = HostHardware(tmp_path, tmp_path, nvml=FakeNvml(("A", 1, 1, {}), driver=False))
    assert (hardware.gpus(), hardware.tree_gpu_bytes(10)) == ((), ())


def test_asking_this_machine_for_its_gpus_is_never_an_error() -> None:
    assert all(gpu.total_bytes > 0 and gpu.name for gpu in HostHardware().gpus())

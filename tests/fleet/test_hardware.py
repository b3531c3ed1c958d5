"""Memory of the machine and of processes: on made-up kernels, and once on the real one."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pointsman.fleet.hardware import HostHardware

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

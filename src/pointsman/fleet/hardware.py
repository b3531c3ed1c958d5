"""What the machine has and what a process takes: from /proc and the control group, and of GPUs from NVML; elsewhere 0
and nothing, unknown.

Knows: files of the Linux kernel. Does not know: models, budgets, how NVML is asked (`nvml`).
"""

import asyncio
from pathlib import Path
from typing import Any, Protocol

from pointsman.fleet.nvml import Gpu, Nvml, open_nvml

__all__ = ["Gpu", "Hardware", "HostHardware"]

KIB = 1024
START_TIME = 19
"""The field of /proc/PID/stat after the name, counted from 0: with it a pid names one process for ever."""


class Hardware(Protocol):
    """The fleet's measuring instruments."""

    def total_bytes(self) -> int:
        """Memory this process and its children may use, all told."""
        ...

    def available_bytes(self) -> int:
        """Of that, what could be taken now without pushing anything out."""
        ...

    async def process_bytes(self, pid: int) -> int:
        """Memory of a process and its descendants, shared pages counted in proportion; 0 where it cannot be told.

        Descendants seen before count also when the process itself has ended.
        """
        ...

    def gpus(self) -> tuple[Gpu, ...]:
        """Those of this machine, by index; nothing without a driver."""
        ...

    async def process_gpu_bytes(self, pid: int) -> tuple[tuple[int, int], ...]:
        """(GPU index, bytes) of a process and its descendants, where it has any."""
        ...


class HostHardware:
    """This machine. The control group's limit counts where it is lower than the machine's memory.

    `nvml`: the module `pynvml`, or what answers like it; by default it is looked for when GPUs are first asked about.
    """

    def __init__(self, proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup"), *, nvml: Any = None) -> None:
        self._proc = proc
        self._cgroup = cgroup
        self._module = nvml
        self._nvml: Nvml | None = None
        self._families: dict[int, tuple[tuple[int, str], ...]] = {}

    def total_bytes(self) -> int:
        total_bytes = self._meminfo("MemTotal")
        limit_bytes = self._cgroup_limit()
        return min(total_bytes, limit_bytes) if limit_bytes and total_bytes else total_bytes or limit_bytes

    def available_bytes(self) -> int:
        available_bytes = self._meminfo("MemAvailable")
        limit_bytes = self._cgroup_limit()
        if not limit_bytes:
            return available_bytes
        return max(0, min(available_bytes, limit_bytes - self._cgroup_used()))

    async def process_bytes(self, pid: int) -> int:
        """The kernel walks page tables for this: milliseconds for a large process, hence a thread."""
        return await asyncio.to_thread(self.tree_bytes, pid)

    def tree_bytes(self, pid: int) -> int:
        """Proportional set size of a process and its descendants."""
        return sum(self._pss(one) for one in self._family(pid))

    def gpus(self) -> tuple[Gpu, ...]:
        return self._driver().gpus()

    async def process_gpu_bytes(self, pid: int) -> tuple[tuple[int, int], ...]:
        """A thread, because a busy driver may take its time."""
        return await asyncio.to_thread(self.tree_gpu_bytes, pid)

    def tree_gpu_bytes(self, pid: int) -> tuple[tuple[int, int], ...]:
        """Per GPU, of a process and its descendants."""
        driver = self._driver()
        return driver.process_bytes(frozenset(self._family(pid))) if driver.has_gpus else ()

    def _driver(self) -> Nvml:
        if self._nvml is None:
            self._nvml = open_nvml(self._module)
        return self._nvml

    def _family(self, pid: int) -> list[int]:
        """The process and its descendants, with those that it had when last asked about and that still live."""
        pids = dict.fromkeys((pid, *self._descendants(pid)))
        now = {one: self._started(one) for one in pids}
        now |= {one: start for one, start in self._families.pop(pid, ()) if self._started(one) == start}
        alive = tuple((one, start) for one, start in now.items() if start)
        if alive:
            self._families[pid] = alive
        return list(now)

    def _started(self, pid: int) -> str:
        """When it began, in the kernel's ticks; empty where it is gone."""
        fields = _read(self._proc / str(pid) / "stat").rpartition(")")[2].split()
        return fields[START_TIME] if len(fields) > START_TIME and fields[0] != "Z" else ""

    def _pss(self, pid: int) -> int:
        rollup = _fields(self._proc / str(pid) / "smaps_rollup")
        if "Pss" in rollup:
            return rollup["Pss"] * KIB
        return _fields(self._proc / str(pid) / "status").get("VmRSS", 0) * KIB

    def _descendants(self, pid: int) -> list[int]:
        found: list[int] = []
        for task in _listed(self._proc / str(pid) / "task"):
            for child in _read(task / "children").split():
                found += [int(child), *self._descendants(int(child))]
        return found

    def _meminfo(self, name: str) -> int:
        return _fields(self._proc / "meminfo").get(name, 0) * KIB

    def oom_kills(self) -> int | None:
        """How many processes the kernel has killed for want of memory: of our group and those below it, else on the
        whole machine; None where it does not say."""
        for folder, v1_folder in self._groups():
            for path in (folder / "memory.events", v1_folder / "memory.oom_control"):
                if (count := _fields(path).get("oom_kill")) is not None:
                    return count
        return _fields(self._proc / "vmstat").get("oom_kill")

    def _cgroup_limit(self) -> int:
        """The lowest limit from our own group up to the root, version 2 or 1; 0: none."""
        limits = [
            int(said)
            for folder, v1_folder in self._groups()
            for said in (_read(folder / "memory.max").strip(), _read(v1_folder / "memory.limit_in_bytes").strip())
            if said.isdigit() and int(said) < 1 << 60  # version 1 writes "no limit" as a huge number
        ]
        return min(limits, default=0)

    def _cgroup_used(self) -> int:
        """Of the group that has the limit; page cache that the kernel would give up is not counted."""
        for folder, v1_folder in self._groups():
            for path, stat in (
                (folder / "memory.current", folder / "memory.stat"),
                (v1_folder / "memory.usage_in_bytes", v1_folder / "memory.stat"),
            ):
                said = _read(path).strip()
                if said.isdigit():
                    inactive = _fields(stat)
                    return int(said) - (inactive.get("total_inactive_file") or inactive.get("inactive_file", 0))
        return 0

    def _groups(self) -> list[tuple[Path, Path]]:
        """(version 2, version 1) folders of our group and its ancestors, the innermost first."""
        own = {"": "/", "memory": "/"}
        for line in _read(self._proc / "self" / "cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                own[controller] = path
        v2, v1 = Path(own[""].lstrip("/")), Path(own["memory"].lstrip("/"))
        inner, inner_v1 = [v2, *v2.parents], [v1, *v1.parents]
        depth = max(len(inner), len(inner_v1))
        inner += [Path()] * (depth - len(inner))
        inner_v1 += [Path()] * (depth - len(inner_v1))
        return [(self._cgroup / a, self._cgroup / "memory" / b) for a, b in zip(inner, inner_v1, strict=True)]

    def __repr__(self) -> str:
        return f"HostHardware({self.total_bytes() / 1e9:.1f} GB, {self.available_bytes() / 1e9:.1f} GB available)"


def _read(path: Path) -> str:
    """Empty where the file is missing, unreadable, or its process has just gone."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _listed(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError:
        return []


def _fields(path: Path) -> dict[str, int]:
    """`Name:  123 kB` and `name 123` lines → their numbers, in the file's unit."""
    fields = {}
    for line in _read(path).splitlines():
        words = line.replace(":", " ").split()
        if len(words) >= 2 and words[1].isdigit():
            fields[words[0]] = int(words[1])
    return fields

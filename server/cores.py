"""What this process may use of the machine, and how it is shared out among workers and devices."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipelines.core.gpus import visible_gpu
from server.config import DeviceConfig

_GIB = 1 << 30
#: Memory that a CPU device is reckoned with: models in two forms and the activations of a large page.
_DEVICE_BYTES = _GIB
#: Threads of the all-core form at most. What one page offers to do side by side is limited, and every
#: thread of it takes a core from somebody.
_MAX_ALL_THREADS = 8


class Machine:
    """Cores and memory that this process may use.

    Args:
        root: stands in for ``/`` (tests).
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def cores(self) -> int:
        """Cores: the scheduler's affinity mask, cut to whole cores of the cgroup's CPU quota."""
        allowed = len(os.sched_getaffinity(0))
        return max(1, min([allowed, *(int(quota) for quota in self._quotas())]))

    def nodes(self) -> dict[int, frozenset[int]]:
        """NUMA nodes to those of their CPUs that may be used; empty on a machine with one node.

        Nodes without CPUs (memory only) and without allowed ones are left out.
        """
        allowed, found = os.sched_getaffinity(0), {}
        for folder in sorted((self._root / "sys/devices/system/node").glob("node[0-9]*")):
            cpus = allowed & _cpu_list(_read(folder / "cpulist") or "")
            if cpus:
                found[int(folder.name[4:])] = frozenset(cpus)
        return found if len(found) > 1 else {}

    def gpu_node(self, index: int) -> int | None:
        """NUMA node that GPU ``index`` hangs on; None where the machine has one node, or does not say."""
        gpu = visible_gpu(index, self._root)
        return gpu.node if gpu is not None and gpu.node in self.nodes() else None

    def memory_bytes(self) -> int:
        """Memory: what is installed, cut to the cgroup's limit."""
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return min([installed, *self._memory_limits()])

    def _quotas(self) -> Iterator[float]:
        for text in self._values("cpu", "cpu.max"):  # version 2: "<quota|max> <period>"
            quota, _, period = text.partition(" ")
            if quota != "max":
                yield int(quota) / int(period)
        for folder in self._folders("cpu"):  # version 1
            micros = _read(folder / "cpu.cfs_quota_us")
            whole = _read(folder / "cpu.cfs_period_us")
            if micros and whole and int(micros) > 0:
                yield int(micros) / int(whole)

    def _memory_limits(self) -> Iterator[int]:
        for name in ("memory.max", "memory.limit_in_bytes"):
            for text in self._values("memory", name):
                if text != "max":
                    yield int(text)

    def _values(self, controller: str, name: str) -> Iterator[str]:
        for folder in self._folders(controller):
            if text := _read(folder / name):
                yield text

    def _folders(self, controller: str) -> Iterator[Path]:
        """The cgroup of this process in both versions, and all above it: any of them may limit."""
        mount = self._root / "sys/fs/cgroup"
        for line in (_read(self._root / "proc/self/cgroup") or "").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                bases = [mount, mount / "unified"]
            elif controller in controllers.split(","):
                bases = [mount / controller, mount / controllers]
            else:
                continue
            for base in bases:
                folder = base / path.lstrip("/")
                # In a container the path may be the host's; then only the mount itself is there.
                yield base
                while folder != base and base in folder.parents:
                    yield folder
                    folder = folder.parent


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _cpu_list(text: str) -> set[int]:
    """The kernel's notation: ``0-3,8,10-11``."""
    cpus: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def stay_on_node(device: DeviceConfig, machine: Machine | None = None) -> None:
    """Keep this process to the cores of its device's node, all of them alike; nothing where it has none.

    To be called before anything that starts threads or takes memory: Linux gives memory from the node of
    the core that touches it first.
    """
    cpus = (machine or Machine()).nodes().get(-1 if device.node is None else device.node)
    if cpus:
        os.sched_setaffinity(0, cpus)


def default_workers(cores: int) -> int:
    """HTTP workers: one up to 4 cores, else one per 8 cores and at least 2.

    A worker decodes and encodes for milliseconds where a device computes for hundreds.
    """
    return 1 if cores <= 4 else max(2, cores // 8)


def cpu_devices(
    cores: int, memory_bytes: int, wanted: int | None = None, nodes: Mapping[int, int] | None = None
) -> tuple[DeviceConfig, ...]:
    """Shares of the CPU.

    One-thread shares give the most images per second (no thread waits for another; the engines' second
    thread brings less than a second process), so up to 8 cores each core is a device. Above, every
    device is another copy of the models: shares become 2 threads wide up to 32 cores, then
    there are 16 of them whatever the width. There are never more than memory allows.

    Args:
        cores: cores that may be used.
        memory_bytes: memory that may be used.
        wanted: number of devices, or None for the rule above.
        nodes: usable cores of each NUMA node, if there are several. Then no share lies in two of them, nor
            does its all-core form: memory of another node is up to twice as far. Fewer shares than nodes
            lie where the system puts them.
    """
    threads = 1 if cores <= 8 else 2 if cores <= 32 else -(-cores // 16)
    count = cores // threads
    if wanted is not None:
        count, threads = wanted, max(1, cores // wanted)
    elif count > (fitting := max(1, memory_bytes // _DEVICE_BYTES)):
        count, threads = fitting, cores // fitting
    if nodes and count >= len(nodes):
        return tuple(_on_nodes(cores, count, threads if wanted is None else cores, nodes))
    return (_share(cores, threads),) * count


def _share(cores: int, threads: int, node: int | None = None) -> DeviceConfig:
    """One share among ``cores``."""
    return DeviceConfig("cpu", threads, max(threads, min(cores, _MAX_ALL_THREADS)), node=node)


def _on_nodes(cores: int, count: int, threads: int, nodes: Mapping[int, int]) -> Iterator[DeviceConfig]:
    """``count`` shares over nodes in proportion to their cores, none wider than ``threads``, one on each.

    A quota below the nodes' cores (``cores``) cuts all nodes alike.
    """
    counts = dict.fromkeys(nodes, 1)
    for _ in range(count - len(nodes)):
        counts[max(nodes, key=lambda node: nodes[node] / (counts[node] + 1))] += 1
    total = sum(nodes.values())
    for node, number in counts.items():
        here = max(1, nodes[node] * min(cores, total) // total)
        for _ in range(number):
            yield _share(here, max(1, min(threads, here // number)), node)


def gpu_devices(indexes: tuple[int, ...], machine: Machine | None = None) -> tuple[DeviceConfig, ...]:
    """One device process per GPU, on the GPU's node."""
    machine = machine or Machine()
    return tuple(DeviceConfig(f"gpu:{index}", node=machine.gpu_node(index)) for index in indexes)

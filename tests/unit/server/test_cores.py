"""What may be used of the machine, and the shares made of it."""

import os

import pytest

from pipelines.engines.base import nvidia_gpus
from server.config import DeviceConfig
from server.cores import Machine, cpu_devices, default_workers, gpu_devices, stay_on_node

GIB = 1 << 30


def machine(tmp_path, cgroup, files):
    """A machine whose /proc/self/cgroup and cgroup files are these."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(cgroup)
    for path, text in files.items():
        file = tmp_path / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Machine(tmp_path)


@pytest.fixture
def sixteen(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        pytest.param("", {}, 16, id="no-cgroup"),
        pytest.param("0::/", {"cpu.max": "max 100000"}, 16, id="v2-unlimited"),
        pytest.param("0::/", {"cpu.max": "400000 100000"}, 4, id="v2-four"),
        pytest.param("0::/", {"cpu.max": "250000 100000"}, 2, id="v2-two-and-a-half"),
        pytest.param("0::/", {"cpu.max": "50000 100000"}, 1, id="v2-half"),
        pytest.param("0::/", {"cpu.max": "9900000 100000"}, 16, id="v2-more-than-there-are"),
        pytest.param(
            "0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3, id="v2-parent"
        ),
        pytest.param("0::/host/path", {"cpu.max": "200000 100000"}, 2, id="v2-path-of-the-host"),
        pytest.param("0::/a", {"unified/a/cpu.max": "600000 100000"}, 6, id="hybrid"),
        pytest.param(
            "4:cpu,cpuacct:/a\n0::/",
            {"cpu/a/cpu.cfs_quota_us": "500000", "cpu/a/cpu.cfs_period_us": "100000"},
            5,
            id="v1",
        ),
        pytest.param(
            "4:cpu:/",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            16,
            id="v1-unlimited",
        ),
        pytest.param("4:memory:/", {"cpu/cpu.cfs_quota_us": "100000"}, 16, id="v1-other-controller"),
    ],
)
def test_cores(tmp_path, sixteen, cgroup, files, cores):
    assert machine(tmp_path, cgroup, files).cores() == cores


def test_affinity_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5, 9})
    assert machine(tmp_path, "", {}).cores() == 3


@pytest.mark.parametrize(
    ("cgroup", "files", "limit"),
    [
        ("0::/a", {"a/memory.max": "max"}, None),
        ("0::/a", {"a/memory.max": "1048576"}, 1 << 20),
        ("6:memory:/a", {"memory/a/memory.limit_in_bytes": "2097152"}, 2 << 20),
        ("6:memory:/a", {"memory/a/memory.limit_in_bytes": "9223372036854771712"}, None),
    ],
    ids=["v2-unlimited", "v2", "v1", "v1-unlimited"],
)
def test_memory(tmp_path, cgroup, files, limit):
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert machine(tmp_path, cgroup, files).memory_bytes() == (limit or installed)


def test_this_machine():
    assert 1 <= Machine().cores() <= len(os.sched_getaffinity(0))
    assert Machine().memory_bytes() > 1 << 28


@pytest.mark.parametrize(
    ("cores", "shares"),
    [
        (1, [(1, 1)]),
        (2, [(1, 2)] * 2),
        (4, [(1, 4)] * 4),
        (8, [(1, 8)] * 8),
        (9, [(2, 8)] * 4),
        (16, [(2, 8)] * 8),
        (32, [(2, 8)] * 16),
        (48, [(3, 8)] * 16),
        (64, [(4, 8)] * 16),
        (128, [(8, 8)] * 16),
        (256, [(16, 16)] * 16),
    ],
)
def test_shares(cores, shares):
    assert cpu_devices(cores, 1000 * GIB) == tuple(DeviceConfig("cpu", *share) for share in shares)


def test_shares_never_ask_for_more_cores_than_there_are():
    for cores in range(1, 200):
        devices = cpu_devices(cores, 1000 * GIB)
        assert cores * 0.65 < sum(device.threads for device in devices) <= cores
        assert all(device.threads <= device.all_threads <= cores for device in devices), cores
        assert len(devices) <= 16, cores


def test_memory_bounds_the_shares():
    assert cpu_devices(8, 3 * GIB) == (DeviceConfig("cpu", 2, 8),) * 3
    assert cpu_devices(8, GIB // 2) == (DeviceConfig("cpu", 8, 8),)


def test_a_number_that_was_asked_for_is_kept():
    assert cpu_devices(2, GIB, wanted=1) == (DeviceConfig("cpu", 2, 2),)
    assert cpu_devices(2, GIB, wanted=4) == (DeviceConfig("cpu", 1, 2),) * 4
    assert cpu_devices(8, GIB, wanted=3) == (DeviceConfig("cpu", 2, 8),) * 3


def tree(tmp_path, nodes, gpus=()):
    """A machine whose sysfs has these nodes (number to CPU list) and GPUs (address, node)."""
    for number, cpus in nodes.items():
        folder = tmp_path / f"sys/devices/system/node/node{number}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(cpus + "\n")
    (tmp_path / "sys/devices/system/node/possible").parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "sys/devices/system/node/possible").write_text("0-1\n")
    for address, node in gpus:
        card = tmp_path / "proc/driver/nvidia/gpus" / address
        card.mkdir(parents=True)
        (card / "information").write_text(f"Model: \t NVIDIA H100\nBus Location: \t {address}\n")
        device = tmp_path / "sys/bus/pci/devices" / address.lower()
        device.mkdir(parents=True)
        (device / "numa_node").write_text(f"{node}\n")
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        pytest.param({0: "0-7", 1: "8-15"}, {0: range(8), 1: range(8, 16)}, id="two"),
        pytest.param(
            {0: "0-3,8-11", 1: "4-7,12-15"},
            {0: [0, 1, 2, 3, 8, 9, 10, 11], 1: [4, 5, 6, 7, 12, 13, 14, 15]},
            id="threads",
        ),
        pytest.param({0: "0-15"}, {}, id="one"),
        pytest.param({}, {}, id="no-sysfs"),
        pytest.param({0: "0-15", 1: ""}, {}, id="memory-only"),
        pytest.param({0: "0-15", 1: "16-31"}, {}, id="one-that-may-be-used"),
        pytest.param({0: "0-13", 10: "14-40"}, {0: range(14), 10: [14, 15]}, id="cut-by-affinity"),
    ],
)
def test_nodes(tmp_path, sixteen, nodes, found):
    assert tree(tmp_path, nodes).nodes() == {node: frozenset(cpus) for node, cpus in found.items()}


@pytest.mark.parametrize(
    ("cores", "nodes", "wanted", "shares"),
    [
        pytest.param(16, {0: 8, 1: 8}, None, [(2, 8, 0)] * 4 + [(2, 8, 1)] * 4, id="even"),
        pytest.param(8, {0: 4, 1: 4}, None, [(1, 4, 0)] * 4 + [(1, 4, 1)] * 4, id="small"),
        pytest.param(64, {0: 32, 1: 32}, None, [(4, 8, 0)] * 8 + [(4, 8, 1)] * 8, id="large"),
        pytest.param(12, {0: 8, 1: 4}, None, [(2, 8, 0)] * 4 + [(2, 4, 1)] * 2, id="uneven"),
        pytest.param(8, {0: 8, 1: 8}, None, [(1, 4, 0)] * 4 + [(1, 4, 1)] * 4, id="quota"),
        pytest.param(16, {0: 8, 1: 8}, 2, [(8, 8, 0), (8, 8, 1)], id="one-each"),
        pytest.param(16, {0: 8, 1: 8}, 3, [(4, 8, 0)] * 2 + [(8, 8, 1)], id="three"),
        pytest.param(16, {0: 8, 1: 8}, 1, [(16, 16, None)], id="fewer-than-nodes"),
    ],
)
def test_shares_lie_inside_a_node(cores, nodes, wanted, shares):
    found = cpu_devices(cores, 1000 * GIB, wanted, nodes)
    assert [(device.threads, device.all_threads, device.node) for device in found] == shares


@pytest.mark.parametrize("nodes", [2, 4])
def test_shares_on_nodes_never_ask_for_more_cores_than_a_node_has(nodes):
    for cores in range(2, 130):
        check_nodes(cores, nodes)


def check_nodes(cores, nodes):
    sizes = {node: cores // nodes + (node < cores % nodes) for node in range(nodes)}
    sizes = {node: size for node, size in sizes.items() if size}
    for wanted in (None, nodes, nodes + 1):
        devices = cpu_devices(cores, 1000 * GIB, wanted, sizes)
        for node, size in sizes.items():
            mine = [device for device in devices if device.node == node]
            assert sum(device.threads for device in mine) <= max(size, len(mine))
            assert all(device.threads <= device.all_threads <= max(size, 1) for device in mine)


def test_a_share_keeps_to_its_node(tmp_path, sixteen, monkeypatch):
    kept = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: kept.append((pid, set(cpus))))
    machine = tree(tmp_path, {0: "0-7", 1: "8-15"})
    stay_on_node(DeviceConfig("cpu", node=1), machine)
    assert kept == [(0, set(range(8, 16)))]
    stay_on_node(DeviceConfig("cpu"), machine)
    stay_on_node(DeviceConfig("cpu", node=7), machine)
    assert len(kept) == 1


GPUS = (("0000:17:00.0", 0), ("0000:CA:00.0", 1), ("0000:3B:00.0", 0))


def test_gpus(tmp_path, sixteen, monkeypatch):
    """In the order of their PCI addresses, each on its node."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine = tree(tmp_path, {0: "0-7", 1: "8-15"}, GPUS)
    found = [(device.device, device.node) for device in gpu_devices((0, 2, 1, 9), machine)]
    assert found == [("gpu:0", 0), ("gpu:2", 1), ("gpu:1", 0), ("gpu:9", None)]


@pytest.mark.parametrize(
    ("visible", "nodes"),
    [("2,0", [1, 0]), ("2,-1,0", [1, None]), ("", [None, None]), ("GPU-1234,2", [None, 1])],
)
def test_gpus_that_cuda_shows(tmp_path, sixteen, monkeypatch, visible, nodes):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    machine = tree(tmp_path, {0: "0-7", 1: "8-15"}, GPUS)
    assert [device.node for device in gpu_devices((0, 1), machine)] == nodes


@pytest.mark.parametrize(("visible", "count"), [(None, 3), ("1", 1), ("0,1,2,3,4", 3), ("-1", 0), ("", 0)])
def test_gpus_are_counted_by_their_device_files(tmp_path, monkeypatch, visible, count):
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert nvidia_gpus(tmp_path) == count


@pytest.mark.parametrize("nodes", [{}, {0: "0-15"}])
def test_a_gpu_of_a_machine_with_one_node_has_none(tmp_path, sixteen, monkeypatch, nodes):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine = tree(tmp_path, nodes, [("0000:17:00.0", -1)])
    assert gpu_devices((0,), machine)[0].node is None


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (4, 1), (5, 2), (16, 2), (24, 3), (64, 8)])
def test_workers(cores, workers):
    assert default_workers(cores) == workers

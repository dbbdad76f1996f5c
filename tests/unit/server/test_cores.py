"""What may be used of the machine, and the shares made of it."""

import os

import pytest

from server.config import DeviceConfig
from server.cores import Machine, cpu_devices, default_workers, gpu_devices

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


@pytest.mark.parametrize("cores", range(1, 200))
def test_shares_never_ask_for_more_cores_than_there_are(cores):
    devices = cpu_devices(cores, 1000 * GIB)
    assert sum(device.threads for device in devices) <= cores
    assert sum(device.threads for device in devices) > cores * 0.65
    assert all(device.threads <= device.all_threads <= cores for device in devices)
    assert len(devices) <= 16


def test_memory_bounds_the_shares():
    assert cpu_devices(8, 3 * GIB) == (DeviceConfig("cpu", 2, 8),) * 3
    assert cpu_devices(8, GIB // 2) == (DeviceConfig("cpu", 8, 8),)


def test_a_number_that_was_asked_for_is_kept():
    assert cpu_devices(2, GIB, wanted=1) == (DeviceConfig("cpu", 2, 2),)
    assert cpu_devices(2, GIB, wanted=4) == (DeviceConfig("cpu", 1, 2),) * 4
    assert cpu_devices(8, GIB, wanted=3) == (DeviceConfig("cpu", 2, 8),) * 3


def test_gpus():
    assert [device.device for device in gpu_devices((0, 3))] == ["gpu:0", "gpu:3"]


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (4, 1), (5, 2), (16, 2), (24, 3), (64, 8)])
def test_workers(cores, workers):
    assert default_workers(cores) == workers

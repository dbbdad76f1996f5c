"""Slots for what the limits allow."""

from pathlib import Path

import pytest

from kernels.segment import Segment
from kernels.slots import Slots
from server.config import Limits
from server.sizes import slot_classes
from server.wire import Shape, slot_bytes

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.mark.parametrize("pixels", [10_000, 1_000_000, 40_000_000, 178_956_970])
def test_the_largest_allowed_image_fits_and_sizes_ascend(pixels):
    classes = slot_classes(Limits(max_pixels=pixels))
    sizes = [size for size, _ in classes]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] >= slot_bytes(Shape(1, pixels), 16 << 20)
    assert all(size < sizes[-1] for size in sizes[:-1])


def test_a_segment_for_many_processes_costs_no_memory_until_used():
    segment = Segment.create(9, 9, slot_classes(Limits()))
    slots = Slots(segment)
    slot = slots.take(0, 190 << 20)
    assert slots.capacity(slot) >= 190 << 20
    with Path("/proc/self/smaps").open() as file:
        lines = iter(file)
        for line in lines:
            if "/memfd:segment" in line:
                resident = next(entry for entry in lines if entry.startswith("Rss:"))
                assert int(resident.split()[1]) < 8 << 10
                break
        else:
            raise AssertionError("the segment is not mapped")
    segment.close()

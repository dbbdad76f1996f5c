"""Bringing a slot to a state by its own edges; what the slot tests share."""

WORKER_EPOCH, DEVICE_EPOCH, OTHER_EPOCH, NEW_EPOCH = 5, 6, 7, 8
STATES = ("FREE", "WRITING", "READY", "CLAIMED", "DONE")
REQUEST = {
    "request_id": 11,
    "deadline_ns": 22,
    "operation": 33,
    "device": 0,
    "cost_us": 44,
    "request_bytes": 55,
}


def bring(slots, state):
    """Slot 0 in this state; its generation."""
    slot = slots.take(0, 1) if state != "FREE" else 0
    if state in {"READY", "CLAIMED", "DONE"}:
        slots.publish(slot, **REQUEST)
    if state in {"CLAIMED", "DONE"}:
        assert slots.claim(slot, slots.generation(slot), DEVICE_EPOCH)
    if state == "DONE":
        assert slots.finish(slot, slots.generation(slot), DEVICE_EPOCH, 66)
    assert slot == 0
    return slots.generation(0)


def incarnate(segment):
    """Worker 0 and all devices alive, with the epochs above."""
    segment.worker(0).incarnate(100, WORKER_EPOCH)
    for device, epoch in zip(range(segment.devices), (DEVICE_EPOCH, OTHER_EPOCH), strict=False):
        segment.device(device).incarnate(101 + device, epoch)

"""Single-producer single-consumer rings of (slot, generation) hints over the segment."""

from kernels.segment import Segment

class Ring:
    """One direction between one worker lane and one device lane. Hints only: losing one is
    repaired by a header scan, so a full ring is not an error."""

    @staticmethod
    def to_device(segment: Segment, worker: int, device: int) -> Ring: ...
    @staticmethod
    def to_worker(segment: Segment, worker: int, device: int) -> Ring: ...
    capacity: int
    def push(self, slot: int, generation: int) -> bool:
        """Producer. False when full."""
    def pop(self) -> tuple[int, int] | None:
        """Consumer."""
    def __len__(self) -> int:
        """A best-effort guess."""

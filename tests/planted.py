"""A server whose processes have planted faults (``tests/dying_child.py``)."""

import msgspec

from tests.conditions import wait_for
from tests.fakes import fake_config
from tests.harness import POLICY, Server

#: Nobody who is held or stopped by these tests counts as hung.
PATIENT = msgspec.structs.replace(POLICY, heartbeat_ns=60_000_000_000)
SLOW_MS = 150


class Planted(Server):
    """A server whose processes die where :meth:`plant` says, or have the bug that it names."""

    def __init__(self, folder, **config):
        self.stops = folder / "stops"
        self.stops.mkdir()
        config = fake_config(folder / "models", **{"window": 1, "slow_ms": SLOW_MS} | config)
        super().__init__(config, folder, PATIENT, self.stops)

    def plant(self, step):
        (self.stops / step).touch()

    def pull(self, step):
        (self.stops / step).unlink(missing_ok=True)

    def wait_dead(self, step):
        wait_for(lambda: not (self.stops / step).exists(), what=f"a process comes to {step}")

    def let_go(self):
        (self.stops / "hold").unlink()

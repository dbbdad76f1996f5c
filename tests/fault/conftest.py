"""A running server that the fault tests share, and the check that a test has left it as it was."""

import msgspec
import pytest

from tests.fakes import LARGE_BYTES, fake_config
from tests.harness import POLICY, Server

#: A page that is slow takes so long; a stage that takes longer than the limit hangs.
SLOW_MS, HANG_NS = 900, 1_400_000_000
QUICK = msgspec.structs.replace(POLICY, stage_floor_ns=HANG_NS)


@pytest.fixture(scope="package")
def server(tmp_path_factory):
    """Two workers, two devices, fake models; checked for leftovers when it stops."""
    folder = tmp_path_factory.mktemp("server")
    config = fake_config(folder / "models", workers=2, slow_ms=SLOW_MS, allocate=LARGE_BYTES)
    with Server(config, folder, QUICK) as running:
        yield running


@pytest.fixture
def calm(server):
    """The server, all of it ready; afterwards nothing may have leaked: slots, files, processes, wake-ups."""
    server.wait_ready()
    files = server.open_files()
    yield server
    server.check_calm(files)

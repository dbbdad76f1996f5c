"""A running server that the tests of one file share."""

import pytest

from tests.fakes import fake_config
from tests.harness import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Two workers, two devices, fake models; checked for leftovers when it stops."""
    folder = tmp_path_factory.mktemp("server")
    with Server(fake_config(folder / "models", workers=2), folder) as running:
        yield running


@pytest.fixture
def calm(server):
    """The server, all of it ready; afterwards nothing may have leaked: slots, files, processes, wake-ups."""
    server.wait_ready()
    files = server.open_files()
    yield server
    server.check_calm(files)

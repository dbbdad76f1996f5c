"""Transfers that break, stall, lie and are continued; progress; locks."""

import io
import multiprocessing

import pytest

from pipelines.core import download as module
from pipelines.core.download import NotFoundError, Progress, download, locked
from pipelines.core.errors import ConfigError
from tests.conditions import wait_for
from tests.model_server import Hub

DATA = bytes(range(256)) * 4000


@pytest.fixture
def hub():
    opened = Hub()
    opened.files["/f"] = DATA
    yield opened
    opened.close()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "f"


def left(target):
    return sorted(path.name for path in target.parent.iterdir())


def test_a_file_arrives(hub, target):
    download(hub.url + "/f", target, label="f")
    assert target.read_bytes() == DATA
    assert left(target) == ["f"]


def test_a_transfer_that_breaks_off_is_continued(hub, target):
    hub.faults["/f"] = [("cut", 300_000), ("cut", 300_000)]
    download(hub.url + "/f", target, label="f")
    assert target.read_bytes() == DATA
    assert [wanted for _, wanted in hub.asked] == [None, "bytes=300000-", "bytes=600000-"]
    assert left(target) == ["f"]


def test_a_later_call_continues_too(hub, target):
    hub.faults["/f"] = [("cut", 200_000)] * module.ATTEMPTS
    with pytest.raises(ConfigError, match=r"cannot fetch .*/f: .*broken off after 600000 of 1024000 bytes"):
        download(hub.url + "/f", target, label="f")
    assert not target.exists()
    download(hub.url + "/f", target, label="f")
    assert hub.asked[-1][1] == "bytes=600000-"
    assert target.read_bytes() == DATA


def test_another_file_at_the_same_address_is_not_glued_to_the_first(hub, target):
    hub.faults["/f"] = [("cut", 200_000)] * module.ATTEMPTS
    with pytest.raises(ConfigError):
        download(hub.url + "/f", target, label="f")
    hub.files["/f"], hub.tag = DATA[::-1], '"2"'
    download(hub.url + "/f", target, label="f")
    assert target.read_bytes() == DATA[::-1]


def test_a_weak_tag_means_starting_over(target):
    hub = Hub(weak=True)
    try:
        hub.files["/f"], hub.faults["/f"] = DATA, [("cut", 200_000)]
        download(hub.url + "/f", target, label="f")
        assert [wanted for _, wanted in hub.asked] == [None, None]
        assert target.read_bytes() == DATA
    finally:
        hub.close()


def test_a_stalled_transfer_ends(hub, target, monkeypatch):
    monkeypatch.setattr(module, "STALL_S", 0.2)
    hub.faults["/f"] = [("stall", 1000)] * module.ATTEMPTS
    with pytest.raises(ConfigError, match=r"cannot fetch .*TimeoutError"):
        download(hub.url + "/f", target, label="f")
    assert len(hub.asked) == module.ATTEMPTS


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_is_not_there_is_asked_for_once(hub, target, status):
    hub.faults["/f"] = [status]
    with pytest.raises(NotFoundError, match=rf"does not exist .HTTP {status}"):
        download(hub.url + "/f", target, label="f")
    assert len(hub.asked) == 1


def test_a_server_in_trouble_is_asked_again(hub, target):
    hub.faults["/f"] = [500, 503]
    download(hub.url + "/f", target, label="f")
    assert target.read_bytes() == DATA
    hub.faults["/f"] = [500] * 3
    with pytest.raises(ConfigError, match=r"cannot fetch .*: HTTP 500"):
        download(hub.url + "/f", target, label="f")


def test_nobody_listens(target):
    with pytest.raises(
        ConfigError, match=r"cannot fetch http://127\.0\.0\.1:9/f: ConnectionRefusedError"
    ) as caught:
        download("http://127.0.0.1:9/f", target, label="f")
    assert "\n" not in str(caught.value)


def test_no_such_host(target):
    with pytest.raises(ConfigError, match=r"cannot fetch"):
        download("http://nowhere.invalid/f", target, label="f")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_redraws_one_line(monkeypatch):
    monkeypatch.setattr(Progress, "REDRAW_S", 0.0)
    stream = Terminal()
    progress = Progress("thing", 1_000_000, stream)
    progress.update(500_000)
    progress.update(1_000_000)
    progress.finish()
    drawn = stream.getvalue().split("\r")
    assert "thing [###############               ] 50 % of 1.0 MB" in drawn[1]
    assert "[##############################] 100 %" in drawn[-1]
    assert stream.getvalue().count("\n") == 1


def test_progress_elsewhere_is_plain_lines(monkeypatch):
    monkeypatch.setattr(Progress, "LINE_S", 0.0)
    stream = io.StringIO()
    progress = Progress("thing", 0, stream)
    progress.update(2_500_000)
    progress.finish()
    first, second, last = stream.getvalue().splitlines()
    assert first == "fetching thing"
    assert second.startswith("  2.5 MB, ")
    assert last.startswith("fetched thing: 2.5 MB, ")


def test_progress_without_a_stream_is_silent():
    progress = Progress("thing", 10, None)
    progress.update(5)
    progress.finish()


def _hold(path, held, release):
    with locked(path):
        held.set()
        release.wait(30)


def test_a_lock_is_waited_for_and_said_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "l", held, release))
    other.start()
    try:
        assert held.wait(30)
        said = []

        def waiting():
            said.append("waiting")
            release.set()

        with locked(tmp_path / "l", waiting):
            assert said == ["waiting"]
    finally:
        release.set()
        other.join(30)


def test_a_lock_of_a_dead_process_is_free(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "l", held, release))
    other.start()
    assert held.wait(30)
    other.kill()
    wait_for(lambda: not other.is_alive(), 30)
    said = []
    with locked(tmp_path / "l", lambda: said.append("waiting")):
        pass
    assert said == []

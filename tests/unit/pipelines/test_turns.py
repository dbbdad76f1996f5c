"""Turns of large runs: as many as there are places, none lost with a process that dies."""

import multiprocessing
import threading
from pathlib import Path

from pipelines.core.turns import Turns
from tests.conditions import wait_for


def _inside(folder, places, entered, leave):
    with Turns(folder, places).take():
        entered.set()
        leave.wait(60)


class Visitor:
    """A process that is inside, or waits to be."""

    def __init__(self, folder, places):
        context = multiprocessing.get_context("spawn")
        self.entered, self.leave = context.Event(), context.Event()
        self.process = context.Process(target=_inside, args=(folder, places, self.entered, self.leave))
        self.process.start()

    def go(self):
        self.leave.set()
        self.process.join(30)
        assert self.process.exitcode == 0


def waits(folder, places):
    """A thread that wants in; an event that tells when it is."""
    entered = threading.Event()

    def run():
        with Turns(folder, places).take():
            entered.set()

    thread = threading.Thread(target=run)
    thread.start()
    return thread, entered


def test_one_place_is_taken_by_one_process(tmp_path):
    other = Visitor(str(tmp_path), 1)
    assert other.entered.wait(30)
    thread, entered = waits(str(tmp_path), 1)
    assert not entered.wait(0.2)
    other.go()
    assert entered.wait(10)
    thread.join()


def test_two_places_are_taken_by_two(tmp_path):
    others = [Visitor(str(tmp_path), 2) for _ in range(2)]
    assert all(other.entered.wait(30) for other in others)
    thread, entered = waits(str(tmp_path), 2)
    assert not entered.wait(0.2)
    for other in others:
        other.go()
    assert entered.wait(10)
    thread.join()


def test_a_dead_process_gives_its_place_back(tmp_path):
    other = Visitor(str(tmp_path), 1)
    assert other.entered.wait(30)
    other.process.kill()
    wait_for(lambda: not other.process.is_alive(), 30)
    thread, entered = waits(str(tmp_path), 1)
    assert entered.wait(10)
    thread.join()


def test_a_place_comes_back_after_a_fault(tmp_path):
    turns = Turns(str(tmp_path), 1)
    for _ in range(3):
        try:
            with turns.take():
                raise ValueError
        except ValueError:
            pass


def test_without_a_folder_nobody_waits(tmp_path):
    (tmp_path / "file").write_text("")
    for turns in (Turns(None, 1), Turns(str(tmp_path / "file" / "x"), 1)):
        with turns.take(), turns.take():
            pass


def test_no_file_stays_open(tmp_path):
    before = set(Path("/proc/self/fd").iterdir())
    with Turns(str(tmp_path), 3).take():
        assert len(set(Path("/proc/self/fd").iterdir())) == len(before) + 3
    assert len(set(Path("/proc/self/fd").iterdir())) == len(before)

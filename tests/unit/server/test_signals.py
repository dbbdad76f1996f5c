"""Signals become a list, and a readable fd."""

import os
import select
import signal
from pathlib import Path

from server.signals import HANDLED, Signals


def readable(fd):
    return bool(select.select([fd], [], [], 0)[0])


def test_real_signals_are_listed_in_order_and_wake_the_loop():
    with Signals() as signals:
        assert list(signals.take()) == [] and not readable(signals.fd)
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        assert readable(signals.fd)
        assert list(signals.take()) == [signal.SIGHUP, signal.SIGTERM]
        assert not readable(signals.fd)
        assert list(signals.take()) == []


def test_handlers_come_back_and_nothing_stays_open():
    before = [signal.getsignal(number) for number in HANDLED]
    files = len(list(Path("/proc/self/fd").iterdir()))
    with Signals():
        assert [signal.getsignal(number) for number in HANDLED] != before
    assert [signal.getsignal(number) for number in HANDLED] == before
    assert len(list(Path("/proc/self/fd").iterdir())) == files

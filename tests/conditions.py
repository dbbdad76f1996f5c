"""Waiting for a condition with a limit."""

import time


def wait_for(condition, timeout=10.0, what=None):
    """The first true value of ``condition()``; AssertionError after ``timeout`` seconds."""
    give_up = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        time.sleep(0.005)

"""Calls into libraries that print, change arithmetic and logging, or end the process."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from .float_env import FloatEnv

#: Ends without a farewell: what a library does when a process leaves says nothing about the call.
_CHILD = """import importlib, json, os, sys
module, function, arguments = json.loads(sys.argv[1])
getattr(importlib.import_module(module), function)(*arguments)
os._exit(0)"""

#: Standard output belongs to the process: one call at a time may have it.
_lock = threading.RLock()


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """What C++ prints on file descriptor 1 goes to standard error; the thread's arithmetic stays."""
    with _lock:
        before, out = FloatEnv(), os.dup(1)
        os.dup2(2, 1)
        try:
            yield
        finally:
            os.dup2(out, 1)
            os.close(out)
            before.restore()


def import_contained(name: str) -> Any:
    """A module whose import may configure logging, warn, and print. Raises whatever it raises."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        with contained(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def fails_in_child(module: str, function: str, *args: str, seconds: float) -> str | None:
    """Call ``module.function(*args)`` in a child process. None when it returns there, else why not.

    It may take ``seconds``. What it loads is found where this process finds it.
    """
    entries = os.pathsep.join(entry for entry in sys.path if entry)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, json.dumps((module, function, args))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": entries},
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it takes more than {seconds:.0f} s"
    if done.returncode == 0:
        return None
    said = [line.strip() for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
    marked = [line for line in said if "[ERROR]" in line]
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
    return f"it ends the process ({how}): {(marked or said or ['without a word'])[-1]}"


def last_line(error: Exception) -> str:
    """The last line of a message, which names the cause; the type's name where there is none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()

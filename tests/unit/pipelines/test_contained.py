"""Calls into libraries that print, change logging and arithmetic, or end the process."""

import ctypes
import logging
import os
import platform
import re
from pathlib import Path

import pytest

from pipelines.core.contained import contained, fails_in_child, import_contained, last_line
from pipelines.core.gpus import keep_float32

#: FE_UPWARD of fenv.h; to the nearest is 0 everywhere.
_UPWARD = {"x86_64": 0x800, "aarch64": 0x400000}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Makes a module of this text importable, here and in children."""
    monkeypatch.syspath_prepend(tmp_path)
    return lambda name, text: (tmp_path / f"{name}.py").write_text(text)


def test_what_is_printed_on_descriptor_1_goes_to_descriptor_2(capfd):
    with contained():
        os.write(1, b"noise")
        with contained():
            os.write(1, b" and more")
    os.write(1, b"answer")
    assert capfd.readouterr() == ("answer", "noise and more")


def test_descriptors_and_arithmetic_come_back_after_an_exception(capfd):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ValueError), contained():
        ctypes.CDLL("libm.so.6").fesetround(_UPWARD[platform.machine()])
        raise ValueError
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert ctypes.CDLL("libm.so.6").fegetround() == 0


def test_an_import_leaves_logging_as_it_was(module, capfd):
    module(
        "noisy_for_test",
        "import logging, os, warnings\n"
        "logging.getLogger().setLevel(5)\nlogging.getLogger().handlers[:] = []\n"
        "os.write(1, b'hello')\nwarnings.warn('old', DeprecationWarning)\n",
    )
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    assert import_contained("noisy_for_test").__name__ == "noisy_for_test"
    assert (root.level, root.handlers) == before
    assert capfd.readouterr() == ("", "hello")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("assert word == 'a word'", None),
        (
            "print('[ERROR] no such operator'); print('bye', flush=True); os.abort()",
            r"signal 6\): \[ERROR\] no such",
        ),
        ("os._exit(255)", r"exit code 255\): without a word"),
        ("raise ValueError('bad file')", r"exit code 1\): ValueError: bad file"),
        ("time.sleep(60)", "more than 1 s"),
    ],
)
def test_a_child_tries_first(module, body, reason):
    module("tried_for_test", f"import os, time\ndef try_it(word):\n    {body}\n")
    found = fails_in_child("tried_for_test", "try_it", "a word", seconds=1 if "sleep" in body else 60)
    if reason is None:
        assert found is None
    else:
        assert "\n" not in found
        assert re.search(reason, found), found


def test_the_last_line_names_the_cause():
    assert last_line(RuntimeError("Traceback:\n  at a.cc\nfile is cut short \n")) == "file is cut short"
    assert last_line(KeyError()) == "KeyError"


@pytest.mark.parametrize(("precision", "value"), [("f32", "0"), ("auto", None)])
def test_float32_is_float32_on_a_gpu(monkeypatch, precision, value):
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    keep_float32(precision)
    assert os.environ.get("NVIDIA_TF32_OVERRIDE") == value
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    keep_float32("f32")
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "1"

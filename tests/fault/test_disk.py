"""The disk is full, or cannot be written, while models are set up."""

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipelines.core.models import ModelStore

pytestmark = pytest.mark.fault

ROOT = Path(__file__).resolve().parents[2]
#: A starter that comes with the server: setting it up needs no network.
MODEL = "ts_forecast_dlinear_co2"
NOBODY = 65534


def fetch(cache, limit=None):
    """``models fetch`` of the command line; ``limit`` is the most bytes that a file may have."""

    def before():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "server", "models", "fetch", MODEL, "--cache_dir", str(cache)]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, preexec_fn=before, check=False
    )


def test_a_full_disk_is_one_line_and_leaves_nothing_half_done(tmp_path):
    done = fetch(tmp_path / "cache", limit=512)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr
    assert [path for path in (tmp_path / "cache" / "models").glob("**/*") if path.is_file()] == []
    again = fetch(tmp_path / "cache")
    assert again.returncode == 0
    assert [listed.state for listed in ModelStore(tmp_path / "cache").verify()] == ["ready"]


@contextlib.contextmanager
def read_only(folder):
    """Nothing below ``folder`` can be written; root gives up its privilege for that."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)


def test_a_read_only_cache_that_holds_the_model_is_enough():
    with tempfile.TemporaryDirectory() as folder:  # not pytest's, which only its owner may enter
        Path(folder).chmod(0o755)
        cache = Path(folder, "cache")
        expected = ModelStore(cache).resolve(MODEL)
        with read_only(cache):
            with pytest.raises(PermissionError):
                (cache / "probe").touch()
            assert ModelStore(cache).resolve(MODEL) == expected

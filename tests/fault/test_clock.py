"""The wall clock may jump: nothing but the log depends on it."""

import ast
import datetime
import re
import subprocess
from pathlib import Path

import pytest

from tests.conditions import wait_for
from tests.fakes import fake_config
from tests.harness import Load, Server

pytestmark = pytest.mark.fault

ROOT = Path(__file__).resolve().parents[2]
WALL_CLOCK = {
    "time.time", "time.time_ns", "time.localtime", "time.gmtime", "datetime.now", "datetime.utcnow",
    "datetime.today", "date.today",
}  # fmt: skip
NATIVE = re.compile(r"CLOCK_REALTIME|gettimeofday|\btime\(NULL\)|system_clock")
#: Log lines, reports and traces carry the date, and what a trial that was killed left behind is old by the
#: file system's clock.
ALLOWED = {"server/bench/report.py", "server/logs.py", "server/otlp.py", "server/trials.py"}


def wall_clock_uses(source):
    """Names of wall clocks that a Python source reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            name = ".".join(ast.unparse(node).split(".")[-2:])
            if name in WALL_CLOCK:
                yield name
        if isinstance(node, ast.ImportFrom) and node.module in {"time", "datetime"}:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & WALL_CLOCK


def test_only_the_log_reads_the_wall_clock():
    files = [path for folder in ("server", "pipelines") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    found = {str(path.relative_to(ROOT)) for path in files if any(wall_clock_uses(path.read_text()))}
    assert found - ALLOWED == set()
    native = [path for end in ("*.h", "*.pyx", "*.pxd") for path in (ROOT / "kernels").glob(end)]
    assert [path.name for path in native if NATIVE.search(path.read_text())] == []


@pytest.mark.parametrize(
    "source",
    ["import time\ntime.time()", "from time import time", "import datetime\ndatetime.datetime.now()"],
)
def test_a_use_of_the_wall_clock_is_caught(source):
    assert list(wall_clock_uses(source))
    assert NATIVE.search("clock_gettime(CLOCK_REALTIME, &now)")


def test_a_jump_by_a_day_back_and_forth_is_not_noticed(tmp_path, monkeypatch):
    library, jump = tmp_path / "clock_jump.so", tmp_path / "jump"
    source = Path(__file__).with_name("clock_jump.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    with monkeypatch.context() as environment:
        environment.setenv("LD_PRELOAD", str(library))
        environment.setenv("CLOCK_JUMP", str(jump))
        server = Server(fake_config(tmp_path / "models"), tmp_path)
    with server:
        server.wait_ready()
        files, starts = server.settled_files(), server.starts()
        with Load(server) as load:
            jump.touch()
            load.wait_more(20)
            server.reconfigure(server.config)  # something that is logged, and done
            yesterday = (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)).date()
            wait_for(lambda: str(yesterday) in server.log(), what="the clock has jumped")
            load.wait_more(6)
            jump.unlink()
            load.wait_more(20)
            wait_for(lambda: server.all_ready() and server.starts() == starts + 3, 30, "all are replaced")
        assert load.faults == load.wrong == []
        assert "hangs" not in server.log()
        server.check_calm(files)

"""``python -m server bench`` on a real server, up to the report."""

import msgspec
import pytest

from server.bench.report import Report
from server.cli import main
from server.config import Limits
from tests.fakes import page, png

pytestmark = pytest.mark.usefixtures("clean")
#: Of the fake detector on one thread; alone it has two. Two devices do 100 pages a second at most.
DETECTION_MS = 20.0


@pytest.fixture(scope="module")
def options():
    return {"limits": Limits(), "detection_ms": DETECTION_MS, "recognition_ms": 0.0}


def test_a_capacity_report(server, tmp_path, capsys):
    (tmp_path / "page.png").write_bytes(png(page(1, lines=1)))
    argv = [
        "--url", f"http://127.0.0.1:{server.port}", "--file", str(tmp_path / "page.png"),
        "--budget_ms", "250", "--seconds", "1.0", "--rate", "40", "--out", str(tmp_path / "out"),
    ]  # fmt: skip
    assert main(["bench", *argv]) == 0
    out = capsys.readouterr().out
    found = msgspec.json.decode((tmp_path / "out" / "report.json").read_bytes(), type=Report)
    assert found.what["route"] == "/ocr"
    assert found.one_client_ms > DETECTION_MS / 2
    assert len(found.knee.rows) >= 2
    assert all(row.failed == 0 and len(row.latencies_ms) == row.sent for row in found.knee.rows)
    assert all(row.p50_ms > DETECTION_MS / 2 for row in found.knee.rows)
    assert f"wrote {tmp_path / 'out' / 'report.html'}" in out
    assert out.count("\n") >= len(found.knee.rows) + 2


def test_a_server_that_refuses_is_one_line(server, tmp_path, capsys):
    (tmp_path / "page.png").write_bytes(b"no picture")
    argv = ["--url", f"http://127.0.0.1:{server.port}", "--file", str(tmp_path / "page.png")]
    assert main(["bench", *argv, "--out", str(tmp_path / "out")]) == 2
    assert "answers 422" in capsys.readouterr().err

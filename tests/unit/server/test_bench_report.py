"""What a capacity report says and draws, what is sent, and which options are refused."""

import base64
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import cv2
import msgspec
import numpy as np
import orjson
import pytest

from pipelines.core import examples
from pipelines.core.errors import ConfigError
from pipelines.core.registry import load_pipeline
from server.bench import report, words
from server.bench.command import _plots
from server.bench.knee import Knee, Search, find_knee
from server.bench.options import compare_options, knee_options, pair_options
from server.bench.requests import choose_path, files_for, operations, subject
from server.bench.target import target
from tests.unit.server.test_bench_knee import Queue


@pytest.fixture(scope="module")
def found():
    queue, search = Queue(), Search(10.0, 400.0, 20.0)
    knee = find_knee(queue.measure, search, lambda: queue.now_s)
    what = {"route": "/ocr", "files": "<script>alert(1)</script>"}
    return report.Report("http://h:1", what, {"cores": "2"}, report.now(), 200.0, 20.0, search, knee)


@pytest.fixture(scope="module")
def plots(found):
    return _plots(found)


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_has_everything_inside_and_nothing_from_elsewhere(found, plots):
    text = report.page(found, plots)
    tags = Tags(text).found
    links = [value for _, attrs in tags for name, value in attrs.items() if name in {"src", "href"}]
    assert [base64.b64decode(link.removeprefix("data:image/png;base64,")) for link in links] == list(
        plots.values()
    )
    assert "script" not in {tag for tag, _ in tags}
    assert not re.search(r"@import|url\(", text)
    assert sum(tag == "tr" for tag, _ in tags) == 1 + len(found.knee.rows)
    assert f"knee: {found.knee.rate:.4g} requests/s" in text


def test_plots_are_pictures_with_something_on_them(plots):
    assert set(plots) == {"latency", "goodput", "distribution"}
    for content in plots.values():
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape[1] == 880
        assert (picture != 255).any(axis=2).mean() > 0.01


def test_files_are_read_back(found, plots, tmp_path):
    paths = report.write(tmp_path, found, plots)
    assert {path.name for path in paths} == {
        "report.json", "report.html", "latency.png", "goodput.png", "distribution.png",
    }  # fmt: skip
    assert msgspec.json.decode((tmp_path / "report.json").read_bytes(), type=report.Report) == found


def test_without_matplotlib_there_are_no_plots_and_one_line(found, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert _plots(found) == {}
    assert capsys.readouterr().err.count("\n") == 1


def test_a_search_that_found_nothing_is_reported_too(found, tmp_path):
    empty = msgspec.structs.replace(found, knee=Knee(None, None, "time", ()))
    assert "no rate was kept" in report.page(empty, {})
    assert list(words.lines([])) != []


# --- what is sent


def test_bodies_are_what_clients_of_paddlex_send():
    files, named = files_for("/ocr", None, ())
    assert named == ", ".join(examples.PAGES)
    asked = subject("/ocr", [*files, b"%PDF-1.7"], {"useDocUnwarping": False}, named)
    bodies = [orjson.loads(body) for body in asked.bodies]
    assert [body["fileType"] for body in bodies] == [1, 1, 1, 0]
    assert all(body["visualize"] is False and body["useDocUnwarping"] is False for body in bodies)
    assert base64.b64decode(bodies[0]["file"]) == files[0]
    assert subject("/ocr", files, {"visualize": True}, "").bodies[0] != asked.bodies[0]


@pytest.mark.parametrize("path", sorted(operations()))
def test_every_route_takes_its_body(path, tmp_path):
    """The first form of the operation reads it."""
    (tmp_path / "x").write_bytes(b"1")
    files, named = files_for(path, tmp_path / "x", ())
    (body,) = subject(path, files, {}, named).bodies
    form = operations()[path].forms[0]
    assert form.source(msgspec.json.decode(body, type=form.request)).data == "MQ=="


def test_a_series_comes_from_the_models_of_the_server():
    (csv,), _ = files_for("/time-series-forecasting", None, ("--pipeline", "ts_forecast"))
    assert csv.count(b"\n") > 10
    with pytest.raises(ConfigError, match="give one with --file"):
        files_for("/time-series-forecasting", None, ())


def test_the_route_is_the_first_that_takes_a_file():
    every = [operation.path for operation in load_pipeline("pp_chatocrv3_doc").operations]
    assert choose_path(["/health", *reversed(every)], None) in {"/chatocr-visual", "/chatocr-vision"}
    assert choose_path([], "/ocr") == "/ocr"
    with pytest.raises(ConfigError, match="no such route"):
        choose_path([], "/chatocr-vector")
    with pytest.raises(ConfigError, match="name one with --path"):
        choose_path(["/health"], None)


# --- options


def test_options_that_are_not_of_the_bench_go_to_the_server():
    options = knee_options(
        ["--seconds", "5", "--pipeline", "OCR", "--device", "cpu:1", "--out", "x", "--use_hpip"]
    )
    assert options.server == ("--pipeline", "OCR", "--device", "cpu:1", "--use_hpip")
    assert (options.urls, options.seconds, options.out) == ((), 5.0, Path("x"))


@pytest.mark.parametrize(
    ("read", "argv", "message"),
    [
        (knee_options, [], "give --url, or the options of a server"),
        (knee_options, ["--url", "http://h", "--budget", "1"], "not known here: --budget 1"),
        (knee_options, ["--url", "http://h", "--url", "http://i"], "bench pair takes two"),
        (knee_options, ["--url", "http://h", "--seconds", "-1"], "a number above 0 is wanted"),
        (knee_options, ["--url", "http://h", "--fields", "[]"], "a JSON object is wanted"),
        (pair_options, ["--url", "http://h"], "give --url twice"),
        (pair_options, ["--url", "http://h", "--url", "http://i", "--blocks", "5"], "at least 6"),
        (compare_options, ["a", "b", "--threshold", "3 percent"], "write 3% or 0.03"),
    ],
)
def test_wrong_options_are_one_line(read, argv, message, capsys):
    with pytest.raises(SystemExit) as end:
        read(argv)
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_thresholds_are_percent_or_shares():
    assert compare_options(["a", "b", "--threshold", "4.5%"])[1] == pytest.approx(0.045)
    assert compare_options(["a", "b", "--threshold", "0.05"])[1] == 0.05


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("http://h", ("h", 80, "")),
        ("https://h:8443/", ("h", 8443, "")),
        ("http://[::1]:81/behind", ("::1", 81, "/behind")),
    ],
)
def test_urls(url, where):
    found = target(url, ["X-API-Key: k"])
    assert (found.host, found.port, found.prefix) == where
    assert (found.tls is not None) == url.startswith("https")
    request = found.requests(subject("/ocr", [b"x"], {}, ""))[0]
    assert request.startswith(f"POST {found.prefix}/ocr HTTP/1.1\r\n".encode())
    assert b"\r\nX-API-Key: k\r\n" in request


@pytest.mark.parametrize("url", ["h:80", "ftp://h", "http://", "http://h:99999", "http+unix:/x:"])
def test_other_urls_are_refused(url):
    with pytest.raises(ConfigError, match="--url"):
        target(url)


def test_a_header_cannot_begin_another():
    with pytest.raises(ConfigError, match="--header"):
        target("http://h", ["A: b\r\nC: d"])

"""What the OCR comparison makes of its rows."""

import pytest

from benchmarks import compare, peers


def row(server, rps, p50, p99, level=8.0):
    latency = {"n": 1, "p50": p50, "p99": p99}
    return {"server": server, "loop": "closed", "level": level, "rps": rps, "latency_ms": latency}


def test_characters_that_reduced_precision_reads_too_are_counted_page_by_page():
    texts = {peers.OPENVINO: [["abc", "de"], ["x"]], peers.AUTO: [["ab", "cde"], ["y"]]}
    assert compare.kept_characters(texts) == pytest.approx(5 / 6)
    assert compare.kept_characters({peers.OPENVINO: []}) is None


def test_each_of_our_rows_has_bounds_of_its_own():
    rows = [
        row(peers.PADDLEX_DEFAULT, 0.5, 9, 9),
        row(peers.PADDLEX_ONNX, 1.0, 9, 10),
        row(peers.OPENVINO, 2.5, 9, 5),
        row(peers.AUTO, 3.0, 9, 5),
    ]
    met = {aim["target"]: aim["met"] for aim in compare.targets(rows, ceiling=2.6, kept=0.999)}
    assert met[f"{peers.OPENVINO}: throughput c=8 / PaddleX default"] is True  # 5.0 of 3.5
    assert met[f"{peers.AUTO}: throughput c=8 / PaddleX default"] is False  # 6.0 of 7.0
    assert met[f"{peers.OPENVINO}: p99 c=8 / PaddleX fastest"] is True  # 0.5 of 0.55
    assert met[f"{peers.AUTO}: p99 c=8 / PaddleX fastest"] is False  # 0.5 of 0.28
    assert met[f"{peers.AUTO}: characters as in f32"] is True
    assert met[f"{peers.OPENVINO}: served / bare engine"] is True
    assert met[f"{peers.OPENVINO}: p50 c=1 / PaddleX fastest"] is None

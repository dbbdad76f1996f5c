"""Tables, ratios and targets of the OCR comparison. Pure functions over rows."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from . import peers
from .common import table

Row = Mapping[str, Any]

#: (what, figure, load, peer, whether bigger is better, bound for f32, bound in the planned precisions).
#: The bounds are the project's targets for two cores; p99 is of the tail level.
TARGETS = (
    ("throughput c=8 / PaddleX default", "rps", ("closed", 8.0), peers.PADDLEX_DEFAULT, True, 3.5, 7.0),
    ("throughput c=8 / PaddleX fastest", "rps", ("closed", 8.0), peers.PADDLEX_ONNX, True, 2.2, 4.4),
    ("p50 c=1 / PaddleX fastest", "p50", ("closed", 1.0), peers.PADDLEX_ONNX, False, 0.6, 0.25),
    ("p99 c=8 / PaddleX fastest", "p99", ("closed", 8.0), peers.PADDLEX_ONNX, False, 0.55, 0.28),
)


def figure(row: Row, name: str) -> float | None:
    """``rps`` or a latency percentile of a row."""
    found = row["rps"] if name == "rps" else row["latency_ms"].get(name)
    return float(found) if found else None


def find(rows: Sequence[Row], server: str, load: tuple[str, float]) -> Row | None:
    """The row of a server at a load."""
    return next((r for r in rows if r["server"] == server and (r["loop"], r["level"]) == load), None)


def ratio(rows: Sequence[Row], row: Row, peer: str, name: str) -> float | None:
    """``row``'s figure over the peer's at the same load; None when either is missing."""
    other = find(rows, peer, (row["loop"], row["level"]))
    ours, theirs = figure(row, name), figure(other, name) if other else None
    return ours / theirs if ours and theirs else None


def one_line(row: Row) -> str:
    """A progress line."""
    latency = row["latency_ms"]
    if not latency["n"]:
        return f"{row['loop']} {row['level']:g}: all {row['sent']} failed"
    return (
        f"{row['loop']} {row['level']:g}: {row['sent']} sent, {row['failed']} failed, {row['wrong']} wrong, "
        f"{row['rps']:.2f}/s, p50 {latency['p50']:.0f} p99 {latency['p99']:.0f} ms, "
        f"{row['cpu_s_per_request']:.2f} CPU-s, "
        f"PSS {row['peak_pss_mib']:.0f} MiB, others {row['others_cores']:.2f}"
    )


def agreement(texts: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, dict[str, int]]:
    """Lines that each server reads as PaddleX's default does, in reading order; ``solid`` without spaces.

    Empty when the default was not run. Tight padding changes spaces (``benchmarks/padding.py``).
    """
    reference = texts.get(peers.PADDLEX_DEFAULT)
    if reference is None:
        return {}
    found = {}
    for server, images in texts.items():
        pairs = list(zip(images, reference, strict=True))
        found[server] = {
            "lines": sum(max(len(ours), len(theirs)) for ours, theirs in pairs),
            "equal": sum(_equal(ours, theirs) for ours, theirs in pairs),
            "solid": sum(_equal(_solid(ours), _solid(theirs)) for ours, theirs in pairs),
        }
    return found


def kept_characters(texts: Mapping[str, Sequence[Sequence[str]]]) -> float | None:
    """Share of the characters that our f32 row reads and the row in planned precisions reads too."""
    if peers.OPENVINO not in texts or peers.AUTO not in texts:
        return None
    pages = [["".join(page) for page in texts[name]] for name in (peers.OPENVINO, peers.AUTO)]
    same = sum(_equal(ours, reduced) for ours, reduced in zip(*pages, strict=True))
    return same / max(1, sum(len(page) for page in pages[0]))


def _equal(ours: Sequence[str], theirs: Sequence[str]) -> int:
    blocks = difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks)


def _solid(texts: Sequence[str]) -> list[str]:
    return [text.replace(" ", "") for text in texts]


def targets(rows: Sequence[Row], ceiling: float | None, kept: float | None = None) -> list[dict[str, Any]]:
    """The project's targets against this run's figures; ``met`` is None when something was not measured.

    ``ceiling`` is the bare engine's images per second in f32, ``kept`` what :func:`kept_characters` gives.
    """
    found = []
    for what, name, load, peer, more, *bounds in TARGETS:
        for server, bound in zip((peers.OPENVINO, peers.AUTO), bounds, strict=True):
            row = find(rows, server, load)
            value = ratio(rows, row, peer, name) if row else None
            found.append(_target(f"{server}: {what}", bound, more, value))
    found.append(_target(f"{peers.AUTO}: characters as in f32", 0.995, True, kept))
    served = [row["rps"] for row in rows if row["server"] == peers.OPENVINO and row["loop"] == "closed"]
    share = max(served) / ceiling if served and ceiling else None
    return [*found, _target(f"{peers.OPENVINO}: served / bare engine", 0.90, True, share)]


def _target(what: str, bound: float, more: bool, value: float | None) -> dict[str, Any]:
    met = None if value is None else (value >= bound if more else value <= bound)
    return {"target": what, "bound": bound, "at_least": more, "value": value, "met": met}


def report_text(
    rows: Sequence[Row],
    agreed: Mapping[str, Mapping[str, int]],
    aims: Sequence[Mapping[str, Any]],
    startup_s: Mapping[str, Sequence[float]],
) -> str:
    """Everything as Markdown."""
    states = {True: "met", False: "missed", None: "not measured"}
    servers = []
    for server, took in startup_s.items():
        same = agreed.get(server, {"equal": 0, "solid": 0, "lines": 0})
        starts = " ".join(f"{seconds:.1f}" for seconds in took)
        servers.append((server, starts, same["equal"], same["solid"], same["lines"]))
    targets = [
        (
            aim["target"],
            f"{'>=' if aim['at_least'] else '<='} {aim['bound']}",
            aim["value"],
            states[aim["met"]],
        )
        for aim in aims
    ]
    tables = (
        table(_HEADER, [_row(rows, row) for row in rows]),
        _LEGEND,
        table(("server", "start-up s", "lines as PaddleX default", "without spaces", "of"), servers),
        table(("target", "bound", "value", ""), targets),
    )
    return "\n\n".join(tables)


_HEADER = (
    "server", "load", "n", "bad", "req/s", "p50 ms", "p90 ms", "p99 ms", "CPU-s/req", "PSS MiB", "others",
    "req/s : default", "req/s : fastest", "p50 : fastest", "p99 : fastest",
)  # fmt: skip
_LEGEND = (
    "load: cN = closed loop with N clients, o R = open loop at R requests/s\n"
    "bad: failed, or another text than without load; others: cores used by other processes\n"
    "a p99 over fewer than 100 requests is near their maximum"
)


def _row(rows: Sequence[Row], row: Row) -> tuple[object, ...]:
    latency = row["latency_ms"]
    load = f"c{row['level']:g}" if row["loop"] == "closed" else f"o {row['level']:g}"
    return (
        row["server"], load, row["sent"], row["failed"] + row["wrong"], row["rps"],
        *(latency.get(name) for name in ("p50", "p90", "p99")),
        row["cpu_s_per_request"], row["peak_pss_mib"], row["others_cores"],
        ratio(rows, row, peers.PADDLEX_DEFAULT, "rps"), ratio(rows, row, peers.PADDLEX_ONNX, "rps"),
        ratio(rows, row, peers.PADDLEX_ONNX, "p50"), ratio(rows, row, peers.PADDLEX_ONNX, "p99"),
    )  # fmt: skip

"""Plots of a capacity report, where matplotlib is installed (extra ``report``)."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from server.bench.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Drawing = Callable[[Axes, Report], None]

_SIZE, _DPI = (8.0, 4.0), 110
_PERCENTILES = ("p50_ms", "p90_ms", "p99_ms")


def draw(report: Report) -> dict[str, bytes]:
    """PNG files by name. Raises ImportError without matplotlib."""
    drawings: dict[str, Drawing] = {"latency": _latency, "goodput": _goodput}
    if report.knee.row is not None:
        drawings["distribution"] = _distribution
    return {name: _png(report, drawing) for name, drawing in drawings.items()}


def _png(report: Report, drawing: Drawing) -> bytes:
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    drawing(axes, report)
    axes.grid(alpha=0.3)
    axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _latency(axes: Axes, report: Report) -> None:
    rows = sorted((row for row in report.knee.rows if row.latencies_ms), key=lambda row: row.offered)
    for name in _PERCENTILES:
        values = [getattr(row, name) for row in rows]
        axes.plot([row.offered for row in rows], values, marker="o", label=name.removesuffix("_ms"))
    axes.axhline(report.budget_ms, linestyle="--", color="gray", label="budget")
    _mark_knee(axes, report)
    axes.set(xlabel="offered, requests/s", ylabel="latency, ms", yscale="log", title="Latency")


def _goodput(axes: Axes, report: Report) -> None:
    rows = sorted(report.knee.rows, key=lambda row: row.offered)
    offered = [row.offered for row in rows]
    axes.plot(offered, [row.goodput for row in rows], marker="o", label="answered in time")
    axes.plot([0, offered[-1]], [0, offered[-1]], linestyle="--", color="gray", label="offered")
    _mark_knee(axes, report)
    axes.set(xlabel="offered, requests/s", ylabel="requests/s", title="Goodput")


def _distribution(axes: Axes, report: Report) -> None:
    row = report.knee.row
    if row is None:
        return
    ordered = sorted(row.latencies_ms)
    shares = [1 - place / len(ordered) for place in range(len(ordered))]
    axes.plot(ordered, shares, drawstyle="steps-post", label=f"{row.offered:.4g} requests/s")
    axes.axvline(report.budget_ms, linestyle="--", color="gray", label="budget")
    axes.set(xlabel="latency, ms", ylabel="share that takes longer", yscale="log", title="At the knee")


def _mark_knee(axes: Axes, report: Report) -> None:
    row = report.knee.row
    if row is not None:
        axes.axvline(row.offered, linestyle=":", color="green", label="knee")

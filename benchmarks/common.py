"""What every benchmark shares: timing, percentiles, the machine line, tables and JSON.

A benchmark is a module ``benchmarks/bench_<subject>.py`` that runs with
``python -m benchmarks.bench_<subject>``; it takes :func:`parser`'s options, prints
:func:`table` and hands its rows to :func:`report`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from server.bench.figures import percentile

ROOT = Path(__file__).resolve().parent.parent

#: Distributions whose versions decide the figures.
PACKAGES = (
    "numpy", "opencv-python-headless", "onnxruntime", "openvino", "paddlepaddle", "sanic", "uvloop",
    "orjson", "msgspec", "simplejpeg", "pybase64", "cython",
)  # fmt: skip


# --- figures ------------------------------------------------------------------


def summary(values: Sequence[float]) -> dict[str, float]:
    """n, min, mean, p50, p90, p99 and max, in the unit of ``values``."""
    if not values:
        return {"n": 0}
    return {
        "n": len(values),
        "min": min(values),
        "mean": sum(values) / len(values),
        "p50": percentile(values, 50),
        "p90": percentile(values, 90),
        "p99": percentile(values, 99),
        "max": max(values),
    }


def time_call(call: Callable[[], object], *, rounds: int = 9, round_s: float = 0.05) -> dict[str, float]:
    """Seconds of one call: ``rounds`` rounds of enough calls to last ``round_s``, after one warm round.

    Percentiles are over the rounds' means, so p50 is robust against a disturbed round.
    """
    loops, took = 1, 0.0
    while took < round_s:
        loops = loops if not took else max(loops + 1, math.ceil(loops * min(10, 1.2 * round_s / took)))
        took = _loop(call, loops)
    return summary([_loop(call, loops) / loops for _ in range(rounds)])


def _loop(call: Callable[[], object], loops: int) -> float:
    start = time.perf_counter()
    for _ in range(loops):
        call()
    return time.perf_counter() - start


def time_each(call: Callable[[], object], *, repeats: int, warmup: int = 3) -> list[float]:
    """Seconds of each of ``repeats`` calls after ``warmup`` unmeasured ones, for slow calls and tails."""
    for _ in range(warmup):
        call()
    return [_loop(call, 1) for _ in range(repeats)]


# --- what it ran on --------------------------------------------------------------


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores usable by this process, memory, kernel, Python, load."""
    info = Path("/proc/cpuinfo").read_text()
    fields = dict(line.split(":", 1) for line in info.split("\n\n")[0].splitlines() if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set(named.get("flags", "").split())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": named.get("model name", platform.processor() or platform.machine()),
        "isa": [
            name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile") if name in flags
        ],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_1min": os.getloadavg()[0],
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def machine_line(found: Mapping[str, Any]) -> str:
    """:func:`machine` in one line."""
    return (
        f"{found['cpu']}, {found['cores']} cores ({' '.join(found['isa'])}), {found['memory_gib']} GiB, "
        f"Linux {found['kernel']}, Python {found['python']}, load {found['load_1min']:.2f}, {found['time']}"
    )


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Installed versions of ``packages``; those that are not installed are left out."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The checked-out commit, with ``+`` when tracked files differ from it; ``unknown`` outside git."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


# --- output -----------------------------------------------------------------------


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table with padded columns; floats get three significant digits."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser with the options that all benchmarks share."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument(
        "--json", type=Path, metavar="FILE", help="write rows, machine, versions and commit to FILE"
    )
    made.add_argument("--quick", action="store_true", help="a smoke run: few repeats, figures mean nothing")
    return made


def report(
    name: str, rows: Any, *, options: Mapping[str, Any], path: Path | None = None, **extra: Any
) -> None:
    """Print the machine line and, if ``path`` is given, write everything to it as JSON."""
    found = machine()
    print(f"\n{machine_line(found)}; commit {commit()}")
    if path is None:
        return
    document = {
        "benchmark": name,
        "machine": found,
        "versions": versions(),
        "commit": commit(),
        "command": sys.argv,
        "options": {key: str(value) if isinstance(value, Path) else value for key, value in options.items()},
        "rows": rows,
        **extra,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(path.suffix + ".tmp")
    # Results are committed: they name files as seen from the repository, not where it lies.
    text = json.dumps(document, indent=1, ensure_ascii=False).replace(f"{ROOT}/", "")
    scratch.write_text(text + "\n")
    scratch.replace(path)
    print(f"wrote {path}")

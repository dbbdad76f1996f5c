"""Memory under a long mixed load: peak PSS of the server's process tree, and whether it stays flat.

    python -m benchmarks.memory --engine onnxruntime
    python -m benchmarks.memory --engine openvino --requests 2000 --json FILE

Sends documents of all sizes, parameters, pictures, both API generations and broken input from
``--clients`` clients while the proportional set size (shared pages counted once) is sampled. Drift
is the change of the median PSS from the first to the last fifth of the second half.
"""

from __future__ import annotations

import argparse
import base64
import random
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from . import load, pages, peers, process
from .common import parser, report, table

#: (MiB with this engine at most, engine): the project's targets for two devices on two cores.
TARGET_MIB = {"onnxruntime": 1024.0, "openvino": 1638.0}
TARGET_DRIFT = 0.02
PERIOD_S = 1.0

#: Sheets by how often they come: small ones mostly, so that 2,000 requests take minutes.
COMMON = ("caption", "card", "sign", "photo", "slide")
RARE = ("screen", "receipt", "chinese", "notice", "table", "letter", "scan", "article")


def bodies(images: dict[str, bytes]) -> tuple[list[bytes], list[bytes]]:
    """(good bodies, bad bodies)."""
    parameters: tuple[dict[str, Any], ...] = (
        {}, {}, {"visualize": True}, {"textDetLimitType": "max", "textDetLimitSideLen": 960},
        {"textDetUnclipRatio": 1.8, "textRecScoreThresh": 0.5},
    )  # fmt: skip
    good = [load.ocr_body(images[name], **fields) for name in COMMON for fields in parameters]
    good += [orjson.dumps({"image": base64.b64encode(images[name]).decode()}) for name in COMMON[:3]]
    good = good * 4 + [load.ocr_body(images[name]) for name in RARE]
    cut = images["photo"][: len(images["photo"]) // 2]
    files = [load.ocr_body(file) for file in (b"", cut, b"no image at all")]
    wrong_type = load.ocr_body(images["sign"], textDetLimitSideLen="x")
    not_loaded = load.ocr_body(images["card"], useDocUnwarping=True)
    bad = [b'{"file": "', b"[]", b"{}", *files, wrong_type, not_loaded]
    return good, bad


def drift(samples: Sequence[tuple[float, int]], start_s: float) -> float:
    """Relative change of the median PSS from the first to the last fifth of the samples after ``start_s``."""
    late = [pss for when, pss in samples if when >= start_s]
    fifth = max(1, len(late) // 5)
    return statistics.median(late[-fifth:]) / statistics.median(late[:fifth]) - 1


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Serve, load, measure."""
    font = peers.font()
    images = {sheet.name: pages.render(sheet, font) for sheet in pages.SHEETS}
    good, bad = bodies(images)
    generator = random.Random(2)
    order = [
        generator.randrange(len(good))
        if generator.random() > 0.05
        else len(good) + generator.randrange(len(bad))
        for _ in range(options.requests)
    ]
    arguments = ("--engine", options.engine, "--padding", "tight")
    server = peers.our_server(options.peers, f"memory {options.engine}", peers.ocr_document(), *arguments)
    port, log = process.free_port(), options.peers / "logs" / "memory.log"
    with process.running(server.on(port), port, log, ready_path=server.ready_path, env=server.env) as (
        pid,
        _,
    ):
        requests = [load.request_bytes("127.0.0.1", port, "/ocr", body) for body in (*good, *bad)]
        before = process.pss_bytes(pid)
        with process.Meter(pid, PERIOD_S) as meter:
            done = load.closed_loop("127.0.0.1", port, requests, order, options.clients)
    half_s = done.answers[len(done.answers) // 2].end_s
    wrong = [a for a in done.answers if (a.status == 200) != (a.index < len(good))]
    return {
        "engine": options.engine,
        "requests": len(done.answers),
        "statuses": {str(status): count for status, count in Counter(a.status for a in done.answers).items()},
        "unexpected": [(a.status, a.body[:200].decode(errors="replace")) for a in wrong[:5]],
        "unexpected_count": len(wrong),
        "rps": len(done.answers) / done.wall_s,
        "idle_mib": before / 2**20,
        "peak_mib": meter.usage.peak_pss / 2**20,
        "drift": drift(meter.samples, half_s),
        "samples_mib": [round(pss / 2**20, 1) for _, pss in meter.samples],
    }


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--engine", default="onnxruntime")
    options.add_argument("--requests", type=int, default=2000)
    options.add_argument("--clients", type=int, default=8)
    options.add_argument(
        "--peers", type=Path, default=peers.DEFAULT_FOLDER, help="folder for the YAML and logs"
    )
    found = options.parse_args()
    if found.quick:
        found.requests = 60
    row = run(found)
    limit = TARGET_MIB.get(found.engine, float("nan"))
    header = ("engine", "requests", "unexpected", "idle MiB", "peak MiB", "at most", "drift", "at most")
    figures = [row[name] for name in ("engine", "requests", "unexpected_count", "idle_mib", "peak_mib")]
    print(table(header, [(*figures, limit, f"{row['drift']:+.2%}", f"{TARGET_DRIFT:.0%}")]))
    print(f"statuses {row['statuses']}, {row['rps']:.1f} requests/s")
    for status, body in row["unexpected"]:
        print(f"unexpected {status}: {body}")
    report("memory", row, options=vars(found), path=found.json)


if __name__ == "__main__":
    main()

"""A long mixed load on one server with several pipelines: is every answer right, and does memory stay flat?

    python -m benchmarks.soak                       100,000 requests
    python -m benchmarks.soak --seconds 150         as many as fit

OCR on fake engines, classification and time series on ONNX Runtime (``--engine``); images of random sizes
and shapes, both API generations, broken bodies, both priorities, clients that hang up. What each body is
answered is recorded once beforehand, alone; every later answer must be that one. Drift is the change of the
median memory (PSS of all processes) from the first to the last fifth of the second half.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import orjson

from kernels.slots import FREE
from tests.cases.series_inputs import STARTERS
from tests.driver import config_of
from tests.fakes import body, fake_config, page
from tests.harness import Server

from . import load, process
from .common import parser, report, table
from .memory import TARGET_DRIFT, drift

REQUESTS, SEED, PERIOD_S = 100_000, 11, 1.0
#: One request in so many is by a client that hangs up before the answer.
LEAVES_ONE_IN = 50
CASES = Path(__file__).resolve().parent.parent / "tests" / "cases"


def image_bodies(generator: random.Random, count: int) -> list[tuple[str, bytes]]:
    """Images of 1 to 1600 pixels a side, JPEG and PNG, of both API generations."""
    made = []
    pixels = np.random.default_rng(SEED)
    for number in range(count):
        height, width = (max(1, int(1600 * generator.random() ** 3)) for _ in range(2))
        coarse = pixels.integers(0, 256, (8, 8, 3), np.uint8)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        data = base64.b64encode(cv2.imencode((".jpg", ".png")[number % 2], image)[1].tobytes()).decode()
        fields = {"image": data, "visualize": False} if number % 3 else {"image": data}
        made.append(("/image-classification", orjson.dumps(fields)))
    return made


def bodies() -> list[tuple[str, bytes]]:
    """(path, body) of every request there is: good and broken ones."""
    generator = random.Random(SEED)
    made = [("/ocr", body(page(seed, generator.randrange(1, 24)))) for seed in range(40)]
    made += image_bodies(generator, 40)
    for task in STARTERS:
        path = config_path(task)
        for case in orjson.loads((CASES / task / "cases.json").read_bytes()):
            content = base64.b64encode(case["csv"].encode()).decode()
            made.append((path, orjson.dumps({"csv": content})))
    cut = made[0][1][: len(made[0][1]) // 2]
    made += [("/ocr", broken) for broken in (b"{}", b"[", cut, orjson.dumps({"file": "QUJD", "fileType": 1}))]
    return made


def config_path(task: str) -> str:
    """Route of a time series pipeline."""
    return {
        "ts_forecast": "/time-series-forecasting",
        "ts_classification": "/time-series-classification",
        "ts_anomaly_detection": "/time-series-anomaly-detection",
    }[task]


class Soak:
    """One run against one server."""

    def __init__(self, server: Any, options: argparse.Namespace) -> None:
        self._server, self._options = server, options
        self._kinds = bodies()
        self._random = random.Random(SEED)
        self.right: list[tuple[int, bytes]] = []
        self.sent = self.left = 0
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.half_s = 0.0

    async def run(self) -> None:
        """Record, then load from all clients."""
        client = self._client()
        for path, content in self._kinds:
            status, answer = await client.send(self._request(path, content, "interactive"))
            self.right.append((status, _plain(answer)))
        client.close()
        self.until = time.perf_counter() + (self._options.seconds or 1e9)
        self.marks: list[tuple[float, int]] = []
        await asyncio.gather(*(self._one_client() for _ in range(self._options.clients)))

    def _client(self) -> load.Client:
        return load.Client("127.0.0.1", self._server.port)

    def _request(self, path: str, content: bytes, priority: str) -> bytes:
        request = load.request_bytes("127.0.0.1", self._server.port, path, content)
        return request.replace(b"\r\nHost:", f"\r\nX-Priority: {priority}\r\nHost:".encode(), 1)

    async def _one_client(self) -> None:
        client = self._client()
        while self.sent < self._options.requests and time.perf_counter() < self.until:
            self.sent += 1
            self.marks.append((time.perf_counter(), self.sent))
            index = self._random.randrange(len(self._kinds))
            priority = "batch" if self._random.random() < 0.3 else "interactive"
            request = self._request(*self._kinds[index], priority)
            if not self._random.randrange(LEAVES_ONE_IN):
                await self._leave(request)
                continue
            status, answer = await client.send(request)
            self.statuses[status] += 1
            if (status, _plain(answer)) != self.right[index] and len(self.wrong) < 5:
                self.wrong.append(
                    f"{self._kinds[index][0]}: {status} {answer[:200]!r}, not {self.right[index]!r:.300}"
                )
        client.close()

    async def _leave(self, request: bytes) -> None:
        self.left += 1
        _, writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        writer.write(request)
        await asyncio.sleep(0.01 * self._random.random())
        writer.transport.abort()


def _plain(answer: bytes) -> bytes:
    """An answer without what differs from request to request."""
    try:
        found = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return answer
    found.pop("logId", None)
    return orjson.dumps(found, option=orjson.OPT_SORT_KEYS)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Serve, load, measure."""
    with tempfile.TemporaryDirectory() as folder:
        config = fake_config(Path(folder, "models"), detection_ms=1.0, recognition_ms=0.0)
        more = tuple(config_of(name, options.engine) for name in ("image_classification", *STARTERS))
        config = msgspec.structs.replace(config, pipelines=(*config.pipelines, *more))
        with Server(config, folder) as server:
            server.wait_ready()
            files, starts = server.settled_files(), server.starts()
            soak = Soak(server, options)
            with process.Meter(server.process.pid, PERIOD_S) as meter:
                began = time.perf_counter()
                asyncio.run(soak.run())
                took = time.perf_counter() - began
            server.check_calm(files)
            slots = server.slots.count(FREE) == server.segment.slots
            restarts = server.starts() - starts
    half_s = soak.marks[len(soak.marks) // 2][0]
    return {
        "requests": soak.sent,
        "left_early": soak.left,
        "statuses": {str(status): count for status, count in sorted(soak.statuses.items())},
        "wrong": soak.wrong,
        "slots_free": slots,
        "restarts": restarts,
        "rps": soak.sent / took,
        "peak_mib": meter.usage.peak_pss / 2**20,
        "drift": drift(meter.samples, half_s),
        "samples_mib": [round(pss / 2**20, 1) for _, pss in meter.samples],
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--requests", type=int, default=REQUESTS)
    made.add_argument("--seconds", type=float, default=0.0, help="stop after so long; 0: after all requests")
    made.add_argument("--clients", type=int, default=8)
    made.add_argument("--engine", default="onnxruntime", help="of the pipelines that are not fake")
    made.add_argument("--check", action="store_true", help="exit 1 when an answer is wrong or memory drifts")
    options = made.parse_args()
    if options.quick:
        options.requests = 400
    row = run(options)
    shown = ("requests", "left_early", "rps", "peak_mib", "drift", "restarts")
    print(table(shown, [[row[name] if name != "drift" else f"{row[name]:+.2%}" for name in shown]]))
    print(f"statuses {row['statuses']}; wrong answers: {len(row['wrong'])}")
    for wrong in row["wrong"]:
        print(f"wrong: {wrong}")
    report("soak", row, options=vars(options), path=options.json)
    bad = row["wrong"] or row["restarts"] or row["drift"] > TARGET_DRIFT
    sys.exit(1 if bad and options.check else 0)


if __name__ == "__main__":
    main()

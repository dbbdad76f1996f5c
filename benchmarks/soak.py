"""A long mixed load on one server with several pipelines: is every answer right, and does memory stay flat?

    python -m benchmarks.soak                       100,000 requests
    python -m benchmarks.soak --seconds 150         as many as fit
    python -m benchmarks.soak --kill 3              about every three seconds a process is killed or stopped

OCR on fake engines, classification and time series on ONNX Runtime (``--engine``); images of random sizes
and shapes, documents of several pages, both API generations, broken bodies, both priorities, clients that
hang up. What each body is answered is recorded once beforehand, alone; every later answer must be that one.
Drift is the change of the median memory (PSS of all processes) from the first to the last fifth of the second
half. With ``--kill`` memory is not compared, and only what ``deaths.py`` allows for may be lost.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import io
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import orjson
from PIL import Image

from kernels.slots import FREE
from server.config import Limits
from tests.cases.series_inputs import STARTERS
from tests.driver import config_of
from tests.fakes import body, fake_config, page
from tests.harness import Server

from . import load, process
from .common import parser, percentile, report, table
from .deaths import RENDER_TIMEOUT_MS, Deaths
from .memory import TARGET_DRIFT, drift

REQUESTS, SEED, PERIOD_S = 100_000, 11, 1.0
#: One request in so many is by a client that hangs up before the answer.
LEAVES_ONE_IN = 50
#: This process may be stopped for a while where others use the machine: no body is late for that.
LIMITS = Limits(body_timeout_ms=round(1000 * load.TIMEOUT_S), render_timeout_ms=RENDER_TIMEOUT_MS)
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


def document_bodies() -> list[tuple[str, bytes]]:
    """A PDF and a TIFF of three pages each: a child renders them."""
    made = []
    for kind, file_type in (("PDF", 0), ("TIFF", 1)):
        sheets = [Image.fromarray(page(seed, 3)[:, :, ::-1]) for seed in (50, 51, 52)]
        file = io.BytesIO()
        sheets[0].save(file, kind, save_all=True, append_images=sheets[1:])
        content = base64.b64encode(file.getvalue()).decode()
        fields = {"file": content, "fileType": file_type, "visualize": False}
        made.append(("/ocr", orjson.dumps(fields)))
    return made


def bodies() -> list[tuple[str, bytes]]:
    """(path, body) of every request there is: good and broken ones."""
    generator = random.Random(SEED)
    made = [("/ocr", body(page(seed, generator.randrange(1, 24)))) for seed in range(40)]
    made += image_bodies(generator, 40) + document_bodies()
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


class Peer(load.Client):
    """A client that knows the local port of the connection that it gave up last; 0 when there was none."""

    port = 0

    def close(self) -> None:
        made = self._connection
        self.port = 0 if made is None else made._transport.get_extra_info("sockname")[1]
        super().close()


class Soak:
    """One run against one server.

    Attributes:
        right: status and body of the right answer to each kind of request.
        sent, left: requests; and those whose client hung up.
        lost: requests on connections that a dead worker held; ``spoilt``: documents of a dead render child.
        refused: told to come again, while those that are left cannot do it all; none where nobody dies.
        hung: requests without an answer in ``load.TIMEOUT_S``.
        wrong: what came in place of the right answer.
    """

    def __init__(self, server: Any, options: argparse.Namespace) -> None:
        self._server, self._options = server, options
        self.kinds = bodies()
        self._random = random.Random(SEED)
        self.right: list[tuple[int, bytes]] = []
        self.sent = self.left = self.lost = self.refused = self.spoilt = self.hung = 0
        self.deaths = Deaths(server, options.kill, SEED)
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []

    async def run(self) -> None:
        """Record, then load from all clients."""
        client = Peer("127.0.0.1", self._server.port)
        for path, content in self.kinds:
            status, answer = await client.send(self._request(path, content, "interactive"))
            self.right.append((status, _plain(answer)))
        client.close()
        self.until = time.perf_counter() + (self._options.seconds or 1e9)
        self.marks: list[tuple[float, int]] = []
        clients = [self._one_client() for _ in range(self._options.clients)]
        await asyncio.gather(*clients, *([self.deaths.run(self._is_over)] if self._options.kill else []))

    def _is_over(self) -> bool:
        return self.sent >= self._options.requests or time.perf_counter() >= self.until

    def _request(self, path: str, content: bytes, priority: str) -> bytes:
        headers = (f"X-Priority: {priority}",)
        return load.request_bytes("127.0.0.1", self._server.port, path, content, headers=headers)

    async def _one_client(self) -> None:
        client = Peer("127.0.0.1", self._server.port)
        while not self._is_over():
            self.sent += 1
            self.marks.append((time.perf_counter(), self.sent))
            index = self._random.randrange(len(self.kinds))
            priority = "batch" if self._random.random() < 0.3 else "interactive"
            request = self._request(*self.kinds[index], priority)
            if not self._random.randrange(LEAVES_ONE_IN):
                await self._leave(request)
                continue
            status, answer = await client.send(request)
            self.judge(index, status, answer, client.port)
        client.close()

    def judge(self, index: int, status: int, answer: bytes, port: int) -> None:
        """Compare an answer with the right one; status 0: there was none, on the connection from ``port``."""
        self.statuses[status] += 1
        deaths = self.deaths
        if (status, _plain(answer)) == self.right[index]:
            return
        if status == 0 and b"Timeout" in answer:
            self.hung += 1
        elif status == 0 and port in deaths.cut:
            deaths.cut.discard(port)
            self.lost += 1
        elif status == 503 and deaths.counts:
            self.refused += 1
        elif status == 422 and self.right[index][0] == 200 and b"render" in answer and deaths.spoilt:
            deaths.spoilt -= 1
            self.spoilt += 1
        else:
            path, expected = self.kinds[index][0], self.right[index]
            self.wrong.append(f"{path}: {status} {answer[:200]!r}, not {expected!r:.300}")

    async def _leave(self, request: bytes) -> None:
        self.left += 1
        with contextlib.suppress(ConnectionError):
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
        workers = 2 if options.kill else 1
        config = fake_config(
            Path(folder, "models"), detection_ms=1.0, recognition_ms=0.0, workers=workers, limits=LIMITS
        )
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
        "wrong": soak.wrong[:5],
        "wrong_count": len(soak.wrong),
        "lost": soak.lost,
        "refused": soak.refused,
        "spoilt": soak.spoilt,
        "hung": soak.hung,
        "slots_free": slots,
        "restarts": restarts,
        "deaths": dict(soak.deaths.counts),
        "back_p50_s": percentile(soak.deaths.back_s, 50),
        "back_max_s": max(soak.deaths.back_s, default=float("nan")),
        "slow": soak.deaths.slow,
        "rps": soak.sent / took,
        "peak_mib": meter.usage.peak_pss / 2**20,
        "drift": drift(meter.samples, half_s),
        "samples_mib": [round(pss / 2**20, 1) for _, pss in meter.samples],
    }


def is_good(row: Mapping[str, Any], killing: bool) -> bool:
    """Whether every promise was kept."""
    deaths = row["deaths"].get("worker", 0) + row["deaths"].get("device", 0)
    bad = row["wrong"] or row["hung"] or row["slow"] or row["restarts"] != deaths or not row["slots_free"]
    return not bad and (killing or row["drift"] <= TARGET_DRIFT)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--requests", type=int, default=REQUESTS)
    made.add_argument("--seconds", type=float, default=0.0, help="stop after so long; 0: after all requests")
    made.add_argument("--clients", type=int, default=8)
    made.add_argument("--kill", type=float, default=0.0, help="seconds between deaths; 0: nobody dies")
    made.add_argument("--engine", default="onnxruntime", help="of the pipelines that are not fake")
    made.add_argument("--check", action="store_true", help="exit 1 when a promise is broken")
    options = made.parse_args()
    if options.quick:
        options.requests = 400
    row = run(options)
    shown = ["requests", "left_early", "rps", "wrong_count", "hung", "lost", "restarts", "peak_mib", "drift"]
    shown += ["refused", "spoilt", "back_p50_s", "back_max_s"] if options.kill else []
    print(table(shown, [[row[name] if name != "drift" else f"{row[name]:+.2%}" for name in shown]]))
    print(f"statuses {row['statuses']}; deaths {row['deaths']}; not back in time: {row['slow']}")
    for wrong in row["wrong"]:
        print(f"wrong: {wrong}")
    report("soak", row, options=vars(options), path=options.json)
    sys.exit(1 if options.check and not is_good(row, options.kill > 0) else 0)


if __name__ == "__main__":
    main()

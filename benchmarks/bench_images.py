"""Image pipelines served end to end, against PaddleX's own serving: same pictures, same weights, same run.

    python -m benchmarks.bench_images --json benchmarks/results/images.json       every pipeline, 25 minutes
    python -m benchmarks.bench_images --subject object_detection --seconds 5      one, 3 minutes
    python -m benchmarks.bench_images --quick                                     does it work?

For every subject (``image_subjects.py``): PaddleX on ONNX Runtime, this server on ONNX Runtime and on
OpenVINO, with ``visualize`` off and on, at 1 and 8 clients in a closed loop. Beside each of our rows the
bare engine is replayed on the same tensors: nothing is decoded, resized, drawn or sent there.
PaddleX 3.7.2 answers every ``/image-classification`` with 500: there is no row of it.
``--paddle-models DIR`` adds PaddleX's default engine on ``DIR/<model>`` in Paddle's format.
"""

from __future__ import annotations

import argparse
import base64
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import orjson

from pipelines.core.base import Item
from pipelines.core.errors import ConfigError
from pipelines.core.models import resolve
from pipelines.core.registry import find_pipeline, load_engine, load_pipeline
from pipelines.engines.base import EngineOptions
from tests.driver import Driver, config_of

from . import load, peers, process
from .bench_engine import Job, Recorded, Recorder, replay
from .common import ROOT, parser, report, summary, table
from .image_subjects import SUBJECTS, Subject, pictures

PADDLEX, PADDLEX_DEFAULT = "paddlex --engine onnxruntime", "paddlex"
OURS = {"ours onnxruntime": "onnxruntime", "ours openvino": "openvino"}
#: Passes over the pictures before anything is measured, alone and together.
WARM = (1, 8)
#: Requests of a cell at least, and seconds of the bare engine per form.
LEAST, BARE_S = 16, 3.0


def bodies(subject: Subject, visualize: bool) -> list[bytes]:
    """A request body per picture."""
    encoded = (base64.b64encode(picture).decode() for picture in pictures(subject.size))
    return [orjson.dumps({"image": image, "visualize": visualize}) for image in encoded]


def path_of(subject: Subject) -> str:
    return load_pipeline(find_pipeline(subject.title)).operations[0].path


def servers(subject: Subject, options: argparse.Namespace) -> dict[str, peers.Server]:
    """Row label to server."""
    document, work = subject.document(), options.peers
    found = {
        PADDLEX: peers.paddlex_server(work, f"{subject.model} onnx", document, "--engine", "onnxruntime")
    }
    if options.paddle_models:
        folder = str((options.paddle_models / subject.model).absolute())
        found[PADDLEX_DEFAULT] = peers.paddlex_server(
            work, f"{subject.model} paddle", subject.document(folder)
        )
    for name, server in found.items():
        # Its own font comes from the network, with the first picture.
        found[name] = server._replace(env={**server.env, "PADDLE_PDX_LOCAL_FONT_FILE_PATH": peers.font()})
    for name, engine in OURS.items():
        found[name] = peers.our_server(work, f"{subject.model} {engine}", document, "--engine", engine)
    return found


# --- the bare engine ---------------------------------------------------------------


def bare(subject: Subject, engine: str, seconds: float) -> dict[str, float]:
    """Pictures per second: ``one_thread`` processes, one a core; ``all_core`` in one; and the ``ceiling``."""
    config = config_of(subject.title, engine, models={role_of(subject): subject.model})
    runs: list[Recorded] = []
    with tempfile.TemporaryDirectory(prefix="bench-images-") as folder:

        def make(stage: Any) -> Recorder:
            loaded = load_engine(engine)(stage.model, EngineOptions(threads=process.cores()))
            return Recorder(loaded, stage.name, Path(folder), runs)

        with Driver(config, make) as driver:
            form = driver.pipeline.operations[0].forms[0]
            params = form.params(msgspec.convert({"image": ""}, form.request), config)
            captured = []
            for picture in pictures(subject.size):
                runs.clear()
                pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
                driver(Item(params=params, image=pixels))
                captured.append(list(runs))
        models = {runs[0].role: resolve(subject.model)}
        rates = {}
        for form_name, threads, count in (
            ("one_thread", 1, process.cores()),
            ("all_core", process.cores(), 1),
        ):
            trial = replay(Job(engine, threads, models, captured, load.sequence(10, len(captured), 0)), count)
            order = load.sequence(max(LEAST, int(trial * seconds)), len(captured), seed=0)
            rates[form_name] = replay(Job(engine, threads, models, captured, order), count)
    return {**rates, "ceiling": max(rates.values())}


def role_of(subject: Subject) -> str:
    (role,) = load_pipeline(find_pipeline(subject.title)).roles
    return role


# --- served -----------------------------------------------------------------------


class Visit:
    """One server of one subject: start, warm up, every cell."""

    def __init__(self, subject: str, name: str, server: peers.Server, options: argparse.Namespace) -> None:
        self.subject, self.name, self._server, self._options = subject, name, server, options
        self.gists: list[object] = []

    def run(self) -> Iterator[dict[str, Any]]:
        """Rows. Raises RuntimeError when the server does not come up or does not answer."""
        subject, port = SUBJECTS[self.subject], process.free_port()
        log = self._options.peers / "logs" / f"{self.subject}-{self.name.replace(' ', '-')}.log"
        server = self._server
        with process.running(server.on(port), port, log, ready_path=server.ready_path, env=server.env) as (
            pid,
            _,
        ):
            for visualize in (False, True):
                requests = [
                    load.request_bytes("127.0.0.1", port, path_of(subject), body)
                    for body in bodies(subject, visualize)
                ]
                rates = {clients: self._warm(port, requests, clients) for clients in WARM}
                for clients in self._options.clients:
                    yield self._cell(pid, port, requests, visualize, clients, rates[1 if clients == 1 else 8])

    def _warm(self, port: int, requests: Sequence[bytes], clients: int) -> float:
        order = load.sequence(max(clients, 2) * len(requests), len(requests), seed=clients)
        run = load.closed_loop("127.0.0.1", port, requests, order, clients)
        if run.failed:
            broken = next(answer for answer in run.answers if answer.status != 200)
            raise RuntimeError(f"status {broken.status}: {broken.body[:200].decode(errors='replace')}")
        first = {answer.index: self._gist(answer.body) for answer in run.answers}
        self.gists = self.gists or [first[index] for index in range(len(requests))]
        return run.rps

    def _gist(self, body: bytes) -> object:
        return SUBJECTS[self.subject].gist(orjson.loads(body)["result"])

    def _cell(
        self, pid: int, port: int, requests: Sequence[bytes], visualize: bool, clients: int, rate: float
    ) -> dict[str, Any]:
        count = max(LEAST, clients, int(rate * self._options.seconds))
        order = load.sequence(count, len(requests), seed=count)
        with process.Meter(pid) as meter:
            run = load.closed_loop("127.0.0.1", port, requests, order, clients)
        good = [answer for answer in run.answers if answer.status == 200]
        row = {
            "subject": self.subject, "server": self.name, "visualize": visualize, "clients": clients,
            "sent": len(order), "failed": run.failed,
            "wrong": sum(self._gist(answer.body) != self.gists[answer.index] for answer in good),
            "rps": run.rps, "latency_ms": summary(run.latencies_ms),
            "cpu_ms_per_request": 1e3 * meter.usage.cpu_s / max(1, len(good)),
            "others_cores": meter.usage.others, "peak_pss_mib": meter.usage.peak_pss / 2**20,
        }  # fmt: skip
        print(
            f"  {self.name}, pictures {'on' if visualize else 'off'}, c={clients}: {run.rps:.1f}/s, "
            f"p50 {row['latency_ms'].get('p50', math.nan):.1f} ms, {run.failed} failed, {row['wrong']} wrong",
            flush=True,
        )
        return row


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Everything of one subject: rows, bare engines, agreement, and what could not be measured."""
    subject, rows, errors, gists, bares = SUBJECTS[name], [], {}, {}, {}
    print(f"{name}:", flush=True)
    for label, server in servers(subject, options).items():
        if options.only and label not in options.only:
            continue
        visit = Visit(name, label, server, options)
        try:
            rows.extend(visit.run())  # keeps what was measured before a failure
            if label in OURS:
                bares[label] = bare(subject, OURS[label], 0.5 if options.quick else BARE_S)
                print(f"  bare {OURS[label]}: {bares[label]['ceiling']:.1f}/s", flush=True)
        except RuntimeError as error:
            errors[label] = str(error)
            print(f"  {label}: {error}", flush=True)
        gists[label] = visit.gists
    theirs = gists.get(PADDLEX) or []
    agree = {
        label: sum(a == b for a, b in zip(own, theirs, strict=False)) for label, own in gists.items() if own
    }
    return {
        "rows": rows,
        "bare": bares,
        "agree": agree,
        "pictures": len(pictures(subject.size)),
        "errors": errors,
    }


# --- figures ------------------------------------------------------------------------


def find(rows: Sequence[dict[str, Any]], server: str, visualize: bool, clients: int) -> dict[str, Any] | None:
    """The row of one cell."""
    wanted = (server, visualize, clients)
    return next((row for row in rows if (row["server"], row["visualize"], row["clients"]) == wanted), None)


def lines(name: str, found: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    """Rows of the printed table; ratios are to PaddleX on ONNX Runtime and to the bare engine."""
    for row in found["rows"]:
        peer = find(found["rows"], PADDLEX, row["visualize"], row["clients"])
        ceiling = found["bare"].get(row["server"], {}).get("ceiling")
        latency = row["latency_ms"]
        yield (
            name, row["server"], "on" if row["visualize"] else "off", row["clients"], row["rps"],
            latency.get("p50"), latency.get("p99"), row["cpu_ms_per_request"], row["failed"] + row["wrong"],
            row["rps"] / peer["rps"] if peer and peer["rps"] else None,
            row["rps"] / ceiling if ceiling else None,
            row["others_cores"],
        )  # fmt: skip


def engine_share(found: dict[str, Any]) -> float | None:
    """Share of its time that PaddleX, alone with one client and without pictures, spends in the engine."""
    alone = find(found["rows"], PADDLEX, visualize=False, clients=1)
    bare_rate = found["bare"].get("ours onnxruntime", {}).get("all_core")
    if alone is None or not bare_rate or not alone["latency_ms"]["n"]:
        return None
    return float(1e3 / bare_rate / alone["latency_ms"]["p50"])


def main() -> None:
    options = _options()
    started, results = time.monotonic(), {}
    for name in options.subject or SUBJECTS:
        try:
            find_pipeline(SUBJECTS[name].title)
        except ConfigError as error:
            print(f"{name}: {error}")
            continue
        results[name] = measure(name, options)
    header = (
        "pipeline", "server", "pictures", "clients", "req/s", "p50 ms", "p99 ms", "CPU ms", "bad",
        "× PaddleX", "× bare", "others",
    )  # fmt: skip
    print("\n" + table(header, [line for name, found in results.items() for line in lines(name, found)]))
    shares = {name: engine_share(found) for name, found in results.items()}
    print("\n" + table(
        ("pipeline", "PaddleX's time in the engine", "pictures answered alike", "not measured"),
        [
            (name, shares[name], f"{found['agree']} of {found['pictures']}", found["errors"] or None)
            for name, found in results.items()
        ],
    ))  # fmt: skip
    report(
        "images", results, options=vars(options), path=options.json, engine_share=shares,
        peers=peers.paddlex_versions(options.peers), minutes=(time.monotonic() - started) / 60,
    )  # fmt: skip


def _options() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--subject", action="append", choices=SUBJECTS, help="only this one (repeatable)")
    options.add_argument(
        "--only", action="append", choices=[PADDLEX, PADDLEX_DEFAULT, *OURS], help="only this server"
    )
    options.add_argument("--clients", type=lambda text: [int(n) for n in text.split(",")], default=[1, 8])
    options.add_argument("--seconds", type=float, default=6.0, help="of each cell, about")
    options.add_argument("--paddle-models", type=Path, metavar="DIR", help="models in Paddle's format")
    options.add_argument(
        "--peers", type=Path, default=ROOT / "benchmarks" / ".peers", help="folder for environments"
    )
    found = options.parse_args()
    if found.quick:
        found.seconds = 0.5
    return found


if __name__ == "__main__":
    main()

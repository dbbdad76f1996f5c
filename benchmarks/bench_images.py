"""Image pipelines served end to end, against PaddleX's own serving: same pictures, same weights, same run.

    python -m benchmarks.bench_images --json benchmarks/results/images.json       every pipeline, 25 minutes
    python -m benchmarks.bench_images --json ... --subject object_detection       one, 3 minutes
    python -m benchmarks.bench_images --quick                                     does it work?

For every subject (``image_subjects.py``): PaddleX, this server on ONNX Runtime and on OpenVINO, with
``visualize`` off and on, at 1 and 8 clients in a closed loop. Beside them the bare engine is replayed on the
same tensors: nothing is decoded, resized, drawn or sent there. Subjects that are not measured keep what
``--json FILE`` holds of them, with the conditions of their run.

The models are this project's starters, which are ONNX files. PaddleX runs classifiers and detectors of that
kind with ``--engine onnxruntime``, the other families in Paddle's format only: ``--paddle-models DIR`` adds
rows of its default engine on the same weights, ``DIR/<model>/inference.pdmodel``, which the scripts named in
docs/models.md build. PaddleX 3.7.2 answers every ``/image-classification`` with 500: there it runs repaired
(``paddlex_repaired.py``).
"""

from __future__ import annotations

import argparse
import base64
import json
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
from .common import ROOT, commit, machine, parser, report, summary, versions
from .image_figures import OURS, PADDLEX, PADDLEX_DEFAULT, THEIRS, engine_share, missed, tables
from .image_subjects import SUBJECTS, Subject, pictures

#: Requests of a cell: at least, unless they take four times its seconds.
LEAST = 16
#: Seconds of unmeasured requests before each number of clients, and of the bare engine per form.
WARM_S, BARE_S = 1.5, 3.0


class Answer(msgspec.Struct):
    """A 200 with the parts of its result left as JSON text."""

    result: dict[str, msgspec.Raw]


def bodies(subject: str, visualize: bool) -> list[bytes]:
    """A request body per picture."""
    encoded = (base64.b64encode(picture).decode() for picture in pictures(subject))
    return [orjson.dumps({"image": image, "visualize": visualize}) for image in encoded]


def path_of(subject: Subject) -> str:
    return load_pipeline(find_pipeline(subject.title)).operations[0].path


def paddle_folder(subject: Subject, options: argparse.Namespace) -> str:
    """The model in Paddle's format."""
    return str((options.paddle_models / subject.model).absolute())


def servers(subject: Subject, options: argparse.Namespace) -> dict[str, peers.Server]:
    """Row label to server."""
    document, work, found = subject.document(), options.peers, {}
    if subject.paddlex_onnx:
        found[PADDLEX] = peers.paddlex_server(
            work, f"{subject.model} onnx", document, "--engine", "onnxruntime"
        )
    if options.paddle_models:
        found[PADDLEX_DEFAULT] = peers.paddlex_server(
            work, f"{subject.model} paddle", subject.document(paddle_folder(subject, options))
        )
    for name, server in found.items():
        # Its own font comes from the network, with the first picture.
        found[name] = server._replace(env={**server.env, "PADDLE_PDX_LOCAL_FONT_FILE_PATH": peers.font()})
        if subject.title == "image_classification":
            start = (str(peers.paddlex_python(work)), str(ROOT / "benchmarks" / "paddlex_repaired.py"))
            found[name] = found[name]._replace(command=(*start, *server.command[1:]))
    for name, engine in OURS.items():
        found[name] = peers.our_server(work, f"{subject.model} {engine}", document, "--engine", engine)
    return found


# --- the bare engine ---------------------------------------------------------------


def bare(name: str, engine: str, model: str, seconds: float) -> dict[str, float]:
    """Pictures per second: ``one_thread`` processes, one a core; ``all_core`` in one; and the ``ceiling``."""
    subject = SUBJECTS[name]
    role, files = role_of(subject), resolve(model)
    config = config_of(subject.title, leave_out=[role])
    config = msgspec.structs.replace(config, models={role: files}, engines={role: engine})
    runs: list[Recorded] = []
    with tempfile.TemporaryDirectory(prefix="bench-images-") as folder:

        def make(stage: Any) -> Recorder:
            loaded = load_engine(engine)(stage.model, EngineOptions(threads=process.cores()))
            return Recorder(loaded, stage.name, Path(folder), runs)

        with Driver(config, make) as driver:
            form = driver.pipeline.operations[0].forms[0]
            params = form.params(msgspec.convert({"image": ""}, form.request), config)
            captured = []
            for picture in pictures(name):
                runs.clear()
                pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
                driver(Item(params=params, image=pixels))
                captured.append(list(runs))
        models = {runs[0].role: files}
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
                    for body in bodies(self.subject, visualize)
                ]
                rate = self._warm(port, requests)
                for clients in self._options.clients:
                    yield self._cell(pid, port, requests, visualize, clients, rate)

    def _warm(self, port: int, requests: Sequence[bytes]) -> float:
        """Requests per second of one client, once everything has been asked; then many clients were there."""
        self._first(port, requests, len(requests), 1)
        rate = self._first(port, requests, len(requests), 1)
        for clients in self._options.clients:
            if rate * WARM_S > clients > 1:
                self._first(port, requests, int(rate * WARM_S), clients)
        return rate

    def _first(self, port: int, requests: Sequence[bytes], count: int, clients: int) -> float:
        order = load.sequence(count, len(requests), seed=clients)
        run = load.closed_loop("127.0.0.1", port, requests, order, clients)
        if run.failed:
            broken = next(answer for answer in run.answers if answer.status != 200)
            raise RuntimeError(f"status {broken.status}: {broken.body[:200].decode(errors='replace')}")
        if not self.gists:
            self.gists = [self._gist(a.body) for a in sorted(run.answers, key=lambda answer: answer.index)]
        return run.rps

    def _gist(self, body: bytes) -> object:
        return SUBJECTS[self.subject].gist(msgspec.json.decode(body, type=Answer).result)

    def _cell(
        self, pid: int, port: int, requests: Sequence[bytes], visualize: bool, clients: int, rate: float
    ) -> dict[str, Any]:
        seconds = self._options.seconds
        count = max(3, clients, min(LEAST, int(4 * rate * seconds)), int(rate * seconds))
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
        visit, engine = Visit(name, label, server, options), {**THEIRS, **OURS}[label]
        try:
            rows.extend(visit.run())  # keeps what was measured before a failure
            if engine not in bares:
                model = paddle_folder(subject, options) if engine == "paddle" else subject.model
                bares[engine] = bare(name, engine, model, 0.5 if options.quick else BARE_S)
                print(f"  bare {engine}: {bares[engine]['ceiling']:.1f}/s", flush=True)
        except RuntimeError as error:
            errors[label] = str(error).strip().splitlines()[-1]
            print(f"  {label}: {error}", flush=True)
        gists[label] = visit.gists
    if not any(label in gists for label in THEIRS):
        errors[PADDLEX_DEFAULT] = "PaddleX runs this model in Paddle's format only: --paddle-models"
    theirs = next((gists[label] for label in THEIRS if gists.get(label)), [])
    agree = {
        label: sum(a == b for a, b in zip(own, theirs, strict=False)) for label, own in gists.items() if own
    }
    conditions = {"machine": machine(), "versions": versions(), "commit": commit()}
    return {
        "rows": rows, "bare": bares, "agree": agree, "pictures": len(pictures(name)), "errors": errors,
        "conditions": {**conditions, "seconds": options.seconds},
    }  # fmt: skip


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
    print("\n" + tables(results))
    for name, found in results.items():
        print(*(f"missed: {line}" for line in missed(name, found)), sep="\n")
    if options.json and options.json.exists():
        results = {**json.loads(options.json.read_text())["rows"], **results}
    results = {name: results[name] for name in SUBJECTS if name in results}
    shares = {name: engine_share(found) for name, found in results.items()}
    report(
        "images", results, options=vars(options), path=options.json, engine_share=shares,
        peers=peers.paddlex_versions(options.peers), minutes=(time.monotonic() - started) / 60,
    )  # fmt: skip


def _options() -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--subject", action="append", choices=SUBJECTS, help="only this one (repeatable)")
    options.add_argument("--only", action="append", choices=[*THEIRS, *OURS], help="only this server")
    options.add_argument("--clients", type=lambda text: [int(n) for n in text.split(",")], default=[1, 8])
    options.add_argument("--seconds", type=float, default=4.0, help="of each cell, about")
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

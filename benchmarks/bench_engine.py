"""The bare engine: the tensors of the OCR image set replayed with no server around it.

    python -m benchmarks.bench_engine [--engine openvino] [--padding tight] [--json FILE]

The detection and recognition inputs are captured while this project's pipeline reads the images,
then played through the same engine in two ways: one one-thread process per core, as devices run
under load, and one process with all cores. The better of the two is the ceiling that served
throughput is compared with: nothing is decoded, resized, cropped, decoded to text or sent.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipelines.core.config import ModelFiles
from pipelines.core.registry import load_engine
from pipelines.engines.base import EngineOptions

from . import load, padding, pages, peers
from .common import parser, report, table

#: Limit on anything a replaying process waits for.
LIMIT_S = 600.0


class Recorded(NamedTuple):
    """One engine run of one image: the model's role and its inputs by name, as ``.npy`` files."""

    role: str
    feeds: dict[str, Path]


class Recorder:
    """An engine that keeps a copy of what it is fed."""

    def __init__(self, engine: Any, role: str, folder: Path, runs: list[Recorded]) -> None:
        self._engine, self._role, self._folder, self._runs = engine, role, folder, runs

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        paths = {}
        for name, array in feeds.items():
            paths[name] = self._folder / f"{len(list(self._folder.iterdir()))}.npy"
            np.save(paths[name], array)
        self._runs.append(Recorded(self._role, paths))
        found: Sequence[np.ndarray] = self._engine.run(feeds)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def capture(engine: str, pad: str, images: Sequence[bytes], folder: Path) -> list[list[Recorded]]:
    """Engine runs of every image, and the models that they belong to."""
    runs: list[Recorded] = []

    def make(stage: Any) -> Recorder:
        options = EngineOptions(threads=len(os.sched_getaffinity(0)))
        loaded = load_engine(stage.engine_name)(stage.model, options)
        return Recorder(loaded, stage.name, folder, runs)

    found = []
    with padding.driver(engine, pad, make) as run:
        for image in images:
            runs.clear()
            padding.read_one(run, image)
            found.append(list(runs))
    return found


class Job(NamedTuple):
    """What a replaying process is told."""

    engine: str
    threads: int
    models: dict[str, ModelFiles]
    images: list[list[Recorded]]
    order: list[int]


def _replay(job: Job, turn: Any, start: Barrier, times: Any) -> None:
    """Load, warm up on every image, then play the images that ``turn`` gives out until none is left."""
    engines = {
        role: load_engine(job.engine)(model, EngineOptions(threads=job.threads))
        for role, model in job.models.items()
    }
    images = [
        [(run.role, {n: np.load(p) for n, p in run.feeds.items()}) for run in runs] for runs in job.images
    ]
    for runs in images:
        for role, feeds in runs:
            engines[role].run(feeds)
    start.wait(LIMIT_S)
    began = time.perf_counter()
    while True:
        with turn.get_lock():
            place, turn.value = turn.value, turn.value + 1
        if place >= len(job.order):
            break
        for role, feeds in images[job.order[place]]:
            engines[role].run(feeds)
    times.put((began, time.perf_counter()))


def replay(job: Job, processes: int) -> float:
    """Images per second of ``processes`` processes that share the work. Raises RuntimeError."""
    context = multiprocessing.get_context("spawn")
    turn, start, times = context.Value("i", 0), context.Barrier(processes), context.Queue()
    workers = [context.Process(target=_replay, args=(job, turn, start, times)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    try:
        spans = [times.get(timeout=LIMIT_S) for _ in workers]
    finally:
        for worker in workers:
            worker.join(10)
            worker.kill()
    return len(job.order) / (max(end for _, end in spans) - min(began for began, _ in spans))


def measure(engine: str, pad: str, passes: int, images: Sequence[bytes]) -> dict[str, float]:
    """Images per second: ``one_thread`` processes on every core, ``all_core`` in one, and the ``ceiling``."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="bench-engine-") as folder:
        captured = capture(engine, pad, images, Path(folder))
        models = {"det": peers.resolve(peers.DETECTION), "rec": peers.resolve(peers.RECOGNITION)}
        order = load.sequence(passes * len(images), len(images), seed=0)
        one = replay(Job(engine, 1, models, captured, order), cores)
        every = replay(Job(engine, cores, models, captured, order), 1)
    return {"one_thread": one, "all_core": every, "ceiling": max(one, every)}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--engine", default="openvino")
    options.add_argument("--padding", choices=("exact", "tight"), default="tight")
    options.add_argument("--passes", type=int, default=5, help="passes over the 13 images")
    found = options.parse_args()
    images = pages.render_all(peers.font())[: 3 if found.quick else None]
    rates = measure(found.engine, found.padding, 1 if found.quick else found.passes, images)
    cores = len(os.sched_getaffinity(0))
    print(f"{found.engine}, {found.padding} padding, no server:")
    print(table(("form", "images/s"), [
        (f"{cores} processes of one thread", rates["one_thread"]),
        (f"one process of {cores} threads", rates["all_core"]),
    ]))  # fmt: skip
    report("engine", rates, options=vars(found), path=found.json)


if __name__ == "__main__":
    main()

"""Table recognition in this process: the time that no engine takes, and the structure step by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from pipelines.core.base import Item
from pipelines.core.forms import Page, Reply
from pipelines.core.registry import load_engine
from pipelines.engines.base import EngineOptions
from tests.driver import Driver, config_of

from . import peers, tables

#: The models of the served comparison; pages stand upright.
READING = {"text_detection": peers.DETECTION, "text_recognition": peers.RECOGNITION}
FULL_PAGE = "grid-40x12"
#: Tables in one run of the structure network.
BATCHES = (1, 2, 4)


class Watched:
    """An engine whose time is added up."""

    def __init__(self, engine: Any) -> None:
        self._engine, self.seconds = engine, 0.0

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        start = time.perf_counter()
        found: Sequence[np.ndarray] = self._engine.run(feeds)
        self.seconds += time.perf_counter() - start
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def picture(name: str) -> NDArray[np.uint8]:
    """A sheet of :mod:`benchmarks.tables`, uint8 BGR."""
    sheet = next(sheet for sheet in tables.SHEETS if sheet.name == name)
    pixels = np.asarray(tables.render(sheet, peers.font()))[..., ::-1]
    return np.ascontiguousarray(pixels)


def driver(engine: str, threads: int, watched: list[Watched]) -> Driver:
    """The pipeline on ``engine``; its engines are added to ``watched``."""
    config = config_of(
        "table_recognition", engine, models=READING,
        options={"use_doc_preprocessor": False}, leave_out=("doc_orientation",),
    )  # fmt: skip

    def load(stage: Any) -> Watched:
        loaded = load_engine(stage.engine_name)(stage.model, EngineOptions(threads=threads))
        watched.append(Watched(loaded))
        return watched[-1]

    return Driver(config, load, threads)


def outside(engine: str, threads: int, repeats: int) -> dict[str, Any]:
    """Time of one full page that no engine took: on the device, and with its answer in the worker."""
    image, watched, rows = picture(FULL_PAGE), [], []
    with driver(engine, threads, watched) as run:
        (operation,) = run.pipeline.operations
        form = operation.forms[0]
        request = form.request(file="", visualize=False)
        params = form.params(request, run.config)
        for number in range(repeats + 1):
            before, start = sum(each.seconds for each in watched), time.perf_counter()
            (page,) = run(Item(params=params, image=image))
            steps = time.perf_counter() - start
            if isinstance(page, Exception):
                raise page
            height, width = image.shape[:2]
            reply = Reply(request, params, run.config, [Page(page, width, height)], False, None, peers.font)
            start = time.perf_counter()
            orjson.dumps(form.respond(reply), option=orjson.OPT_SERIALIZE_NUMPY)
            answer = time.perf_counter() - start
            if number:  # the first one compiles shapes
                rows.append((steps, sum(each.seconds for each in watched) - before, answer))
    steps, engines, answer = (1e3 * median(column) for column in zip(*rows, strict=True))
    (table,) = page.tables
    return {
        "engine": engine, "threads": threads, "lines": len(page.ocr.texts), "cells": len(table.cells),
        "device_ms": steps, "engines_ms": engines, "answer_ms": answer,
        "outside": 1 - engines / steps, "outside_with_answer": 1 - engines / (steps + answer),
    }  # fmt: skip


def structure(engine: str, threads: int, repeats: int) -> Iterator[dict[str, Any]]:
    """The structure step against the bare engine on the same tensors, by tables in a run."""
    crop = picture("grid-20x6")
    with driver(engine, threads, []) as run:
        stage = next(each for each in run.stages.all.values() if each.name == "table")
        bare = load_engine(engine)(stage.model, EngineOptions(threads=threads))
        keep: list[Mapping[str, np.ndarray]] = []
        spy = _Spy(bare, keep)
        for count in BATCHES:
            crops = [crop] * count
            stage.run(spy, crops)
            feeds = {name: array.copy() for name, array in keep[-1].items()}
            took = {"stage": [], "engine": []}
            for number in range(repeats + 2):
                start = time.perf_counter()
                stage.run(bare, crops)
                middle = time.perf_counter()
                bare.run(feeds)
                if number > 1:
                    took["stage"].append(middle - start)
                    took["engine"].append(time.perf_counter() - middle)
            ms = {name: 1e3 * median(times) / count for name, times in took.items()}
            yield {
                "engine": engine, "threads": threads, "tables": count,
                "stage_ms": ms["stage"], "engine_ms": ms["engine"], "ratio": ms["stage"] / ms["engine"],
            }  # fmt: skip
        bare.close()


class _Spy:
    """Keeps what an engine is fed."""

    def __init__(self, engine: Any, keep: list[Mapping[str, np.ndarray]]) -> None:
        self._engine, self._keep = engine, keep

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        self._keep.append(feeds)
        found: Sequence[np.ndarray] = self._engine.run(feeds)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

"""A device as a Ray Serve deployment: requests that wait together run side by side and share engine runs.

What comes in is what a slot of the shared memory holds (``server/wire.py``), what goes out its result record.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import msgspec
import numpy as np
from ray import serve

from deploy.ray.settings import config_of
from pipelines.core.errors import EngineError, ServeError
from pipelines.core.registry import load_pipeline
from pipelines.core.stage import Call, Steps
from server import wire
from server.config import DeviceConfig
from server.stages import Stages

#: Requests that run side by side, and how long the first of them waits for company.
MAX_BATCH, BATCH_WAIT_S = 8, 0.005

_log = logging.getLogger(__name__)


class Device:
    """The models of one replica.

    Args:
        argv: the server's command line.
        device: what the replica may use.
    """

    def __init__(self, argv: Sequence[str], device: DeviceConfig) -> None:
        config = msgspec.structs.replace(config_of(argv), devices=(device,))
        cv2.setNumThreads(device.threads)
        self._stages = Stages(config, device)
        self._pipelines = [load_pipeline(each.name)(each, self._stages) for each in config.pipelines]
        self._stages.load()
        self._stages.warm_up(
            lambda stage, whole, inputs: stage.run(self._stages.engine(stage, whole), inputs)
        )
        self._batches_pay = not device.device.startswith("cpu")
        self._items = self._batches = 0
        self._thread = ThreadPoolExecutor(1)  # engines are used by one thread; the loop stays free

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=BATCH_WAIT_S)
    async def run(self, slots: list[np.ndarray], lengths: list[int]) -> list[bytes]:
        """Result records of the items in ``slots``, whose request records are of ``lengths`` bytes."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, slots, lengths)

    async def counts(self) -> tuple[int, int]:
        """Items that this replica has taken, and the batches that they came in."""
        return self._items, self._batches

    def _run(self, slots: list[np.ndarray], lengths: list[int]) -> list[bytes]:
        self._items, self._batches = self._items + len(slots), self._batches + 1
        running: dict[int, Steps] = {}
        found: dict[int, bytes] = {}
        bounds: dict[int, int] = {}
        for number, (slot, length) in enumerate(zip(slots, lengths, strict=True)):
            view = memoryview(slot)
            request = wire.read_request(view, length)
            pipeline = self._pipelines[request.pipeline]
            item = wire.item(view, request, pipeline.operations[request.operation])
            bounds[number] = pipeline.result_bytes(item.params, *request.shape.extent)
            running[number] = pipeline.steps(item)
        answers: dict[int, Any] = dict.fromkeys(running)
        while running:
            calls: dict[int, Sequence[Call]] = {}
            for number in list(running):
                outcome = _step(running[number], answers[number])
                if isinstance(outcome, (msgspec.Struct, ServeError)):
                    found[number] = _record(outcome, bounds[number])
                    del running[number]
                else:
                    calls[number] = outcome
            answers = self._answers(calls)
        return [found[number] for number in range(len(slots))]

    def _answers(self, calls: dict[int, Sequence[Call]]) -> dict[int, Any]:
        """One answer per item: a list of results, or the first exception. Calls of one key share a run."""
        groups: defaultdict[Any, list[tuple[int, int, Call]]] = defaultdict(list)
        for number, wanted in calls.items():
            for place, call in enumerate(wanted):
                groups[id(call.stage), call.key].append((number, place, call))
        found: dict[int, list[Any]] = {number: [None] * len(wanted) for number, wanted in calls.items()}
        for group in groups.values():
            stage = group[0][2].stage
            size = stage.max_batch if self._batches_pay else stage.cpu_batch
            for start in range(0, len(group), size):
                part = group[start : start + size]
                outcomes = self._guarded([call for _, _, call in part])
                for (number, place, _), outcome in zip(part, outcomes, strict=True):
                    found[number][place] = outcome
        return {
            number: next((each for each in results if isinstance(each, Exception)), results)
            for number, results in found.items()
        }

    def _guarded(self, calls: Sequence[Call]) -> Sequence[Any]:
        stage = calls[0].stage
        try:
            return stage.run(self._stages.engine(stage, False), [call.input for call in calls])
        except ServeError as fault:
            return [fault] * len(calls)
        except Exception:
            _log.exception("stage %s failed", stage.name)
            return [EngineError()] * len(calls)


def _step(steps: Steps, answer: Any) -> Sequence[Call] | msgspec.Struct | ServeError:
    """The next calls of an item, its result, or the fault that ends it."""
    try:
        return steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
    except StopIteration as end:
        result: msgspec.Struct = end.value
        return result
    except ServeError as fault:
        return fault
    except Exception:
        _log.exception("an item failed")
        return ServeError()


def _record(result: msgspec.Struct | ServeError, bound: int) -> bytes:
    """The result record alone: behind no pixels."""
    nothing = wire.Shape()
    view = memoryview(bytearray(wire.slot_bytes(nothing, bound)))
    length = abs(wire.write_result(view, nothing, result, wire.Timings()))
    return bytes(view[nothing.result_offset : nothing.result_offset + length])

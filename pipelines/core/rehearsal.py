"""A pipeline's examples, run call after call: with engines that are recorded, or from a tape of them.

The tape makes trials of engines cheap and safe. A process that tries one engine on one model takes the
answers of all other models from files, and those to compare with too: it loads nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipelines.engines.base import Engine, TensorSpec

from .base import Pipeline
from .errors import EngineError
from .stage import Stage

Arrays = list[NDArray[Any]]
_TAPE = "tape.json"
#: Runs a stage on one input and gives its result, which may be an exception.
Run = Callable[[Stage, Any], Any]


def rehearse(pipeline: Pipeline, stages: Iterable[Stage], run: Run) -> None:
    """Run every example of ``pipeline``, and the canary of each stage that none of them has reached.

    Args:
        pipeline: built on ``stages``.
        stages: all of its stages.
        run: the same calls come in the same order as long as it gives the same results.

    Raises:
        ServeError: a stage or the pipeline fails.
    """
    reached: set[int] = set()

    def step(stage: Stage, one: Any) -> Any:
        reached.add(id(stage))
        result = run(stage, one)
        if isinstance(result, Exception):
            raise result
        return result

    for item in pipeline.examples():
        steps = pipeline.steps(item)
        results: Sequence[Any] | None = None
        try:
            while True:
                calls = steps.send(results) if results is not None else next(steps)
                results = [step(call.stage, call.input) for call in calls]
        except StopIteration:
            continue
    for stage in stages:
        if id(stage) not in reached:
            for call in stage.canary():
                step(stage, call.input)


class Track(msgspec.Struct, frozen=True):
    """One model on a tape: what its engine says of itself, and how many outputs each of its runs has."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    runs: tuple[int, ...]


class Recorder:
    """An engine whose answers go to files as well.

    Args:
        engine: computes.
        stem: beginning of the files' names.
    """

    def __init__(self, engine: Engine, stem: Path) -> None:
        self._engine, self._stem = engine, stem
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self._runs: list[int] = []

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """See :meth:`Engine.run`."""
        answer = self._engine.run(feeds)
        for number, output in enumerate(answer):
            np.save(_file(self._stem, len(self._runs), number), output, allow_pickle=False)
        self._runs.append(len(answer))
        return answer

    @property
    def track(self) -> Track:
        """What a :class:`Player` needs to know."""
        return Track(self.inputs, self.outputs, tuple(self._runs))


class _Heard:
    """What stages see of an engine, and the answers that have been given."""

    def __init__(self, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.heard: list[Arrays] = []

    def take(self) -> list[Arrays]:
        """Answers since the last call."""
        taken, self.heard = self.heard, []
        return taken


class Player(_Heard):
    """In place of an engine: the answers of its track in their order, whatever it is fed."""

    def __init__(self, track: Track, stem: Path) -> None:
        super().__init__(track.inputs, track.outputs)
        self._track, self._stem, self._place = track, stem, 0

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """The next answer. Raises EngineError when there is none left."""
        if self._place >= len(self._track.runs):
            raise EngineError(f"only {self._place} runs of {self._stem.name} are on the tape")
        count, files = self._track.runs[self._place], (self._stem, self._place)
        self._place += 1
        self.heard.append([np.load(_file(*files, number), allow_pickle=False) for number in range(count)])
        return self.heard[-1]


class Listener(_Heard):
    """An engine on trial; ``feeds`` are copies of all that it was fed."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.inputs, engine.outputs)
        self._engine = engine
        self.feeds: list[dict[str, NDArray[Any]]] = []

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Arrays:
        """See :meth:`Engine.run`; the answers stay valid."""
        self.feeds.append({name: np.array(array) for name, array in feeds.items()})
        self.heard.append([np.array(output) for output in self._engine.run(feeds)])
        return self.heard[-1]


def write_tape(folder: Path, tracks: Mapping[str, Track]) -> None:
    """Finish a tape: the answers of ``tracks[name]`` are in files that begin with ``name``."""
    (folder / _TAPE).write_bytes(msgspec.json.encode(dict(tracks)))


def tape_exists(folder: Path) -> bool:
    """Whether there is a whole tape in ``folder``."""
    return (folder / _TAPE).is_file()


def read_tape(folder: Path) -> dict[str, Player]:
    """One player, at its beginning, for every track. Raises EngineError when there is no whole tape."""
    try:
        tracks = msgspec.json.decode((folder / _TAPE).read_bytes(), type=dict[str, Track])
    except (OSError, msgspec.MsgspecError) as error:
        raise EngineError(f"there is no tape in {folder}") from error
    return {name: Player(track, folder / name) for name, track in tracks.items()}


def difference(expected: Sequence[Arrays], found: Sequence[Arrays]) -> float | None:
    """The largest absolute difference between two engines' answers.

    Returns:
        None where shapes differ, as those of a detector's boxes may; infinity where ``found`` holds numbers
        that are not finite and ``expected`` does not.
    """
    worst = 0.0
    for one, other in zip(expected, found, strict=True):
        for array, against in zip(one, other, strict=False):
            if array.shape != against.shape or len(one) != len(other):
                return None
            if not np.isfinite(against).all() and np.isfinite(array).all():
                return float("inf")
            worst = max(worst, _largest(array, against))
    return worst


def _largest(array: NDArray[Any], against: NDArray[Any], rows: int = 1 << 22) -> float:
    """In parts: a recogniser's answer is 10 MB, and in double precision it would be there twice."""
    worst = 0.0
    for at in range(0, array.size, rows):
        one, other = (flat.reshape(-1)[at : at + rows].astype(np.float64) for flat in (array, against))
        worst = max(worst, float(np.nan_to_num(np.abs(one - other)).max()))
    return worst


def _file(stem: Path, run: int, output: int) -> Path:
    return stem.with_name(f"{stem.name}-{run}-{output}.npy")

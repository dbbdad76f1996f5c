"""One time-series model: windows in, forecasts, reconstructions or logits out (API reference, 7.2, 9.10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipelines.core.config import ModelFiles
from pipelines.core.errors import EngineError
from pipelines.core.likeness import series
from pipelines.core.series import Window, read_window
from pipelines.core.series_time import Frequency
from pipelines.core.series_yml import SeriesInfo
from pipelines.core.stage import Call, Stage
from pipelines.core.tensors import Scratch, contiguous_float32
from pipelines.engines.base import Engine

#: One-thread time of a small model; a large one corrects it by what a device measures.
MS_PER_SERIES = 0.3


class Series(Stage):
    """A model of any of the three tasks. Series of one shape share an engine run, also across requests.

    Attributes:
        about: what the model wants to see of a CSV.

    Raises:
        ConfigError: the model's ``inference.yml`` or scaler cannot be used.
    """

    name: ClassVar[str] = "ts"
    max_batch = 64
    cpu_batch = 16

    def __init__(self, model: ModelFiles, engine: str) -> None:
        super().__init__(model, engine)
        self.about = SeriesInfo(model)
        freq = self.about.freq
        self._frequency = Frequency(freq) if isinstance(freq, str) else None
        self._scratch = [Scratch() for _ in self.about.tensors]

    def window(self, text: memoryview, history: int = 0) -> Window:
        """What the model looks at of a CSV, with ``history`` rows for a plot. Raises BadRequest."""
        return read_window(text, self.about, self._frequency, history)

    def call(self, window: Window) -> Call:
        """The call for one window; its result is the model's answer without batch axis, float32."""
        shapes = tuple(tensor.shape for tensor in window.tensors)
        return Call(self, window.tensors, shapes, MS_PER_SERIES)

    def run(
        self, engine: Engine, inputs: Sequence[list[NDArray[np.float32]]]
    ) -> Sequence[NDArray[np.float32]]:
        """Answers of the calls. Inputs are bound by the alphabetical order of their names."""
        names = sorted(spec.name for spec in engine.inputs)
        if len(names) != len(self.about.tensors):
            raise EngineError(f"the model has inputs {names}, its inference.yml {len(self.about.tensors)}")
        feeds = {}
        for place, name in enumerate(names):
            tensor = self._scratch[place].tensor(len(inputs), *inputs[0][place].shape)
            for row, tensors in zip(tensor, inputs, strict=True):
                row[...] = tensors[place]
            feeds[name] = tensor
        answers = contiguous_float32(engine.run(feeds)[0])
        if len(answers) != len(inputs):
            raise EngineError(f"the model gave {len(answers)} answers for {len(inputs)} series")
        return [answer.copy() for answer in answers]  # the engine's memory is good until its next run

    def canary(self) -> Sequence[Call]:
        """A series of zeros."""
        tensors = [np.zeros(tensor.shape, np.float32) for tensor in self.about.tensors]
        return [Call(self, tensors, tuple(tensor.shape for tensor in tensors), MS_PER_SERIES)]

    def judge(
        self, expected: Sequence[NDArray[np.float32]], found: Sequence[NDArray[np.float32]]
    ) -> str | None:
        """By the values, in the range that they have."""
        answers = zip(expected, found, strict=True)
        return next((words for pair in answers if (words := series(*pair)) is not None), None)

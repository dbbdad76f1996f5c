"""An engine for tests: answers computed from the input by rule, and faults on demand.

A model is a ``fake.json`` (:class:`FakeModel`) beside an ``inference.yml``. Every answer
is a function of one input of the batch alone, so a test can tell an answer that belongs
to another request, and one that was computed from damaged pixels.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from pipelines.core.config import ModelFiles
from pipelines.core.errors import EngineError
from pipelines.engines.base import Engine, EngineOptions, TensorSpec

#: How far a pixel may be from a fault's colour: resizing a flat area keeps its colour to within rounding.
_TOLERANCE = 2.0
#: Columns of a text line per time step, as in PaddleOCR's recognisers.
_STRIDE = 8
#: Most hexadecimal digits that a checksum of 32 bits has.
_DIGITS = 8
#: What can be asked for (:class:`Fault`).
Action = Literal["abort", "segv", "exit", "crash", "hang", "raise", "error", "slow", "allocate", "leak"]
#: What ``leak`` keeps.
_kept: list[np.ndarray] = []


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to an input whose top-left pixel has a colour.

    Attributes:
        pixel: the colour as it is in the image (before normalisation), channel order of the tensor.
        action: ``abort``, ``segv`` and ``exit`` end the process, ``crash`` does so by a bad pointer in C;
            ``hang`` never returns; ``raise`` is a foreign exception; ``error`` an EngineError; ``slow`` takes
            ``amount`` milliseconds; ``allocate`` touches ``amount`` bytes, then answers; ``leak`` keeps them.
    """

    pixel: tuple[int, int, int]
    action: Action
    amount: int = 0


class FakeForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model behaves when it is loaded for one precision.

    Attributes:
        delay_ms: in place of the model's own; None leaves that.
        mirrored: it answers for the mirror image of its input, which is wrong.
        load, run: what happens then, with ``amount`` as in :class:`Fault`.
    """

    delay_ms: float | None = None
    mirrored: bool = False
    load: Action | None = None
    run: Action | None = None
    amount: int = 0


class FakeModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of ``fake.json``.

    Attributes:
        kind: ``text_detection``: [N,3,H,W] to [N,1,H,W], 1.0 where a pixel is dark.
            ``text_recognition``: [N,3,48,W] to [N,W/8,classes], which spells the CRC-32 of the input in
            hexadecimal, as many digits as fit; class 1 + d is the digit d. ``classification``:
            [N,3,H,W] to [N,classes], ``answer``, or else the CRC-32 modulo classes, gets 0.99.
        classes: width of the answer.
        answer: the class of every input, None for one by checksum.
        delay_ms: time a run takes on one thread; more threads take less.
        scale, shift: ``pixel * scale + shift`` is how the stage normalises; undone here for colours.
        faults: the first that fits an input happens.
        forms: precision to what is different in it.
    """

    kind: Literal["text_detection", "text_recognition", "classification"]
    classes: int = 2
    answer: int | None = None
    delay_ms: float = 0.0
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    faults: tuple[Fault, ...] = ()
    forms: dict[str, FakeForm] = {}


class FakeEngine(Engine):
    """Runs a :class:`FakeModel`."""

    name = "fake"
    formats = ("fake",)

    @classmethod
    def available(cls) -> str | None:
        """It needs nothing."""
        return None

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """All of them: its models say what they are like."""
        return ("f32", "bf16", "fp16", "int8")

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        """Read ``fake.json``. Raises EngineError when it is missing or wrong."""
        self._files, self._options = files, options
        try:
            content = Path(files.files["fake"]).read_bytes()
            self._model = msgspec.json.decode(content, type=FakeModel)
        except (KeyError, OSError, msgspec.MsgspecError) as error:
            raise EngineError(f"{files.name} is no fake model: {error}") from error
        self._form = self._model.forms.get(options.precision, FakeForm())
        if self._form.load:
            _happen(Fault((0, 0, 0), self._form.load, self._form.amount))
        output = {"text_detection": (-1, 1, -1, -1), "text_recognition": (-1, -1, self._model.classes)}
        self.inputs = (TensorSpec("x", (-1, 3, -1, -1), "float32"),)
        self.outputs = (TensorSpec("y", output.get(self._model.kind, (-1, self._model.classes)), "float32"),)

    @property
    def delay_ms(self) -> float:
        """How long a run of this form sleeps."""
        own = self._model.delay_ms if self._form.delay_ms is None else self._form.delay_ms
        return own / self._options.threads

    def sibling(self, threads: int) -> FakeEngine:
        """The same model; its delay shrinks with the threads."""
        return FakeEngine(self._files, msgspec.structs.replace(self._options, threads=threads))

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """Answer every input of the batch on its own. Raises EngineError on a wrong tensor."""
        batch = feeds.get("x")
        if batch is None or batch.ndim != 4 or batch.shape[1] != 3 or batch.dtype != np.float32:
            raise EngineError("a fake model takes x, float32 [N, 3, H, W]")
        if not batch.flags.c_contiguous:
            raise EngineError("x is not C-contiguous")
        if self.delay_ms:
            time.sleep(self.delay_ms / 1000)
        if self._form.run:
            _happen(Fault((0, 0, 0), self._form.run, self._form.amount))
        for one in batch:
            self._maybe_fail(one)
        if self._form.mirrored:
            batch = np.ascontiguousarray(batch[..., ::-1])
        answer = {
            "text_detection": self._detect,
            "text_recognition": self._read,
            "classification": self._classify,
        }[self._model.kind]
        return (answer(batch),)

    def close(self) -> None:
        """Nothing to free."""

    def _maybe_fail(self, one: np.ndarray) -> None:
        corner = (one[:, 0, 0] - self._model.shift) / self._model.scale
        for fault in self._model.faults:
            if np.abs(corner - fault.pixel).max() <= _TOLERANCE:
                _happen(fault)
                return

    def _detect(self, batch: np.ndarray) -> np.ndarray:
        scale = np.array(self._model.scale, np.float32)[:, None, None]
        shift = np.array(self._model.shift, np.float32)[:, None, None]
        brightness = ((batch - shift) / scale).mean(axis=1, keepdims=True)
        dark: np.ndarray = (brightness < 128).astype(np.float32)
        return dark

    def _read(self, batch: np.ndarray) -> np.ndarray:
        steps = batch.shape[3] // _STRIDE
        answer = np.full((len(batch), steps, self._model.classes), 0.01, np.float32)
        answer[:, :, 0] = 0.9
        for row, one in zip(answer, batch, strict=True):
            digits = f"{zlib.crc32(one.tobytes()):08x}"[: min(_DIGITS, steps // 2)]
            for place, digit in enumerate(digits):
                row[2 * place] = 0.01
                row[2 * place, 1 + int(digit, 16)] = 0.9
        return answer

    def _classify(self, batch: np.ndarray) -> np.ndarray:
        classes = self._model.classes
        scores = np.full((len(batch), classes), 0.01 / max(1, classes - 1), np.float32)
        for row, one in zip(scores, batch, strict=True):
            chosen = self._model.answer
            row[zlib.crc32(one.tobytes()) % classes if chosen is None else chosen] = 0.99
        return scores


def _happen(fault: Fault) -> None:
    """Let the fault happen; returns only from ``slow``, ``allocate`` and ``leak``."""
    if fault.action == "abort":
        os.abort()
    elif fault.action == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif fault.action == "crash":
        ctypes.memset(1, 0, 1)
    elif fault.action == "exit":
        os._exit(fault.amount or 255)
    elif fault.action == "hang":
        while True:
            time.sleep(3600)
    elif fault.action == "raise":
        raise RuntimeError("a fault that was asked for")
    elif fault.action == "error":
        raise EngineError("a fault that was asked for")
    elif fault.action == "slow":
        time.sleep(fault.amount / 1000)
    elif fault.action == "leak":
        _kept.append(np.ones(fault.amount, np.uint8))
    else:
        np.ones(fault.amount, np.uint8).sum()


ENGINE = FakeEngine

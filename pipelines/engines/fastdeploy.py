"""FastDeploy 1.x, or ``ultra_infer``, its continuation in PaddleX: ONNX and ``.pdmodel`` on what a build has.

No public index has either package, so this was written against the interface of FastDeploy (develop, March
2024) and ultra_infer, and tested over a strict stand-in. NOT RUN ON HARDWARE: its GPU backends.

FastDeploy ends the process (SIGABRT) on most kinds of misuse and answers nonsense on others, so nothing
reaches it unchecked. It holds the GIL, prints on standard output, and cannot set OpenVINO's precision.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from pipelines.core.config import ModelFiles
from pipelines.core.contained import contained, fails_in_child, import_contained, last_line
from pipelines.core.cpu import openvino_computes_short, reduced_precisions
from pipelines.core.download import locked
from pipelines.core.engine_cache import engine_file
from pipelines.core.errors import EngineError
from pipelines.core.gpus import gpu_model, keep_float32
from pipelines.core.onnx_ports import read_onnx_ports
from pipelines.core.paddle_program import Port, read_ports
from pipelines.core.shape_ranges import ShapeRange, first_outside, ranges_for

from .base import Engine, EngineOptions, TensorSpec, check_feeds, nvidia_gpus

#: Import names; the first that loads is used. Class and method names are the same in both.
PACKAGES = ("fastdeploy", "ultra_infer")
DISTRIBUTIONS = (
    "fastdeploy-gpu-python", "fastdeploy-python", "ultra-infer-gpu-python", "ultra-infer-python"
)  # fmt: skip
#: Backend and model format in order of preference. TensorRT gets no Paddle program: it would go through a
#: converter first. ONNX Runtime does where there is nothing else.
WAYS = {
    "cpu": (
        ("openvino", "onnx"), ("openvino", "pdmodel"), ("ort", "onnx"),
        ("paddle", "pdmodel"), ("ort", "pdmodel"),
    ),
    "gpu": (("trt", "onnx"), ("paddle", "pdmodel"), ("ort", "onnx"), ("ort", "pdmodel")),
}  # fmt: skip
#: FDDataType to NumPy (fastdeploy/core/fd_type.h). Booleans (0) and int16 (1) end the process as outputs.
_DTYPES = {2: "int32", 3: "int64", 4: "float16", 5: "float32", 6: "float64", 20: "uint8", 21: "int8"}
#: What the ONNX Runtime backend can hand out (ort_backend.cc); another type of output ends the process.
_ORT_OUTPUTS = {"float32", "float64", "float16", "int32", "int64"}
#: Shapes for which the Paddle backend keeps oneDNN's primitives; its default is to keep all.
_ONEDNN_CACHE = 10

_log = logging.getLogger(__name__)


def _installed() -> list[str]:
    """Those of PACKAGES that are there. FastDeploy 2.x, a server of language models, is something else."""
    found = []
    for name in PACKAGES:
        if name not in sys.modules:
            spec = importlib.util.find_spec(name)
            if spec is None or any(
                Path(at, "entrypoints").is_dir() for at in spec.submodule_search_locations or ()
            ):
                continue
        found.append(name)
    return found


@functools.cache
def _package() -> Any:
    """The imported package. Raises EngineError when none loads; a broken build raises RuntimeError here."""
    reasons = []
    for name in _installed():
        try:
            package = import_contained(name)
            package.RuntimeOption, package.Runtime  # noqa: B018 - stubs on PyPI lack them
            package.set_logger(False, True)
        except Exception as error:
            reasons.append(f"{name} cannot be imported: {last_line(error)}")
        else:
            return package
    raise EngineError("; ".join(reasons) or "neither FastDeploy nor ultra_infer is installed")


def _built(package: Any, what: str) -> bool:
    """Whether ``is_built_with_<what>``, which is not always at the top of the package."""
    name = f"is_built_with_{what}"
    question = getattr(package, name, None) or getattr(getattr(package, "C", None), name, None)
    return question is not None and bool(question())


class FastDeployEngine(Engine):
    """A Runtime. Inputs and outputs are copied; the GIL is held in between."""

    name: ClassVar[str] = "fastdeploy"
    formats: ClassVar[tuple[str, ...]] = ("onnx", "pdmodel")
    packages: ClassVar[tuple[str, ...]] = DISTRIBUTIONS

    @classmethod
    def available(cls) -> str | None:
        """See :meth:`Engine.available`."""
        if not _installed():
            return "neither FastDeploy 1.x nor ultra_infer is installed; their vendor has both, PyPI neither"
        return None

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """What OpenVINO takes by itself on a CPU, fp16 on a GPU."""
        return ("f32", *(reduced_precisions()[:1] if device == "cpu" else ("fp16",)))

    @classmethod
    def gpus(cls) -> int:
        """GPUs, where the build has been made for them."""
        if cls.available() is not None or nvidia_gpus() == 0:
            return 0
        try:
            return nvidia_gpus() if _built(_package(), "gpu") else 0
        except EngineError:
            return 0

    def __init__(self, files: ModelFiles, options: EngineOptions) -> None:
        self._files, self._options = files, options
        self._runtime: Any = None
        self._ranges: dict[str, ShapeRange] = {}
        kinds = files.files.keys() - ({"pdmodel"} if "params" not in files.files else set())
        ways = [way for way in WAYS[options.device.partition(":")[0]] if way[1] in kinds]
        if not ways:
            wanted = "no ONNX file and no .pdmodel with weights"
            raise EngineError(f"fastdeploy cannot run {files.name}: it has {wanted}")
        if sys.flags.optimize:
            raise EngineError("fastdeploy loads nothing under python -O: it does so inside an assert")
        if options.device != "cpu" and self.gpus() == 0:
            raise EngineError("this build of FastDeploy sees no GPU here")
        package, failures = _package(), {}
        for backend, kind in ways:
            try:
                self._load(package, backend, kind)
            except Exception as error:
                failures[f"{backend} with {kind}: {last_line(error)}"] = error
            else:
                _log.info("%s: fastdeploy runs the %s file on its backend %s", files.name, kind, backend)
                return
        last = list(failures.values())[-1]
        raise EngineError(f"fastdeploy cannot load {files.name}: {'; '.join(failures)}") from last

    def _load(self, package: Any, backend: str, kind: str) -> None:
        """Open the model on one backend; raises what goes wrong."""
        program, params = self._files.files[kind], self._files.files["params"] if kind == "pdmodel" else ""
        if not _built(package, backend):
            raise EngineError("this build is without it")
        if backend == "openvino" and self._options.precision == "f32" and openvino_computes_short():
            raise EngineError("it computes in bf16 on this CPU, which precision f32 does not allow")
        known = _read(program, params, backend)
        if (backend, kind) == ("ort", "pdmodel"):
            _convert_in_child(package.__name__, program, params)
        ranges = ranges_for(self._files.directory, known) if backend == "trt" else {}
        cache = self._engine_file(package, program, ranges) if ranges else None
        with contained(), locked(cache.with_suffix(".lock")) if cache else contextlib.nullcontext():
            option = _option(package, backend, program, params, self._options)
            if ranges:
                _set_trt(option.trt_option, ranges, cache, self._options.precision)
            runtime = package.Runtime(option)
            self.inputs = _specs(runtime.get_input_info(i) for i in range(runtime.num_inputs()))
            self.outputs = _specs(runtime.get_output_info(i) for i in range(runtime.num_outputs()))
        if backend == "ort":
            _check_types(spec.dtype for spec in self.outputs)
        self._runtime, self._backend, self._ranges = runtime, backend, ranges

    def _engine_file(self, package: Any, program: str, ranges: Mapping[str, ShapeRange]) -> Path | None:
        gpu = gpu_model(int(self._options.device.partition(":")[2] or 0))
        build = (package.__name__, getattr(package, "__version__", package.__file__))
        what = (gpu, build, self._options.precision, sorted(ranges.items()))
        return engine_file(self._options.cache_dir, self.name, self._files, program, *what)

    def sibling(self, threads: int) -> FastDeployEngine:
        """The model loaded again: Runtime has no clone in Python."""
        return FastDeployEngine(self._files, msgspec.structs.replace(self._options, threads=threads))

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[np.ndarray]:
        """See :meth:`Engine.run`."""
        if self._runtime is None:
            raise EngineError("the engine is closed")
        check_feeds(feeds, self.inputs)
        if self._ranges and (reason := first_outside(self._ranges, feeds)) is not None:
            raise EngineError from ValueError(reason)
        # It takes Fortran order for C order, refuses read-only arrays, and changes the dictionary.
        owned = {name: np.require(array, requirements=["C", "W", "O"]) for name, array in feeds.items()}
        try:
            with contained():
                answers: list[np.ndarray] = self._runtime.infer(owned)
            self._check_answers(answers)
        except Exception as error:
            raise EngineError from error
        return answers

    def _check_answers(self, answers: Sequence[np.ndarray]) -> None:
        """Raise ValueError on what FastDeploy returns in place of an error: int8 arrays of length 0."""
        if len(answers) != len(self.outputs):
            raise ValueError(f"{len(answers)} outputs where {len(self.outputs)} are wanted")
        for array, spec in zip(answers, self.outputs, strict=True):
            if array.dtype.name != spec.dtype or (spec.dtype == "int8" and array.shape == (0,) != spec.shape):
                raise ValueError(f"{array.dtype} {array.shape} came back for {spec}; the log says why")
            # That backend names outputs in the file's order and reads them in OpenVINO's own.
            if self._backend == "openvino" and not spec.fits(array.shape):
                raise ValueError(f"{array.shape} came back for {spec}: OpenVINO has another order of outputs")

    def close(self) -> None:
        """See :meth:`Engine.close`. A Runtime is freed with its last reference."""
        self._runtime = None


def _read(program: str, params: str, backend: str) -> dict[str, Port]:
    """Inputs of an ONNX file. Raises EngineError or ConfigError where a backend would end the process."""
    for path in (program, params) if params else (program,):
        if not Path(path).is_file() or not os.access(path, os.R_OK):
            raise EngineError(f"{Path(path).name} is missing or cannot be read")
    if params:
        if not read_ports(program):
            raise EngineError(f"{Path(program).name} is not a Paddle program")
        return {}
    inputs, outputs = read_onnx_ports(program)
    if backend == "ort":
        _check_types(port.dtype for port in outputs.values())
    return inputs


def _check_types(dtypes: Iterable[str]) -> None:
    """Raise EngineError unless the ONNX Runtime backend can hand out outputs of these types."""
    strange = {dtype or "unknown" for dtype in dtypes} - _ORT_OUTPUTS
    if strange:
        raise EngineError(f"it hands out no {', '.join(sorted(strange))}")


def _option(package: Any, backend: str, program: str, params: str, options: EngineOptions) -> Any:
    """The RuntimeOption; calls in PaddleX's order."""
    option = package.RuntimeOption()
    kind, _, index = options.device.partition(":")
    if kind == "gpu":
        keep_float32(options.precision)
        option.use_gpu(int(index or 0))
    model_format = package.ModelFormat.PADDLE if params else package.ModelFormat.ONNX
    option.set_model_path(program, params, model_format)
    getattr(option, f"use_{backend}_backend")()
    if kind == "cpu":
        option.set_cpu_thread_num(max(1, options.threads))
    if backend == "paddle":
        option.paddle_infer_option.mkldnn_cache_size = _ONEDNN_CACHE
        if kind == "gpu" and options.precision in ("fp16", "auto"):
            option.paddle_infer_option.inference_precision = "float16"
    return option


def _set_trt(trt: Any, ranges: Mapping[str, ShapeRange], cache: Path | None, precision: str) -> None:
    """Precision, cache and shapes; an engine in the cache brings its shapes itself."""
    trt.enable_fp16 = precision in ("fp16", "auto")
    if cache is not None:
        trt.serialize_file = str(cache)
    if cache is None or not cache.is_file():
        for name, (low, usual, high) in ranges.items():
            trt.set_shape(name, list(low), list(usual), list(high))


@functools.cache
def _convert_in_child(package: str, program: str, params: str) -> None:
    """Raise EngineError unless a child process lives through the conversion of a Paddle program to ONNX.

    FastDeploy's converter ends the process on operators that it cannot convert.
    """
    reason = fails_in_child(__name__, "try_out", package, program, params, seconds=120)
    if reason is not None:
        raise EngineError(f"it cannot be converted to ONNX: {reason}")


def try_out(package: str, program: str, params: str) -> None:
    """What the child of ``_convert_in_child`` does: load a Paddle program on ONNX Runtime."""
    loaded = importlib.import_module(package)
    runtime = loaded.Runtime(_option(loaded, "ort", program, params, EngineOptions()))
    for index in range(runtime.num_outputs()):
        runtime.get_output_info(index)


def _specs(infos: Iterable[Any]) -> tuple[TensorSpec, ...]:
    specs = []
    for info in infos:
        if int(info.dtype) not in _DTYPES:
            raise EngineError(f"FastDeploy cannot hand over {info.name}, of type {info.dtype}")
        specs.append(TensorSpec(info.name, tuple(info.shape), _DTYPES[int(info.dtype)]))
    return tuple(specs)


ENGINE = FastDeployEngine

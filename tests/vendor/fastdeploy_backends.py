"""The backends of the FastDeploy stand-in: what they say of a model, and real answers."""

import copy
import functools
import json
import os
from pathlib import Path

import numpy as np

#: Parts of a build: backends, and "gpu".
BUILT = ("openvino", "ort", "paddle", "trt", "gpu")
#: numpy dtypes that NumpyDataTypeToFDDataType knows.
TAKEN = {"float16", "float32", "float64", "int8", "int32", "int64", "uint8"}
_NUMBERS = {
    "bool": 0, "int16": 1, "int32": 2, "int64": 3, "float16": 4, "float32": 5, "float64": 6,
    "uint8": 20, "int8": 21,
}  # fmt: skip
#: Operators that the bundled paddle2onnx cannot convert.
_UNCONVERTIBLE = (b"relu6", b"conditional_block")
#: Engines that TensorRT has built, for whatever reason: (file or None, name -> shapes).
builds = []


def built(what):
    return what in os.environ.get("STANDIN_BUILT", "openvino,ort").split(",")


def say(kind, text):
    os.write(1, f"[{kind}] fastdeploy/runtime/runtime.cc(0)::Init\t{text}\n".encode())


def fail(condition, text):
    """FDASSERT: ends the process unless ``condition``."""
    if not condition:
        say("ERROR", text)
        os.abort()


class Value(int):
    """A member of a pybind11 enumeration."""

    def __new__(cls, number, name):
        value = super().__new__(cls, number)
        value.name = name
        return value

    def __repr__(self):
        return f"<{self.name}: {int(self)}>"

    __str__ = __repr__

    def __deepcopy__(self, memo):
        return self


def enumeration(name, *members):
    kind = type(name, (Value,), {})
    for number, member in enumerate(members):
        setattr(kind, member, kind(number, f"{name}.{member}"))
    return kind


Backend = enumeration("Backend", "UNKOWN", "ORT", "TRT", "PDINFER", "POROS")
ModelFormat = enumeration("ModelFormat", "AUTOREC", "PADDLE", "ONNX", "RKNN", "TORCHSCRIPT", "SOPHGO")
Device = enumeration("Device", "CPU", "GPU", "RKNPU", "IPU")
FDDataType = type("FDDataType", (Value,), {})


class TensorInfo:
    __slots__ = ("dtype", "name", "shape")

    def __init__(self, name, shape, dtype):
        self.name, self.shape = name, list(shape)
        self.dtype = FDDataType(_NUMBERS[dtype], f"FDDataType.{dtype}")


@functools.cache
def openvino_core():
    """One for good: each sets a signal stack and takes back what it found, so two that end out of order leave
    the process with one that is freed, and the next signal kills it."""
    import openvino

    return openvino.Core()


class OpenVino:
    """``inputs`` and ``outputs`` are infos; ``compute`` gives arrays, or None where C++ returns false.

    OpenVINO as it is configured by default: in bf16 where the CPU has it."""

    settings = {}

    def __init__(self, option):
        import openvino

        fail(option.device == Device.CPU, "Backend::OPENVINO only supports Device::CPU")
        self._openvino, core = openvino, openvino_core()
        model = core.read_model(option.model_file, *([option.params_file] if option.params_file else []))
        settings = {"NUM_STREAMS": "1"} | self.settings
        if option.threads > 0:
            settings["INFERENCE_NUM_THREADS"] = option.threads
        compiled = core.compile_model(model, "CPU", settings)
        self._request = compiled.create_infer_request()
        self.inputs, self.outputs = self._infos(compiled.inputs), self._infos(compiled.outputs)

    @staticmethod
    def _infos(ports):
        return [
            TensorInfo(
                port.get_any_name(),
                [-1 if size.is_dynamic else size.get_length() for size in port.get_partial_shape()],
                np.dtype(port.get_element_type().to_dtype()).name,
            )
            for port in ports
        ]

    def compute(self, feeds):
        for name, array in feeds.items():
            self._request.set_tensor(name, self._openvino.Tensor(array, shared_memory=True))
        self._request.infer()
        return [self._request.get_output_tensor(i).data.copy() for i in range(len(self.outputs))]


class Paddle(OpenVino):
    """Paddle Inference, computed by OpenVINO in float32."""

    settings = {"INFERENCE_PRECISION_HINT": "f32"}

    def __init__(self, option):
        for path in (option.model_file, option.params_file):
            fail(Path(path).is_file(), "Fail to read binary from file")
        fail(option.model_format == ModelFormat.PADDLE, "Backend::PDINFER only supports ModelFormat::PADDLE.")
        device, option.device = option.device, Device.CPU
        super().__init__(option)
        option.device = device


class Onnx:
    """ONNX Runtime on an ONNX file."""

    def __init__(self, option):
        import onnxruntime as ort

        settings = ort.SessionOptions()
        settings.log_severity_level = 4
        if option.threads > 0:
            settings.intra_op_num_threads = option.threads
        try:
            content = Path(option.model_file).read_bytes()
            self._session = ort.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise RuntimeError(str(error)) from None
        self.inputs = [self._info(node) for node in self._session.get_inputs()]
        self.outputs = [self._info(node) for node in self._session.get_outputs()]

    @staticmethod
    def _info(node):
        kind = node.type.removeprefix("tensor(").removesuffix(")")
        dtype = {"float": "float32", "double": "float64"}.get(kind, kind)
        return TensorInfo(node.name, [n if isinstance(n, int) else -1 for n in node.shape], dtype)

    def compute(self, feeds):
        if set(feeds) - {info.name for info in self.inputs}:
            raise RuntimeError("Failed to find input name in the session")
        try:
            answers = self._session.run(None, feeds)
        except Exception as error:
            say("ERROR", f"Failed to Infer: {str(error).splitlines()[0]}")
            return None
        for array in answers:
            fail(
                array.dtype.name in ("float32", "int32", "int64", "float64", "float16"),
                "Unrecognized data type",
            )
        return answers


def onnx_runtime(option):
    fail(Path(option.model_file).is_file(), "Failed to read model file.")
    if option.model_format == ModelFormat.ONNX:
        return Onnx(option)
    fail(Path(option.params_file).is_file(), "Failed to read parameters file.")
    program = Path(option.model_file).read_bytes()
    fail(program[:1] == b"\x0a", "Failed to parse the Paddle program.")
    for operator in _UNCONVERTIBLE:
        fail(operator not in program, f"Cannot found attribute threshold in op: {operator.decode()}")
    return Paddle(option)


class TensorRt(Onnx):
    """TensorRT: an engine holds for shapes; any other builds it again, inside ``infer``."""

    def __init__(self, option):
        fail(option.device == Device.GPU, "Backend::TRT only supports Device::GPU.")
        fail(Path(option.model_file).is_file(), "Failed to read model file.")
        super().__init__(option)
        trt = option.trt_option
        self._file = Path(trt.serialize_file) if trt.serialize_file else None
        if self._file and self._file.is_file():
            self._shapes = json.loads(self._file.read_text())
            return
        self._shapes = {name: list(shapes) for name, shapes in trt.shapes.items()}
        self._build()

    def _build(self):
        builds.append((str(self._file) if self._file else None, copy.deepcopy(self._shapes)))
        if self._file:
            self._file.write_text(json.dumps(self._shapes))

    def compute(self, feeds):
        for name, array in feeds.items():
            low, _, high = self._shapes.setdefault(name, [list(array.shape)] * 3)
            sides = zip(low, array.shape, high, strict=True)
            if not all(small <= size <= large for small, size, large in sides):
                self._shapes[name][0] = np.minimum(low, array.shape).tolist()
                self._shapes[name][2] = np.maximum(high, array.shape).tolist()
                self._build()
        return super().compute(feeds)


BACKENDS = {"openvino": OpenVino, "ort": onnx_runtime, "paddle": Paddle, "trt": TensorRt}

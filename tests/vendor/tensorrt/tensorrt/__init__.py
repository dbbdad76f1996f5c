"""TensorRT's Python interface without a GPU: it returns None and False where the real one does.

``STANDIN_TENSORRT`` in the environment is the version, 10 or 11; what 11 has taken away is not there then.
ONNX Runtime computes. Engines are real files: of another version, GPU or content they do not load.
"""

import enum
import json
import os
from pathlib import Path

import numpy as np
from cuda.bindings import runtime as cudart

MAJOR = int(os.environ.get("STANDIN_TENSORRT", "10"))
__version__ = f"{MAJOR}.4.0"
#: What has been built: (flags, name -> shapes); outputs whose shape only the data tell; what refuses.
builds, data_dependent, refuses = [], set(), set()


class Severity(enum.IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity
    Severity = Severity

    def __init__(self):
        self.ready = True


class Logger(ILogger):
    pass


def _logger(logger):
    if not isinstance(logger, ILogger) or not getattr(logger, "ready", False):
        raise TypeError("a logger is wanted whose ILogger.__init__ was called")
    return logger


class DataType(enum.IntEnum):
    FLOAT, HALF, INT8, INT32, BOOL, UINT8, FP8, BF16, INT64 = range(9)


_NUMPY = {"FLOAT": np.float32, "HALF": np.float16, "INT8": np.int8, "INT32": np.int32, "INT64": np.int64}


def nptype(dtype):
    if dtype.name not in _NUMPY:
        raise TypeError(f"Could not resolve TensorRT datatype {dtype.name}")
    return _NUMPY[dtype.name]


TensorIOMode = enum.IntEnum("TensorIOMode", {"NONE": 0, "INPUT": 1, "OUTPUT": 2})
MemoryPoolType = enum.IntEnum("MemoryPoolType", {"WORKSPACE": 0})
BuilderFlag = enum.IntEnum(
    "BuilderFlag", ["DEBUG", "TF32", *(["FP16", "BF16", "INT8"] if MAJOR == 10 else [])], start=0
)


def _exact(value, *kinds):
    if not isinstance(value, kinds):
        raise TypeError(f"incompatible function arguments: {value!r}")
    return value


class Profile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, input, min, opt, max):
        if not len(min) == len(opt) == len(max):
            raise ValueError("shapes of different rank")
        self.shapes[_exact(input, str)] = [list(min), list(opt), list(max)]


class BuilderConfig:
    def __init__(self):
        self.flags, self.profiles, self.workspace = {BuilderFlag.TF32}, [], None

    def set_memory_pool_limit(self, pool, size):
        _exact(pool, MemoryPoolType)
        self.workspace = _exact(size, int)

    def set_flag(self, flag):
        self.flags.add(_exact(flag, BuilderFlag))

    def clear_flag(self, flag):
        self.flags.discard(_exact(flag, BuilderFlag))

    def add_optimization_profile(self, profile):
        self.profiles.append(_exact(profile, Profile))
        return len(self.profiles) - 1


class Network:
    content = None


class ParserError:
    def desc(self):
        return "In node 0: an operator that is not supported"


class OnnxParser:
    def __init__(self, network, logger):
        self.network, self.logger, self.errors = _exact(network, Network), _logger(logger), []

    def parse_from_file(self, path):
        content = Path(path).read_bytes()
        try:
            _session(content)
        except Exception:
            self.errors.append(ParserError())
            return False
        self.network.content = content
        return True

    @property
    def num_errors(self):
        return len(self.errors)

    def get_error(self, index):
        return self.errors[index]


class HostMemory:
    def __init__(self, content):
        self.content = content

    @property
    def nbytes(self):
        return len(self.content)

    def __bytes__(self):  # the real one has the buffer protocol, which bytes() uses
        return self.content


class Builder:
    def __init__(self, logger):
        self.logger = _logger(logger)

    def create_network(self, flags=0):
        assert flags == 0, "bit 0 is EXPLICIT_BATCH in 10 and STRONGLY_TYPED in 11"
        return Network()

    def create_builder_config(self):
        return BuilderConfig()

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        _exact(config, BuilderConfig)
        shapes = {} if not config.profiles else config.profiles[0].shapes
        dynamic = [node.name for node in _session(network.content).get_inputs() if _shape(node).count(-1)]
        if "build" in refuses or set(shapes) != set(dynamic):
            self.logger.log(
                Severity.ERROR, "Network has dynamic or shape inputs, but no optimization profile"
            )
            return None
        builds.append(({flag.name for flag in config.flags}, shapes))
        head = json.dumps({"version": __version__, "shapes": shapes}).encode()
        return HostMemory(b"PLAN" + len(head).to_bytes(4, "little") + head + network.content)


class Runtime:
    def __init__(self, logger):
        self.logger = _logger(logger)

    def deserialize_cuda_engine(self, plan):
        _exact(plan, bytes)
        if plan[:4] != b"PLAN":
            self.logger.log(Severity.ERROR, "Serialization assertion failed: magic tag does not match")
            return None
        size = 8 + int.from_bytes(plan[4:8], "little")
        head = json.loads(plan[8:size])
        if head["version"] != __version__:
            self.logger.log(Severity.ERROR, "The engine plan file is not compatible with this version")
            return None
        return CudaEngine(plan[size:], head["shapes"], self.logger)


class CudaEngine:
    def __init__(self, content, shapes, logger):
        self._session, self._profile, self._logger = _session(content), shapes, logger
        self._inputs = {node.name: node for node in self._session.get_inputs()}
        self._nodes = self._inputs | {node.name: node for node in self._session.get_outputs()}

    @property
    def num_io_tensors(self):
        return len(self._nodes)

    @property
    def num_optimization_profiles(self):
        return 1

    def get_tensor_name(self, index):
        return list(self._nodes)[index]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return {"tensor(float)": DataType.FLOAT, "tensor(int64)": DataType.INT64}[self._nodes[name].type]

    def get_tensor_shape(self, name):
        return tuple(_shape(self._nodes[name]))

    def create_execution_context(self):
        return None if "context" in refuses else Context(self)


class Context:
    def __init__(self, engine):
        self._engine, self._profile = engine, None
        self._shapes, self._addresses, self._allocators = {}, {}, {}

    def set_optimization_profile_async(self, index, stream):
        assert stream in cudart.streams
        self._profile = self._engine._profile
        return index == 0

    def set_input_shape(self, name, shape):
        _exact(shape, tuple)
        low, _, high = (self._profile or {}).get(name, [shape] * 3)
        fits = len(low) == len(shape) and all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))
        if not fits:
            self._engine._logger.log(Severity.ERROR, f"the shape of {name} is outside the profile")
            return False
        self._shapes[name] = shape
        return True

    def infer_shapes(self):
        return [name for name in self._engine._inputs if name not in self._shapes]

    def get_tensor_shape(self, name):
        if name in self._engine._inputs:
            return self._shapes[name]
        if name in data_dependent:
            return tuple(_shape(self._engine._nodes[name]))
        return self._compute(lambda name, shape: np.zeros(shape, np.float32))[name].shape

    def set_tensor_address(self, name, address):
        self._addresses[name] = _exact(address, int)
        return address in cudart.device

    def set_output_allocator(self, name, allocator):
        self._allocators[name] = _exact(allocator, IOutputAllocator)
        return name not in self._engine._inputs

    def execute_async_v3(self, stream_handle):
        _exact(stream_handle, int)
        unset = [name for name in self._engine._nodes if name not in self._addresses]
        unset += [name for name in data_dependent & set(self._engine._nodes) if name not in self._allocators]
        if unset or self.infer_shapes() or "run" in refuses:
            self._engine._logger.log(Severity.ERROR, f"Parameter check failed: {unset} is not set")
            return False
        cudart.streams[stream_handle].append(lambda: self._finish(stream_handle))
        return True

    def _finish(self, stream):
        def given(name, shape):
            raw = cudart.device[self._addresses[name]]
            return raw[: 4 * int(np.prod(shape))].view(np.float32).reshape(shape)

        for name, array in self._compute(given).items():
            address = self._addresses[name]
            if name in self._allocators:
                allocator = self._allocators[name]
                address = allocator.reallocate_output_async(name, address, array.nbytes, 256, stream)
                allocator.notify_shape(name, array.shape)
            cudart.device[address][: array.nbytes] = np.ascontiguousarray(array).view(np.uint8).ravel()

    def _compute(self, given):
        feeds = {name: given(name, shape) for name, shape in self._shapes.items()}
        names = [node.name for node in self._engine._session.get_outputs()]
        return dict(zip(names, self._engine._session.run(names, feeds), strict=True))


class IOutputAllocator:
    def __init__(self):
        self.ready = True


def _shape(node):
    return [size if isinstance(size, int) else -1 for size in node.shape]


def _session(content):
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = 1
    return ort.InferenceSession(content, settings, providers=["CPUExecutionProvider"])

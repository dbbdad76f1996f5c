"""The Python interface of FastDeploy 1.x and ultra_infer, as unforgiving as the real one.

What ends a real process (the macro FDASSERT) ends this one: ``os.abort`` after an ``[ERROR]`` line on file
descriptor 1. What answers nonsense there answers the same nonsense here: int8 arrays of length 0, Fortran
order read as C order. Answers are real: ONNX Runtime and OpenVINO compute them.

``STANDIN_BUILT`` in the environment says what the build has, separated by commas.
"""

import copy
import logging
import os
import signal
import threading
import types

import numpy as np

from tests.vendor.fastdeploy_backends import (
    BACKENDS,
    BUILT,
    TAKEN,
    Backend,
    Device,
    FDDataType,
    ModelFormat,
    TensorInfo,
    built,
    fail,
    say,
)

_gil = threading.Lock()


def _exact(value, kind):
    """pybind11 converts no strings to numbers, and nothing to an enumeration."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"incompatible function arguments: {value!r} is not {kind.__name__}")
    return value


class Fields:
    """An option object of C++: known fields of one type each, no others."""

    __slots__ = ()
    defaults = {}

    def __init__(self):
        for name, value in self.defaults.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name, value):
        if name not in self.defaults:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        object.__setattr__(self, name, _exact(value, type(self.defaults[name])))

    def __deepcopy__(self, memo):
        twin = type(self)()
        for name in self.__slots__:
            object.__setattr__(twin, name, copy.deepcopy(getattr(self, name), memo))
        return twin


class TrtBackendOption(Fields):
    defaults = {
        "enable_fp16": False,
        "enable_log_info": False,
        "max_batch_size": 32,
        "max_workspace_size": 1 << 30,
        "serialize_file": "",
    }
    __slots__ = (*defaults, "shapes")

    def __init__(self):
        super().__init__()
        object.__setattr__(self, "shapes", {})

    def set_shape(self, name, low, usual, high):
        for shape in (low, usual, high):
            _exact(shape, list)
            for size in shape:
                _exact(size, int)
        self.shapes[_exact(name, str)] = (low, usual, high)


class PaddleBackendOption(Fields):
    defaults = {
        "enable_mkldnn": True,
        "mkldnn_cache_size": -1,
        "enable_log_info": False,
        "enable_memory_optimize": True,
        "enable_trt": False,
        "gpu_mem_init_size": 100,
        "inference_precision": "float32",
    }
    __slots__ = tuple(defaults)


class OpenVINOBackendOption(Fields):
    defaults = {"cpu_thread_num": -1, "num_streams": 1, "affinity": "YES", "hint": "UNDEFINED"}
    __slots__ = tuple(defaults)


class CRuntimeOption:
    """What the wrapper holds."""

    def __init__(self):
        self.device, self.device_id, self.threads = Device.CPU, 0, -1
        self.model_file = self.params_file = ""
        self.model_format, self.backend = ModelFormat.PADDLE, None
        self.trt_option, self.paddle_infer_option = TrtBackendOption(), PaddleBackendOption()
        self.openvino_option = OpenVINOBackendOption()


class RuntimeOption:
    __slots__ = ["_option"]

    def __init__(self):
        self._option = CRuntimeOption()

    def set_model_path(self, model_path, params_path="", model_format=ModelFormat.PADDLE):
        self._option.model_file, self._option.params_file = _exact(model_path, str), _exact(params_path, str)
        self._option.model_format = _exact(model_format, ModelFormat)

    def use_cpu(self):
        self._option.device = Device.CPU

    def use_gpu(self, device_id=0):
        if not built("gpu"):
            logging.warning("The installed package is not built with GPU, will force to use CPU.")
            return
        self._option.device, self._option.device_id = Device.GPU, _exact(device_id, int)

    def set_cpu_thread_num(self, thread_num=-1):
        fail(_exact(thread_num, int) > 0, "The cpu_thread_num must be greater than 0.")
        self._option.threads = thread_num

    def _use(self, backend):
        fail(built(backend), f"The FastDeploy didn't compile with {backend}.")
        self._option.backend = backend

    def use_ort_backend(self):
        self._use("ort")

    def use_openvino_backend(self):
        self._use("openvino")

    def use_trt_backend(self):
        self._use("trt")

    def use_paddle_backend(self):
        self._use("paddle")

    use_paddle_infer_backend = use_paddle_backend

    @property
    def trt_option(self):
        return self._option.trt_option

    @property
    def paddle_infer_option(self):
        return self._option.paddle_infer_option

    @property
    def openvino_option(self):
        return self._option.openvino_option


class CRuntime:
    def init(self, option):
        chosen = copy.deepcopy(option)
        if chosen.backend is None:
            say("ERROR", "Cannot found availabel inference backends")
            return False
        self._backend = BACKENDS[chosen.backend](chosen)
        say("INFO", f"Runtime initialized with Backend::{chosen.backend}.")
        return True

    def infer(self, data):
        for array in data.values():
            if not isinstance(array, np.ndarray):
                raise TypeError("infer(): incompatible function arguments.")
        feeds = {}
        for name in sorted(data):  # std::map
            array = data[name]
            known = array.dtype.isnative and array.dtype.name in TAKEN
            fail(known, f"The function doesn't support data type of {array.dtype}.")
            if not array.flags.writeable:
                raise ValueError("array is not writeable")
            # memcpy: the bytes as they lie in memory, taken for C order
            feeds[name] = np.frombuffer(bytearray(array.tobytes("A")), array.dtype).reshape(array.shape)
        backend = self._backend
        answers = None
        if len(feeds) != len(backend.inputs):
            say("ERROR", "Size of the inputs should keep same with the inputs of this model.")
        else:
            with _gil:
                answers = backend.compute(feeds)
        if answers is None:
            return [np.empty(0, np.int8) for _ in backend.outputs]
        return [np.array(array) for array in answers]

    def __getattr__(self, name):  # nothing was loaded: assert was compiled away
        if name == "_backend":
            os.kill(os.getpid(), signal.SIGSEGV)
        raise AttributeError(name)


class Runtime:
    def __init__(self, runtime_option):
        self._runtime = CRuntime()
        self.runtime_option = runtime_option
        assert self._runtime.init(self.runtime_option._option), "Initialize Runtime Failed!"

    def infer(self, data):
        assert isinstance(data, dict | list), "The input data should be type of dict or list."
        if isinstance(data, list):
            raise TypeError("infer(): incompatible function arguments.")
        for name, array in data.items():
            if isinstance(array, np.ndarray) and not array.data.contiguous:
                data[name] = np.ascontiguousarray(array)
        return self._runtime.infer(data)

    def num_inputs(self):
        return len(self._runtime._backend.inputs)

    def num_outputs(self):
        return len(self._runtime._backend.outputs)

    def get_input_info(self, index):
        assert isinstance(index, int) and index < self.num_inputs()
        fail(index >= 0, "an index below 0 reads past the array")
        return self._runtime._backend.inputs[index]

    def get_output_info(self, index):
        assert isinstance(index, int) and index < self.num_outputs()
        fail(index >= 0, "an index below 0 reads past the array")
        return self._runtime._backend.outputs[index]


def set_logger(enable_info=True, enable_warning=True):
    _exact(enable_info, bool)
    _exact(enable_warning, bool)


def fill(namespace, package):
    """Make a module of one of the two packages; what its import does to the process is done here."""
    say("INFO", "imported")
    if built("trt"):
        root = logging.getLogger()
        if package == "fastdeploy":
            logging.basicConfig(level=logging.INFO)
            root.setLevel(logging.INFO)
        else:
            root.setLevel(logging.WARNING)
            root.handlers[:] = []
    questions = {f"is_built_with_{what}": lambda what=what: built(what) for what in BUILT}
    hidden = () if package == "ultra_infer" else ("is_built_with_openvino",)
    namespace["C"] = types.SimpleNamespace(**questions)
    namespace.update({name: question for name, question in questions.items() if name not in hidden})
    for each in (Runtime, RuntimeOption, ModelFormat, Backend, Device, FDDataType, TensorInfo):
        namespace[each.__name__] = each
    namespace["set_logger"] = set_logger

"""The few calls of the CUDA runtime that an engine needs: one stream per process, pinned memory, copies.

Written against ``cuda.bindings.runtime`` of cuda-python 12.6 and newer, which returns ``(error, value...)``.
NOT RUN ON HARDWARE: tested over a strict stand-in (``tests/vendor/tensorrt/cuda``). Names, arguments and
what is returned were compared with cuda-bindings 13.5, which fails every call without a driver.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import logging
import os
import weakref
from typing import Any

import numpy as np

#: Errors after which every later call of the process fails (CUDA Runtime API, cudaError_t). A device that
#: lived on would fail all its requests while others serve; its successor starts with a clean context.
_LASTING = {
    "cudaErrorAssert",
    "cudaErrorECCUncorrectable",
    "cudaErrorHardwareStackError",
    "cudaErrorIllegalAddress",
    "cudaErrorIllegalInstruction",
    "cudaErrorInvalidAddressSpace",
    "cudaErrorInvalidPc",
    "cudaErrorLaunchFailure",
    "cudaErrorLaunchTimeout",
    "cudaErrorMisalignedAddress",
}

_log = logging.getLogger(__name__)


class CudaError(RuntimeError):
    """A call that failed, by CUDA's own name for the error."""


def missing_binding() -> str | None:
    """None when the binding can be imported, else what to install."""
    if importlib.util.find_spec("cuda") is None or importlib.util.find_spec("cuda.bindings") is None:
        return "cuda-python is not installed: python -m pip install cuda-python"
    return None


@functools.cache
def cuda_device(index: int) -> Cuda:
    """GPU ``index`` with the one stream that this process has for it."""
    return Cuda(index)


class Cuda:
    """One GPU and a stream of its own.

    Attributes:
        stream: the stream's handle, as TensorRT takes it.
    """

    def __init__(self, index: int) -> None:
        """Raises CudaError, or ImportError without the binding."""
        from cuda.bindings import runtime  # noqa: PLC0415 - loaded by devices only

        self._cudart, self._index = runtime, index
        self.use()
        # Does not wait for what libraries put on the default stream.
        self.stream = int(self._call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking))

    def use(self) -> None:
        """Make this the calling thread's GPU; CUDA keeps that per thread."""
        self._call("cudaSetDevice", self._index)

    def allocate(self, size: int) -> int:
        """Address of ``size`` bytes on the GPU."""
        return int(self._call("cudaMalloc", size))

    def free(self, address: int) -> None:
        """Give back what :meth:`allocate` gave."""
        self._call("cudaFree", address)

    def pin(self, size: int) -> np.ndarray:
        """``size`` bytes of host memory that the GPU copies from and to by itself, uint8.

        They are given back with the last array that shows them: a result may outlive its engine.
        """
        address = int(self._call("cudaMallocHost", size))
        memory = (ctypes.c_uint8 * size).from_address(address)
        weakref.finalize(memory, self._cudart.cudaFreeHost, address).atexit = False
        return np.ctypeslib.as_array(memory)

    def upload(self, address: int, source: np.ndarray) -> None:
        """Start copying pinned memory to the GPU."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, source.ctypes.data, source.nbytes, kind, self.stream)

    def download(self, target: np.ndarray, address: int) -> None:
        """Start copying from the GPU to pinned memory."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, address, target.nbytes, kind, self.stream)

    def synchronize(self) -> None:
        """Wait for all that the stream was given. Errors of kernels come to light here."""
        self._call("cudaStreamSynchronize", self.stream)

    def _call(self, function: str, *arguments: Any) -> Any:
        error, *values = getattr(self._cudart, function)(*arguments)
        if error != self._cudart.cudaError_t.cudaSuccess:
            name = getattr(error, "name", str(error))
            if name in _LASTING:
                _log.critical("%s: %s; this process cannot use its GPU any more", function, name)
                os.abort()
            raise CudaError(f"{function}: {name}")
        return values[0] if values else None


def tensor_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Size of a dense array."""
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


class Buffer:
    """Memory for one tensor on both sides, which grows with it.

    Attributes:
        address: on the GPU, 0 before :meth:`fit`.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._host: np.ndarray | None = None
        self.address = 0

    @property
    def size(self) -> int:
        """Bytes on each side."""
        return 0 if self._host is None else self._host.nbytes

    def fit(self, size: int) -> None:
        """Have at least ``size`` bytes; what was in there is lost when it grows. The stream must be idle."""
        if size > self.size or self._host is None:
            self.close()
            # Twice what a slightly larger shape needs costs less than pinning memory for each new one.
            room = max(256, 1 << (size - 1).bit_length()) if size < 1 << 26 else size
            address = self._cuda.allocate(room)
            try:
                self._host, self.address = self._cuda.pin(room), address
            except CudaError:
                self._cuda.free(address)
                raise

    def view(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """The host side as an array."""
        size = tensor_bytes(shape, dtype)
        if self._host is None or size > self.size:
            raise CudaError("a buffer is smaller than its tensor")
        return self._host[:size].view(dtype).reshape(shape)

    def close(self) -> None:
        """Give the GPU's side back, and the host's when nobody looks at it; twice does no harm."""
        if self._host is not None:
            address, self._host, self.address = self.address, None, 0
            self._cuda.free(address)

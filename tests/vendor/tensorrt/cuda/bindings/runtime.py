"""The CUDA runtime as cuda-python shows it, over host memory, with everything checked.

GPU addresses are numbers that no pointer may follow. What is put on a stream happens when the stream is
synchronised, not before: whoever reads too early reads rubbish. Asynchronous copies want pinned memory.
"""

import ctypes
import enum

import numpy as np

cudaStreamNonBlocking = 1


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorIllegalAddress = 700


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToHost = 0
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStream_t:
    """Not an int, but turns into one."""

    def __init__(self, number):
        self.number = number

    def __int__(self):
        return self.number


#: address -> bytes on the GPU; address -> pinned bytes; stream -> what is queued; errors to come, by function
device, pinned, streams, failing = {}, {}, {}, {}
_next = [0x7F00_0000_0000]
current = []
_SUCCESS, _INVALID = (cudaError_t.cudaSuccess,), (cudaError_t.cudaErrorInvalidValue,)


def _number():
    _next[0] += 1 << 32
    return _next[0]


def _checked(function):
    def call(*arguments):
        if function.__name__ in failing:
            return (
                cudaError_t[failing.pop(function.__name__)],
                *[None] * (function.__name__.count("Malloc")),
            )
        return function(*arguments)

    return call


@_checked
def cudaSetDevice(index):
    current[:] = [index]
    return _SUCCESS if isinstance(index, int) and 0 <= index < 2 else _INVALID


@_checked
def cudaStreamCreateWithFlags(flags):
    assert flags == cudaStreamNonBlocking and current
    number = _number()
    streams[number] = []
    return (cudaError_t.cudaSuccess, cudaStream_t(number))


@_checked
def cudaMalloc(size):
    assert isinstance(size, int) and size > 0 and current
    address = _number()
    device[address] = np.full(size, 0xA5, np.uint8)
    return (cudaError_t.cudaSuccess, address)


@_checked
def cudaFree(address):
    cudaDeviceSynchronize()
    return _SUCCESS if device.pop(address, None) is not None else _INVALID


@_checked
def cudaMallocHost(size):
    assert isinstance(size, int) and size > 0
    memory = np.full(size, 0x5A, np.uint8)
    pinned[memory.ctypes.data] = memory
    return (cudaError_t.cudaSuccess, memory.ctypes.data)


@_checked
def cudaFreeHost(address):
    memory = pinned.pop(address, None)
    if memory is None:
        return _INVALID
    memory[...] = 0xDD  # whoever reads on finds out
    return _SUCCESS


def _inside(memories, address, size):
    return any(start <= address and address + size <= start + len(m) for start, m in memories.items())


@_checked
def cudaMemcpyAsync(target, source, size, kind, stream):
    assert all(isinstance(value, int) for value in (target, source, size, stream)) and stream in streams
    to_device = kind == cudaMemcpyKind.cudaMemcpyHostToDevice
    host, gpu = (source, target) if to_device else (target, source)
    if not (_inside(pinned, host, size) and gpu in device and size <= len(device[gpu])):
        return _INVALID

    def copy():
        memory = device[gpu]
        if to_device:
            ctypes.memmove(memory.ctypes.data, host, size)
        else:
            ctypes.memmove(host, memory.ctypes.data, size)

    streams[stream].append(copy)
    return _SUCCESS


@_checked
def cudaStreamSynchronize(stream):
    assert stream in streams
    while streams[stream]:
        streams[stream].pop(0)()
    return _SUCCESS


def cudaDeviceSynchronize():
    for number in streams:
        cudaStreamSynchronize(number)
    return _SUCCESS

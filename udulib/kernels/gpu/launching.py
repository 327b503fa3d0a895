"""From CUDA C to a kernel, by CuPy: its ``RawModule`` is kept, Colab has it, and it needs no compiler but NVRTC."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

REAL = {torch.float64: "double", torch.float32: "float"}
STATIC = 2048  # bytes of shared memory that the kernels take for themselves


@dataclass(frozen=True)
class Card:
    """What a kernel's shape depends on."""

    multiprocessors: int
    shared: int  # bytes of shared memory that a block may ask for
    clusters: bool  # whether blocks can be put together in clusters


def card(device):
    """The card that a torch device is."""
    import cupy

    properties = torch.cuda.get_device_properties(device)
    most = cupy.cuda.Device(torch.device(device).index or 0).attributes["MaxSharedMemoryPerBlockOptin"]
    return Card(properties.multi_processor_count, most - STATIC, properties.major >= 9)


def source(name):
    """The CUDA C of a file of kernels, with what they share."""
    folder = Path(__file__).parent
    return (folder / "row.cu").read_text() + (folder / f"{name}.cu").read_text()


def options(**chosen):
    """Settings as options of the compiler, sorted."""
    return ("-std=c++17", *(f"-D{name}={value}" for name, value in sorted(chosen.items())))


@functools.cache
def kernel(file, name, shared, device, **chosen):
    """A kernel of a file, compiled with the settings ``chosen``: ``launch(grid, threads, *arguments)``.

    ``shared`` is how many bytes of shared memory a block of it gets.
    """
    import cupy

    with cupy.cuda.Device(device.index or 0):
        function = cupy.RawModule(code=source(file), options=options(**chosen)).get_function(name)
        function.max_dynamic_shared_size_bytes = shared

    def launch(grid, threads, *arguments):
        with cupy.cuda.Device(device.index or 0), _stream(torch.cuda.current_stream(device)):
            function(grid, (threads,), tuple(map(_passed, arguments)), shared_mem=shared)

    return launch


class _Stream:
    """A stream of torch's as CuPy wants to be given one: by the CUDA stream protocol."""

    def __init__(self, stream):
        self.stream = stream

    def __cuda_stream__(self):
        return 0, self.stream.cuda_stream


def _stream(stream):
    import cupy

    if hasattr(cupy.cuda.Stream, "from_external"):
        return cupy.cuda.Stream.from_external(_Stream(stream))
    return cupy.cuda.ExternalStream(stream.cuda_stream)  # CuPy before 14


def _passed(argument):
    return np.uint64(argument.data_ptr()) if isinstance(argument, torch.Tensor) else np.int32(argument)

"""The GPU's kernels on the CPU: their own source, compiled by g++ with ``cuda_on_cpu.h`` in place of CUDA."""

import ctypes
import functools
import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from udulib.kernels.gpu import launching

COMPILER = shutil.which("g++")
FOLDER = Path(tempfile.gettempdir()) / "udulib-kernels-on-cpu"
HEADER = Path(__file__).with_name("cuda_on_cpu.h")
CARD = launching.Card(multiprocessors=4, shared=100_000, clusters=True)


def card(device):
    return CARD


@functools.cache
def kernel(file, name, shared, device, **chosen):
    """What ``launching.kernel`` gives, for tensors on the CPU."""
    library = ctypes.CDLL(str(_compiled(file, launching.options(**{"CLUSTER": 1, **chosen}))))
    function = getattr(library, f"launch_{name}")

    def launch(grid, threads, *arguments):
        columns, rows = (*grid, 1)[:2]
        for argument in arguments:
            assert not isinstance(argument, torch.Tensor) or argument.is_contiguous()
        passed = [a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments]
        done = function(columns, rows, threads, ctypes.c_size_t(shared), (ctypes.c_int64 * len(passed))(*passed))
        assert done, "threads wait for each other for ever"

    return launch


def _compiled(file, options):
    source = (
        f'#include "{HEADER}"\n' + _shared_made_explicit(launching.source(file)) + _launchers(launching.source(file))
    )
    key = hashlib.sha256("\n".join([HEADER.read_text(), source, *options]).encode()).hexdigest()[:20]
    FOLDER.mkdir(exist_ok=True)
    code, library = FOLDER / f"{key}.cpp", FOLDER / f"{key}.so"
    if not library.exists():
        code.write_text(source)
        part = Path(tempfile.mkdtemp(dir=FOLDER)) / "part.so"
        flags = ("-O1", "-shared", "-fPIC", "-ffp-contract=fast", "-w")
        subprocess.run([COMPILER, *options, *flags, "-o", part, code], check=True)
        part.rename(library)
        part.parent.rmdir()
    return library


def _shared_made_explicit(source):
    """Variables in shared memory as references to a block's own."""
    count = iter(range(1, 1000))

    def explicit(found):
        one = r"(\w+)((?:\[\w+\])*)"
        names = re.findall(one, found[2])
        return " ".join(f"auto& {name} = emulated::shared<{found[1]}{size}>({next(count)});" for name, size in names)

    source = re.sub(r"extern __shared__ (\w+) (\w+)\[\];", r"\1* \2 = &emulated::shared<\1>(0);", source)
    return re.sub(r"__shared__ (\w+) ([^;]+);", explicit, source)


def _launchers(source):
    """A function of C for each kernel: its arguments come as numbers of 64 bits."""
    text = ""
    for name, parameters in re.findall(r"extern \"C\" __global__ [^{;]*?(\w+)\(([^)]*)\) {", source):
        kinds = [re.sub(r"\s*\w+$", "", parameter.strip()) for parameter in parameters.split(",")]
        arguments = ", ".join(f"({kind})a[{k}]" for k, kind in enumerate(kinds))
        text += (
            f'extern "C" int launch_{name}(int x, int y, int threads, size_t shared, long long* a) {{\n'
            f"  return run_grid(x, y, threads, shared, CLUSTER, [=] {{ {name}({arguments}); }});\n}}\n"
        )
    return text

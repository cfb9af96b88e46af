"""What NVIDIA's assembler says of every kernel: registers, spills, shared memory, by architecture. No GPU needed.

    python benchmarks/gpu_kernels.py [--save]

Needs `pip install "faceinv[cuda-check]"`. A spill in a loop that runs for every pixel costs more than it seems to: look
at the machine code (`cuobjdump -sass`) where this table shows one.
"""

from __future__ import annotations

import argparse
import re
from typing import Any, Final

from report import save, table

from faceinv.backends.cupy_cuda.kernels import FILES
from faceinv.backends.cupy_cuda.launch.cupy_device import compile_options
from faceinv.backends.cupy_cuda.launch.kernel_file import KernelFile
from faceinv.backends.cupy_cuda.launch.nvrtc_library import load_nvrtc

ARCHITECTURES: Final = ("sm_75", "sm_80", "sm_90", "sm_120")
_FUNCTION: Final = re.compile(r"Compiling entry function '(\S+)'")
_SPILLS: Final = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED: Final = re.compile(r"Used (\d+) registers")
_SHARED: Final = re.compile(r"(\d+) bytes smem")


def measure(file: KernelFile, architecture: str) -> dict[str, dict[str, int]]:
    """By kernel instance of a file: registers, bytes spilled (written and read) and static shared memory."""
    nvrtc = load_nvrtc()
    names = file.expressions()
    program = nvrtc.createProgram(file.text, file.name, (), ())
    for name in names:
        nvrtc.addNameExpression(program, name)
    # CuPy adds -ftz=true by itself.
    options = (*compile_options(file), f"--gpu-architecture={architecture}", "-ftz=true", "--ptxas-options=-v")
    nvrtc.compileProgram(program, options)
    mangled = {nvrtc.getLoweredName(program, name): name for name in names}
    usage: dict[str, dict[str, int]] = {}
    current: dict[str, int] = {}
    for line in nvrtc.getProgramLog(program).splitlines():
        if match := _FUNCTION.search(line):
            current = usage[mangled[match[1]]] = {"registers": 0, "spilled": 0, "shared": 0}
        elif match := _SPILLS.search(line):
            current["spilled"] = int(match[2]) + int(match[3])
        elif match := _USED.search(line):
            current["registers"] = int(match[1])
            if shared := _SHARED.search(line):
                current["shared"] = int(shared[1])
    nvrtc.destroyProgram(program)
    return usage


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save", action="store_true", help="write results/gpu_kernels.json")
    options = parser.parse_args()
    kernels: dict[str, dict[str, dict[str, int]]] = {}
    for file in FILES.values():
        for architecture in ARCHITECTURES:
            for name, numbers in measure(file, architecture).items():
                kernels.setdefault(name, {})[architecture] = numbers
    rows: list[dict[str, Any]] = []
    for name, by_architecture in kernels.items():
        row: dict[str, Any] = {"kernel": name}
        for architecture, numbers in by_architecture.items():
            spilled = f" ({numbers['spilled']} B spilled)" if numbers["spilled"] else ""
            row[architecture] = f"{numbers['registers']}{spilled}"
        rows.append({**row, "shared, B": max(numbers["shared"] for numbers in by_architecture.values())})
    print("Registers of a thread:")
    print(table(rows))
    if options.save:
        version = ".".join(str(part) for part in load_nvrtc().getVersion())
        print(save("gpu_kernels", {"nvrtc": version, "kernels": kernels}).name)


if __name__ == "__main__":
    main()

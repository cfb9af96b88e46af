"""Compiles CUDA text with NVRTC, which needs no GPU."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from faceinv.backends.cupy_cuda.launch.kernel_file import KernelFile
from faceinv.backends.cupy_cuda.launch.nvrtc_library import INSTALL, load_nvrtc
from faceinv.errors import BackendError

__all__ = ["ARCHITECTURES", "compile_file", "compile_text", "load", "options"]

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_120")


def load() -> tuple[ModuleType | None, str]:
    """CuPy's binding of NVRTC, or None and why not."""
    try:
        return load_nvrtc(), ""
    except BackendError as error:
        return None, str(error).replace(INSTALL, 'pip install "faceinv[cuda-check]"')


def options(exact: bool, architecture: str) -> tuple[str, ...]:
    """What the compiler is told; CuPy adds `-ftz=true` by itself."""
    fmad = "false" if exact else "true"
    return (
        *(f"--gpu-architecture={architecture}", f"--fmad={fmad}", "--std=c++17"),
        *("--prec-div=true", "--prec-sqrt=true", "-ftz=true"),
    )


def compile_file(file: KernelFile, architecture: str) -> tuple[bytes, str]:
    """The machine code of all instances in a `.cu` file, and what the compiler had to say."""
    return compile_text(file.name, file.text, file.expressions(), architecture, file.exact)


def compile_text(file: str, text: str, names: Sequence[str], architecture: str, exact: bool) -> tuple[bytes, str]:
    """The machine code of the kernels named in a text, and what the compiler had to say.

    Raises:
        RuntimeError: where it does not compile, with the compiler's words.
    """
    nvrtc, reason = load()
    assert nvrtc is not None, reason
    program = nvrtc.createProgram(text, file, (), ())
    try:
        for name in names:
            nvrtc.addNameExpression(program, name)
        try:
            nvrtc.compileProgram(program, options(exact, architecture))
        except Exception as error:
            raise RuntimeError(f"{file} for {architecture}: {error}\n{nvrtc.getProgramLog(program)}") from error
        return nvrtc.getCUBIN(program), nvrtc.getProgramLog(program).strip("\0\n ")
    finally:
        nvrtc.destroyProgram(program)

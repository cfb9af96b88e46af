"""Compiles CUDA text with NVRTC, which needs no GPU."""

from __future__ import annotations

from types import ModuleType

from faceinv.backends.cupy_cuda.kernels import EXACT, kernels_of, source
from faceinv.backends.cupy_cuda.nvrtc_library import INSTALL, load_nvrtc
from faceinv.errors import BackendError

__all__ = ["ARCHITECTURES", "compile_file", "compile_text", "load", "options"]

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_120")


def load() -> tuple[ModuleType | None, str]:
    """CuPy's binding of NVRTC, or None and why not."""
    try:
        return load_nvrtc(), ""
    except BackendError as error:
        return None, str(error).replace(INSTALL, 'pip install "faceinv[cuda-check]"')


def options(file: str, architecture: str, fmad: str | None = None) -> tuple[str, ...]:
    """What the compiler is told; CuPy adds `-ftz=true` by itself."""
    fmad = fmad or ("false" if file in EXACT else "true")
    return (
        *(f"--gpu-architecture={architecture}", f"--fmad={fmad}", "--std=c++17"),
        *("--prec-div=true", "--prec-sqrt=true", "-ftz=true"),
    )


def compile_file(file: str, architecture: str) -> tuple[bytes, str]:
    """The machine code of all instances in a `.cu` file, and what the compiler had to say."""
    names = [found.expression(instance) for found in kernels_of(file) for instance in found.instances]
    return compile_text(file, source(file), names, architecture, "false" if file in EXACT else "true")


def compile_text(file: str, text: str, names: list[str], architecture: str, fmad: str) -> tuple[bytes, str]:
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
            nvrtc.compileProgram(program, options("", architecture, fmad))
        except Exception as error:
            raise RuntimeError(f"{file} for {architecture}: {error}\n{nvrtc.getProgramLog(program)}") from error
        return nvrtc.getCUBIN(program), nvrtc.getProgramLog(program).strip("\0\n ")
    finally:
        nvrtc.destroyProgram(program)

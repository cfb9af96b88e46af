"""`faceinv engines`: what can compute here."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from faceinv.engine.registry import EngineStatus

__all__ = ["engines"]


def engines() -> None:
    """Every known engine, installed or not: library and version, devices here, and what to install."""
    from rich.table import Table

    from faceinv.cli.console import PipeConsole
    from faceinv.engine.registry import available_engines

    table = Table("engine", "library", "devices here", "precision", "install")
    problems = []
    for status in available_engines():
        devices = "-"
        if status.installed:
            devices, problem = _devices(status)
            problems += [f"{status.name} cannot be used: {problem}"] if problem else []
        table.add_row(status.name, status.version or "not installed", devices, "float32, float64", status.install)
    console = PipeConsole(highlight=False, markup=False, width=None if os.isatty(1) else 160)
    console.print(table)
    for problem in problems:
        console.print(problem, soft_wrap=True)
    console.print("Choose one with --backend engine[:device][:dtype], such as numpy, numpy:float64 or torch:cuda:0.")


def _devices(status: EngineStatus) -> tuple[str, str]:
    """The devices an engine can use, and the sentence that says why it cannot be used, or nothing."""
    from faceinv.engine.registry import build_engine
    from faceinv.face.formats import load_model

    try:
        description = build_engine(status.name, load_model("default")).description
        devices = _PROBES[status.name]() if status.name in _PROBES else [description]
    except Exception as error:  # libraries that are there but broken raise anything
        return "none, see below", str(error) or type(error).__name__
    return ", ".join(devices) or description, ""


def _cpu() -> list[str]:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [f"cpu ({count} core{'s' * (count != 1)})"]


def _torch() -> list[str]:
    torch: Any = importlib.import_module("torch")
    cuda = [f"cuda:{n} ({torch.cuda.get_device_name(n)})" for n in range(torch.cuda.device_count())]
    return [*_cpu(), *cuda]


def _cupy() -> list[str]:
    runtime: Any = importlib.import_module("cupy").cuda.runtime
    names = (runtime.getDeviceProperties(n)["name"].decode() for n in range(runtime.getDeviceCount()))
    return [f"{n} ({name})" for n, name in enumerate(names)]


_PROBES: Final[dict[str, Callable[[], list[str]]]] = {"numpy": _cpu, "torch": _torch, "mxnet": _cpu, "cupy": _cupy}

"""A `.cu` file: the kernels it defines, and its whole text with what Python declares in front."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faceinv.backends.cupy_cuda.launch.kernel import Kernel

__all__ = ["KernelFile"]


@dataclass(frozen=True, eq=False)
class KernelFile:
    """Kernels that are compiled together."""

    package: str
    """Where the file and its headers are."""
    kernels: tuple[Kernel, ...]
    """All that it defines, in order."""
    prelude: str
    """Text in front of it: constants that Python knows."""
    exact: bool
    """Compiled without fused multiply-add: for geometry, visibility and costs, whose bits are compared."""

    @property
    def name(self) -> str:
        """The file's name."""
        return self.kernels[0].file

    @cached_property
    def text(self) -> str:
        """What is compiled: constants, parameter structs, and the file with its headers, which need no files, put in
        place."""
        seen: set[str] = set()

        def expand(name: str) -> str:
            text = resources.files(self.package).joinpath(name).read_text("utf-8").replace("#pragma once\n", "")

            def include(match: re.Match[str]) -> str:
                header = match.group(1)
                if header in seen:
                    return ""
                seen.add(header)
                return expand(header)

            return re.sub(r'^#include "([^"]+)"\n', include, text, flags=re.MULTILINE)

        structs = "".join(kernel.struct_text for kernel in self.kernels)
        return self.prelude + structs + expand(self.name)

    def expressions(self) -> tuple[str, ...]:
        """The names of all instances of its kernels, as C++ writes them."""
        return tuple(kernel.expression(arguments) for kernel in self.kernels for arguments in kernel.instances)

    def expressions_with(self, real: str, flat: str) -> tuple[str, ...]:
        """Those of a precision and a kind of normals."""
        return tuple(
            kernel.expression(arguments) for kernel in self.kernels for arguments in kernel.instances_with(real, flat)
        )

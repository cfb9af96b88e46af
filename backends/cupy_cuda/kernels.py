"""The `.cu` text: read as package data, with what Python needs to know of each kernel taken from the text itself.

A kernel has one parameter, a struct. Its fields give the names, types and order of what is passed, and each pointer's
comment begins with the array's shape in terms of the struct's integers, so there is one place where an array is
described and every launch is checked against it.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import CodeType
from typing import Any, Final, NoReturn

import numpy as np

from faceinv.engine.records import DEPTH_UNITS, MIN_DOUBLE_AREA, RASTER_LIMIT, SNAP
from faceinv.errors import BackendError
from faceinv.face.lighting import SH_CONSTANTS

__all__ = ["CAMERA_SIZE", "EXACT", "FILES", "Field", "Instance", "Kernel", "instance", "kernel", "kernels_of", "source"]

CAMERA_SIZE: Final = 39
"""Doubles in a camera record (common.cuh)."""

FILES: Final = (
    "geometry.cu",
    "raster.cu",
    "select.cu",
    "shading.cu",
    "rows.cu",
    "normals.cu",
    "assembly.cu",
    "landmarks.cu",
    "finish.cu",
    "solve.cu",
    "misfit.cu",
)

EXACT: Final = frozenset(
    {"geometry.cu", "raster.cu", "select.cu", "shading.cu", "rows.cu", "landmarks.cu", "misfit.cu"}
)
"""Files compiled without fused multiply-add: geometry, visibility and costs, whose bits are compared."""

_TEMPLATE_VALUES: Final = {"typename": ("float", "double"), "bool": ("false", "true"), "int": ("1", "8")}
"""Every value a template parameter of a kind is used with."""

_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "byte": np.dtype(np.uint8),
    "int": np.dtype(np.int32),
    "key_t64": np.dtype(np.uint64),
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
}
_LIMITS: Final = (2**31 - 1, 65535, 65535)

_FIELD: Final = re.compile(r"^\s*(const\s+)?(\w+)(\*?)\s+(\w+);\s*//\s*(.*)$")
_KERNEL: Final = re.compile(
    r"(?:template <([^>]*)>\s*)?__global__ void (?:__launch_bounds__\([\d, ]+\) )?(\w+)\(const (\w+)(?:<\w+>)? p\)"
)


@dataclass(frozen=True)
class Field:
    """One field of a parameter struct."""

    name: str
    type: str
    """The C type, of what is pointed to where it is a pointer; `Real` where the template decides."""
    pointer: bool
    optional: bool
    """The pointer may be null."""
    shape: str
    """A Python tuple in the struct's integers; empty for numbers."""
    comment: str


@dataclass(frozen=True)
class Kernel:
    """What the text says of a kernel."""

    name: str
    file: str
    template: tuple[str, ...]
    """The kinds of its template parameters: typename, bool or int."""
    struct: str
    fields: tuple[Field, ...]
    names: frozenset[str]
    shapes: CodeType
    """Evaluates, with the integer fields as names, to the shapes of the pointer fields in order."""
    layout: np.dtype[Any]
    """The struct in memory, pointers as unsigned 64-bit integers."""

    def instances_with(self, real: str, flat: str) -> tuple[tuple[str, ...], ...]:
        """Those of a precision and a kind of normals."""
        wanted = {"typename": (real,), "bool": (flat,)}
        return tuple(itertools.product(*(wanted.get(kind, _TEMPLATE_VALUES[kind]) for kind in self.template)))

    @property
    def instances(self) -> tuple[tuple[str, ...], ...]:
        """All template arguments that are compiled; one empty tuple for a plain function."""
        return tuple(itertools.product(*(_TEMPLATE_VALUES[kind] for kind in self.template)))

    def expression(self, arguments: tuple[str, ...] = ()) -> str:
        """The name of an instance, as C++ writes it."""
        return f"{self.name}<{', '.join(arguments)}>" if arguments else self.name

    def refuse(self, values: dict[str, Any], arguments: tuple[str, ...]) -> NoReturn:
        """Say what is wrong with the arguments of a launch.

        Raises:
            TypeError: for missing, unknown or absent values, and arrays of another dtype or layout.
            ValueError: for arrays of another shape.
        """
        if values.keys() != self.names:
            unknown, missing = sorted(values.keys() - self.names), sorted(self.names - values.keys())
            raise TypeError(f"kernel {self.name}: unknown arguments {unknown}, missing arguments {missing}.")
        numbers = {field.name: values[field.name] for field in self.fields if field.type == "int" and not field.pointer}
        shapes = iter(eval(self.shapes, {"CAMERA_SIZE": CAMERA_SIZE, **_SIZES}, numbers))
        for field in self.fields:
            value = values[field.name]
            if not field.pointer:
                continue
            shape = next(shapes)
            if value is None and field.optional:
                continue
            if value is None:
                raise TypeError(f"kernel {self.name}: '{field.name}' must not be absent.")
            dtype = _dtype(field, arguments)
            if value.dtype != dtype or not value.flags.c_contiguous:
                raise TypeError(
                    f"kernel {self.name}: '{field.name}' is {value.dtype}, contiguous: {value.flags.c_contiguous}; "
                    f"expected contiguous {dtype}."
                )
            if value.shape != shape:
                raise ValueError(
                    f"kernel {self.name}: '{field.name}' has shape {value.shape}, expected {field.shape} = {shape}."
                )
        raise AssertionError(f"kernel {self.name}: the two readings of its struct disagree.")

    def check_grid(self, grid: tuple[int, int, int]) -> None:
        """Refuse what the hardware cannot launch.

        Raises:
            BackendError: for a grid beyond CUDA's limits.
        """
        x, y, z = grid
        if x > _LIMITS[0] or y > _LIMITS[1] or z > _LIMITS[2]:
            raise BackendError(f"kernel {self.name}: grid {grid} exceeds CUDA's limits {_LIMITS}; use smaller batches.")


def _dtype(field: Field, arguments: tuple[str, ...]) -> np.dtype[Any]:
    return _DTYPES[arguments[0] if field.type == "Real" else field.type]


@dataclass(frozen=True)
class Instance:
    """A kernel with its template arguments, ready to be launched."""

    kernel: Kernel
    expression: str
    """Its name as C++ writes it."""
    pack: Callable[[dict[str, Any], Callable[[Any], int]], bytes | None]
    """The struct's bytes from (values, address), where `address(array)` gives where an array begins; None where the
    kernel's text does not allow the values, and `kernel.refuse` says why."""


@cache
def instance(name: str, arguments: tuple[str, ...] = ()) -> Instance:
    """An instance of the kernel of a name.

    Raises:
        TypeError: for template arguments that are not among those that are compiled.
    """
    what = kernel(name)
    if arguments not in what.instances:
        raise TypeError(f"kernel {name} has no instance {arguments}; there are {what.instances}.")
    return Instance(what, what.expression(arguments), _packer(what, arguments))


def _packer(what: Kernel, arguments: tuple[str, ...]) -> Callable[..., bytes | None]:
    """See `Instance.pack`. The function is written for the kernel, as launches are many and interpreting fields would
    cost more than small kernels do."""
    scope: dict[str, Any] = {"CAMERA_SIZE": CAMERA_SIZE, **_SIZES}
    lines, packed, layout, at = ["def pack(values, address):", "  try:"], [], "=", 0
    lines.append(f"    if len(values) != {len(what.fields)}: return None")
    for number, field in enumerate(what.fields):
        dtype, offset = what.layout.fields[field.name][:2]  # type: ignore[index]
        layout += f"{offset - at}x{dtype.char if dtype.kind != 'u' else 'Q'}"
        at = offset + dtype.itemsize
        lines.append(f"    {field.name} = values[{field.name!r}]")
        packed.append(f"address({field.name})" if field.pointer else field.name)
        if field.pointer:
            scope[f"_{number}"] = _dtype(field, arguments)
            wrong = (
                f"{field.name}.shape != {field.shape} or {field.name}.dtype != _{number} "
                f"or not {field.name}.flags.c_contiguous"
            )
            if field.optional:
                wrong = f"{field.name} is not None and ({wrong})"
                packed[-1] = f"address({field.name}) if {field.name} is not None else 0"
            lines += [f"    if {wrong}: return None"]
    layout += f"{what.layout.itemsize - at}x"
    scope["_pack"] = struct.Struct(layout).pack
    lines += ["  except (AttributeError, KeyError, NameError): return None", f"  return _pack({', '.join(packed)})"]
    exec("\n".join(lines), scope)
    packer: Callable[..., bytes | None] = scope["pack"]
    return packer


_SIZES: Final = {"LANDMARKS": 68, "LANDMARK_ROWS": 136, "JAW": 17, "REPORT": 3}


def _prelude() -> str:
    constants = {
        "SNAP": str(SNAP),
        "DEPTH_UNITS": f"{float(DEPTH_UNITS)!r}",
        "RASTER_LIMIT": f"{float(RASTER_LIMIT)!r}",
        "MIN_DOUBLE_AREA": f"{float(MIN_DOUBLE_AREA)!r}",
        **{f"SH_{i}": f"{float(value)!r}" for i, value in enumerate(SH_CONSTANTS)},
    }
    return "".join(f"#define {name} {value}\n" for name, value in constants.items())


@cache
def source(file: str) -> str:
    """The text of a `.cu` file with constants in front and its headers, which need no files, put in place."""
    seen: set[str] = set()

    def expand(name: str) -> str:
        text = resources.files(__package__).joinpath(name).read_text("utf-8").replace("#pragma once\n", "")

        def include(match: re.Match[str]) -> str:
            header = match.group(1)
            if header in seen:
                return ""
            seen.add(header)
            return expand(header)

        return re.sub(r'^#include "([^"]+)"\n', include, text, flags=re.MULTILINE)

    return _prelude() + expand(file)


@cache
def kernels_of(file: str) -> tuple[Kernel, ...]:
    """The kernels of a file, in order."""
    text = source(file)
    found = []
    for template, name, struct_name in _KERNEL.findall(text):
        body = re.search(rf"struct {struct_name} \{{\n(.*?)\n\}};", text, re.DOTALL)
        if body is None:
            raise BackendError(f"{file}: struct {struct_name} of {name} is missing; the installation is damaged.")
        fields = tuple(_field(file, struct_name, line) for line in body.group(1).splitlines())
        kinds = tuple(part.split()[0] for part in template.split(",")) if template else ()
        shapes = ", ".join(field.shape for field in fields if field.pointer)
        found.append(
            Kernel(
                name,
                file,
                kinds,
                struct_name,
                fields,
                frozenset(field.name for field in fields),
                compile(f"({shapes},)", f"{file}:{struct_name}", "eval"),
                np.dtype([(f.name, np.uint64 if f.pointer else _DTYPES[f.type]) for f in fields], align=True),
            )
        )
    return tuple(found)


def _field(file: str, struct: str, line: str) -> Field:
    match = _FIELD.match(line)
    if match is None:
        raise BackendError(f"{file}: struct {struct} has a field without a comment: {line.strip()!r}.")
    _, kind, star, name, comment = match.groups()
    shape = ""
    if star:
        shape = comment[: comment.index(")") + 1]
        shape = shape if "," in shape else shape.replace(")", ",)")
    return Field(name, kind, bool(star), bool(re.match(r"\([^)]*\) or null", comment)), shape, comment)


@cache
def kernel(name: str) -> Kernel:
    """The kernel of a name."""
    return {found.name: found for file in FILES for found in kernels_of(file)}[name]

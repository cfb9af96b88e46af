"""What a kernel is given, declared once: the C struct of its parameter and the check of every launch come from it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NoReturn, TypeAlias

import numpy as np

__all__ = [
    "BYTE",
    "DOUBLE",
    "FLAT",
    "FLOAT",
    "INT",
    "KEY",
    "REAL",
    "REAL_TYPE",
    "ArrayField",
    "Kernel",
    "NumberField",
    "ScalarType",
    "Side",
    "Size",
    "TemplateParameter",
    "number",
    "reads",
    "whole_number",
    "writes",
]


@dataclass(frozen=True)
class ScalarType:
    """A number's type in C and in NumPy."""

    c: str
    dtype: np.dtype[Any] | None
    """None where the template decides."""


BYTE: Final = ScalarType("unsigned char", np.dtype(np.uint8))
INT: Final = ScalarType("int", np.dtype(np.int32))
KEY: Final = ScalarType("unsigned long long", np.dtype(np.uint64))
FLOAT: Final = ScalarType("float", np.dtype(np.float32))
DOUBLE: Final = ScalarType("double", np.dtype(np.float64))
REAL: Final = ScalarType("Real", None)
"""The precision of Jacobian rows: the kernel's first template parameter, `typename Real`."""


@dataclass(frozen=True)
class TemplateParameter:
    """A parameter of a kernel's template."""

    declaration: str
    """As C++ writes it."""
    values: tuple[str, ...]
    """Every value it is used with."""


REAL_TYPE: Final = TemplateParameter("typename Real", ("float", "double"))
FLAT: Final = TemplateParameter("bool FLAT", ("false", "true"))


@dataclass(frozen=True)
class Size:
    """A side of an array that a number of the launch decides: `times * number + plus`."""

    number: str
    times: int = 1
    plus: int = 0

    def __str__(self) -> str:
        product = self.number if self.times == 1 else f"{self.times} * {self.number}"
        return f"{product} + {self.plus}" if self.plus else product


Side: TypeAlias = int | str | Size
"""A fixed side, a number of the launch by its name, or a multiple of one."""


@dataclass(frozen=True)
class NumberField:
    """A number in a parameter struct."""

    name: str
    type: ScalarType
    meaning: str


@dataclass(frozen=True)
class ArrayField:
    """A pointer in a parameter struct."""

    name: str
    type: ScalarType
    """Of what it points to."""
    shape: tuple[Side, ...]
    meaning: str
    written: bool
    """The kernel writes to it."""
    optional: bool
    """It may be null."""

    @property
    def shape_text(self) -> str:
        """The shape as people write it."""
        sides = ", ".join(str(side) for side in self.shape)
        return f"({sides},)" if len(self.shape) == 1 else f"({sides})"

    @cached_property
    def sizes(self) -> tuple[int | Size, ...]:
        """The shape, names of numbers written as sizes."""
        return tuple(Size(side) if isinstance(side, str) else side for side in self.shape)

    def shape_beside(self, numbers: Mapping[str, Any]) -> tuple[int, ...]:
        """The shape that the array must have beside the numbers of a launch."""
        return tuple(
            side.times * numbers[side.number] + side.plus if isinstance(side, Size) else side for side in self.sizes
        )

    def dtype_with(self, arguments: tuple[str, ...]) -> np.dtype[Any]:
        """The dtype that the array must have under template arguments."""
        return self.type.dtype or np.dtype({"float": np.float32, "double": np.float64}[arguments[0]])


def whole_number(name: str, meaning: str) -> NumberField:
    """An int, which shapes may name."""
    return NumberField(name, INT, meaning)


def number(name: str, meaning: str) -> NumberField:
    """A double."""
    return NumberField(name, DOUBLE, meaning)


def reads(
    name: str, dtype: ScalarType, shape: tuple[Side, ...], meaning: str = "", optional: bool = False
) -> ArrayField:
    """An array that the kernel reads."""
    return ArrayField(name, dtype, shape, meaning, written=False, optional=optional)


def writes(
    name: str, dtype: ScalarType, shape: tuple[Side, ...], meaning: str = "", optional: bool = False
) -> ArrayField:
    """An array that the kernel writes to."""
    return ArrayField(name, dtype, shape, meaning, written=True, optional=optional)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel: it has one parameter, a struct, passed by value.

    Raises:
        ValueError: for a declaration that contradicts itself.
    """

    name: str
    file: str
    """The `.cu` file that defines it."""
    numbers: tuple[NumberField, ...]
    """Fields that are numbers; they come first in the struct."""
    arrays: tuple[ArrayField, ...]
    """Fields that are pointers."""
    template: tuple[TemplateParameter, ...] = ()

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        if len(set(names)) < len(names):
            raise ValueError(f"kernel {self.name}: two fields have the same name, in {names}.")
        known = {field.name for field in self.numbers if field.type is INT}
        for field in self.arrays:
            unknown = {side.number for side in field.sizes if isinstance(side, Size)} - known
            if unknown:
                raise ValueError(f"kernel {self.name}: the shape of '{field.name}' names {unknown}, not an int of it.")
            if field.type is REAL and self.template[:1] != (REAL_TYPE,):
                raise ValueError(f"kernel {self.name}: '{field.name}' is Real, which its template does not declare.")

    @property
    def fields(self) -> tuple[NumberField | ArrayField, ...]:
        """All fields of the struct, in order."""
        return (*self.numbers, *self.arrays)

    @property
    def struct_name(self) -> str:
        """The C name of its parameter's type."""
        return "".join(word.capitalize() for word in self.name.split("_")) + "Params"

    @cached_property
    def struct_text(self) -> str:
        """The C struct of its parameter."""
        head = "template <typename Real>\n" if any(field.type is REAL for field in self.arrays) else ""
        lines = [f"    {field.type.c} {field.name};  // {field.meaning}" for field in self.numbers]
        for field in self.arrays:
            const = "" if field.written else "const "
            null = " or null" if field.optional else ""
            about = f"{field.shape_text}{null} {field.meaning}".rstrip()
            lines.append(f"    {const}{field.type.c}* {field.name};  // {about}")
        return f"{head}struct {self.struct_name} {{\n" + "\n".join(lines) + "\n};\n"

    @cached_property
    def layout(self) -> np.dtype[Any]:
        """The struct in memory, pointers as unsigned 64-bit integers."""
        numbers = [(field.name, field.type.dtype) for field in self.numbers]
        return np.dtype([*numbers, *((field.name, np.uint64) for field in self.arrays)], align=True)

    def instances_with(self, real: str, flat: str) -> tuple[tuple[str, ...], ...]:
        """Those of a precision and a kind of normals."""
        wanted = {REAL_TYPE: (real,), FLAT: (flat,)}
        return tuple(itertools.product(*(wanted.get(part, part.values) for part in self.template)))

    @property
    def instances(self) -> tuple[tuple[str, ...], ...]:
        """All template arguments that are compiled; one empty tuple for a plain function."""
        return tuple(itertools.product(*(part.values for part in self.template)))

    def expression(self, arguments: tuple[str, ...] = ()) -> str:
        """The name of an instance, as C++ writes it."""
        return f"{self.name}<{', '.join(arguments)}>" if arguments else self.name

    def refuse(self, values: Mapping[str, Any], arguments: tuple[str, ...]) -> NoReturn:
        """Say what is wrong with the arguments of a launch.

        Raises:
            TypeError: for missing, unknown or absent values, and arrays of another dtype or layout.
            ValueError: for arrays of another shape.
        """
        names = {field.name for field in self.fields}
        if values.keys() != names:
            unknown, missing = sorted(values.keys() - names), sorted(names - values.keys())
            raise TypeError(f"kernel {self.name}: unknown arguments {unknown}, missing arguments {missing}.")
        for field in self.arrays:
            value = values[field.name]
            if value is None and field.optional:
                continue
            if value is None:
                raise TypeError(f"kernel {self.name}: '{field.name}' must not be absent.")
            dtype, shape = field.dtype_with(arguments), field.shape_beside(values)
            if value.dtype != dtype or not value.flags.c_contiguous:
                raise TypeError(
                    f"kernel {self.name}: '{field.name}' is {value.dtype}, contiguous: {value.flags.c_contiguous}; "
                    f"expected contiguous {dtype}."
                )
            if value.shape != shape:
                raise ValueError(
                    f"kernel {self.name}: '{field.name}' has shape {value.shape}, expected "
                    f"{field.shape_text} = {shape}."
                )
        raise AssertionError(f"kernel {self.name}: the two readings of its fields disagree.")

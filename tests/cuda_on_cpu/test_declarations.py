"""Kernels as they are declared: structs, and what their text may know of the camera."""

from __future__ import annotations

import re
from importlib import resources

import numpy as np
import pytest

from faceinv.backends.cupy_cuda.kernels import FILES
from faceinv.backends.cupy_cuda.launch.kernel import (
    BYTE,
    DOUBLE,
    REAL,
    REAL_TYPE,
    Kernel,
    Size,
    number,
    reads,
    whole_number,
    writes,
)
from faceinv.backends.cupy_cuda.launch.packing import instance

EXAMPLE = Kernel(
    "scale_rows",
    "example.cu",
    (whole_number("rows", "R"), number("factor", "of all")),
    (
        reads("chosen", BYTE, ("rows",), "rows to scale", optional=True),
        writes("out", REAL, (Size("rows", times=2, plus=1), 3), "px"),
    ),
    template=(REAL_TYPE,),
)


class Somewhere:
    """An array at a made-up address."""

    def __init__(self, address: int, shape: tuple[int, ...], dtype: str) -> None:
        self.address, self.shape, self.dtype, self.flags = address, shape, np.dtype(dtype), np.zeros(1).flags


def address(array: Somewhere) -> int:
    return array.address


def test_struct_is_written_in_c() -> None:
    assert EXAMPLE.struct_text == (
        "template <typename Real>\n"
        "struct ScaleRowsParams {\n"
        "    int rows;  // R\n"
        "    double factor;  // of all\n"
        "    const unsigned char* chosen;  // (rows,) or null rows to scale\n"
        "    Real* out;  // (2 * rows + 1, 3) px\n"
        "};\n"
    )


@pytest.mark.parametrize("chosen", [None, Somewhere(0x1000, (4,), "uint8")])
def test_bytes_are_those_of_the_struct(chosen: Somewhere | None) -> None:
    out = Somewhere(0x2000, (9, 3), "float32")
    for _ in range(2):  # also when shapes are remembered
        packed = instance(EXAMPLE, ("float",)).pack({"rows": 4, "factor": 0.5, "chosen": chosen, "out": out}, address)
        assert np.frombuffer(packed, EXAMPLE.layout).item() == (4, 0.5, chosen.address if chosen else 0, 0x2000)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rows": 5}, ValueError, r"'chosen' has shape \(4,\), expected \(rows,\) = \(5,\)"),
        ({"out": Somewhere(1, (9, 3), "float64")}, TypeError, "'out' is float64, .* expected contiguous float32"),
        ({"out": Somewhere(1, (8, 3), "float32")}, ValueError, r"expected \(2 \* rows \+ 1, 3\) = \(9, 3\)"),
        ({"out": None}, TypeError, "'out' must not be absent"),
        ({"more": 1}, TypeError, r"unknown arguments \['more'\]"),
    ],
)
def test_what_is_not_allowed_is_refused(change: dict[str, object], error: type[Exception], message: str) -> None:
    values = {
        "rows": 4,
        "factor": 0.5,
        "chosen": Somewhere(1, (4,), "uint8"),
        "out": Somewhere(1, (9, 3), "float32"),
        **change,
    }
    with pytest.raises(error, match=message):
        instance(EXAMPLE, ("float",)).pack(values, address)


def test_wrong_addresses_are_not_taken_for_wrong_arrays() -> None:
    """An error inside the device shows as it is."""

    def failing(_: object) -> int:
        raise AttributeError("the device's own")

    values = {"rows": 4, "factor": 0.5, "chosen": None, "out": Somewhere(1, (9, 3), "float32")}
    with pytest.raises(AttributeError, match="the device's own"):
        instance(EXAMPLE, ("float",)).pack(values, failing)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((reads("a", DOUBLE, ("length",)),), "the shape of 'a' names"),
        ((reads("a", DOUBLE, ("factor",)),), "the shape of 'a' names"),
        ((reads("rows", DOUBLE, (3,)),), "two fields have the same name"),
        ((reads("a", REAL, (3,)),), "'a' is Real, which its template does not declare"),
    ],
)
def test_declarations_that_contradict_themselves(arrays: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Kernel("k", "k.cu", (whole_number("rows", "R"), number("factor", "")), arrays)  # type: ignore[arg-type]


def test_only_the_cameras_header_knows_the_camera() -> None:
    """Another camera changes camera.cuh and camera.py, and nothing else."""
    folder = resources.files("faceinv.backends.cupy_cuda.kernels")
    texts = {file.name: file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith((".cu", ".cuh"))}
    assert set(FILES) < set(texts)
    knowing = re.compile(r"\bcamera\.|\brotation\b|\btranslation\b|\bpose\s*[+[]\s*\d|\b(12|27|39)\b(?!\.)")
    for name, text in texts.items():
        bare = re.sub(r"//[^\n]*|#include[^\n]*|\d+\.\d+|\de-?\d+", "", text)
        assert bool(knowing.search(bare)) == (name == "camera.cuh"), f"{name}: {knowing.search(bare)}"

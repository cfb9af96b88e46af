"""The kernels: each `.cu` file beside the module that declares what it is given and launches it."""

from __future__ import annotations

from typing import Final

from faceinv.backends.cupy_cuda.kernels import (
    assembly,
    detail,
    detail_solve,
    finish,
    geometry,
    landmarks,
    misfit,
    normals,
    photometric,
    pixels,
    raster,
    select,
    solve,
)

__all__ = ["DETAIL_FILES", "FILES", "FIT_FILES"]

FIT_FILES: Final = {
    module.FILE.name: module.FILE
    for module in (
        geometry,
        raster,
        select,
        pixels,
        photometric,
        normals,
        assembly,
        landmarks,
        finish,
        solve,
        misfit,
    )
}
"""Those that fits are made with, by name."""
DETAIL_FILES: Final = {module.FILE.name: module.FILE for module in (detail, detail_solve)}
"""Those that fine detail is found with, by name."""
FILES: Final = FIT_FILES | DETAIL_FILES
"""All of them, by name."""

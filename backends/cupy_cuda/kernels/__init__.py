"""The kernels: each `.cu` file beside the module that declares what it is given and launches it."""

from __future__ import annotations

from typing import Final

from faceinv.backends.cupy_cuda.kernels import (
    assembly,
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

__all__ = ["FILES"]

FILES: Final = {
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
"""All of them, by name."""

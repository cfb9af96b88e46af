"""The kernels are clean under sanitizers, and deliberate mistakes in them are seen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from executor import CpuDevice, KernelError, sanitizer_environment
from workload import BARRIER, results, without_barrier

from faceinv.backends.cupy_cuda.kernels import FILES

_SCRIPT = str(Path(__file__).parents[1] / "support" / "workload.py")

BARRIERS = {
    "coefficients overwritten too early": ("geometry.cu", "// the last round's coefficients"),
    "flags counted too early": ("select.cu", "int before = 0;"),
    "costs summed too early": ("photometric.cu", "double total = 0.0;"),
    "matrices read too early": ("normals.cu", "for (int k = lane; k < p.modes"),
    "rows read too early": ("assembly.cu", "// rows are there"),
    "rows overwritten too early": ("assembly.cu", "// records are there"),
    "contour read too early": ("landmarks.cu", "if (threadIdx.x) return;"),
    "landmark rows overwritten too early": ("finish.cu", "// the last rows have been used"),
    "scratch used again too early": ("finish.cu", "// scratch may be used again"),
    "pivot read too early": ("solve.cu", "// the pivot's row is there"),
    "counts read too early": ("misfit.cu", "// counts are complete"),
    "counts overwritten too early": ("misfit.cu", "// the digit is known"),
    "counts not yet zero": ("misfit.cu", "// counts are zero"),
    "unknowns read too early": ("solve.cu", "// the panel's unknowns"),
    "equations read too early": ("solve.cu", "// what the unknowns beyond"),
    "factor overwritten too early": ("solve.cu", "// the panel is in `factor`"),
}

OUT_OF_BOUNDS = {
    "a pixel below the image": ("raster.cu", "atomicMax(keys + py * p.width", "atomicMax(keys + (py + 64) * p.width"),
    "a record past the last pixel": ("photometric.cu", "capacity = p.capacity;", "capacity = p.capacity + 4;"),
    "a pack that is not aligned": ("assembly.cu", "shape[q] + a * step + k)", "shape[q] + a * step + k + 1)"),
    "dynamic shared memory": ("assembly.cu", "k < 3 * p.piece * width;", "k < 9 * p.piece * width;"),
    "static shared memory": ("finish.cu", "left[row][k % PATCH] =", "left[row + 34][k % PATCH] ="),
    "a vertex that does not exist": ("geometry.cu", "if (v >= p.vertices) return;", "if (v > p.vertices) return;"),
    "a window beyond the image": ("misfit.cu", "min(p.height - 1, y", "min(p.height, y"),
    "a pixel below the relief": ("detail.cu", "out.pixel[0] + width;", "out.pixel[0] + 64 * width;"),
    "a corner beyond the relief": ("detail_solve.cu", "at + k + across + 1, share)", "at + k + 64 * across, share)"),
    "an index beyond 32 bits": ("select.cu", "* p.length;", "* (p.length * p.length * 1000);"),
}


def _checked(*change: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, _SCRIPT, "checked", *change],
        capture_output=True,
        text=True,
        env=sanitizer_environment(),
        check=False,
    )


def test_clean_under_sanitizers() -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer find nothing, in order and shuffled."""
    done = _checked()
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "clean"


@pytest.mark.parametrize("mistake", OUT_OF_BOUNDS)
def test_bad_index_is_seen(mistake: str) -> None:
    file, old, new = OUT_OF_BOUNDS[mistake]
    assert old in FILES[file].text
    done = _checked(file, old, new)
    assert done.returncode != 0, "the mistake was not seen"
    assert "AddressSanitizer" in done.stderr or "runtime error" in done.stderr, done.stderr[-3000:]


@pytest.mark.parametrize("mistake", BARRIERS)
def test_missing_barrier_is_seen(mistake: str) -> None:
    """Taken out, a barrier changes results, breaks the rules of barriers, or crashes."""
    file, after = BARRIERS[mistake]
    text = FILES[file].text
    number = next(
        n for n, barrier in enumerate(BARRIER.finditer(text)) if text[barrier.end() :].lstrip().startswith(after)
    )
    done = subprocess.run(
        [sys.executable, _SCRIPT, "barrier", file, str(number)], capture_output=True, text=True, check=False
    )
    assert done.returncode != 1, done.stderr[-3000:]
    assert done.returncode < 0 or done.stdout.startswith("seen"), done.stdout


def test_shared_memory_that_was_never_written_is_seen() -> None:
    """It is not zero at the start of a block, nor what the block before left there."""

    def forget(text: str) -> str:
        return text.replace("found[d] = 0;", "{}")

    plain, changed = results(CpuDevice()), results(CpuDevice(changes={"misfit.cu": forget}))
    assert not all(np.array_equal(a, b) for a, b in zip(plain, changed, strict=True))


def test_barrier_that_some_threads_do_not_reach() -> None:
    def leave(text: str) -> str:
        return text.replace(
            "    __shared__ int whose[POINT_THREADS];",
            "    __shared__ int whose[POINT_THREADS];\n    if (threadIdx.x == 3) return;",
        )

    with pytest.raises(KernelError, match="returned before a barrier"):
        results(CpuDevice(changes={"landmarks.cu": leave}))


def test_lanes_that_wait_at_different_barriers() -> None:
    def split(text: str) -> str:
        return text.replace(
            "    __syncthreads();\n    if (threadIdx.x) return;",
            "    if (threadIdx.x & 1) __syncwarp();\n    __syncthreads();\n    if (threadIdx.x) return;",
        )

    with pytest.raises(KernelError, match="warp barrier and at a block barrier"):
        results(CpuDevice(changes={"landmarks.cu": split}))


def test_changes_are_made() -> None:
    assert (
        len(BARRIER.findall(without_barrier(0)(FILES["assembly.cu"].text)))
        == len(BARRIER.findall(FILES["assembly.cu"].text)) - 1
    )

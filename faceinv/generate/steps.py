"""How a face moves from one frame of a video to the next, measured from fits of its frames."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.errors import InputError
from faceinv.face.camera import Camera, euler_angles
from faceinv.files import read_arrays, write_arrays, write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["POSE_NAMES", "Steps"]

POSE_NAMES: Final = ("yaw", "pitch", "roll", "x", "y", "log size")
_LEAST: Final = 30
"""Pairs of neighbouring frames from which statistics are made, at least."""
_CUTS: Final = np.array([20.0, 20.0, 20.0, 75.0, 75.0, 0.25])
"""Of `POSE_NAMES`: a pair that moves by more is a cut or a failed fit. At 30 frames a second they are 600 degrees and
2.3 m a second."""
_LIGHT_CUT: Final = 0.35
"""The same for the constant light, as a share of it."""
_NEEDED: Final = (
    *("scale", "rotation", "translation", "kappa", "principal_point", "landmarks3d"),
    *("expression", "lighting", "status", "model", "model_fingerprint"),
)
_COVARIANCES: Final = ("pose", "expression", "light")


@dataclass(frozen=True, eq=False)
class Steps:
    """Statistics of what changes from a frame to its neighbour: second moments, as steps go either way.

    Measured ones have the scatter of the single fits in them, twice: a head that does not move seems to shake a little.
    """

    pose: NDArray[np.float64]
    """(6, 6) of yaw, pitch, roll (degrees), the face's place to the right and down (mm at the head), and the logarithm
    of its size in the picture."""
    expression: NDArray[np.float64]
    """(Ke, Ke) of the model's coefficients."""
    light: NDArray[np.float64]
    """(27, 27) of the lighting (9, 3), flattened, each channel over its constant light."""
    fingerprint: str
    """Of the face model."""
    frames: int
    """That were read."""
    pairs: int
    """That were counted."""
    cuts: int
    """Pairs that were left out, as too much changed at once."""

    @classmethod
    def measured(cls, folder: str | Path) -> Steps:
        """From the results (`.npz`) of a video's frames, as `faceinv fit FRAMES/ -o FOLDER` leaves them.

        Frames follow each other by the last number in their names, `frame_9` before `frame_10`. Two are neighbours
        when their numbers are as near as most are and the rest of their names is the same, so where a frame is
        missing, and from one video to another, there is no step. Several videos may be in sub-folders.

        Args:
            folder: of the results.

        Raises:
            InputError: when there is no such folder, a result cannot be read or is of another model than the others,
                or fewer than 30 pairs are left.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"'{folder}' is no folder. Give one with the results (.npz) of a video's frames.")
        return cls._of(folder, _frames(sorted(folder.rglob("*.npz"), key=_order)))

    @classmethod
    def load(cls, path: str | Path) -> Steps:
        """Statistics from a folder of results, which are measured, or from a file of `save`.

        Raises:
            InputError: when it is neither, or the folder's results cannot be used.
        """
        path = Path(path)
        if path.is_dir():
            return cls.measured(path)
        stored = read_arrays(path, "statistics of steps", InputError)
        numbers = ("frames", "pairs", "cuts")
        missing = [name for name in (*_COVARIANCES, "fingerprint", *numbers) if name not in stored]
        if missing:
            raise InputError(
                f"'{path}' holds no statistics of steps: it lacks {', '.join(missing)}. Give a file that Steps.save "
                "wrote, or a folder of results."
            )
        count = len(stored["expression"]) if stored["expression"].ndim else 0
        for name, size in (("pose", len(POSE_NAMES)), ("expression", count), ("light", 27)):
            _check_covariance(path, name, stored[name], size)
        frames, pairs, cuts = (int(stored[name]) for name in numbers)
        pose, expression, light = (stored[name] for name in _COVARIANCES)
        return cls(pose, expression, light, str(stored["fingerprint"]), frames, pairs, cuts)

    def save(self, path: str | Path) -> None:
        """Write them to an `.npz`.

        Raises:
            InputError: when the suffix is another or the folder cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".npz":
            raise InputError(f"steps are saved as '.npz'; '{path.name}' has the suffix '{path.suffix}'.")
        names = (*_COVARIANCES, "fingerprint", "frames", "pairs", "cuts")
        with write_whole(path) as temporary, temporary.open("wb") as stream:
            write_arrays(stream, {name: getattr(self, name) for name in names})

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that name them."""
        digest = hashlib.sha256(self.fingerprint.encode())
        for name in _COVARIANCES:
            digest.update(np.ascontiguousarray(getattr(self, name), "<f8").tobytes())
        return digest.hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Steps) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def record(self) -> dict[str, Any]:
        """What JSON says of them: standard deviations, and their digest."""
        spread = dict(zip(POSE_NAMES, _deviations(self.pose).tolist(), strict=True))
        return {
            "digest": self.digest,
            "model_fingerprint": self.fingerprint,
            **{name: getattr(self, name) for name in ("frames", "pairs", "cuts")},
            **{name.replace(" ", "_"): round(value, 5) for name, value in spread.items()},
            "expression": round(float(np.sqrt(np.trace(self.expression) / max(len(self.expression), 1))), 5),
            "light": round(float(np.sqrt(np.trace(self.light) / 27)), 5),
        }

    def drawn(
        self, stream: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """One step: (6,) of the pose, (Ke,) of the expression, (9, 3) of the lighting over the constant light; normal,
        and the three apart."""
        pose, expression, light = (root @ stream.normal(size=len(root)) for root in self._roots)
        return pose, expression, light.reshape(9, 3)

    @cached_property
    def _roots(self) -> list[NDArray[np.float64]]:
        return [_root(getattr(self, name)) for name in _COVARIANCES]

    @classmethod
    def _of(cls, folder: Path, frames: Iterable[_Frame]) -> Steps:
        """From frames in order; one before is held, and sums."""
        before: _Frame | None = None
        gaps = _Gaps()
        count = 0
        for frame in frames:
            count += 1
            if before is not None:
                if frame.fingerprint != before.fingerprint:
                    raise InputError(
                        f"'{frame.path}' was fitted with another model, or another state of it, than '{before.path}'. "
                        "Measure frames of one model."
                    )
                gaps.add(before, frame)
            before = frame
        moments = gaps.nearest
        if before is None or moments is None or moments.pairs < _LEAST:
            pairs, cuts = (0, 0) if moments is None else (moments.pairs, moments.cuts)
            raise InputError(
                f"'{folder}' has {count} results of frames with {pairs} pairs of neighbours that can be used ({cuts} "
                f"left out as cuts); {_LEAST} pairs are needed at least. Give the results of all frames of a video, as "
                "'faceinv fit FRAMES/ -o FOLDER' writes them."
            )
        pose, expression, light = (total / moments.pairs for total in moments.sums)
        return cls(pose, expression, light, before.fingerprint, count, moments.pairs, moments.cuts)


@dataclass(frozen=True, eq=False)
class _Frame:
    path: Path
    series: tuple[str, ...]
    """What its path is but for the number: frames of one series are of one video."""
    number: int
    pose: NDArray[np.float64]
    """(6,), see `POSE_NAMES`, places in px."""
    px_per_mm: float
    expression: NDArray[np.float64]
    lighting: NDArray[np.float64]
    fingerprint: str


class _Moments:
    """Sums of squares over pairs."""

    def __init__(self) -> None:
        self.sums: list[NDArray[np.float64]] = []
        self.pairs = self.cuts = 0

    def add(self, before: _Frame, after: _Frame) -> None:
        pose = after.pose - before.pose
        pose[:3] = (pose[:3] + 180.0) % 360.0 - 180.0
        pose[3:5] *= 2 / (before.px_per_mm + after.px_per_mm)
        constant = before.lighting[:1]
        light = (after.lighting - before.lighting) / np.where(np.abs(constant) < 1e-6, np.inf, constant)
        if (np.abs(pose) > _CUTS).any() or np.abs(light[0]).max() > _LIGHT_CUT:
            self.cuts += 1
            return
        self.pairs += 1
        steps = (pose, after.expression - before.expression, light.ravel())
        squares = [np.outer(step, step) for step in steps]
        self.sums = [a + b for a, b in zip(self.sums, squares, strict=True)] if self.sums else squares


class _Gaps:
    """Moments of pairs by the distance of their numbers: which one is usual shows at the end."""

    _MOST: Final = 64

    def __init__(self) -> None:
        self._by_gap: dict[int, _Moments] = {}

    def add(self, before: _Frame, after: _Frame) -> None:
        gap = after.number - before.number
        if before.series != after.series or gap < 1:
            return
        if gap in self._by_gap or len(self._by_gap) < self._MOST:
            self._by_gap.setdefault(gap, _Moments()).add(before, after)

    @property
    def nearest(self) -> _Moments | None:
        """Of the most frequent distance."""
        found = self._by_gap.items()
        return max(found, key=lambda one: (one[1].pairs + one[1].cuts, -one[0]))[1] if found else None


def _order(path: Path) -> list[tuple[int, int, str]]:
    """For the natural order: numbers in names count as numbers."""
    parts = re.split(r"(\d+)", str(path))
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]


def _frames(paths: Iterable[Path]) -> Iterator[_Frame]:
    from faceinv.fitting.solver import Status

    for place, path in enumerate(paths):
        stored = read_arrays(path, "result", InputError)
        if any(name not in stored for name in _NEEDED):
            continue  # another .npz
        if str(stored["status"]) not in Status.__members__ or not Status[str(stored["status"])].success:
            continue
        found = re.search(r"(\d+)(\D*)$", path.stem)
        number = place if found is None else int(found[1])
        rest = path.stem if found is None else path.stem[: found.start()] + found[2]
        series = (str(path.parent), "" if found is None else rest)
        yield _frame(path, series, number, stored)


def _frame(path: Path, series: tuple[str, ...], number: int, stored: dict[str, NDArray[Any]]) -> _Frame:
    try:
        camera = Camera.of_arrays(stored)
        marks = stored["landmarks3d"]
        xy = camera.project(marks)[:, :2]
        px_per_mm = float(camera.scale) * float(camera.magnification(marks).mean())
        pitch, yaw, roll = np.degrees(euler_angles(camera.rotation))
        middle = (xy.min(axis=0) + xy.max(axis=0)) / 2
        pose = np.array([yaw, pitch, roll, *middle, np.log(px_per_mm)])
        lighting = stored["lighting"].reshape(9, 3)
        expression = stored["expression"].reshape(-1)
        if not all(np.isfinite(part).all() for part in (pose, lighting, expression)):
            raise ValueError
    except (ValueError, TypeError, IndexError, ArithmeticError):
        raise InputError(f"'{path}' cannot be read as the result of a frame; it is damaged.") from None
    return _Frame(path, series, number, pose, px_per_mm, expression, lighting, str(stored["model_fingerprint"]))


def _check_covariance(path: Path, name: str, matrix: NDArray[Any], size: int) -> None:
    right = matrix.shape == (size, size) and matrix.dtype.kind == "f" and bool(np.isfinite(matrix).all())
    if right:
        scale = float(np.abs(matrix).max(initial=0.0))
        right = bool(np.allclose(matrix, matrix.T, atol=1e-9 * scale))
        right = right and (not size or float(np.linalg.eigvalsh(matrix)[0]) >= -1e-9 * scale)
    if not right:
        raise InputError(f"'{path}': '{name}' is no covariance of {size} numbers; the file is damaged.")


def _deviations(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(np.maximum(np.diag(covariance), 0.0))


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric root, which no choice of eigenvectors changes."""
    from faceinv.engine.blas import one_blas_thread

    with one_blas_thread():
        values, vectors = np.linalg.eigh(covariance)
        root: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return root

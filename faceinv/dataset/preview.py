"""A contact sheet before a run: photos and some of their variants, with landmarks, depth and normals."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.dataset.ledger import Ledger
from faceinv.dataset.work import Shared, fitted, prepare
from faceinv.errors import InputError
from faceinv.generate.draws import Donors
from faceinv.generate.variants import Variants
from faceinv.output.panels import clay
from faceinv.output.picture import save_image
from faceinv.photo.crop import FaceCrop

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from faceinv.fitting.result import FitResult
    from faceinv.generate.variants import Variant

__all__ = ["PREVIEW", "contact_sheet", "write_preview"]

PREVIEW: Final = "preview.png"
_PHOTOS: Final = 4
_VARIANTS: Final = 6
_GAP: Final = 4
_PAPER: Final = 255
_SEEN: Final = (60, 230, 110)
_HIDDEN: Final = (255, 90, 80)
_MARGIN: Final = 2.0


def write_preview(shared: Shared, ledger: Ledger) -> Path:
    """Fit the first photos that can be, and write a sheet of their first variants. What photos lend each other is that
    of these few, so that pictures of the run differ where they take something of others.

    Returns:
        the sheet's path.

    Raises:
        InputError: when none of the first photos can be used, or the sheet cannot be written.
    """
    results: list[FitResult] = []
    reasons: list[str] = []
    for source in islice(ledger.pending("drawn"), 4 * _PHOTOS):
        outcome = prepare(shared, source)
        if outcome.error is not None:
            reasons.append(f"'{source.name}': {outcome.error}")
            continue
        ledger.prepared(source.number, outcome.key, outcome.detail)
        results.append(fitted(shared, source))
        if len(results) == _PHOTOS:
            break
    if not results:
        raise InputError(f"none of the first photos can be used. {' '.join(reasons[:3])}".strip())
    path = shared.places.folder / PREVIEW
    save_image(path, contact_sheet(shared, results))
    return path


def contact_sheet(shared: Shared, results: list[FitResult]) -> Image.Image:
    """Three rows for each photo: it and its variants with landmarks (red ones are hidden), depth, normals."""
    from PIL import Image

    settings = shared.settings
    count = min(_VARIANTS, settings.variants)
    wide = count + 1 if settings.kind != "pairs" else 2 * count + 1
    with_detail = [result for result in results if result.detail is not None and result.detail.status.success]
    if settings.kind == "fine" and not with_detail:
        raise InputError(
            "variants of kind 'fine' take the detail of other faces, and none of the first photos has one."
        )
    donors = Donors.of(results)
    rows: list[NDArray[np.uint8]] = []
    blank = np.full((settings.size, settings.size, 3), _PAPER, np.uint8)
    for result in results:
        lent = [result, *(one for one in with_detail if one is not result)] if settings.kind == "fine" else [result]
        variants = Variants(
            lent,
            settings.kind,
            count,
            settings.size,
            settings.seed,
            settings.draw,
            donors=donors,
            backend=settings.backend,
        )
        made = list(islice(variants, wide - 1))
        rows.append(_row([_photo(result, settings.size), *(_marked(one) for one in made)]))
        rows.append(_row([blank, *(_depth(one.labels.depth) for one in made)]))
        rows.append(_row([blank, *(_normals(one.labels.normal) for one in made)]))
    return Image.fromarray(np.concatenate(rows))


def _photo(result: FitResult, size: int) -> NDArray[np.uint8]:
    assert result.photo is not None
    pixels, _ = FaceCrop.around(result.landmarks2d, _MARGIN, size).cut(result.photo)
    return _bytes(pixels)


def _marked(variant: Variant) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw

    picture = Image.fromarray(variant.image)
    pen = ImageDraw.Draw(picture)
    radius = max(0.6, variant.image.shape[0] / 200)
    for (x, y), seen in zip(variant.labels.landmarks, variant.labels.landmark_visible, strict=True):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_SEEN if seen else _HIDDEN)
    return np.asarray(picture)


def _depth(depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    shown = np.isfinite(depth)
    low, high = (float(depth[shown].min()), float(depth[shown].max())) if shown.any() else (0.0, 1.0)
    grey = np.where(shown, 0.15 + 0.85 * (np.nan_to_num(depth) - low) / max(high - low, 1e-6), 1.0)
    return _bytes(np.repeat(grey[..., None], 3, axis=2))


def _normals(normal: NDArray[np.float32]) -> NDArray[np.uint8]:
    shown = normal.any(axis=2, keepdims=True)
    return _bytes(np.where(shown, clay(normal.reshape(-1, 3).astype(np.float64)).reshape(normal.shape), 1.0))


def _row(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return np.concatenate(
        [np.pad(one, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=_PAPER) for one in pictures], axis=1
    )


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
    return rounded

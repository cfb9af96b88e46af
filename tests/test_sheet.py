"""The sheet of pictures of a model."""

from __future__ import annotations

import numpy as np
import pytest

from faceinv.face.formats import load_model
from faceinv.output.model_sheet import render_sheet


@pytest.fixture(scope="module")
def sheet() -> np.ndarray:
    return np.asarray(render_sheet(load_model("default", face_only=True), 96))


def tile(sheet: np.ndarray, row: int, column: int) -> np.ndarray:
    top = row * (96 + 18) + 18
    return sheet[top : top + 96, 96 * column : 96 * (column + 1)].astype(int)


def test_ten_pictures_in_four_columns(sheet: np.ndarray) -> None:
    assert sheet.shape == (3 * (96 + 18), 4 * 96, 3)
    for row, column in [(0, k) for k in range(4)] + [(1, k) for k in range(4)] + [(2, 0), (2, 1)]:
        assert (tile(sheet, row, column)[40:56, 40:56] < 240).any(), "something is drawn in the middle"
    assert (tile(sheet, 2, 2) == 245).all()


def test_each_picture_shows_what_it_says(sheet: np.ndarray) -> None:
    mean = tile(sheet, 0, 0)
    red = tile(sheet, 0, 2)
    assert ((red[..., 0] > 200) & (red[..., 1] < 60)).sum() > 40, "landmarks"
    green = tile(sheet, 0, 3) - mean
    assert ((green[..., 1] > 10) & (green[..., 0] < 0)).sum() > 500, "face mask"
    for row, columns in ((1, (0, 1)), (1, (2, 3)), (2, (0, 1))):
        low, high = (tile(sheet, row, column) for column in columns)
        assert (np.abs(low - high).max(axis=2) > 8).sum() > 20, "modes differ between -2 and +2"


def test_kinds_without_modes_are_left_out() -> None:
    model = load_model("default", identity=1, expression=0, albedo=0, face_only=True)
    assert render_sheet(model, 64).size == (4 * 64, 2 * (64 + 18))

"""Where a photo's focal length comes from."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceinv.errors import InputError
from faceinv.photo.lens import exif_focal_length, lens_of
from faceinv.photo.read import load_image

FILM_DIAGONAL = np.hypot(36, 24)


def photo(size: tuple[int, int] = (300, 200), orientation: int = 1, **tags: Any) -> bytes:
    """A JPEG with EXIF tags, by their names."""
    numbers = {"film": 0xA405, "length": 0x920A, "across": 0xA002, "down": 0xA003, "resolution": 0xA20E, "unit": 0xA210}
    image, exif, stream = Image.new("RGB", size), Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769).update({numbers[name]: value for name, value in tags.items()})
    image.save(stream, "JPEG", exif=exif)
    return stream.getvalue()


def focal_of(**tags: Any) -> float | None:
    return load_image(photo(**tags)).focal_length


def test_the_focal_length_on_film_is_by_the_diagonal() -> None:
    assert focal_of(film=50) == pytest.approx(50 / FILM_DIAGONAL * np.hypot(300, 200))
    assert focal_of(film=50, size=(600, 400)) == pytest.approx(50 / FILM_DIAGONAL * np.hypot(600, 400))


def test_a_photo_that_is_turned_upright_keeps_it() -> None:
    loaded = load_image(photo(orientation=6, film=35))
    assert loaded.size == (200, 300)
    assert loaded.focal_length == pytest.approx(35 / FILM_DIAGONAL * np.hypot(300, 200))


def test_a_pil_image_has_it_too() -> None:
    assert load_image(Image.open(io.BytesIO(photo(film=35)))).focal_length == pytest.approx(focal_of(film=35))


def test_the_sensor_tells_it_where_film_does_not() -> None:
    """24 mm before pixels of 1 / 100 mm are 2400 px; the photo is a tenth of the size."""
    found = focal_of(length=24, resolution=1000, unit=3, across=3000, down=2000)
    assert found == pytest.approx(240)


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"film": 0},
        {"film": 60000},
        {"length": 24.0},
        {"film": 50, "across": 3000, "down": 3000},  # cropped
        {"length": 24, "resolution": 1000, "unit": 9, "across": 3000, "down": 2000},
    ],
)
def test_what_cannot_be_believed_tells_nothing(tags: dict[str, Any]) -> None:
    assert focal_of(**tags) is None


def test_arrays_and_damaged_tags_tell_nothing() -> None:
    assert load_image(np.zeros((20, 20, 3), np.uint8)).focal_length is None
    broken = Image.new("RGB", (20, 20))
    broken.info["exif"] = b"Exif\x00\x00garbage"
    assert exif_focal_length(broken) is None


def test_what_is_given_comes_first() -> None:
    matrix = [[700, 0, 150], [0, 702, 90], [0, 0, 1]]
    every = lens_of((300, 200), matrix, 800.0, 900.0)
    assert (every.source, every.focal_length, every.principal_point.tolist()) == ("intrinsics", 701, [150, 90])
    given, exif, none = (lens_of((300, 200), None, *known) for known in ((800.0, 900.0), (None, 900.0), (None, None)))
    assert (given.source, given.focal_length) == ("focal_length", 800)
    assert (exif.source, exif.focal_length) == ("exif", 900)
    assert (none.source, none.focal_length) == ("unknown", None)
    assert given.principal_point.tolist() == exif.principal_point.tolist() == [149.5, 99.5]


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.eye(2), "intrinsics have shape"),
        ("wide", "intrinsics are str"),
        (np.full((3, 3), np.nan), "are not finite"),
        ([[700, 0, 150], [0, 700, 90], [0, 0, 2]], "expected"),
        ([[-700, 0, 150], [0, -700, 90], [0, 0, 1]], "expected"),
        ([[700, 0, 150], [0, 900, 90], [0, 0, 1]], "pixels that are not square"),
    ],
)
def test_bad_intrinsics_are_refused(matrix: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        lens_of((300, 200), matrix, None, None)

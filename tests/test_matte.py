"""Where a photo shows people."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from quick import quick_fit, sample
from scipy.ndimage import binary_erosion

from faceinv.errors import InputError
from faceinv.photo.crop import FaceCrop
from faceinv.photo.hull import inside_hull
from faceinv.photo.matte import person_matte
from faceinv.photo.networks import run_network
from faceinv.photo.read import load_image


@pytest.fixture(scope="module")
def head() -> NDArray[np.float32]:
    """The sample's head and shoulders."""
    return FaceCrop.around(quick_fit().landmarks_target, 3.0, 320).cut(load_image(sample()).pixels)[0]


@pytest.fixture(scope="module")
def matte(head: NDArray[np.float32]) -> NDArray[np.float32]:
    return person_matte(head)


def test_the_network_takes_and_gives_what_is_written_of_it() -> None:
    (person,) = run_network("person_matte.onnx", np.full((2, 256, 256, 3), 0.5, np.float32))
    assert person.shape == (2, 256, 256)
    assert person.min() >= 0
    assert person.max() <= 1


def test_face_and_hair_are_person_and_the_ground_beside_is_not(matte: NDArray[np.float32]) -> None:
    crop = FaceCrop.around(quick_fit().landmarks_target, 3.0, 320)
    face = inside_hull(crop.to_crop(quick_fit().landmarks_target), (320, 320))
    assert matte.shape == (320, 320)
    assert matte.dtype == np.float32
    assert matte[binary_erosion(face, iterations=12)].min() > 0.97
    x, y = crop.to_crop(quick_fit().landmarks_target[8])
    above = int(y - 2.05 * (y - crop.to_crop(quick_fit().landmarks_target[27])[1]))
    assert matte[above, int(x)] > 0.95  # hair over the forehead
    assert matte[:200, :60].max() < 0.05
    assert matte[:150, -60:].max() < 0.05
    assert 0.2 < matte.mean() < 0.7


def test_edges_are_soft_and_follow_the_photo(head: NDArray[np.float32], matte: NDArray[np.float32]) -> None:
    soft = (matte > 0.05) & (matte < 0.95)
    assert 0.01 < soft.mean() < 0.15
    # Where it changes from pixel to pixel the photo does so, too.
    step = np.abs(np.diff(matte, axis=1))
    colours = np.abs(np.diff(head, axis=1)).mean(axis=2)
    assert colours[step > 0.2].mean() > 3 * colours[step < 0.01].mean()


def test_a_matte_of_one_colour_is_flat() -> None:
    matte = person_matte(np.full((40, 70, 3), 0.4, np.float32))
    assert matte.shape == (40, 70)
    assert np.isfinite(matte).all()
    assert np.ptp(matte) < 0.5


def test_size_hardly_matters(head: NDArray[np.float32], matte: NDArray[np.float32]) -> None:
    half = head.reshape(160, 2, 320 // 2, 2, 3).mean(axis=(1, 3))
    assert np.abs(person_matte(half) - matte[::2, ::2]).mean() < 0.02


def test_the_same_photo_gives_the_same_bits(head: NDArray[np.float32], matte: NDArray[np.float32]) -> None:
    assert np.array_equal(person_matte(head), matte)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (0, 8, 3), (8, 8, 3, 1)])
def test_what_is_no_photo_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="expected a photo"):
        person_matte(np.zeros(shape, np.float32))

"""Between the photo's pixels and the crop's, for points and cameras."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from faceinv.face.camera import Camera, rotation_from_euler
from faceinv.photo.crop import FaceCrop, eye_distance
from faceinv.photo.resample import bilinear
from faceinv.photo.square import Square

quick = settings(max_examples=40, deadline=None, derandomize=True)
crops = st.builds(
    FaceCrop, st.floats(-300, 3000), st.floats(-300, 3000), st.floats(5, 4000), st.sampled_from([28, 56, 224, 333])
)


def face(seed: int = 0, centre: tuple[float, float] = (300.0, 200.0), size: float = 90.0) -> np.ndarray:
    return np.array(centre) + size * np.random.default_rng(seed).uniform(-0.5, 0.5, (68, 2))


@given(crop=crops, seed=st.integers(0, 99))
@quick
def test_points_come_back(crop: FaceCrop, seed: int) -> None:
    points = face(seed)
    assert crop.to_photo(crop.to_crop(points)) == pytest.approx(points, abs=1e-8)
    assert crop.to_crop(crop.to_photo(points)) == pytest.approx(points, abs=1e-8)


@given(crop=crops)
@quick
def test_edges_of_the_square_are_edges_of_the_outer_pixels(crop: FaceCrop) -> None:
    """Pixel centres are integers, so pixel 0 reaches from -0.5 to 0.5."""
    corner = np.array([crop.x0, crop.y0]) - 0.5
    assert crop.to_crop(corner) == pytest.approx([-0.5, -0.5], abs=1e-8)
    assert crop.to_crop(corner + crop.side) == pytest.approx([crop.size - 0.5] * 2, abs=1e-6)


@given(crop=crops, seed=st.integers(0, 99))
@quick
def test_a_moved_camera_sees_moved_points(crop: FaceCrop, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 70, (9, 3))
    camera = Camera(float(rng.uniform(0.1, 9)), rotation_from_euler(*rng.uniform(-1.5, 1.5, 3)), rng.uniform(0, 900, 2))
    seen = camera.project(points)
    inside = crop.camera_to_crop(camera)
    assert inside.project(points)[:, :2] == pytest.approx(crop.to_crop(seen[:, :2]), abs=1e-6)
    assert inside.project(points)[:, 2] == pytest.approx(crop.zoom * seen[:, 2], abs=1e-6)
    back = crop.camera_to_photo(inside)
    assert back.scale == pytest.approx(camera.scale)
    assert back.translation == pytest.approx(camera.translation, abs=1e-6)
    assert np.array_equal(back.rotation, camera.rotation)


@given(crop=crops)
@quick
def test_another_size_is_the_same_square(crop: FaceCrop) -> None:
    smaller = crop.at(crop.size // 2)
    assert (smaller.x0, smaller.y0, smaller.side) == (crop.x0, crop.y0, crop.side)
    points = face()
    assert smaller.to_photo(smaller.to_crop(points)) == pytest.approx(points, abs=1e-8)
    ratio = smaller.size / crop.size
    assert smaller.to_crop(points) == pytest.approx((crop.to_crop(points) + 0.5) * ratio - 0.5, abs=1e-6)


@given(seed=st.integers(0, 99), margin=st.floats(1.2, 3))
@quick
def test_the_square_holds_the_landmarks_and_room_above(seed: int, margin: float) -> None:
    points = face(seed)
    crop = FaceCrop.around(points, margin, 64)
    assert crop.side == pytest.approx(margin * np.ptp(points, axis=0).max())
    inside = crop.to_crop(points)
    assert inside.min() > -0.5
    assert inside.max() < 63.5
    room = crop.to_crop(points)[:, 1]
    assert room.min() + 0.5 > 63.5 - room.max(), "a forehead needs more room than a chin"


def test_the_square_follows_the_face() -> None:
    near, far = FaceCrop.around(face(), 1.4, 64), FaceCrop.around(face() + np.array([500.0, -40.0]), 1.4, 64)
    assert far.x0 - near.x0 == pytest.approx(500.0)
    assert far.y0 - near.y0 == pytest.approx(-40.0)


def test_cut_shows_the_photo_at_its_place() -> None:
    """A ramp of x and y, resampled, says for each crop pixel where in the photo it is."""
    y, x = np.mgrid[:80, :100].astype(np.float32)
    crop = FaceCrop(12.3, -6.0, 60.0, 30)
    pixels, inside = crop.cut(np.stack([x, y], axis=-1))
    assert pixels.shape == (30, 30, 2)
    assert pixels.dtype == np.float32
    row, column = np.mgrid[:30, :30]
    place = crop.to_photo(np.stack([column, row], axis=-1).astype(np.float64))
    inner = np.s_[6:28, 2:28]
    assert pixels[inner] == pytest.approx(place[inner], abs=0.02)
    assert not inside[0].any(), "above the photo"
    assert inside[inner].all()


def test_eye_distance_is_that_of_the_outer_corners_or_more() -> None:
    points = np.zeros((68, 2))
    points[17:] = np.linspace([0, 0], [60, 80], 51)
    points[36], points[45] = (0.0, 20.0), (60.0, 20.0)
    assert eye_distance(points) == pytest.approx(60.0)
    points[36], points[45] = (30.0, 20.0), (33.0, 20.0)  # a profile shows the eyes close together
    assert eye_distance(points) == pytest.approx(45.0)


def test_between_pixels_values_are_bilinear() -> None:
    rng = np.random.default_rng(0)
    image, (y, x) = rng.random((7, 9, 2)).astype(np.float32), rng.random((2, 40)) * [[6], [8]]
    x[:4], y[:4] = [0, 8, 0, 8], [0, 0, 6, 6]  # the corners are theirs
    wanted = np.stack([map_coordinates(image[..., c], [y, x], np.float64, order=1) for c in range(2)], axis=-1)
    assert bilinear(image, x, y) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("roll", [0.3, -1.2, 2.9])
def test_a_rolled_square_shows_the_photo_at_its_place(roll: float) -> None:
    y, x = np.mgrid[:80, :100].astype(np.float32)
    square, size = Square(85.0, 60.0, 60.0, roll), 24
    crop, on_photo = square.sample(np.stack([x, y], axis=-1), size)
    across = (np.arange(size) + 0.5) / size
    places = square.to_photo(np.stack(np.meshgrid(across, across), axis=-1))
    inside = ((places >= -0.5) & (places < [99.5, 79.5])).all(axis=-1)
    assert 0.1 < inside.mean() < 0.9
    assert np.array_equal(on_photo, inside)
    within = ((places > 3) & (places < [96, 76])).all(axis=-1)  # of the edge pixels, which go on outside
    assert crop[within] == pytest.approx(places[within], abs=1e-3)

"""What pixels show of the surface, on every engine, against a plain reading of the barycentric weights."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from problems import SIZE, Run, toy_model
from tolerances import SAME, assert_agrees

from faceinv.engine.records import PIXEL_QUANTITIES, Normals, PixelQuantity, Pixels

UNSHADOWED = [name for name in PIXEL_QUANTITIES if name != "shadow"]  # see test_shadow.py


def expected(reference: Run, quantity: PixelQuantity, normals: Normals) -> np.ndarray:
    """(B, H, W, D) by NumPy alone."""
    geometry, visibility = reference.geometry, reference.frozen.visibility
    assert visibility is not None
    camera, model = geometry.camera, toy_model()
    corners = model.uv_triangles if quantity == "uv" else model.triangles
    pictures = []
    for item in range(2):
        values = {
            "position": geometry.vertices[item],
            "normal": geometry.normals[item] @ camera.rotation[item].T,
            "albedo": geometry.albedo[item],
            "depth": (geometry.depth[item] / (1 + camera.inverse_focal(item) * geometry.depth[item]))[:, None],
            "uv": model.uv.astype(np.float64),
        }[quantity]
        triangle, weights = visibility.triangle[item], visibility.barycentric[item]
        picture = np.einsum("hwk,hwkd->hwd", weights, values[corners[triangle]])
        if quantity == "depth":
            picture = picture / (1 - camera.inverse_focal(item) * picture)
        if quantity == "normal":
            if normals == "flat":
                a, b, c = (geometry.vertices[item][model.triangles[:, k]] for k in range(3))
                picture = (np.cross(b - a, c - a) @ camera.rotation[item].T)[triangle]
            picture = picture / np.maximum(np.linalg.norm(picture, axis=-1, keepdims=True), 1e-9)
        picture[triangle < 0] = 0.0
        pictures.append(picture)
    return np.stack(pictures)


@pytest.mark.parametrize("quantity", UNSHADOWED)
def test_every_quantity_is_its_mean_over_the_corners(
    found: Run, reference: Run, normals: Normals, quantity: PixelQuantity
) -> None:
    got = found.host(found.pixels.needed(quantity))
    want = expected(reference, quantity, normals)
    assert got.dtype == np.float64
    assert_agrees(got, want[..., 0] if quantity == "depth" else want, SAME, quantity)
    assert not got[reference.frozen.visibility.triangle < 0].any()  # type: ignore[union-attr]


def test_triangles_are_those_of_the_visibility(found: Run) -> None:
    assert found.frozen.visibility is not None
    assert np.array_equal(found.host(found.pixels.triangle), found.host(found.frozen.visibility.triangle))


@pytest.mark.parametrize("quantities", [(), ("uv",), ("normal", "depth"), ("albedo", "position")])
def test_only_what_is_asked_for_is_there(found: Run, quantities: tuple[PixelQuantity, ...]) -> None:
    assert found.frozen.visibility is not None
    some = found.engine.renderer.interpolate(found.geometry, found.frozen.visibility, quantities)
    for name in PIXEL_QUANTITIES:
        if name in quantities:
            assert np.array_equal(found.host(some.needed(name)), found.host(found.pixels.needed(name)))
        else:
            assert getattr(some, name) is None


def test_shading_says_which_quantity_it_lacks(found: Run) -> None:
    lighting = found.engine.renderer.layout.gamma(found.chi)
    with pytest.raises(ValueError, match="not normal; name 'normal'"):
        found.engine.renderer.shade(replace(found.pixels, normal=None), lighting)
    with pytest.raises(ValueError, match="hold position, normal, depth, uv, not albedo"):
        found.engine.renderer.shade(replace(found.pixels, albedo=None), lighting)


def test_light_can_be_another_than_the_faces(found: Run) -> None:
    """Half the light, half the radiance; what it shines on is not drawn again."""
    renderer = found.engine.renderer
    half = renderer.shade(found.pixels, renderer.layout.gamma(found.chi) / 2)
    assert found.host(half).shape == (2, *SIZE, 3)
    assert_agrees(found.host(half), found.radiance / 2, SAME, "radiance")


def test_the_quantities_are_the_records_fields() -> None:
    assert tuple(field.name for field in fields(Pixels)) == ("triangle", *PIXEL_QUANTITIES)


def test_the_geometry_holds_its_cameras(found: Run) -> None:
    camera = found.geometry.camera
    for item in range(2):
        shown = camera.item(item).project(found.host(found.geometry.vertices)[item])
        assert_agrees(found.host(found.geometry.image_xy)[item], shown[:, :2], SAME, "image_xy")
        assert_agrees(found.host(found.geometry.depth)[item], shown[:, 2], SAME, "depth")


def test_a_pixel_shows_the_point_that_projects_to_it(found: Run) -> None:
    """Under perspective, too: weights are those on the surface, and the depth is that of the point."""
    triangle = found.host(found.visibility.triangle)
    xy, normal = found.host(found.geometry.image_xy), found.host(found.pixels.needed("normal"))
    for item in range(2):
        y, x = np.nonzero((triangle[item] >= 0) & (normal[item][..., 2] > 0.2))
        assert len(y) > 1000
        points = found.host(found.pixels.needed("position"))[item, y, x]
        shown = found.geometry.camera.item(item).project(points)
        assert np.abs(shown[:, :2] - np.stack([x, y], axis=1)).max() < 1e-9
        assert np.abs(shown[:, 2] - found.host(found.pixels.needed("depth"))[item, y, x]).max() < 1e-9
    assert np.isfinite(xy).all()

"""Which point of the surface each texel shows: against triangles looked up one by one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from small import few_modes, flat_scene

from faceinv.errors import InputError
from faceinv.face.formats import load_model
from faceinv.face.model import MorphableModel
from faceinv.render import atlas as atlas_module
from faceinv.render.atlas import Atlas, atlas_of


@pytest.fixture(scope="module")
def head() -> MorphableModel:
    return load_model("default", identity=1, expression=1, albedo=1)


def middles(atlas: Atlas) -> NDArray[np.float64]:
    """(M, 2) texture coordinates of the texels that show the surface."""
    row, column = np.divmod(atlas.texels, atlas.size)
    return np.stack([(column + 0.5) / atlas.size, 1 - (row + 0.5) / atlas.size], axis=1)


def folded_square(gap: float) -> MorphableModel:
    """A square of two triangles whose texture has them on two charts, `gap` apart and one upside down."""
    points = np.array([[0, 0, 0], [8, 0, 0], [8, 8, 0], [0, 8, 0]], float)
    scene = flat_scene(points, np.array([[0, 1, 2], [0, 2, 3]]))
    low = np.array([[0, 0], [0.4, 0], [0.4, 0.4]])
    other = np.array([[0.4, 0.4], [0, 0], [0.4, 0]])
    other[:, 0] += 0.4 + gap
    uv = np.concatenate([low, other]).astype(np.float32)
    # Corners of a model's triangles run the other way round than those given to `flat_scene`.
    return dataclasses.replace(scene, uv=uv, uv_triangles=np.array([[2, 1, 0], [5, 4, 3]], np.int32))


def test_texels_show_the_point_that_has_their_texture_coordinates(head: MorphableModel) -> None:
    atlas = atlas_of(head, 256)
    corners = atlas.uv[head.uv_triangles[atlas.shown]]
    assert np.array_equal(head.triangles[atlas.shown], atlas.corners)
    assert np.abs(np.einsum("mk,mkd->md", atlas.weights, corners) - middles(atlas)).max() < 1e-5
    assert atlas.weights.min() > -0.02  # corners are snapped to 1/256 of a texel
    assert np.abs(atlas.weights.sum(axis=1) - 1).max() < 1e-5


def test_every_triangle_of_some_size_has_its_texels(head: MorphableModel) -> None:
    atlas = atlas_of(head, 512)
    a, b, c = (atlas.xy[head.uv_triangles[:, k]] for k in range(3))
    area = np.abs((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])) / 2
    count = np.bincount(atlas.shown, minlength=len(area))
    assert abs(count.sum() / area.sum() - 1) < 0.01
    assert (count[area > 8] > 0).all()


def test_values_of_vertices_are_mixed_as_in_a_triangle(head: MorphableModel) -> None:
    atlas, rng = atlas_of(head, 128), np.random.default_rng(0)
    for shape in ((), (1,), (3,), (2, 3)):
        values = rng.normal(size=(head.vertex_count, *shape))
        expected = np.einsum("mk,mk...->m...", atlas.weights.astype(float), values[atlas.corners])
        assert atlas.at_texels(values).shape == expected.shape
        assert np.abs(atlas.at_texels(values) - expected).max() < 1e-5


@pytest.mark.parametrize("size", [64, 200])
def test_gaps_are_led_to_a_nearest_texel(head: MorphableModel, size: int) -> None:
    from scipy.ndimage import distance_transform_edt

    atlas = atlas_of(head, size)
    led = atlas.texels[atlas.nearest]
    assert np.array_equal(led[atlas.covered], np.flatnonzero(atlas.covered))
    row, column = np.divmod(led, size)
    y, x = np.mgrid[:size, :size]
    exact = distance_transform_edt(~atlas.covered)
    assert np.abs(np.hypot(row - y, column - x) - exact).max() < 0.5
    colours = np.arange(len(atlas.texels))
    assert np.array_equal(atlas.picture(colours).ravel()[atlas.texels], colours)


def test_neighbours_are_near_on_the_surface_even_over_seams(head: MorphableModel) -> None:
    atlas = atlas_of(head, 512)
    links = atlas.neighbours
    there = links >= 0
    assert there.mean() > 0.99  # the surface ends at the neck and in the mouth only
    place = atlas.at_texels(head.mean)
    step = np.linalg.norm(place[links] - place[:, None], axis=2)
    assert np.percentile(step[there], 50) < 2.0
    assert step[there].max() < 12.0  # mm
    # Within a chart it is the texel next to it in the picture.
    position = np.full(512**2, -1)
    position[atlas.texels] = np.arange(len(atlas.texels))
    right = position[np.minimum(atlas.texels + 1, 512**2 - 1)]
    same = (right >= 0) & (atlas.shown[right] == atlas.shown)
    assert same.sum() > 1000
    assert np.array_equal(links[same, 0], right[same])


def test_a_seam_is_crossed_to_the_other_chart() -> None:
    scene = folded_square(0.1)
    atlas = atlas_of(scene, 64)
    place = atlas.at_texels(scene.mean)[:, :2]
    diagonal: NDArray[np.bool_] = np.abs(place[:, 0] + place[:, 1]) < 0.15
    assert diagonal.sum() > 20
    chart = atlas.shown
    links = atlas.neighbours
    crossing = (links >= 0) & (chart[links] != chart[:, None])
    assert crossing[diagonal].any(axis=1).mean() > 0.9
    step = np.linalg.norm(place[links] - place[:, None], axis=2)
    texel = 8 / (np.ptp(atlas.uv[:, 0][:3]) * 64)
    assert step[crossing].max() < 3 * texel


def test_the_surface_ends_where_it_ends() -> None:
    scene = folded_square(0.1)
    atlas = atlas_of(scene, 64)
    place = atlas.at_texels(scene.mean)[:, :2]
    links = atlas.neighbours
    border = np.minimum.reduce([place[:, 0], 8 - place[:, 0], -place[:, 1], 8 + place[:, 1]])
    assert border[links.min(axis=1) < 0].max() < 0.5
    assert links[border < 0.1].min(axis=1).max() < 0


def test_an_atlas_is_made_once_and_shared_by_models_of_one_surface(head: MorphableModel) -> None:
    assert atlas_of(head, 64) is atlas_of(head, 64)
    assert atlas_of(head.truncated(identity=0), 64) is atlas_of(head, 64)
    assert atlas_of(few_modes(), 64) is not atlas_of(head, 64)
    with pytest.raises(ValueError, match="read-only"):
        atlas_of(head, 64).weights[0] = 0


def test_old_atlases_are_forgotten_when_they_are_large(head: MorphableModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atlas_module, "_KEPT", 2 * 100**2)
    first = atlas_of(head, 100)
    assert atlas_of(head, 99) is atlas_of(head, 99)
    assert atlas_of(head, 100) is first
    atlas_of(head, 98)
    assert atlas_of(head, 100) is first
    assert {size for _, size in atlas_module._known} == {98, 100}


@pytest.mark.parametrize("size", [0, -4, 1.5, True, 10**6, "1024"])
def test_bad_sizes_are_refused(head: MorphableModel, size: int) -> None:
    with pytest.raises(InputError, match="whole number"):
        atlas_of(head, size)

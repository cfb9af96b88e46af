"""The differentiable renderer for PyTorch users."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from fixture_types import Need
from problems import SIZE, run, toy_chi, toy_model
from tolerances import SAME, assert_agrees

from faceinv.engine.records import Normals
from faceinv.errors import InputError
from faceinv.face.layout import ParameterLayout

# The toy problem's size is enough for shapes and values; derivatives are checked on a smaller picture.
SMALL = (20, 22)


@pytest.fixture(scope="module")
def torch(usable: Need) -> Any:
    usable("torch")
    return importlib.import_module("torch")


def inputs(torch: Any, size: tuple[int, int]) -> dict[str, Any]:
    model = toy_model()
    layout = ParameterLayout.of(model)
    chi = toy_chi(1, size=size)[0]
    arrays = {
        "vertices": model.vertices(chi[layout.identity], chi[layout.expression]),
        "albedo": model.mean_albedo + model.albedo_basis.astype(np.float64) @ chi[layout.albedo],
        "lighting": layout.gamma(chi),
        "scale": layout.cameras(chi).scale,
        "rotation": chi[layout.rotation],
        "translation": layout.cameras(chi).translation,
        "kappa": layout.cameras(chi).kappa,
        "principal_point": layout.cameras(chi).centre,
    }
    tensors = {name: torch.tensor(array, dtype=torch.float64) for name, array in arrays.items()}
    return {**tensors, "triangles": torch.tensor(model.triangles), "size": size}


def test_picture_is_the_engines(torch: Any, normals: Normals) -> None:
    from faceinv.backends.torch_autodiff import render

    reference = run("numpy:float64", normals)
    drawn = render(**inputs(torch, SIZE), normals=normals)
    assert np.array_equal(drawn.triangle.numpy(), reference.visibility.triangle[0])
    radiance = reference.radiance[0]
    # Pixels of edge-on triangles take their weights from snapped vertices there.
    agree = reference.visibility.triangle[0] >= 0
    agree &= np.abs(drawn.image.numpy() - radiance).max(axis=-1) < 1e-3
    assert agree.sum() >= (reference.visibility.triangle[0] >= 0).sum() - 3
    assert_agrees(drawn.image.numpy()[agree], radiance[agree], SAME, "radiance")


@pytest.mark.parametrize("name", ["vertices", "albedo", "lighting", "scale", "rotation", "translation", "kappa"])
def test_gradients(torch: Any, normals: Normals, name: str) -> None:
    """Backward against central differences, over pixels whose triangle does not change."""
    from faceinv.backends.torch_autodiff import render

    given = inputs(torch, SMALL)
    rng = np.random.default_rng(3)
    given[name].requires_grad_()
    drawn = render(**given, normals=normals)
    direction = torch.tensor(rng.normal(size=tuple(given[name].shape)), dtype=torch.float64)
    step = 1e-8 if name == "kappa" else 1e-6  # 1/mm
    with torch.no_grad():
        moved = [render(**{**given, name: given[name] + s * step * direction}, normals=normals) for s in (1, -1)]
        same = (moved[0].triangle == drawn.triangle) & (moved[1].triangle == drawn.triangle) & (drawn.triangle >= 0)
    assert same.sum() > 100
    weights = torch.tensor(rng.normal(size=(*SMALL, 3)), dtype=torch.float64) * same[..., None]
    (weights * drawn.image).sum().backward()
    expected = float((weights * (moved[0].image - moved[1].image)).sum() / (2 * step))
    assert float((given[name].grad * direction).sum()) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_nothing_in_view(torch: Any) -> None:
    from faceinv.backends.torch_autodiff import render

    given = inputs(torch, SMALL)
    given["translation"] = given["translation"] + 1000
    given["albedo"].requires_grad_()
    drawn = render(**given)
    assert (drawn.triangle == -1).all()
    drawn.image.sum().backward()
    assert not given["albedo"].grad.any()


def test_wrong_shapes_are_named(torch: Any) -> None:
    from faceinv.backends.torch_autodiff import render

    with pytest.raises(InputError, match=r"'lighting' has shape \(3, 9\), expected \(9, 3\)"):
        render(**{**inputs(torch, SMALL), "lighting": torch.zeros(3, 9)})

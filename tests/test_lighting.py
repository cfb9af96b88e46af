"""The spherical-harmonics basis against SciPy's, and by its own properties."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special

from faceinv.face.camera import rotation_matrix
from faceinv.face.lighting import SH_TURNS, ambient, sh_basis


def directions(count: int, seed: int = 0) -> NDArray[np.float64]:
    n = np.random.default_rng(seed).normal(size=(count, 3))
    unit: NDArray[np.float64] = n / np.linalg.norm(n, axis=1, keepdims=True)
    return unit


def real_harmonic(degree: int, order: int, n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal and real, without the Condon-Shortley sign."""
    m = abs(order)
    size = np.sqrt((2 * degree + 1) / (4 * np.pi) * special.factorial(degree - m) / special.factorial(degree + m))
    legendre = (-1) ** m * special.lpmv(m, degree, n[:, 2])
    azimuth = np.arctan2(n[:, 1], n[:, 0])
    around = 1.0 if order == 0 else np.sqrt(2) * (np.cos(m * azimuth) if order > 0 else np.sin(m * azimuth))
    return np.asarray(size * legendre * around)


def test_basis_is_scipys_in_the_documented_order() -> None:
    n = directions(50)
    order = [(0, 0), (1, -1), (1, 0), (1, 1), (2, -2), (2, -1), (2, 0), (2, 1), (2, 2)]
    wanted = np.stack([real_harmonic(degree, m, n) for degree, m in order], axis=1)
    assert sh_basis(n) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.skipif(not hasattr(special, "sph_harm_y"), reason="SciPy before 1.15 has no sph_harm_y")
@pytest.mark.parametrize(("place", "degree", "m"), [(1, 1, 1), (3, 1, 1), (2, 1, 0), (5, 2, 1), (8, 2, 2), (4, 2, 2)])
def test_basis_is_the_complex_harmonics_parts(place: int, degree: int, m: int) -> None:
    n = directions(20, 1)
    value = special.sph_harm_y(degree, m, np.arccos(n[:, 2]), np.arctan2(n[:, 1], n[:, 0]))
    part = value.real if place in (2, 3, 7, 8) else value.imag
    factor = 1.0 if m == 0 else np.sqrt(2) * (-1) ** m
    assert sh_basis(n)[:, place] == pytest.approx(factor * part, abs=1e-12)


def test_constants_of_the_contract() -> None:
    x, y, z = 0.48, -0.6, 0.64
    wanted = [0.282095, 0.488603 * y, 0.488603 * z, 0.488603 * x, 1.092548 * x * y, 1.092548 * y * z]
    wanted += [0.315392 * (3 * z * z - 1), 1.092548 * x * z, 0.546274 * (x * x - y * y)]
    assert sh_basis(np.array([x, y, z])) == pytest.approx(wanted, abs=1e-6)


def test_basis_is_orthonormal_over_the_sphere() -> None:
    """Gauss-Legendre in z and equal steps in azimuth integrate products of degree 4 exactly."""
    z, weight = np.polynomial.legendre.leggauss(8)
    azimuth = 2 * np.pi * np.arange(16) / 16
    ring = np.sqrt(1 - z**2)[:, None]
    n = np.stack([ring * np.cos(azimuth), ring * np.sin(azimuth), np.repeat(z[:, None], 16, 1)], axis=-1)
    basis = sh_basis(n)
    assert basis.shape == (8, 16, 9)
    gram = np.einsum("i,ijk,ijl->kl", weight * 2 * np.pi / 16, basis, basis)
    assert gram == pytest.approx(np.eye(9), abs=1e-12)


def test_ambient_light_is_the_same_from_everywhere() -> None:
    radiance = sh_basis(directions(10)) @ ambient(0.7)
    assert radiance.shape == (10, 3)
    assert radiance == pytest.approx(np.full((10, 3), 0.7))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_turns_move_the_basis_as_turned_normals_do(axis: int) -> None:
    n, step = directions(30, 3), np.zeros(3)
    step[axis] = 1e-5
    ahead, behind = (sh_basis(n @ rotation_matrix(sign * step).T) for sign in (1, -1))
    assert (ahead - behind) / 2e-5 == pytest.approx(sh_basis(n) @ SH_TURNS[axis].T, abs=1e-9)

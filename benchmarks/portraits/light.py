"""Rooms, skies, windows and lamps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from portraits.paint import ramp, waves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["KINDS", "surroundings"]

KINDS = ("studio", "outdoor", "room", "flash")


def _directions(height: int) -> Array:
    """(height, 2 height, 3) of an environment map's pixels in Mitsuba's order."""
    v, u = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(2 * height) + 0.5) / (2 * height), indexing="ij")
    theta, phi = np.pi * v, 2 * np.pi * u
    return np.stack([np.sin(phi) * np.sin(theta), np.cos(theta), -np.cos(phi) * np.sin(theta)], axis=-1)


def _unit(azimuth: float, elevation: float) -> Array:
    """Towards a lamp: azimuth 0 behind the camera (+z), positive to the image's right; degrees."""
    a, e = np.radians([azimuth, elevation])
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


def _warmth(rng: np.random.Generator, spread: float) -> Array:
    shift = rng.normal() * spread
    return np.array([1 + shift, 1.0, 1 - shift]) * np.exp(rng.normal(size=3) * 0.2 * spread)


def surroundings(rng: np.random.Generator, kind: str) -> tuple[Array, list[tuple[Array, float, float, Array]]]:
    """An environment map (H, 2H, 3), and lamps: direction, distance mm, half side mm, radiance."""
    way = _directions(64)
    up = way[..., 1]
    flat = way.reshape(-1, 3) * 100
    noise = waves(rng, flat, 60, 12).reshape(up.shape)
    lamps = []

    def disc(azimuth: float, elevation: float, radius: float) -> Array:
        angle = np.degrees(np.arccos(np.clip(way @ _unit(azimuth, elevation), -1, 1)))
        return 1 - ramp(angle, 0.8 * radius, 1.2 * radius)

    if kind == "studio":
        sky = np.full(up.shape, rng.uniform(0.1, 0.4))[..., None] * (1 + 0.1 * noise[..., None]) * _warmth(rng, 0.03)
        side = rng.choice([-1.0, 1.0])
        half = rng.uniform(150, 500)
        distance = rng.uniform(900, 1600)
        strength = rng.uniform(1.5, 4.0) / (half / distance) ** 2 / 4
        lamps.append(
            (_unit(side * rng.uniform(10, 60), rng.uniform(5, 45)), distance, half, strength * _warmth(rng, 0.08))
        )
        if rng.random() < 0.6:
            fill = _unit(-side * rng.uniform(25, 70), rng.uniform(-5, 25))
            lamps.append((fill, distance, half, rng.uniform(0.1, 0.5) * strength * _warmth(rng, 0.05)))
    elif kind == "outdoor":
        zenith = np.array([0.5, 0.7, 1.0]) * rng.uniform(0.5, 1.0)
        horizon = np.array([1.0, 0.97, 0.93]) * rng.uniform(0.6, 1.2)
        ground = rng.uniform(0.08, 0.4) * np.array([1.0, rng.uniform(0.85, 1.05), rng.uniform(0.6, 0.9)])
        share = np.clip(up, 0, 1)[..., None] ** 0.6
        sky = np.where(up[..., None] > 0, horizon * (1 - share) + zenith * share, ground * (1 + 0.3 * noise[..., None]))
        blocked = ramp(noise, 0.4, 0.8)[..., None] * (np.abs(up) < 0.5)[..., None] * rng.uniform(0, 0.9)
        sky = sky * (1 - blocked) + blocked * rng.uniform(0.03, 0.25, 3)
        if rng.random() < 0.6:
            radius = rng.uniform(8, 25)
            sun = disc(rng.uniform(-80, 80), rng.uniform(20, 65), radius)
            sky = sky + sun[..., None] * rng.uniform(0.8, 2.2) * 1500 / radius**2 * np.array([1.0, 0.93, 0.82])
    else:
        walls = rng.uniform(0.08, 0.35) * np.exp(0.5 * noise)[..., None] * _warmth(rng, 0.08)
        ceiling = rng.uniform(0.2, 0.9) * _warmth(rng, 0.1)
        floor = rng.uniform(0.04, 0.25) * _warmth(rng, 0.12)
        sky = np.where(up[..., None] > 0.55, ceiling, np.where(up[..., None] < -0.5, floor, walls))
        for _ in range(int(rng.integers(1, 3))):
            wide, high = rng.uniform(15, 35), rng.uniform(15, 30)
            azimuth, elevation = rng.uniform(-100, 100), rng.uniform(0, 30)
            across = np.degrees(np.arctan2(way[..., 0], way[..., 2])) - azimuth
            upward = np.degrees(np.arcsin(up)) - elevation
            pane = (1 - ramp(np.abs(across), wide - 3, wide)) * (1 - ramp(np.abs(upward), high - 3, high))
            sky = sky + pane[..., None] * rng.uniform(2.0, 6.0) * _warmth(rng, 0.06)
        if kind == "flash":
            reach = rng.uniform(0.7, 2.0) / 0.002
            lamps.append((_unit(rng.normal() * 3, rng.uniform(2, 7)), 1000.0, 25.0, reach * np.ones(3)))
    return np.maximum(sky, 0.0), lamps

"""What a variant shows: pose, expression, light and camera, drawn from stated distributions.

Every draw has a random stream of its own, which follows from a seed, the photo and the variant's number, and nothing
else: Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) is a function of its counter.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.face.camera import Camera, euler_angles, rotation_from_euler
from faceinv.face.lighting import SH_CONSTANTS, sh_basis
from faceinv.face.self_shadow import COSINE_BANDS
from faceinv.generate.light import soft_light

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face
    from faceinv.fitting.result import FitResult
    from faceinv.generate.config import VariantConfig

__all__ = [
    "Donors",
    "Draw",
    "draw_neighbour",
    "draw_relief",
    "draw_variant",
    "own_draw",
    "photo_key",
    "posed_face",
    "random_stream",
]

_LIKELY: Final[tuple[tuple[float, dict[str, tuple[float, float]]], ...]] = (
    (3.0, {"eyeBlink": (0.4, 1.0)}),
    (3.0, {"jawOpen": (0.1, 0.9)}),
    (3.0, {"mouthSmile": (0.3, 1.0), "cheekSquint": (0.0, 0.6)}),
    (2.0, {"mouthSmile": (0.4, 0.9), "jawOpen": (0.1, 0.4), "mouthUpperUp": (0.0, 0.5)}),
    (1.0, {"browInnerUp": (0.3, 1.0), "browOuterUp": (0.2, 0.8), "eyeWide": (0.2, 0.8), "jawOpen": (0.0, 0.5)}),
    (1.0, {"browDown": (0.4, 1.0), "noseSneer": (0.0, 0.6), "eyeSquint": (0.0, 0.7)}),
    (1.0, {"mouthFrown": (0.3, 1.0), "browInnerUp": (0.0, 0.5)}),
    (1.0, {"mouthPucker": (0.3, 0.9)}),
    (0.7, {"mouthFunnel": (0.3, 0.8), "jawOpen": (0.05, 0.3)}),
    (0.7, {"mouthPress": (0.3, 1.0)}),
    (0.5, {"cheekPuff": (0.4, 1.0)}),
    (0.5, {"jawLeft": (0.2, 0.8)}),
    (0.5, {"jawRight": (0.2, 0.8)}),
)
"""How often people do what: weights, and named units with the ranges of their strengths; those with a left and a right
are done with both sides, alike to about a tenth."""
_AMBIENT: Final = (0.45, 0.85)
"""The share of ambient light in a drawn one."""
_COLOUR_SIGMA: Final = 0.07
"""Of the logarithm of each channel of a drawn light."""
_LEAST_LIT: Final = 0.3
"""No direction has less than this share of the constant light: what second-order harmonics say below is not true."""
_FACE_RISE: Final = 0.04
"""Faces are this share of the picture's side above its middle: below is a neck, above hair."""
_EXPOSURE_LIMITS: Final = (0.6, 1.5)


@dataclass(frozen=True, eq=False)
class Draw:
    """What is drawn of a variant."""

    yaw: float
    """Degrees, as `faceinv.face.camera.euler_angles`: positive towards the image's right."""
    pitch: float
    roll: float
    """Degrees in all: the head's tilt and the camera's roll."""
    tilt: float
    """Degrees: the part of `roll` by which the head leans against body and ground."""
    expression: NDArray[np.float64]
    """(Ke,)."""
    lighting: NDArray[np.float64]
    """(9, 3)."""
    distance: float
    """mm, infinite for a weak camera."""
    span: float
    """mm at the head, across the picture."""
    offset: NDArray[np.float64]
    """(2,) of the face's middle, over the picture's side."""
    expression_source: str
    """`photo`, `prior`, `units`, or the name of another photo."""
    lighting_source: str
    """`photo`, `drawn`, or the name of another photo."""
    relief_source: str = ""
    """The name of the photo that lends its detail; empty for none."""
    relief_strengths: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of its bands, from fine to coarse (`faceinv.detail.relief_map.BANDS`)."""


@dataclass(frozen=True, eq=False)
class Donors:
    """Other fits that lend their expression and light, in the order of their names, so that it does not matter in which
    order photos come."""

    names: tuple[str, ...]
    expressions: NDArray[np.float64]
    """(D, Ke)."""
    lightings: NDArray[np.float64]
    """(D, 9, 3)."""

    @classmethod
    def of(cls, results: Sequence[FitResult], names: Sequence[str] | None = None) -> Donors:
        """The donors that fits make, by names or by the keys of their photos."""
        keys = list(names) if names is not None else [photo_key(result) for result in results]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        return cls(
            tuple(keys[i] for i in order),
            np.stack([results[i].expression for i in order]),
            np.stack([results[i].lighting for i in order]),
        )


def photo_key(result: FitResult) -> str:
    """16 hexadecimal digits that name a fitted photo: of its pixels as 8-bit values, where it is there, and its fit."""
    digest = hashlib.sha256()
    if result.photo is not None:
        digest.update(np.rint(255 * result.photo).astype(np.uint8).tobytes())
    for part in (result.identity, result.expression, result.camera.pack()):
        digest.update(np.round(np.asarray(part, np.float64), 6).tobytes())
    return digest.hexdigest()[:16]


def random_stream(seed: int, key: str, index: int) -> np.random.Generator:
    """The random numbers of one variant."""
    words = np.random.SeedSequence([seed, int(key, 16) if key else 0, index])
    return np.random.Generator(np.random.Philox(words))


def draw_variant(
    stream: np.random.Generator, result: FitResult, config: VariantConfig, donors: Donors, own_key: str
) -> Draw:
    """One variant of a fit."""
    even = stream.random() < config.even_yaw
    yaw = stream.uniform(-config.yaw, config.yaw) if even else _cut(stream, config.yaw_sigma, config.yaw)
    pitch = _cut(stream, config.pitch_sigma, config.pitch)
    tilt = _cut(stream, config.tilt_sigma, 25.0)
    any_roll = stream.random() < config.any_roll
    camera_roll = stream.uniform(-180, 180) if any_roll else _cut(stream, config.roll_sigma, 60.0)
    expression, expression_source = _expression(stream, result, config, donors, own_key)
    lighting, lighting_source = _lighting(stream, result, config, donors, own_key)
    weak = stream.random() < config.weak
    near, far = np.log(config.distance)
    distance = float(np.exp(stream.uniform(near, far)))
    return Draw(
        yaw=float(yaw),
        pitch=pitch,
        roll=tilt + float(camera_roll),
        tilt=tilt,
        expression=expression,
        lighting=lighting,
        distance=float("inf") if weak else distance,
        span=float(stream.uniform(*config.span)),
        offset=stream.uniform(-config.offset, config.offset, 2),
        expression_source=expression_source,
        lighting_source=lighting_source,
    )


def draw_relief(
    stream: np.random.Generator, draw: Draw, config: VariantConfig, lenders: Sequence[str], own_key: str
) -> Draw:
    """The draw with the detail of one of `lenders`; of another photo where there is one."""
    names = sorted(lenders)
    others = [name for name in names if name != own_key] or names
    source = others[int(stream.integers(len(others)))]
    by_band = stream.random() < config.relief_bands
    strengths = stream.uniform(*config.relief, 3)
    chosen = strengths * (stream.random(3) < 0.6) if by_band else np.full(3, strengths[0])
    fine, middle, coarse = (float(value) for value in (chosen if chosen.any() else strengths))
    return replace(draw, relief_source=source, relief_strengths=(fine, middle, coarse))


def draw_neighbour(stream: np.random.Generator, draw: Draw, config: VariantConfig) -> Draw:
    """The frame after another: all that may move moves by small normal steps."""
    pose, expression, light = _stated(stream, draw, config) if config.steps is None else config.steps.drawn(stream)
    yaw, pitch, roll, right, down, larger = (float(value) for value in pose)
    return replace(
        draw,
        yaw=float(np.clip(draw.yaw + yaw, -config.yaw, config.yaw)),
        pitch=float(np.clip(draw.pitch + pitch, -config.pitch, config.pitch)),
        roll=draw.roll + roll,
        tilt=draw.tilt + 0.5 * roll,
        expression=draw.expression + expression,
        lighting=draw.lighting + light * draw.lighting[:1],
        span=float(draw.span * np.exp(-larger)),
        offset=draw.offset + np.array([right, down]) / draw.span,
    )


def _stated(
    stream: np.random.Generator, draw: Draw, config: VariantConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """A step with the configuration's deviations, as `Steps.drawn` gives it."""
    turn = stream.normal(0, config.step_roll)
    light = stream.normal(0, config.step_light, (9, 3))
    yaw, pitch = stream.normal(0, config.step_yaw), stream.normal(0, config.step_pitch)
    expression = stream.normal(0, config.step_expression, draw.expression.shape)
    larger = -stream.normal(0, config.step_scale)
    right, down = draw.span * stream.normal(0, config.step_shift, 2)
    return np.array([yaw, pitch, turn, right, down, larger]), expression, light


def posed_face(result: FitResult, draw: Draw, size: int) -> tuple[Face, float]:
    """The face of a draw in its picture of `size` px, and the radians by which body and ground turn in it."""
    rotation = rotation_from_euler(*np.radians([draw.pitch, draw.yaw, draw.roll]))
    kappa = 0.0 if np.isinf(draw.distance) else 1.0 / draw.distance
    middle = np.full(2, (size - 1) / 2)
    camera = Camera(size / draw.span, rotation, middle.copy(), kappa, middle)
    face = replace(result.face, expression=draw.expression, lighting=draw.lighting, camera=camera)
    rest = camera.project(result.landmarks3d)[:, :2]
    box = (rest.min(axis=0) + rest.max(axis=0)) / 2
    wanted = middle + size * (draw.offset - np.array([0.0, _FACE_RISE]))
    # A shift of the camera's translation moves points by as much as they are magnified.
    larger = float(camera.magnification(result.landmarks3d).mean())
    moved = replace(camera, translation=middle + (wanted - box) / larger)
    return replace(face, camera=moved), float(np.radians(draw.roll - draw.tilt))


def own_draw(result: FitResult, span: float = 290.0) -> Draw:
    """The draw that shows a photo's face as the photo does, but for the picture's frame."""
    pitch, yaw, roll = np.degrees(euler_angles(result.camera.rotation))
    return Draw(
        yaw=float(yaw),
        pitch=float(pitch),
        roll=float(roll),
        tilt=float(roll),
        expression=result.expression,
        lighting=result.lighting,
        distance=float(result.camera.distance),
        span=span,
        offset=np.zeros(2),
        expression_source="photo",
        lighting_source="photo",
    )


def _cut(stream: np.random.Generator, sigma: float, limit: float) -> float:
    """A normal number, drawn again while it is beyond the limit."""
    if sigma == 0:
        return 0.0
    while True:
        value = float(stream.normal(0, sigma))
        if abs(value) <= limit:
            return value
        if sigma > 3 * limit:  # hardly ever inside
            return float(stream.uniform(-limit, limit))


def _expression(
    stream: np.random.Generator, result: FitResult, config: VariantConfig, donors: Donors, own_key: str
) -> tuple[NDArray[np.float64], str]:
    kind, which = stream.random(), stream.random()
    prior = stream.normal(0, config.expression_sigma, result.model.expression_count)
    others = [i for i, name in enumerate(donors.names) if name != own_key]
    if kind < config.expression_transfer and others:
        chosen = others[int(which * len(others))]
        return donors.expressions[chosen].copy(), donors.names[chosen]
    kind -= config.expression_transfer
    if 0 <= kind < config.expression_units and result.model.expression_units is not None:
        return _units(stream, result.model), "units"
    kind -= config.expression_units
    if kind < config.expression_prior:  # where a model has no units or there is nobody else, too
        return _plausible(result.model, prior), "prior"
    return result.expression.copy(), "photo"


def _units(stream: np.random.Generator, model: MorphableModel) -> NDArray[np.float64]:
    """An expression that people make: one of `_LIKELY`, and a faint one from the prior beside it."""
    units = model.expression_units
    assert units is not None
    weights = np.array([weight for weight, _ in _LIKELY])
    _, strengths = _LIKELY[int(stream.choice(len(_LIKELY), p=weights / weights.sum()))]
    values: dict[str, float] = {}
    for name, (low, high) in strengths.items():
        strength = stream.uniform(low, high)
        for side in ("", "Left", "Right"):
            if name + side in units.names:
                values[name + side] = float(np.clip(strength * (1 + 0.1 * stream.normal()), 0, 1))
    faint = stream.normal(0, 0.25, model.expression_count)
    return units.coefficients(values) + faint


def _plausible(model: MorphableModel, expression: NDArray[np.float64]) -> NDArray[np.float64]:
    """An expression whose units are within 0 and 1, as far as a unit's opposite is no movement of a face."""
    units = model.expression_units
    if units is None:
        return expression
    values = {name: float(np.clip(value, -0.1, 1.0)) for name, value in units.values(expression).items()}
    return units.coefficients(values)


def _lighting(
    stream: np.random.Generator, result: FitResult, config: VariantConfig, donors: Donors, own_key: str
) -> tuple[NDArray[np.float64], str]:
    kind, which = stream.random(), stream.random()
    drawn = _drawn_light(stream)
    exposure = float(np.clip(np.exp(stream.normal(0, config.exposure_sigma)), *_EXPOSURE_LIMITS))
    others = [i for i, name in enumerate(donors.names) if name != own_key]
    if kind < config.light_transfer and others:
        chosen = others[int(which * len(others))]
        return _as_bright(donors.lightings[chosen], result.lighting, exposure), donors.names[chosen]
    if config.light_transfer <= kind < config.light_transfer + config.light_drawn:
        return _as_bright(drawn, result.lighting, exposure), "drawn"
    return result.lighting.copy(), "photo"


def _drawn_light(stream: np.random.Generator) -> NDArray[np.float64]:
    """(9, 3): ambient light and one or two far lights before the face, mildly coloured."""
    ambient = stream.uniform(*_AMBIENT)
    gamma = np.zeros((9, 3))
    colour = np.exp(stream.normal(0, _COLOUR_SIGMA, 3))
    gamma[0] = ambient / SH_CONSTANTS[0] * colour
    count = 1 + int(stream.random() < 0.4)
    bands = np.array([0, 1, 1, 1, 2, 2, 2, 2, 2])
    for _ in range(count):
        azimuth, height = np.radians(stream.uniform(-95, 95)), np.radians(stream.uniform(-15, 70))
        towards = np.array([np.cos(height) * np.sin(azimuth), np.sin(height), np.cos(height) * np.cos(azimuth)])
        tint = np.exp(stream.normal(0, _COLOUR_SIGMA, 3))
        # A far light of irradiance 1: the cosine lobe about its direction (Ramamoorthi and Hanrahan 2001).
        lobe = np.array(COSINE_BANDS)[bands] * sh_basis(towards)
        gamma += (1 - ambient) / count * lobe[:, None] * tint
    return _above_zero(gamma)


def _above_zero(gamma: NDArray[np.float64]) -> NDArray[np.float64]:
    """The light with its direction's part made weaker until no direction is darker than `_LEAST_LIT`."""
    directions = np.stack(np.meshgrid(*[np.linspace(-1, 1, 9)] * 3), axis=-1).reshape(-1, 3)
    directions = directions[np.abs(directions).max(axis=1) == 1]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    basis = sh_basis(directions)
    constant = basis[:, :1] * gamma[:1]
    rest = (basis @ gamma - constant).min(axis=0)
    room = (1 - _LEAST_LIT) * constant[0]
    weaker = float(np.min(np.where(rest < -room, room / np.maximum(-rest, 1e-12), 1.0)))
    result = gamma.copy()
    result[1:] *= weaker
    return result


def _as_bright(gamma: NDArray[np.float64], like: NDArray[np.float64], exposure: float) -> NDArray[np.float64]:
    """A light that shines on what faces the viewer, on the mean of its channels, as another does, times an exposure."""
    front = np.array([[0.0, 0.2, 0.98], [0.5, 0.2, 0.84], [-0.5, 0.2, 0.84]])
    ratio = soft_light(front, like).mean() / soft_light(front, gamma).mean()
    result: NDArray[np.float64] = gamma * (ratio * exposure)
    return result

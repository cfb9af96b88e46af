"""How to fit: weights, sizes and limits, from code or from a TOML file."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from faceinv.engine.records import Assembly, Normals
from faceinv.errors import ConfigError

__all__ = ["FitConfig"]


@dataclass(frozen=True)
class FitConfig:
    """Settings of a fit. The defaults suit the default model and photos of any origin.

    Attributes:
        photometric_weight: w_photo: of the mean over face pixels of the squared colour difference (linear RGB in [0,
            1]).
        landmark_weight: w_land: of the mean squared landmark distance, in units of the distance between the outer eye
            corners.
        identity_weight: w_id: of the sum of squared identity coefficients, in standard deviations.
        expression_weight: w_ex: the same for expression.
        albedo_weight: w_al: the same for albedo.
        lighting_weight: w_li: of the sum of squared lighting coefficients above the constant ones; keeps unseen sides
            evenly lit.
        jaw_weight: omega of the 17 jaw landmarks, which slide on the model's contour; the inner 51 have 1 but for the
            brows.
        brow_weight: omega of the 10 brow landmarks: brows grow where they like, so they say little about the bone
            below.
        huber_delta: Colour difference beyond which the photometric cost grows linearly; `inf` for plain squares.
        occluder_share: The share of the face that is expected to be covered by something else (glasses, a beard, a
            hand): pixels count by how sure it is that they show the face, anew at each level. 0 lets all count alike.
        landmark_prior_factor: How much stronger priors are while only landmarks are fitted: 68 points alone must not
            bend the face.
        size: Pixels across the face crop at the finest level.
        levels: Image sizes from coarse to fine, each twice the one before.
        iterations: Linearisations at most at the finest level.
        coarse_iterations: The same at each coarser level.
        cost_tolerance: Stop a level when a step lowers the cost by less than this fraction.
        margin: Side of the square crop over the larger side of the landmarks' bounding box.
        albedo_field: The amplitude of a smooth field of albedo beside the model's own albedo modes
            (`faceinv.face.albedo_field`): 1 is what skins do, 0 leaves it out. `auto` leaves it out where the model has
            40 albedo modes or more of its own.
        self_occlusion: Take account of the light that the face keeps off itself.
        normals: `smooth` or `flat`.
        assembly: How engines form J^T J: `auto`, `rows` or `vertices`.
        pixel_units: Colours from 0 to 255 and landmark distances in pixels, as in the paper; weights then mean what
            they do there.

    Raises:
        ConfigError: for a value out of its range.
    """

    photometric_weight: float = 1.0
    landmark_weight: float = 3.0
    identity_weight: float = 7e-5
    expression_weight: float = 7e-5
    albedo_weight: float = 2e-5
    lighting_weight: float = 1e-4
    jaw_weight: float = 0.3
    brow_weight: float = 0.3
    huber_delta: float = 0.2
    occluder_share: float = 0.05
    landmark_prior_factor: float = 20.0
    size: int = 224
    levels: int = 3
    iterations: int = 25
    coarse_iterations: int = 8
    cost_tolerance: float = 1e-3
    margin: float = 1.35
    albedo_field: float | Literal["auto"] = "auto"
    self_occlusion: bool = True
    normals: Normals = "smooth"
    assembly: Assembly = "auto"
    pixel_units: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name), field.default)

    @classmethod
    def paper(cls) -> FitConfig:
        """The weights and units of Guo et al. 2018 (arXiv 1708.00980), with one normal for each triangle.

        Pixels and colours from 0 to 255, `w_land = 10`, `w_reg = 5e-5`, no Huber, all landmarks alike. In these units
        the priors hardly hold: coefficients of twenty standard deviations were met on a real photo. Use it to compare
        with the paper, and the defaults for faces.
        """
        return cls(
            photometric_weight=1.0,
            landmark_weight=10.0,
            identity_weight=5e-5,
            expression_weight=5e-5,
            albedo_weight=5e-5,
            lighting_weight=0.0,
            jaw_weight=1.0,
            brow_weight=1.0,
            huber_delta=math.inf,
            occluder_share=0.0,
            albedo_field=0.0,
            self_occlusion=False,
            normals="flat",
            pixel_units=True,
        )

    @classmethod
    def of(cls, config: FitConfig | Mapping[str, Any] | None) -> FitConfig:
        """A configuration from itself, from a mapping of its fields, or the defaults for None.

        Raises:
            ConfigError: for anything else, unknown keys or values out of range.
        """
        if config is None or isinstance(config, FitConfig):
            return config or cls()
        if isinstance(config, Mapping):
            return cls.from_dict(dict(config))
        raise ConfigError(
            f"config is {type(config).__name__} {config!r}; expected a FitConfig, a mapping of its fields, or None. "
            "Read a file with FitConfig.from_toml."
        )

    @classmethod
    def from_toml(cls, path: str | Path) -> FitConfig:
        """Read settings from a TOML file whose keys are the fields of this class; others keep their defaults.

        Raises:
            ConfigError: when the file cannot be read or holds unknown keys or values out of range.
        """
        try:
            table = tomllib.loads(Path(path).read_bytes().decode("utf-8-sig"))
        except OSError as error:
            raise ConfigError(f"cannot read the configuration '{path}': {error.strerror or error}.") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"'{path}' is not valid TOML: {error}.") from None
        try:
            return cls.from_dict(table)
        except ConfigError as error:
            raise ConfigError(f"'{path}': {error}") from None

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> FitConfig:
        """Settings from a mapping of field names to values.

        Raises:
            ConfigError: for unknown keys or values out of range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in table:
            if key in _RENAMED:
                raise ConfigError(f"configuration key '{key}' is no more; use {_RENAMED[key]}.")
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}."
                raise ConfigError(f"unknown configuration key '{key}'; {hint}")
        return cls(**table)


_CHOICES = {"normals": ("smooth", "flat"), "assembly": ("auto", "rows", "vertices")}
_AUTOMATIC = ("albedo_field",)
"""Numbers that may also be `auto`."""
_RENAMED = {"occlusion_threshold": "occluder_share, the share of the face that may be covered (0 for none)"}
_RANGES = {
    "occluder_share": (0.0, 0.5),
    "albedo_field": (0.0, 100.0),
    "huber_delta": (1e-6, math.inf),
    "size": (32, 4096),
    "levels": (1, 6),
    "iterations": (1, 1000),
    "coarse_iterations": (0, 1000),
    "margin": (1.0, 4.0),
    "landmark_prior_factor": (1e-6, 1e9),
    "cost_tolerance": (0.0, 0.5),
}


def _check(name: str, value: Any, default: Any) -> None:
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise ConfigError(f"'{name}' is {value!r}; expected one of {', '.join(_CHOICES[name])}.")
        return
    if name in _AUTOMATIC and value == "auto":
        return
    kind = float if name in _AUTOMATIC else type(default)
    right = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if not right or (kind is not bool and isinstance(value, bool)):
        raise ConfigError(f"'{name}' is {value!r}; expected {_expected(name, kind)}.")
    if kind is bool:
        return
    low, high = _RANGES.get(name, (0.0, 1e12))
    if not low <= value <= high:
        raise ConfigError(f"'{name}' is {value}; expected a value from {low} to {high}.")


def _expected(name: str, kind: type) -> str:
    """What a value should be, for people."""
    if name in _AUTOMATIC:
        return "a number or 'auto'"
    return "a number" if kind is float else kind.__name__

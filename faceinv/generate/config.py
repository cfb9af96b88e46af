"""From which distributions variants are drawn: ranges, shares and limits, from code or from a TOML file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from faceinv.configuration import read_toml, refuse_unknown
from faceinv.errors import ConfigError, InputError
from faceinv.generate.steps import Steps

__all__ = ["VariantConfig", "beside", "check_steps"]


@dataclass(frozen=True)
class VariantConfig:
    """Settings of a data set of variants. Angles are in degrees, lengths in mm, shares from 0 to 1.

    The ranges are this project's own choice, by reason: Guo et al. 2018 do not state theirs.

    Attributes:
        yaw: The largest turn to either side. A share `even_yaw` of variants has any turn up to it with the same
            probability; the others have normal turns of `yaw_sigma`, cut off there, as people in photos do.
        even_yaw: See `yaw`.
        yaw_sigma: See `yaw`.
        pitch: The largest pitch, up or down.
        pitch_sigma: Of the normal distribution of pitches.
        tilt_sigma: Of the head's tilt against body and ground.
        roll_sigma: Of the camera's roll, by which the whole picture turns.
        any_roll: The share of variants that are rolled by any angle, all alike.
        expression_prior: The share of variants whose expression is drawn from the model's prior.
        expression_transfer: The share that has another photo's expression.
        expression_units: The share that is made of named expressions (blinks, an opening jaw, smiles, and a few
            others), as people do them. What is left keeps the photo's expression.
        expression_sigma: Standard deviations of the prior's coefficients, in those of the model.
        light_transfer: The share of variants under another photo's light.
        light_drawn: The share under a drawn light: ambient and one or two far lights before the face. What is left
            keeps the photo's light.
        exposure_sigma: Of the logarithm of a drawn or transferred light's brightness, over the photo's own.
        weak: The share of variants with a camera that is infinitely far away; the others are at a distance between the
            two of `distance`, the same for each factor between.
        distance: The nearest and the farthest camera.
        span: The smallest and the largest length, mm at the head, that a picture's side shows.
        offset: How far the face's middle is from the picture's, over its side, at most, to each side.
        relief: The smallest and the largest factor by which a transferred detail is made stronger, of kind `fine`.
        relief_bands: The share of variants of that kind that take bands of the other face's detail (pores, wrinkles,
            folds), each with a strength of its own, and not all of it alike.
        samples: Along each side of a pixel that are averaged.
        step_yaw: Of kind `pairs`, standard deviation of the change from a frame to the next: of yaw,
        step_pitch: pitch,
        step_roll: and roll, degrees,
        step_shift: of the head's place, over the picture's side,
        step_scale: of the logarithm of its size,
        step_expression: of each coefficient of expression,
        step_light: and of the lighting, over the constant light. These are those of a head that moves at 30 frames a
            second at a moderate speed: 60 degrees a second turn a head by 2 degrees between frames.
        steps: Instead of these, what was measured of a video (`faceinv.generate.Steps`): a file of `Steps.save`, or a
            folder with results of its frames, which is measured; None for the deviations above.

    Raises:
        ConfigError: for values out of range.
        InputError: for a file or folder of steps that cannot be used.
    """

    yaw: float = 80.0
    even_yaw: float = 0.5
    yaw_sigma: float = 25.0
    pitch: float = 25.0
    pitch_sigma: float = 11.0
    tilt_sigma: float = 6.0
    roll_sigma: float = 8.0
    any_roll: float = 0.05
    expression_prior: float = 0.35
    expression_transfer: float = 0.25
    expression_units: float = 0.3
    expression_sigma: float = 0.9
    light_transfer: float = 0.25
    light_drawn: float = 0.4
    exposure_sigma: float = 0.15
    weak: float = 0.3
    distance: tuple[float, float] = (400.0, 2500.0)
    span: tuple[float, float] = (250.0, 360.0)
    offset: float = 0.06
    relief: tuple[float, float] = (0.6, 1.2)
    relief_bands: float = 0.4
    samples: int = 2
    step_yaw: float = 2.0
    step_pitch: float = 1.2
    step_roll: float = 1.0
    step_shift: float = 0.008
    step_scale: float = 0.01
    step_expression: float = 0.12
    step_light: float = 0.01
    steps: Steps | None = None

    def __post_init__(self) -> None:
        given = [field for field in dataclasses.fields(self) if field.name != "steps"]
        for field in given:
            _check(field.name, getattr(self, field.name), field.default)
        if self.steps is not None:
            both = [f.name for f in given if f.name.startswith("step_") and getattr(self, f.name) != f.default]
            if both:
                raise ConfigError(f"'steps' and '{both[0]}' are given; measured steps take the place of step_... .")
            object.__setattr__(self, "steps", _steps(self.steps))
        for name in ("distance", "span", "relief"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for kind, names in (
            ("expression", ("expression_prior", "expression_transfer", "expression_units")),
            ("light", ("light_transfer", "light_drawn")),
        ):
            total = sum(getattr(self, name) for name in names)
            if total > 1 + 1e-9:
                raise ConfigError(f"the shares of {kind}, {', '.join(names)}, sum to {total:.3g}; expected 1 at most.")

    @classmethod
    def of(cls, config: VariantConfig | Mapping[str, Any] | None) -> VariantConfig:
        """A configuration from itself, from a mapping of its fields, or the defaults for None.

        Raises:
            ConfigError: for anything else, unknown keys or values out of range.
        """
        if config is None or isinstance(config, VariantConfig):
            return config or cls()
        if isinstance(config, Mapping):
            refuse_unknown(config, [field.name for field in dataclasses.fields(cls)])
            return cls(**config)
        raise ConfigError(
            f"config is {type(config).__name__} {config!r}; expected a VariantConfig, a mapping of its fields, or None."
        )

    @classmethod
    def from_toml(cls, path: str | Path) -> VariantConfig:
        """Read settings from a TOML file whose keys are the fields of this class; others keep their defaults.

        Raises:
            ConfigError: when the file cannot be read or holds unknown keys or values out of range.
        """
        table = beside(read_toml(path), path)
        try:
            return cls.of(table)
        except ConfigError as error:
            raise ConfigError(f"'{path}': {error}") from None


def beside(table: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """A table of settings from the file at `path`, where paths are relative to its folder."""
    if isinstance(table.get("steps"), str):
        return {**table, "steps": Path(path).parent / table["steps"]}
    return table


def check_steps(config: VariantConfig, fingerprint: str) -> None:
    """See that measured steps, where there are some, are of the model with this fingerprint.

    Raises:
        InputError: when they are of another.
    """
    if config.steps is not None and config.steps.fingerprint != fingerprint:
        raise InputError(
            f"the measured steps are of another model ({config.steps.fingerprint}) than the faces ({fingerprint}), "
            "whose expressions differ. Measure a video that was fitted with this model."
        )


def _steps(given: Any) -> Steps:
    if isinstance(given, Steps):
        return given
    if not isinstance(given, (str, Path)) or not str(given):
        raise ConfigError(f"'steps' is {given!r}; expected a file of Steps.save or a folder of results.")
    return Steps.load(given)


_SHARE: Final = (0.0, 1.0)
_RANGES: Final = {
    "yaw": (0.0, 90.0),
    "pitch": (0.0, 45.0),
    **dict.fromkeys(("yaw_sigma", "pitch_sigma", "tilt_sigma", "roll_sigma"), (0.0, 180.0)),
    **dict.fromkeys(("even_yaw", "any_roll", "weak", "light_transfer", "light_drawn"), _SHARE),
    **dict.fromkeys(("expression_prior", "expression_transfer", "expression_units"), _SHARE),
    "expression_sigma": (0.0, 3.0),
    "exposure_sigma": (0.0, 1.0),
    "distance": (250.0, 1e6),
    "span": (150.0, 600.0),
    "offset": (0.0, 0.3),
    "relief": (0.0, 3.0),
    "relief_bands": _SHARE,
    "samples": (1, 4),
    **dict.fromkeys(("step_yaw", "step_pitch", "step_roll"), (0.0, 30.0)),
    **dict.fromkeys(("step_shift", "step_scale", "step_light"), (0.0, 0.3)),
    "step_expression": (0.0, 3.0),
}


def _check(name: str, value: Any, default: Any) -> None:
    low, high = _RANGES[name]
    if isinstance(default, tuple):
        numbers = list(value) if isinstance(value, (tuple, list)) else []
        right = len(numbers) == 2 and all(_is_number(n, float) and low <= n <= high for n in numbers)
        if not right or numbers[0] > numbers[1]:
            raise ConfigError(f"'{name}' is {value!r}; expected two numbers from {low} to {high}, the smaller first.")
        return
    if not _is_number(value, type(default)):
        raise ConfigError(f"'{name}' is {value!r}; expected {'a number' if type(default) is float else 'an integer'}.")
    if not low <= value <= high:
        raise ConfigError(f"'{name}' is {value}; expected a value from {low} to {high}.")


def _is_number(value: Any, kind: type) -> bool:
    kinds = (int, float) if kind is float else (int,)
    return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)

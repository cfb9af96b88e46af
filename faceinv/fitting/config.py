"""How to fit: standard deviations, sizes and limits, from code or from a TOML file."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar

from faceinv.configuration import read_toml, refuse_unknown
from faceinv.detail.record import FORMULATIONS, Formulation
from faceinv.engine.records import Assembly, Normals
from faceinv.errors import ConfigError

__all__ = ["CameraKind", "DetailChoice", "FitConfig", "Units"]

CameraKind: TypeAlias = Literal["perspective", "weak"]
DetailChoice: TypeAlias = bool | Formulation
"""False for none, true for the default formulation, or its name."""
Units: TypeAlias = Literal["eyes", "image", "pixels"]
_T = TypeVar("_T")

_OLD_NAMES: Final = {
    "photometric_weight": (
        "photometric_sigma",
        "photometric_samples / photometric_sigma^2 = photometric_weight / identity_weight, or inf for 0",
    ),
    "landmark_weight": ("landmark_sigma", "landmark_sigma = sqrt(68 * identity_weight / landmark_weight)"),
    "identity_weight": ("identity_sigma", "leave it 1: other weights become relative to this one"),
    "expression_weight": ("expression_sigma", "expression_sigma = sqrt(identity_weight / expression_weight)"),
    "albedo_weight": ("albedo_sigma", "albedo_sigma = sqrt(identity_weight / albedo_weight)"),
    "lighting_weight": ("lighting_sigma", "lighting_sigma = sqrt(identity_weight / lighting_weight)"),
    "jaw_weight": ("jaw_factor", "jaw_factor = 1 / sqrt(jaw_weight)"),
    "brow_weight": ("brow_factor", "brow_factor = 1 / sqrt(brow_weight)"),
    "occlusion_threshold": (
        "occluder_share",
        "it is the share of the face that may be covered; 0 for none",
    ),
    "pixel_units": ("units", "units = 'pixels' for true, 'eyes' for false"),
}
"""Settings of faceinv 0.1: what replaces each, and how its value is converted."""


def _refuse_old_names(names: Iterable[str]) -> None:
    for name in names:
        if name in _OLD_NAMES:
            new, formula = _OLD_NAMES[name]
            raise ConfigError(f"'{name}' was a setting of faceinv 0.1; use '{new}'. To convert: {formula}.")


def _refusing_old_names(cls: type[_T]) -> type[_T]:
    """The class, whose constructor tells what has become of settings that it had once."""
    construct = cls.__init__

    @functools.wraps(construct)
    def checked(self: _T, *args: Any, **settings: Any) -> None:
        _refuse_old_names(settings)
        construct(self, *args, **settings)

    cls.__init__ = checked  # type: ignore[assignment]
    return cls


@_refusing_old_names
@dataclass(frozen=True)
class FitConfig:
    """Settings of a fit. The defaults suit the default model and photos of any origin.

    What terms count for is said by standard deviations: the energy is a sum of squares over variances, so that a
    prior of 1 weighs 1 and the energy's minimum is the most likely face. An infinite one switches its term off.

    Attributes:
        landmark_sigma: Of landmarks that are given, x and y alike, in units of `units`: of the inner points but brows.
            People mark the same point of the same photo within about 1 % of the distance between the outer eye corners.
        detected_landmark_sigma: The same of landmarks that faceinv finds, for a frontal face: its network is off by
            about 1.2 %, and errors of neighbours go together, which makes 68 points worth fewer. Where `units` are
            `eyes`, single points of either have more or less, by region, yaw and agreement
            (`faceinv.face.landmark_sources`).
        jaw_factor: By what the standard deviations of the 17 jaw landmarks are multiplied beside that; they count
            across the outline, and say nothing along it.
        brow_factor: The same for the 10 brow landmarks: brows grow where they like, and say little about the bone
            below.
        photometric_sigma: Of the colours of face pixels (linear RGB in [0, 1]) around what the model can say: what
            good fits leave, .05 RMSE.
        photometric_samples: How many independent colours a face holds. What a model cannot say of skin (spots, hair,
            shadows) spreads over patches of about a centimetre, so that neighbouring pixels tell the same thing twice;
            a face has some hundred such patches, whatever the resolution.
        identity_sigma: Of identity coefficients, in the model's standard deviations.
        expression_sigma: The same for expression. Below 1, as a photo says less of an expression than landmarks seem
            to: on rendered strangers .8 gives nearer surfaces than 1, for a hundredth more of landmark error.
        albedo_sigma: The same for albedo.
        lighting_sigma: Of lighting coefficients above the constant ones (of a light that shows white as 1); keeps
            unseen sides evenly lit.
        huber_delta: Colour difference beyond which the photometric cost grows linearly, from 0 to 1; `inf` for plain
            squares. Below the RMSE of a good fit: glints, spots and shadows are in the tails.
        occluder_share: The share of the face that is expected to be covered by something else (glasses, a beard, a
            hand): pixels count by how sure it is that they show the face, anew at each level. 0 lets all count alike.
        landmark_prior_factor: How much stronger priors of shape are while only landmarks are fitted; 1 where landmarks
            weigh what they are worth.
        size: Pixels across the face crop at the finest level. Fits at 224 px are no nearer to the true surface.
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
        hessian_size: H, the Gauss-Newton model of the energy's curvature, is summed over as many pixels as the face
            crop has at this size, spread evenly; cost and gradient are those of all, so the minimum is the same. From
            `size` on, H is that of all, too.
        units: Of landmark distances and of `photometric_sigma`. `eyes`: distances over that of the outer eye corners,
            colours from 0 to 1. `image`: distances over the side of the face crop, colours from 0 to 1. `pixels`:
            pixels of each level, colours from 0 to 255.
        camera: `perspective`, or `weak` for a camera that is infinitely far away.
        focal_length_px: The focal length of the camera, in pixels of the photos; 0 where it is not known. Then that of
            the photo's EXIF is taken, and where there is none, `distance` counts.
        distance: From the camera to the head (the model's origin), in mm, for photos whose focal length is not known:
            the middle of the prior of `estimate_distance`. Without that it is held, to about a percent: what is held is
            the focal length that goes with it and the size of the face.
        estimate_distance: Find the distance of photos whose focal length is not known by the fit, under a prior around
            `distance` that lets one over the distance be from 0 to twice as large within one standard deviation.
        detail: Whether to find the relief of the skin after the fit, and how: `robust` (the same as true) or `paper`,
            the energy of Guo et al. 2018 as it stands; see `faceinv.detail`.

    Raises:
        ConfigError: for a value out of its range, and for names of weights that faceinv 0.1 had: it says what replaces
            them, and how to convert their values.
    """

    landmark_sigma: float = 0.01
    detected_landmark_sigma: float = 0.018
    jaw_factor: float = 1.0
    brow_factor: float = 1.0
    photometric_sigma: float = 0.05
    photometric_samples: float = 200.0
    identity_sigma: float = 1.0
    expression_sigma: float = 0.8
    albedo_sigma: float = 1.0
    lighting_sigma: float = 0.45
    huber_delta: float = 0.035
    occluder_share: float = 0.05
    landmark_prior_factor: float = 1.0
    size: int = 112
    levels: int = 2
    iterations: int = 25
    coarse_iterations: int = 5
    cost_tolerance: float = 2e-3
    margin: float = 1.35
    albedo_field: float | Literal["auto"] = "auto"
    self_occlusion: bool = True
    normals: Normals = "smooth"
    assembly: Assembly = "auto"
    hessian_size: int = 56
    units: Units = "eyes"
    camera: CameraKind = "perspective"
    focal_length_px: float = 0.0
    distance: float = 900.0
    estimate_distance: bool = True
    detail: DetailChoice = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name), field.default)

    @property
    def formulation(self) -> Formulation | None:
        """Of the detail that is asked for; None for none."""
        return FORMULATIONS[0] if self.detail is True else (self.detail or None)

    @classmethod
    def paper(cls, pixel_units: bool = False) -> FitConfig:
        """The weights of Guo et al. 2018 (arXiv 1708.00980), with one normal for each triangle.

        `w_land = 10` and `w_reg = 5e-5`, the same for shape, expression and albedo; no Huber, all landmarks alike. The
        paper does not state its units. With colours from 0 to 1 and landmarks relative to the image - here, the face
        crop's side - these weights are of the size of ones that work: as standard deviations, over that of the priors,
        landmarks have `sqrt(68 w_reg / w_land)`, 1.8 % of the image, and the mean over pixels counts like `1 / w_reg` =
        20000 colours of a standard deviation of 1, which are 50 of .05. Relief is found by the paper's energy, too
        (`detail`).

        Args:
            pixel_units: read the weights as the authors' notebooks do, with colours from 0 to 255 and landmarks in
                pixels. The priors hardly hold then: coefficients of more than twenty standard deviations were met on a
                real photo.
        """
        w_land, w_reg, landmarks = 10.0, 5e-5, 68
        sigma = math.sqrt(landmarks * w_reg / w_land)
        colour = 1.0 if pixel_units else 0.05
        return cls(
            landmark_sigma=sigma,
            detected_landmark_sigma=sigma,
            jaw_factor=1.0,
            brow_factor=1.0,
            photometric_sigma=colour,
            photometric_samples=colour**2 / w_reg,
            identity_sigma=1.0,
            expression_sigma=1.0,
            albedo_sigma=1.0,
            lighting_sigma=math.inf,
            huber_delta=math.inf,
            occluder_share=0.0,
            albedo_field=0.0,
            self_occlusion=False,
            normals="flat",
            hessian_size=4096,
            camera="weak",
            units="pixels" if pixel_units else "image",
            detail="paper",
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
        table = read_toml(path)
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
        _refuse_old_names(table)
        refuse_unknown(table, [field.name for field in dataclasses.fields(cls)])
        return cls(**table)


_CHOICES = {
    "normals": ("smooth", "flat"),
    "assembly": ("auto", "rows", "vertices"),
    "units": ("eyes", "image", "pixels"),
    "camera": ("perspective", "weak"),
}
_AUTOMATIC = ("albedo_field",)
"""Numbers that may also be `auto`."""
_SIGMA = (1e-9, math.inf)
_RANGES = {
    **dict.fromkeys(("landmark_sigma", "detected_landmark_sigma", "jaw_factor", "brow_factor"), _SIGMA),
    **dict.fromkeys(("identity_sigma", "expression_sigma", "albedo_sigma", "lighting_sigma"), _SIGMA),
    "photometric_sigma": _SIGMA,
    "photometric_samples": (1e-9, 1e12),
    "occluder_share": (0.0, 0.5),
    "albedo_field": (0.0, 100.0),
    "huber_delta": (1e-6, math.inf),
    "size": (32, 4096),
    "levels": (1, 6),
    "iterations": (1, 1000),
    "coarse_iterations": (0, 1000),
    "margin": (1.0, 4.0),
    "distance": (150.0, 1e6),
    "landmark_prior_factor": (1e-6, 1e9),
    "cost_tolerance": (0.0, 0.5),
    "hessian_size": (8, 4096),
}


def _check(name: str, value: Any, default: Any) -> None:
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise ConfigError(f"'{name}' is {value!r}; expected one of {', '.join(_CHOICES[name])}.")
        return
    if name == "detail" and not isinstance(value, bool):
        if value not in FORMULATIONS:
            raise ConfigError(f"'{name}' is {value!r}; expected true, false or one of {', '.join(FORMULATIONS)}.")
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

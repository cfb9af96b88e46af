"""What a data set is made with: all that decides on its bytes, but for the photos."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from faceinv.configuration import read_toml
from faceinv.errors import ConfigError
from faceinv.fitting.config import FitConfig
from faceinv.generate.config import VariantConfig, beside

__all__ = ["MAPS", "DatasetSettings"]

MAPS: Final = (
    *("triangle", "barycentric", "depth", "normal", "uv", "pncc", "face_mask", "skin_mask", "displacement"),
    "vertices",
)
"""Arrays of a sample's `.npz` that may be left out."""
_KINDS: Final = ("coarse", "fine", "pairs")
_RANGES: Final = {
    "variants": (1, 10_000),
    "size": (32, 2048),
    "seed": (0, 2**63 - 1),
    "quality": (1, 100),
    "shard": (1, 100_000),
}


@dataclass(frozen=True)
class DatasetSettings:
    """Settings of a data set.

    Attributes:
        kind: `coarse`, `fine` or `pairs`, see `faceinv.generate.Variants`.
        variants: of each photo; of kind `pairs`, pairs.
        size: px of the square pictures.
        seed: of all that is drawn.
        model: the face model that photos are fitted with, or that results were.
        backend: the engine that fits and draws.
        draw: the distributions.
        fit: how photos are fitted; results come with their fits.
        image: `jpeg`, or `png`, which loses nothing.
        quality: of JPEGs.
        shard: about how many pictures are in one shard; all of a photo's are in the same one.
        maps: which of `MAPS` are in a sample's `.npz`; `landmarks` and parameters always are.

    Raises:
        ConfigError: for values out of range.
    """

    kind: Literal["coarse", "fine", "pairs"] = "coarse"
    variants: int = 30
    size: int = 224
    seed: int = 0
    model: str = "default"
    backend: str = "numpy"
    draw: VariantConfig = field(default_factory=VariantConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    image: Literal["jpeg", "png"] = "jpeg"
    quality: int = 95
    shard: int = 500
    maps: tuple[str, ...] = MAPS

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ConfigError(f"'kind' is {self.kind!r}; expected one of {', '.join(_KINDS)}.")
        if self.image not in ("jpeg", "png"):
            raise ConfigError(f"'image' is {self.image!r}; expected jpeg or png.")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ConfigError(f"'{name}' is {value!r}; expected an integer from {low} to {high}.")
        if not isinstance(self.maps, (list, tuple)) or not set(self.maps) <= set(MAPS):
            raise ConfigError(f"'maps' is {self.maps!r}; expected a list of some of {', '.join(MAPS)}.")
        object.__setattr__(self, "maps", tuple(name for name in MAPS if name in self.maps))

    @property
    def pictures(self) -> int:
        """Of each photo."""
        return self.variants * (2 if self.kind == "pairs" else 1)

    @property
    def photos_per_shard(self) -> int:
        """How many photos have their pictures in one shard."""
        return max(1, self.shard // self.pictures)

    @classmethod
    def read(cls, path: Path | None, **options: Any) -> DatasetSettings:
        """Settings from options, and from a TOML file: at its top the fields of `VariantConfig`, in a table `dataset`
        those of this class (options win), in a table `fit` those of `FitConfig`.

        Raises:
            ConfigError: when the file cannot be read or holds unknown keys, or a value is out of range.
        """
        table = {} if path is None else beside(read_toml(path), path)
        own, fit = table.pop("dataset", {}), table.pop("fit", {})
        known = {one.name for one in dataclasses.fields(cls)} - {"draw", "fit"}
        try:
            for name, part in (("dataset", own), ("fit", fit)):
                if not isinstance(part, dict):
                    raise ConfigError(f"'{name}' is {part!r}; expected a table, [{name}].")
            unknown = sorted(set(own) - known)
            if unknown:
                raise ConfigError(f"unknown key '{unknown[0]}' in [dataset]; known are {', '.join(sorted(known))}.")
            given = {name: value for name, value in options.items() if value is not None}
            return cls(**{**own, **given, "draw": VariantConfig.of(table), "fit": FitConfig.of(fit)})
        except ConfigError as error:
            raise ConfigError(f"'{path}': {error}" if path is not None else str(error)) from None

    def fit_config(self) -> FitConfig:
        """How photos are fitted: kind `fine` needs their detail."""
        wanted = self.kind == "fine" and not self.fit.detail
        return dataclasses.replace(self.fit, detail="robust") if wanted else self.fit

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        import json

        steps = self.draw.steps
        plain = dataclasses.asdict(dataclasses.replace(self, draw=dataclasses.replace(self.draw, steps=None)))
        plain["draw"]["steps"] = None if steps is None else steps.record()
        return dict(json.loads(json.dumps(_finite(plain))))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return str(value) if isinstance(value, float) and value in (float("inf"), float("-inf")) else value

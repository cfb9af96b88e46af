"""Variants of fitted photos: the same people under other poses, expressions and lights, with all that is known of them.

Guo et al. 2018 make the training data of their networks so: variants of each photo (coarse data), variants with the
details of other faces (fine data), and pairs of neighbouring frames (tracking).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np

from faceinv.errors import InputError
from faceinv.generate.config import VariantConfig, check_steps
from faceinv.generate.draws import (
    Donors,
    Draw,
    draw_neighbour,
    draw_relief,
    draw_variant,
    photo_key,
    posed_face,
    random_stream,
)
from faceinv.generate.labels import Labels, pncc_image
from faceinv.generate.picture import draw_pictures
from faceinv.generate.scene import Scene

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.detail.relief_map import ReliefMap
    from faceinv.fitting.result import FitResult
    from faceinv.generate.picture import Picture

__all__ = ["Kind", "Variant", "Variants"]

Kind: TypeAlias = Literal["coarse", "fine", "pairs"]

_SIZES: Final = (32, 2048)
_KEPT: Final = 8
"""Reliefs that are held at once, some 30 MB each."""
_TYPICAL_SPAN: Final = 290.0
"""mm across a picture, by which scenes are made as fine as pictures need."""


@dataclass(frozen=True, eq=False)
class Variant:
    """One picture and what is known of it."""

    image: NDArray[np.uint8]
    """(size, size, 3) sRGB."""
    labels: Labels
    draw: Draw
    """What was drawn for it, and from whom."""
    photo: str
    """The key of the photo (`faceinv.generate.draws.photo_key`)."""
    index: int
    """Which of the photo's variants; of kind `pairs` a pair has one number."""
    seed: int
    kind: Kind
    frame: int = 0
    """Of kind `pairs`: 0 for the first frame, 1 for its neighbour."""
    previous_pncc: NDArray[np.float32] | None = None
    """(size, size, 3) of the neighbour: the PNCC of the first frame, as a tracker knows it."""


class Variants:
    """The variants of fitted photos, in memory, photo after photo.

    Every variant follows from the seed, its photo and its number, and from the donors where it takes something of
    another photo: `variants.sample(photo, index)` makes any one again, here or on another machine.

        for variant in faceinv.generate.Variants(results, count=30, size=224, seed=0):
            use(variant.image, variant.labels.landmarks)

    Args:
        results: fits with their photos (`FitResult.with_photo`), all of one model.
        kind: `coarse` for other poses, expressions, lights and cameras; `fine` for these with other faces' details;
            `pairs` for frames with a neighbour.
        count: variants of each photo; of kind `pairs` pairs.
        size: px of the square pictures.
        seed: any integer of at least 0.
        config: distributions, see `VariantConfig`; a mapping of its fields, or None for the defaults.
        donors: whose expressions and lights may be taken; None for those of `results`.
        reliefs: of kind `fine`, the details that are lent, by name; None for those of `results` that have one
            (`FitResult.with_detail`).
        backend: the engine that draws.
        batch: variants that the engine draws at once.

    Raises:
        InputError: for results without photos, of different models, or none; a kind, count, size or seed that cannot
            be.
        ConfigError: for settings out of range.
    """

    def __init__(
        self,
        results: Sequence[FitResult],
        kind: Kind = "coarse",
        count: int = 30,
        size: int = 224,
        seed: int = 0,
        config: VariantConfig | Mapping[str, Any] | None = None,
        *,
        donors: Donors | None = None,
        reliefs: Mapping[str, ReliefMap] | None = None,
        backend: str = "numpy",
        batch: int = 4,
    ) -> None:
        self.results = list(results)
        if not self.results:
            raise InputError("there are no results to make variants of; give one fit at least.")
        if kind not in get_args(Kind):
            raise InputError(f"kind is {kind!r}; expected one of {', '.join(get_args(Kind))}.")
        for name, value, low, high in (
            ("count", count, 1, 10**9),
            ("size", size, *_SIZES),
            ("seed", seed, 0, 2**63 - 1),
            ("batch", batch, 1, 1024),
        ):
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or not low <= value <= high:
                raise InputError(f"{name} is {value!r}; expected an integer from {low} to {high}.")
        first = self.results[0].model.fingerprint
        for place, result in enumerate(self.results):
            if result.photo is None:
                raise InputError(
                    f"result {place} has no photo, as it was read from a file. Use result.with_photo(photo) first."
                )
            if result.model.fingerprint != first:
                raise InputError(f"result {place} is of another model than result 0; variants are of one model.")
        chosen = VariantConfig.of(config)
        if kind == "pairs":
            check_steps(chosen, first)
        self.kind, self.count, self.size, self.seed, self.batch = kind, int(count), int(size), int(seed), int(batch)
        self.config = chosen
        self.backend = backend
        self.keys = tuple(photo_key(result) for result in self.results)
        self.donors = donors if donors is not None else Donors.of(self.results, self.keys)
        self._scene: tuple[int, Scene] | None = None
        self._reliefs = reliefs or {}
        self._lent: dict[str, ReliefMap] = {}
        # Reliefs are made when they are needed: each takes some time and room.
        detailed = (pair for pair in zip(self.keys, self.results, strict=True) if pair[1].detail is not None)
        self._with_detail = dict(detailed) if kind == "fine" else {}
        self._lenders = list(self._with_detail if reliefs is None else reliefs)
        if kind == "fine" and not self._lenders:
            raise InputError(
                "variants of kind 'fine' take the detail of other faces, and none of the results has one. Use "
                "result.with_detail() first, or give reliefs."
            )

    def __len__(self) -> int:
        """Pictures in all."""
        return len(self.results) * self.count * (2 if self.kind == "pairs" else 1)

    def __iter__(self) -> Iterator[Variant]:
        """All variants, photo after photo; one scene is held at a time."""
        for photo in range(len(self.results)):
            for start in range(0, self.count, self.batch):
                yield from self._make(photo, range(start, min(start + self.batch, self.count)))

    def sample(self, photo: int, index: int, frame: int = 0) -> Variant:
        """One variant again: the same as `__iter__` gives, bit for bit.

        Args:
            photo: which result.
            index: which of its variants.
            frame: of kind `pairs`, 0 for the first frame, 1 for its neighbour.

        Raises:
            InputError: for numbers that are none of a result, a variant or a frame.
        """
        frames = 2 if self.kind == "pairs" else 1
        if not 0 <= photo < len(self.results) or not 0 <= index < self.count or not 0 <= frame < frames:
            raise InputError(
                f"there is no variant {index} of photo {photo}, frame {frame}; there are {len(self.results)} photos of "
                f"{self.count} variants, of {frames} each."
            )
        return list(self._make(photo, range(index, index + 1)))[frame]

    def scene(self, photo: int) -> Scene:
        """What is made once for a photo; the last one is kept."""
        if self._scene is None or self._scene[0] != photo:
            self._scene = None
            self._scene = (photo, Scene.of(self.results[photo], self.size / _TYPICAL_SPAN, self.backend))
        return self._scene[1]

    def draws(self, photo: int, index: int) -> list[Draw]:
        """What is drawn of a variant: one draw, or two of a pair."""
        stream = random_stream(self.seed, self.keys[photo], index)
        draw = draw_variant(stream, self.results[photo], self.config, self.donors, self.keys[photo])
        if self.kind == "fine":
            return [draw_relief(stream, draw, self.config, self._lenders, self.keys[photo])]
        if self.kind == "coarse":
            return [draw]
        return [draw, draw_neighbour(stream, draw, self.config)]

    def _make(self, photo: int, indices: Sequence[int]) -> Iterator[Variant]:
        scene, result = self.scene(photo), self.results[photo]
        drawn = [(index, frame, draw) for index in indices for frame, draw in enumerate(self.draws(photo, index))]
        faces, turns = zip(*(posed_face(result, draw, self.size) for _, _, draw in drawn), strict=True)
        pictures = draw_pictures(scene, list(faces), self.size, self.config.samples, list(turns))
        before: Variant | None = None
        for (index, frame, draw), plain in zip(drawn, pictures, strict=True):
            picture = self._with_relief(plain, photo, draw) if draw.relief_source else plain
            variant = Variant(
                image=picture.srgb,
                labels=picture.labels(),
                draw=draw,
                photo=self.keys[photo],
                index=index,
                seed=self.seed,
                kind=self.kind,
                frame=frame,
            )
            if frame == 1 and before is not None:
                last = before.labels
                pncc = pncc_image(result.model, last.triangle, last.barycentric)
                variant = replace(variant, previous_pncc=pncc)
            before = variant
            yield variant

    def _with_relief(self, picture: Picture, photo: int, draw: Draw) -> Picture:
        from faceinv.detail.relief_map import BANDS
        from faceinv.generate.relief import relief_on

        lent, own = self._lend(draw.relief_source), self._own(photo)
        first = draw.relief_strengths[0]
        if any(strength != first for strength in draw.relief_strengths):
            lent, strength = lent.mixed(dict(zip(BANDS, draw.relief_strengths, strict=True))), 1.0
        else:
            strength = first
        size = picture.cover.shape[0]
        return picture.with_relief(relief_on(self.results[photo].model, picture.face, size, lent, own, strength))

    def _lend(self, name: str) -> ReliefMap:
        """The relief of a donor, faded at lids and lips, as expressions differ; the last few are kept."""
        if name not in self._lent:
            while len(self._lent) >= _KEPT:
                del self._lent[next(iter(self._lent))]
            result = self._with_detail.get(name)
            relief = self._reliefs[name] if result is None else result.relief(symmetric=True)
            self._lent[name] = relief.without_rims(self.results[0].model)
        return self._lent[name]

    def _own(self, photo: int) -> ReliefMap | None:
        """The photo's own relief, where it is known."""
        return self._lend(self.keys[photo]) if self.keys[photo] in self._with_detail else None

"""The page of one fit, `STEM.html`: a file that shows all of it and needs nothing else, no network, no program."""

from __future__ import annotations

import html
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.engine.blas import one_blas_thread
from faceinv.face.lighting import SH_CONSTANTS
from faceinv.files import write_whole
from faceinv.output.panels import HEAT, RESIDUAL_RANGE
from faceinv.output.report import pictures
from faceinv.output.report.mesh import MOVE_STEP, FaceArrays, Unit, face_arrays, model_arrays
from faceinv.output.report.packing import embed
from faceinv.output.report.plot import convergence
from faceinv.output.report.templating import as_file, link_to, rendered, text_of
from faceinv.output.report.three_js import NOTICE, three_js
from faceinv.version import __version__

if TYPE_CHECKING:
    from faceinv.output.report.content import ReportContent

__all__ = ["framed_report", "report_page", "write_report"]

_GROUPS: Final = {
    "Brows": ("brow",),
    "Eyes": ("eye",),
    "Cheeks and nose": ("cheek", "nose"),
    "Jaw": ("jaw",),
    "Mouth": ("mouth",),
    "Tongue": ("tongue",),
}
"""Sliders by what their units' names begin with."""
_PRESETS: Final = {
    "Smile": {"mouthSmile": 0.8, "cheekSquint": 0.5, "eyeSquint": 0.25, "mouthDimple": 0.2},
    "Surprise": {"jawOpen": 0.45, "browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.7, "mouthFunnel": 0.25},
    "Frown": {"mouthFrown": 0.8, "browDown": 0.8, "noseSneer": 0.35, "mouthShrugLower": 0.4},
    "Kiss": {"mouthPucker": 0.9, "eyeBlink": 0.15},
    "Eyes shut": {"eyeBlink": 1.0},
}
"""Expressions by their units, left and right alike."""
_MODES: Final = {
    "photo": ("Photo", "The photo's own colours where it shows the surface, completed where it does not."),
    "albedo": ("Albedo", "The skin's own colour, as fitted, without light."),
    "light": ("Lit", "The fitted skin under the light of the photo, as fitted; the light stays with the head."),
    "shape": ("Shape", "The surface alone, in grey, under a light that stays with you."),
    "normals": ("Normals", "Where the surface faces: red to the right, green up, blue to you."),
    "uncertainty": (
        "Uncertainty",
        "One standard deviation of the surface along its normal; size and place, which a photo does not tell, apart.",
    ),
}
_REACH: Final = 1.12
"""How much is seen at first, over the head's height: what is nearer looks larger, and it may be turned."""


def write_report(content: ReportContent, path: Path) -> None:
    """Write the page of a fit, whole or not at all.

    Raises:
        InputError: when it cannot be written.
        FaceinvError: where three.js is not at hand.
    """
    page = as_file(report_page(content))
    with write_whole(path) as temporary:
        temporary.write_bytes(page)


def report_page(content: ReportContent) -> str:
    """The page of a fit, HTML.

    Raises:
        FaceinvError: where three.js is not at hand.
    """
    model, face = content.model, content.face
    shared = model_arrays(model)
    # The skin takes as long as all the rest. BLAS is held here, for what is within would change it under each other.
    with one_blas_thread(), ThreadPoolExecutor(1) as pool:
        drawing = pool.submit(pictures.draw_skin, content)
        own, shown = face_arrays(content), pictures.draw_pictures(content)
        skin = drawing.result()
    modes = [(key, name) for key, (name, _) in _MODES.items() if _is_shown(key, skin, own)]
    presets = _presets(own.units) if shared.named else {"As fitted": None, "Neutral": {}}
    page = {
        "modelArrays": shared.packed.index,
        "faceArrays": own.packed.index,
        "mesh": {
            "low": own.low,
            "size": own.size,
            "pivot": own.pivot,
            "reach": _REACH * own.size[1] / 2,
            "step": MOVE_STEP,
            "rotation": face.camera.rotation.tolist(),
            "light": _light(face.lighting),
            "linear": model.albedo_space == "linear",
        },
        "units": [{"name": unit.name, "value": unit.value} for unit in own.units],
        "presets": presets,
        "heat": HEAT.tolist(),
        "skin": skin,
        "explain": {key: text for key, (_, text) in _MODES.items()},
    }
    return rendered(
        "page.html.j2",
        content=content,
        page=page,
        model=shared,
        face=own,
        modes=modes,
        presets=presets,
        groups=_grouped(own.units) if shared.named else [("Modes", list(enumerate(own.units)))],
        pictures=shown,
        marks=pictures.draw_marks(content),
        size=pictures.SIZE,
        plot=convergence(content.steps),
        longest=max(content.seconds.values(), default=1.0) or 1.0,
        parameters=_parameters(content),
        files=[(name.replace("_", " "), link_to(file)) for name, file in content.files.items()],
        gradient=", ".join(f"rgb({' '.join(str(round(255 * value)) for value in colour)})" for colour in HEAT),
        residual_range=f"{RESIDUAL_RANGE:g}",
        three=_packed_three(),
        css=text_of("page.css"),
        js=text_of("page.js"),
        notice=NOTICE,
        version=__version__,
    )


def framed_report(content: ReportContent, height: int = 720) -> str:
    """The page in a frame, for notebooks: what it does stays within.

    Raises:
        FaceinvError: where three.js is not at hand.
    """
    page = html.escape(report_page(content), quote=True)
    style = "width: 100%; border: 0; border-radius: 8px"
    return f'<iframe title="Report of a fit" srcdoc="{page}" height="{height}" style="{style}"></iframe>'


@cache
def _packed_three() -> str:
    return embed(three_js().encode("utf-8"), 9)


def _is_shown(mode: str, skin: str, own: FaceArrays) -> bool:
    return {"photo": bool(skin), "uncertainty": own.deviation_range is not None}.get(mode, True)


def _light(lighting: np.ndarray[Any, Any]) -> list[list[float]]:
    """(9, 3) factors of `1, y, z, x, xy, yz, 3z^2-1, xz, x^2-y^2`: the coefficients with the basis's constants."""
    c0, c1, c2, c3, c4 = SH_CONSTANTS
    constants = np.array([c0, c1, c1, c1, c2, c2, c3, c2, c4])
    return [[float(value) for value in row] for row in constants[:, None] * lighting]


def _presets(units: tuple[Unit, ...]) -> dict[str, dict[str, float] | None]:
    """Expressions that the units can make; None stands for the fitted one."""
    presets: dict[str, dict[str, float] | None] = {"As fitted": None, "Neutral": {}}
    for name, parts in _PRESETS.items():
        values = {unit.name: value for part, value in parts.items() for unit in units if _side(unit.name) == part}
        if values:
            presets[name] = values
    return presets


def _side(name: str) -> str:
    return name.removesuffix("Left").removesuffix("Right")


def _grouped(units: tuple[Unit, ...]) -> list[tuple[str, list[tuple[int, Unit]]]]:
    """Units with their numbers, by part of the face, in the order of their names; the rest last."""
    left = dict(enumerate(units))
    groups = []
    for title, starts in _GROUPS.items():
        chosen = [(number, unit) for number, unit in left.items() if unit.name.startswith(starts)]
        groups.append((title, sorted(chosen, key=lambda entry: entry[1].name)))
        left = {number: unit for number, unit in left.items() if not unit.name.startswith(starts)}
    groups.append(("Others", list(left.items())))
    return [(title, chosen) for title, chosen in groups if chosen]


def _parameters(content: ReportContent) -> list[tuple[str, list[tuple[str, float]]]]:
    """All coefficients, by title and name."""
    model, face = content.model, content.face
    names = model.expression_names or tuple(str(k + 1) for k in range(model.expression_count))
    bands = ("1", "y", "z", "x", "xy", "yz", "3z²-1", "xz", "x²-y²")
    light = [
        (f"{band} {channel}", face.lighting[k, c]) for k, band in enumerate(bands) for c, channel in enumerate("RGB")
    ]
    own = model.own_albedo_count
    tables: list[tuple[str, list[tuple[str, float]]]] = [
        ("Expression units, 0 at rest, 1 at full strength", list(face.expression_units(model).items())),
        ("Identity, standard deviations", _numbered(face.identity)),
        ("Expression modes, standard deviations", list(zip(names, face.expression.tolist(), strict=True))),
        ("Albedo, standard deviations", _numbered(face.albedo[:own])),
        ("Albedo field, standard deviations", _numbered(face.albedo[own:])),
        ("Light, spherical harmonics by channel, camera frame", light),
    ]
    return [(title, values) for title, values in tables if values]


def _numbered(values: np.ndarray[Any, Any]) -> list[tuple[str, float]]:
    return [(str(number), value) for number, value in enumerate(values.tolist(), 1)]

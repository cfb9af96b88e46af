"""The whole head: the face, its shell, and eyes, teeth, tongue and lashes, as rows of one linear model.

Rows of the coarse model are, in this order: the face's M vertices (whose statistics others make), the shell's H, and
handles of the parts. A matrix takes them to all vertices: skin by subdivision; rigid parts (eyeballs, teeth) from four
handles each, of which their vertices are affine combinations; the tongue from its own coarse mesh; lashes from the lid
they stand on and an offset of their own. So every motion that is linear in the rows is one of the whole head.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from eyes import Eyeball, eyeball, eyeball_part
from follow import Frame, ShellMap, mouth_frame, socket_frame
from lashes import Fringe, lashes, mirrored_fringe
from lids import clear_of_eyes, closed_blink, eye_motion, rested_lids
from lips import closed_lips
from mesh import MOUTH_RINGS
from mouth import clear_of_teeth
from part import Part, mirrored, symmetric_pairs
from rims import settled
from scipy import sparse
from shell import Skin, in_a_plane, neutral_body, whole_skin
from sources import MILLIMETRES
from subdivision import sorted_triangles
from teeth import LOWER, UPPER, teeth
from tongue import tongue, tongue_places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrays import Bools, Floats, Ints
    from mesh import Mesh
    from sources import Sources

__all__ = ["PART_NAMES", "Head", "whole_head"]

PART_NAMES: Final = (
    "skin",
    "mouth_inside",
    "left_eye",
    "right_eye",
    "upper_teeth",
    "lower_teeth",
    "tongue",
    "lashes",
)
"""Left and right are the subject's own."""
HANDLES_MM: Final = 20.0
"""Of a rigid part: its middle, and points at this distance along x, y and z."""
SHEET: Final = (0.02, 0.60, 0.16, 0.84)
"""Where the texture has room for the parts: from and to, along u and along v."""
DENSITY: Final = {"eye": 0.0034, "teeth": 0.0022, "tongue": 0.0017, "lashes": 0.0060}
"""Texture coordinates for each millimetre; the face has about .0023."""
ONE_WAY: Final = ("jawLeft", "mouthLeft")
"""Units that are never there together with their twin."""
TONGUE_SIDEWAYS: Final = 0.4
"""How far the tongue goes along when the jaw moves to a side."""
EVEN_ROUNDS: Final = 80
FLIP: Final = np.array([-1.0, 1.0, 1.0])

BAG: Final = (0.30, 0.085, 0.080)
"""The inside of lips and cheeks,"""
THROAT: Final = (0.035, 0.008, 0.007)
"""and where no light comes."""
MARGIN: Final = (0.42, 0.19, 0.15)
"""Of the lids."""


_AXES: Final = HANDLES_MM * np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Rigid:
    """A part that moves by affine maps alone, hung on four handles."""

    part: Part
    """As it is on the mean adult."""
    handles: Floats
    """(4, 3) mm, there too."""
    frame: Frame
    """What carries it when the face changes."""

    @property
    def weights(self) -> Floats:
        """(N, 4): vertices are `weights @ handles`."""
        middle = (self.handles[0] + self.handles[1]) / 2
        x, y, z = ((self.part.vertices - middle) / HANDLES_MM).T
        rest = 1 - y - z
        weights: Floats = np.round(np.stack([(rest + x) / 2, (rest - x) / 2, y, z], axis=1), 7)
        return weights


@dataclass(frozen=True)
class Head:
    """A whole head about a mean face. Coarse rows as the module says; fine vertices: skin, then the parts in order."""

    skin: Skin
    mean: Floats
    """(C, 3) mm: the coarse rows on the mean head."""
    matrix: sparse.csr_array
    """(N, C) from rows to vertices."""
    row_mirror: Ints
    """(C,)"""
    rigid: tuple[Rigid, ...]
    tongue: Part
    tongue_rows: Ints
    """The body's vertices that are the tongue's coarse rows."""
    fringes: tuple[Fringe, ...]
    eyes: tuple[Eyeball, Eyeball]
    """The subject's right and left."""
    shell_map: ShellMap
    body: Floats
    """(V, 3) mm: the mean adult."""
    triangles: Ints
    """(T, 3)"""
    triangle_parts: Ints
    """(T,) indices into `PART_NAMES`."""
    mirror: Ints
    """(N,)"""
    uv: Floats
    """(U, 2)"""
    uv_triangles: Ints
    """(T, 3)"""
    face_vertices: int
    """How many of the vertices are the face's; they come first."""

    def parts_basis(self, face: Floats) -> Floats:
        """(C - M, 3, K): how all other rows follow displacements (M, 3, K) of the face's coarse vertices.

        Linear, and symmetric: what mirrors on the face mirrors on the whole head.
        """
        return _follow(self.shell_map, self.rigid, tongue_places(self.body, self.tongue_rows), self.fringes, face)

    def settled(self, sources: Sources, face: Floats) -> Floats:
        """Displacements (M, 3, K) of the face with lids that stay on the eyeballs and lips that stay together;
        linear."""
        jaw_open = _symmetric_unit(sources, "jawOpen")[self.skin.kept]
        right, left = self.eyes
        return settled(self.skin, face, self.shell_map.sockets, (right.centre, left.centre), jaw_open)

    def units(self, sources: Sources) -> tuple[Floats, tuple[str, ...]]:
        """(C, 3, 52) mm: the rows' full offset in each facial unit, and the units' names. Left and right mirror each
        other."""
        names = tuple(sorted(sources.units))
        offsets = {name: self._unit(sources, name) for name in names if not name.endswith("Right")}
        for name in names:
            if name.endswith("Right"):
                offsets[name] = offsets[name.removesuffix("Right") + "Left"][self.row_mirror] * FLIP
            elif not name.endswith("Left"):
                offsets[name] = (offsets[name] + offsets[name][self.row_mirror] * FLIP) / 2
        return np.stack([offsets[name] for name in names], axis=-1), names

    def _unit(self, sources: Sources, name: str) -> Floats:
        """(C, 3) of a unit of the left side or of both."""
        skin, count = self.skin, len(self.skin.kept)
        moved = _symmetric_unit(sources, name)
        mean, offset = self.mean[:count], moved[skin.kept]
        if name.startswith("eyeBlink"):
            offset = closed_blink(skin, mean, offset, side=1)
        offset = clear_of_eyes(skin, mean, offset, name, self.eyes)
        rows = [offset]
        for here, rigid in zip(range(count, count + 4 * len(self.rigid), 4), self.rigid, strict=True):
            if rigid.part.name.endswith("eye"):
                side = 0 if rigid.part.name == "right_eye" else 1
                rows.append(eye_motion(name, 2 * side - 1).moves(self.mean[here : here + 4], self.eyes[side].centre))
            elif rigid.part.name == "lower_teeth":
                rows.append(_affine(np.unique(sources.helpers[LOWER.helper]), self.body, moved, rigid.handles))
            else:
                rows.append(np.zeros((4, 3)))
        sideways = TONGUE_SIDEWAYS if name.startswith(("jawLeft", "jawRight")) else 1.0
        rows.append(moved[self.tongue_rows] * [sideways, 1.0, 1.0])
        for fringe in self.fringes:
            own = name.startswith("eyeBlink") and fringe.part.name.startswith(name.removeprefix("eyeBlink").lower())
            rows.append(fringe.blink if own else np.zeros_like(fringe.offset))
        if name.startswith(("jaw", "mouth", "cheek", "tongue")):
            jaws = []
            for here, rigid in zip(range(count, count + 4 * len(self.rigid), 4), self.rigid, strict=True):
                if rigid.part.name.endswith("teeth"):
                    jaws.append(
                        (rigid.weights @ self.mean[here : here + 4], rigid.weights @ rows[1 + (here - count) // 4])
                    )
            rows[0] = clear_of_teeth(skin, mean, offset, jaws, paired=name.endswith("Left") and name not in ONE_WAY)
        return np.asarray(np.round(np.concatenate(rows), 4), np.float64)

    def widened(self, areas: dict[str, Floats]) -> dict[str, Floats]:
        """Painted areas (N of the face,) carried over to the whole skin: the inside of the mouth is lips, the rest
        bare."""
        inside = np.array([float(max(self.skin.mouth_ring[list(key)]) > 0) for key in self.skin.parents])
        whole = {}
        for name, area in areas.items():
            rest = inside[len(area) :]
            whole[name] = np.concatenate([area, rest if name == "lips" else np.zeros_like(rest)])
        return whole

    def colours(self, mean: Floats, modes: Floats) -> tuple[Floats, Floats]:
        """The mean albedo (N, 3) and its modes (N, 3, K) of the whole head, by those of its skin (., 3), (., 3, K).

        The inside of the mouth is dark with depth, the margins of the lids are moist and the upper one bears a line of
        lashes; parts have colours of their own that no mode changes.
        """
        skin = self.skin

        def fine(values: Ints) -> Floats:
            return np.array([values[list(key)].mean() for key in skin.parents])

        depth, ring = fine(skin.mouth_ring), fine(skin.lid_ring)
        scalp = np.arange(len(depth)) >= self.face_vertices
        scalp &= (depth == 0) & (ring == 0)
        mean, modes = _evened(mean, skin.triangles, scalp), _evened(modes, skin.triangles, scalp)
        inside = np.clip((depth - 1.0) / 2.0, 0, 1)[:, None]
        dark = np.clip((depth - 4.0) / 5.0, 0, 1)[:, None]
        bag = np.array(BAG) + (np.array(THROAT) - np.array(BAG)) * dark
        margin = 0.7 * np.clip(ring - 1.0, 0, 1)[:, None]
        line = np.clip(1 - 2 * np.abs(ring - 1.0), 0, 1)[:, None]
        skin_mean = mean + (bag - mean) * inside + (np.array(MARGIN) - mean) * margin
        skin_mean = skin_mean * (1 - 0.45 * line)
        keep = ((1 - inside) * (1 - margin) * (1 - 0.45 * line))[..., None]
        own = np.concatenate([part.albedo for part in self._parts])
        whole = np.concatenate([np.round(skin_mean, 5), np.round(own, 5)])
        return whole, np.concatenate([np.round(modes * keep, 6), np.zeros((len(own), *modes.shape[1:]))])

    @cached_property
    def _parts(self) -> list[Part]:
        return _all_parts(self.rigid, self.tongue, self.fringes)

    def face_mask(self, mesh: Mesh, shown: Bools) -> Bools:
        """(T,) the mask of the face's triangles (those of `mesh`) on the head's."""
        known = {tuple(sorted(t)) for t in mesh.triangles[shown].tolist()}
        return np.array([tuple(sorted(t)) in known for t in self.triangles.tolist()])


def whole_head(sources: Sources, mesh: Mesh, origin: Floats, face_mean: Floats) -> Head:
    """The head about a mean face.

    Args:
        sources: the packages.
        mesh: the face.
        origin: (3,) mm of model space in the body's.
        face_mean: (M, 3) mm: the face's coarse vertices, wherever statistics put them.
    """
    body = neutral_body(sources, origin)
    skin = whole_skin(sources, mesh, body)
    left = eyeball(sources, body)
    right = Eyeball(left.centre * FLIP, left.radius, left.gaze)
    sockets = tuple(socket_frame(skin, eye.centre, eye.radius) for eye in (right, left))
    mouth = mouth_frame(skin)
    left_part = eyeball_part(left, "left_eye")
    rigid = [
        Rigid(left_part, left.centre + _AXES, sockets[1]),
        Rigid(mirrored(left_part, "right_eye"), right.centre + _AXES, sockets[0]),
    ]
    for jaw in (UPPER, LOWER):
        part = teeth(sources, body, jaw)
        middle = np.round(part.vertices.mean(axis=0), 2) * [0.0, 1.0, 1.0]
        rigid.append(Rigid(part, middle + _AXES, mouth))
    tongue_part, tongue_rows, tongue_step = tongue(sources, body)
    shell_map = ShellMap(skin, (sockets[0], sockets[1]), mouth)

    moved = _follow(shell_map, rigid, tongue_places(body, tongue_rows), (), (face_mean - mesh.mean)[:, :, None])[..., 0]
    places = tongue_places(body, tongue_rows)
    rest = np.concatenate([skin.mean[skin.face_count :], *(r.handles for r in rigid), places])
    rows = np.concatenate([face_mean, rest + moved])
    count = len(skin.kept)
    eyes = tuple(_moved_eye(eye, rows[count + 4 * k : count + 4 * k + 4]) for eye, k in ((right, 1), (left, 0)))
    rows[:count] = rested_lids(skin, rows[:count], (eyes[0], eyes[1]))
    rows[skin.neck] = in_a_plane(rows[skin.neck])
    rows[:count] = closed_lips(skin, rows[:count], _symmetric_unit(sources, "jawOpen")[skin.kept])
    rows[:count] = (rows[:count] + rows[:count][skin.coarse_mirror] * FLIP) / 2

    own = [lashes(skin, rows[:count], eyes[1], lid) for lid in ("upper", "lower")]
    fringes = (*own, *(mirrored_fringe(fringe, skin.coarse_mirror) for fringe in own))
    rows = np.concatenate([rows, *(fringe.offset for fringe in fringes)])
    on_skin = [fringe.roots for fringe in fringes]
    handles = sparse.block_diag([sparse.csr_array(r.weights) for r in rigid], format="csr")
    offsets = sparse.eye_array(sum(len(fringe.offset) for fringe in fringes), format="csr")
    matrix = sparse.csr_array(
        sparse.block_array(
            [
                [skin.subdivision, None, None, None],
                [None, handles, None, None],
                [None, None, tongue_step, None],
                [sparse.vstack(on_skin), None, None, offsets],
            ],
            format="csr",
        )
    )
    parts = _all_parts(rigid, tongue_part, fringes)
    starts = np.cumsum([len(skin.parents), *(len(part.vertices) for part in parts)])
    triangles = np.concatenate([skin.triangles, *(p.triangles + n for p, n in zip(parts, starts, strict=False))])
    uv, uv_triangles = _sheet(skin, parts)
    triangles, uv_triangles = sorted_triangles(triangles, uv_triangles)
    return Head(
        skin=skin,
        mean=rows,
        matrix=matrix,
        row_mirror=_row_mirror(skin, rigid, places, fringes),
        rigid=tuple(rigid),
        tongue=tongue_part,
        tongue_rows=tongue_rows,
        body=body,
        fringes=fringes,
        eyes=(eyes[0], eyes[1]),
        shell_map=shell_map,
        triangles=triangles,
        triangle_parts=_labels(skin, parts, triangles),
        mirror=_mirror(skin, parts, starts),
        uv=uv,
        uv_triangles=uv_triangles,
        face_vertices=len(mesh.mirror),
    )


def _evened(values: Floats, triangles: Ints, where: Bools) -> Floats:
    """Values (N, ...) with those of some vertices evened out: skins show stubble there, and blotches."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    graph = sparse.coo_array((np.ones(len(sides)), (sides[:, 0], sides[:, 1])), shape=(len(values),) * 2).tocsr()
    graph = sparse.csr_array(graph + graph.T)
    mean = sparse.csr_array(sparse.diags_array(1 / np.asarray(graph.sum(axis=1)).ravel()) @ graph)[
        np.flatnonzero(where)
    ]
    flat = values.reshape(len(values), -1).copy()
    for _ in range(EVEN_ROUNDS):
        flat[where] = mean @ flat
    return flat.reshape(values.shape)


def _follow(
    shell_map: ShellMap, rigid: Sequence[Rigid], tongue_places: Floats, fringes: Sequence[Fringe], face: Floats
) -> Floats:
    """(., 3, K): how the rows after the face's follow displacements (M, 3, K)."""
    parts = [shell_map.moves(face)]
    parts += [r.frame.moves(face, r.handles) for r in rigid]
    parts.append(shell_map.mouth.moves(face, tongue_places))
    parts += [np.zeros((len(fringe.offset), *face.shape[1:])) for fringe in fringes]
    return np.asarray(np.round(np.concatenate(parts), 4), np.float64)


def _all_parts(rigid: Sequence[Rigid], tongue_part: Part, fringes: Sequence[Fringe]) -> list[Part]:
    return [*(r.part for r in rigid), tongue_part, *(fringe.part for fringe in fringes)]


def _moved_eye(eye: Eyeball, handles: Floats) -> Eyeball:
    centre = (handles[0] + handles[1]) / 2
    grown = float(np.abs(handles[0, 0] - handles[1, 0])) / (2 * HANDLES_MM)
    return Eyeball(np.round(centre, 4), eye.radius * grown, eye.gaze)


def _symmetric_unit(sources: Sources, name: str) -> Floats:
    """(V, 3) mm: a facial unit's full offset on the body, the mean of its own and its twin's mirror image."""
    twin = name
    for one, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(one):
            twin = name.removesuffix(one) + other
    both: Floats = (sources.units[name] + sources.units[twin][sources.mirror] * FLIP) / 2 * MILLIMETRES
    return both


def _affine(strip: Ints, body: Floats, offset: Floats, places: Floats) -> Floats:
    """(P, 3): how places (P, 3) move by the affine map closest to the offset (V, 3) of some vertices of the body."""
    design = np.concatenate([body[strip], np.ones((len(strip), 1))], axis=1)
    fitted = np.linalg.lstsq(design, offset[strip], rcond=None)[0]
    moved: Floats = np.concatenate([places, np.ones((len(places), 1))], axis=1) @ fitted
    return moved


def _row_mirror(skin: Skin, rigid: Sequence[Rigid], tongue_places: Floats, fringes: Sequence[Fringe]) -> Ints:
    start = len(skin.kept)
    # Of four handles the first two lie on both sides; eyes change places.
    swap = np.array([1, 0, 2, 3])
    order = {"left_eye": 1, "right_eye": 0, "upper_teeth": 2, "lower_teeth": 3}
    pieces = [skin.coarse_mirror]
    pieces += [start + 4 * order[r.part.name] + swap for r in rigid]
    start += 4 * len(rigid)
    pieces.append(start + symmetric_pairs(tongue_places))
    start += len(tongue_places)
    pieces += _twins(start, [len(fringe.offset) for fringe in fringes])
    return np.concatenate(pieces)


def _twins(start: int, counts: list[int]) -> list[Ints]:
    """Pairs of a list of parts whose second half mirrors its first."""
    places = np.split(start + np.arange(sum(counts)), np.cumsum(counts)[:-1])
    half = len(counts) // 2
    return [*places[half:], *places[:half]]


def _mirror(skin: Skin, parts: Sequence[Part], starts: Ints) -> Ints:
    """(N,) the vertex on the other side."""
    index = {part.name: start for part, start in zip(parts, starts, strict=False)}
    pieces = [skin.mirror]
    for part, start in zip(parts, starts, strict=False):
        swap = {"left": "right", "right": "left"}.get(part.name.split("_")[0])
        if swap is None:
            pieces.append(start + symmetric_pairs(part.vertices))
        else:
            twin = index["_".join([swap, *part.name.split("_")[1:]])]
            pieces.append(twin + np.arange(len(part.vertices)))
    return np.concatenate(pieces)


def _labels(skin: Skin, parts: Sequence[Part], triangles: Ints) -> Ints:
    """(T,) indices into `PART_NAMES`."""
    depth = np.array([skin.mouth_ring[list(key)].mean() for key in skin.parents])
    of_vertex = [np.where(depth >= MOUTH_RINGS, PART_NAMES.index("mouth_inside"), 0)]
    for part in parts:
        name = "lashes" if part.name.endswith("lashes") else part.name
        of_vertex.append(np.full(len(part.vertices), PART_NAMES.index(name)))
    # Of a triangle at the border, the lowest: it is skin unless all of it lies inside.
    labels: Ints = np.concatenate(of_vertex)[triangles].min(axis=1)
    return labels


def _sheet(skin: Skin, parts: Sequence[Part]) -> tuple[Floats, Ints]:
    """Texture coordinates of skin and parts: parts in rows, in the room that the skin leaves."""
    left, right, low, high = SHEET
    uv, start, where, sizes = [skin.uv], len(skin.uv), {}, []
    for part in parts:
        kind = part.name.split("_")[-1]
        sizes.append(DENSITY[kind] * part.uv.max(axis=0))
    gap = 0.01
    x, y, row = left, low, 0.0
    for k in sorted(range(len(parts)), key=lambda k: (-round(float(sizes[k][1]), 6), k)):
        if x + sizes[k][0] > right:
            x, y, row = left, y + row + gap, 0.0
        density = sizes[k].max() / parts[k].uv.max()
        uv.append(parts[k].uv * density + [x, y])
        x, row = x + float(sizes[k][0]) + gap, max(row, float(sizes[k][1]))
        if y + row > high or x - gap > right:
            raise RuntimeError("the parts do not fit on the texture's free room")
        where[k] = start
        start += len(parts[k].uv)
    faces = [skin.uv_triangles, *(parts[k].uv_triangles + where[k] for k in range(len(parts)))]
    return np.concatenate(uv), np.concatenate(faces)

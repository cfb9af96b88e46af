"""A part inside the head: its own surface, texture coordinates and colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from arrays import Floats, Ints

__all__ = ["Part", "grid_triangles", "mirrored", "symmetric_pairs", "tube"]

_FLIP = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Part:
    """A closed surface on the mean head."""

    name: str
    vertices: Floats
    """(N, 3) mm in model space."""
    triangles: Ints
    """(T, 3), counter-clockwise seen from outside."""
    uv: Floats
    """(U, 2) mm on the part's own sheet, from (0, 0) to its extent."""
    uv_triangles: Ints
    """(T, 3)"""
    albedo: Floats
    """(N, 3) linear RGB."""


def mirrored(part: Part, name: str) -> Part:
    """The part of the other side, vertex for vertex."""
    width = part.uv[:, 0].max()
    return Part(
        name=name,
        vertices=part.vertices * _FLIP,
        triangles=part.triangles[:, ::-1],
        uv=np.stack([width - part.uv[:, 0], part.uv[:, 1]], axis=1),
        uv_triangles=part.uv_triangles[:, ::-1],
        albedo=part.albedo,
    )


def symmetric_pairs(vertices: Floats) -> Ints:
    """(N,) the vertex on the other side, for a surface (N, 3) that is its own mirror image."""
    rounded = {tuple(row): number for number, row in enumerate(np.round(vertices, 4).tolist())}
    pairs = np.empty(len(vertices), dtype=np.int64)
    for number, (x, y, z) in enumerate(np.round(vertices, 4).tolist()):
        pairs[number] = rounded[-x, y, z] if x else number
    return pairs


def grid_triangles(index: Ints) -> Ints:
    """Triangles of a grid of vertices (R, C): counter-clockwise where rows run up and columns to the right.

    Diagonals of the left half mirror those of the right half.
    """
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    right = np.arange(a.shape[1]) >= a.shape[1] / 2
    first = np.where(right[:, None], np.stack([a, b, c], -1), np.stack([a, b, d], -1))
    second = np.where(right[:, None], np.stack([a, c, d], -1), np.stack([b, c, d], -1))
    return np.concatenate([first.reshape(-1, 3), second.reshape(-1, 3)])


def tube(name: str, rings: Floats, colours: Floats, ends: Floats, *, inward: bool) -> Part:
    """A closed tube with flat ends.

    Args:
        name: of the part.
        rings: (P, C, 3) mm: C columns of P points each, around the tube; the texture is cut between the last and the
            first point.
        colours: (P, C, 3).
        ends: (3,) colour of the middle of both ends.
        inward: whether points run clockwise, seen from the last column.
    """
    count, width = rings.shape[:2]
    index = np.arange(count * width).reshape(count, width)
    closed = np.concatenate([index, index[:1]])
    if inward:
        closed = closed[::-1]
    caps = []
    for centre, column, turned in ((count * width, 0, False), (count * width + 1, width - 1, True)):
        pair = (closed[1:, column], closed[:-1, column])
        caps.append(np.stack([np.full(count, centre), *(pair if turned else pair[::-1])], -1))
    # Texture: the band unrolled, cut between the last and the first point; and a disc for each end.
    sheet = rings.reshape(-1, 3)[closed]
    v = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(sheet, axis=0), axis=2).mean(axis=1))])
    u = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(sheet, axis=1), axis=2).mean(axis=0))])
    uv = [np.stack(np.broadcast_arrays(u[None, :], v[:, None]), axis=-1).reshape(-1, 2)]
    turn = 2 * np.pi * np.arange(count) / count
    uv_caps, start = [], len(uv[0])
    for number in range(2):
        size = float(np.linalg.norm(np.ptp(rings[:, -number], axis=0)) / 2)
        centre = np.array([1.1 * size + 2.3 * number * size, v[-1] + 1.0 + 1.1 * size])
        disc = centre + size * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        uv.append(np.concatenate([centre[None], disc]))
        here = start + 1 + np.arange(count)
        pair = (np.roll(here, -1), here) if number else (here, np.roll(here, -1))
        uv_caps.append(np.stack([np.full(count, start), *pair], -1))
        start += count + 1
    return Part(
        name=name,
        vertices=np.concatenate(
            [rings.reshape(-1, 3), rings[:, 0].mean(axis=0)[None], rings[:, -1].mean(axis=0)[None]]
        ),
        triangles=np.concatenate([grid_triangles(closed), *caps]),
        uv=np.concatenate(uv),
        uv_triangles=np.concatenate(
            [grid_triangles(np.arange((count + 1) * width).reshape(count + 1, width)), *uv_caps]
        ),
        albedo=np.concatenate([colours.reshape(-1, 3), np.tile(ends, (2, 1))]),
    )

"""Regions of the mesh: rims, the face mask, nostrils, nearest points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from texture import sample

if TYPE_CHECKING:
    from arrays import Bools, Floats, Ints
    from mesh import Mesh
    from sources import Sources

__all__ = ["boundary_loops", "closest_point", "eye_rims", "face_mask", "neighbourhood", "vertex_normals"]


def boundary_loops(triangles: Ints) -> list[Ints]:
    """Closed loops of the edges that one triangle only has, longest first."""
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    _, inverse, uses = np.unique(np.sort(directed, axis=1), axis=0, return_inverse=True, return_counts=True)
    following = {int(a): int(b) for a, b in directed[uses[inverse.ravel()] == 1]}
    loops = []
    while following:
        loop = [min(following)]
        while loop[-1] in following:
            loop.append(following.pop(loop[-1]))
        loops.append(np.array(loop[:-1]))
    return sorted(loops, key=lambda loop: (-len(loop), int(loop[0])))


def vertex_normals(vertices: Floats, triangles: Ints) -> Floats:
    """(N, 3) area-weighted unit normals."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    normal = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normal, triangles[:, k], np.cross(b - a, c - a))
    unit: Floats = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return unit


def neighbourhood(start: Bools, triangles: Ints, rings: int) -> Bools:
    """(N,) the vertices within so many triangles of those in `start` (N,)."""
    grown = start.copy()
    for _ in range(rings):
        grown[triangles[grown[triangles].any(axis=1)]] = True
    return grown


def eye_rims(mesh: Mesh, surface: Floats) -> tuple[Ints, Ints]:
    """The lid rims: loops of vertices of the subject's right eye (negative x) and left eye."""
    rims = [loop for loop in boundary_loops(mesh.triangles) if surface[loop, 1].mean() > -30 and len(loop) < 200]
    rims = sorted((loop for loop in rims if surface[loop, 2].mean() > 20), key=lambda loop: surface[loop, 0].mean())
    if len(rims) != 2:
        raise RuntimeError(f"{len(rims)} eye holes found")
    return rims[0], rims[1]


def face_mask(sources: Sources, mesh: Mesh, surface: Floats) -> Bools:
    """(T,) the triangles whose skin photos show."""
    triangles = mesh.triangles
    normal = vertex_normals(surface, triangles)
    x, y, z = surface.T
    ear = sample((sources.ear_map[:, :, None] > 40).astype(np.float64), mesh)[:, 0] > 0
    hidden = neighbourhood(ear, triangles, 3)
    # A hairline lower at the temples, then sideburns.
    around = np.abs(np.arctan2(x, z + 10))
    hidden |= y > 60 - 30 * np.clip((around - 0.5) / 0.7, 0, 1)
    hidden |= (around > 1.30) | (z < -2)
    # Neck and under-chin: skin that faces down, and all behind the plane of the jaw's outline.
    hidden |= (y < -95) & (normal[:, 1] < -0.75)
    hidden |= y < -41 - 0.92 * z
    for rim in eye_rims(mesh, surface):
        at_rim = np.zeros(len(surface), dtype=np.bool_)
        at_rim[rim] = True
        hidden |= neighbourhood(at_rim, triangles, 2)
    hidden |= mesh.cavity_depth > 0
    hidden |= neighbourhood(_in_nostril(surface, triangles, normal), triangles, 2)
    hidden |= hidden[mesh.mirror]
    shown: Bools = np.logical_not(hidden[triangles].any(axis=1))
    return shown


def _in_nostril(surface: Floats, triangles: Ints, normal: Floats) -> Bools:
    """(N,) vertices about the nose whose normal meets the skin again within 9 mm."""
    x, y, z = surface.T
    tip = surface[np.argmax(z)]
    near = np.flatnonzero((np.abs(x) < 22) & (y < tip[1] + 8) & (y > tip[1] - 20) & (z > tip[2] - 45))
    corners = surface[triangles[np.isin(triangles, near).any(axis=1)]]
    in_outline = np.zeros(len(surface), dtype=np.bool_)
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    for vertex in near:
        ray, start = normal[vertex], surface[vertex] + 0.05 * normal[vertex]
        h = np.cross(ray, ac)
        det = np.einsum("ij,ij->i", ab, h)
        det = np.where(np.abs(det) < 1e-9, 1e-9, det)
        offset = start - a
        u = np.einsum("ij,ij->i", offset, h) / det
        q = np.cross(offset, ab)
        v = q @ ray / det
        t = np.einsum("ij,ij->i", ac, q) / det
        in_outline[vertex] = ((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0.3) & (t < 9)).any()
    return in_outline


def closest_point(point: Floats, surface: Floats, triangles: Ints) -> tuple[Ints, Floats]:
    """Corners (3,) and weights (3,) of the surface point closest to a point (3,)."""
    a, b, c = (surface[triangles[:, k]] for k in range(3))
    best, answer = np.inf, (triangles[0], np.array([1.0, 0.0, 0.0]))
    grid = np.array([(i, j, 16 - i - j) for i in range(17) for j in range(17 - i)]) / 16
    near = np.argsort((((a + b + c) / 3 - point) ** 2).sum(axis=1), kind="stable")[:12]
    for triangle in near:
        candidates = grid @ np.stack([a[triangle], b[triangle], c[triangle]])
        distance = ((candidates - point) ** 2).sum(axis=1)
        at = int(distance.argmin())
        if distance[at] < best - 1e-12:
            best, answer = float(distance[at]), (triangles[triangle], grid[at])
    return answer

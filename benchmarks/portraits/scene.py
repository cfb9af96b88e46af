"""A portrait as Mitsuba 3 traces it, and everything that is true about it."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from portraits.head import draw_face, eyeball
from portraits.light import KINDS, surroundings
from portraits.meshes import ellipsoid, refined, vertex_areas, vertex_normals
from portraits.paint import HAIRS, IRISES, TONES, decoded, encoded, hair_cover, paint_skin, ramp, waves
from portraits.view import MAX_YAW, SIZE, Pose, draw_pose, outline_landmarks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from portraits.head import IctHead

    Array = NDArray[np.float64]
    Indices = NDArray[np.int64]
    Sculpt = Callable[[Array, Array], Array]

__all__ = [
    "DISTANCES",
    "VERSION",
    "Composition",
    "Person",
    "Sculpt",
    "camera_of",
    "compose",
    "described",
    "developed",
    "load_mitsuba",
    "render",
    "tracing",
]

VERSION: Final = 3
"""Of the recipe: renders of different ones must not be compared."""
DISTANCES: Final = (300.0, 600.0, 900.0, 1500.0)
"""From the camera to the middle of the face, mm; each within 8 %."""
_COLOUR: Final = {"type": "mesh_attribute", "name": "vertex_color"}
_CLOTH: Final = {"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": _COLOUR}}
_BEHIND: Final = 1.05
"""Lamps are at least so many times as far from the face as the camera."""
_ANNOTATOR: Final = 0.01
"""Scatter of annotated points in x and in y, as a share of the eye distance."""
_ALONG_JAW: Final = 0.03
"""Further scatter of jaw points along the outline."""


def load_mitsuba(threads: int, variant: str = "scalar_rgb") -> Any:
    """Mitsuba, ready to trace; some variants are quicker, but want LLVM's library."""
    try:
        import drjit
        import mitsuba
    except ImportError as error:
        raise SystemExit(f"{error}: renders need Mitsuba 3; pip install 'faceinv[benchmark]'.") from None
    mitsuba.set_variant(variant)
    drjit.set_thread_count(threads)
    return mitsuba


@dataclass(frozen=True)
class Person:
    """Who is portrayed, from where."""

    neutral: Array
    """(N, 3) mm at rest."""
    vertices: Array
    """(N, 3) mm."""
    strengths: dict[str, float]
    """Of the expression's units."""
    pose: Pose
    tone_at: float
    """Place among `TONES`."""
    tone: Array
    """(3,) reflectance of the skin."""
    hair: Array
    """(3,) reflectance."""


@dataclass(frozen=True)
class Composition:
    """All that a portrait is traced from."""

    person: Person
    angles: Array
    """Pitch, yaw, roll in degrees."""
    light: str
    """One of `KINDS` of light."""
    albedo: Array
    """(M, 3) linear reflectance, first of the head's own vertices."""
    bodies: dict[str, Any]
    """Mitsuba's shapes by name; `skin` is one."""
    surroundings: dict[str, Any]
    """Light, and a wall."""
    rng: np.random.Generator
    """For what is drawn after the picture."""


def compose(
    mi: Any,
    head: IctHead,
    seeds: tuple[int, int],
    size: int = SIZE,
    zoom: float = 1.0,
    sculpt: Sculpt | None = None,
    yaw: float = MAX_YAW,
) -> Composition:
    """Draw one random person and where they are.

    Args:
        mi: from `load_mitsuba`.
        head: ICT's.
        seeds: of the split, and number within it, which decides the distance and the kind of light.
        size: side of the picture, px.
        zoom: how much longer the lens is than for a portrait.
        sculpt: relief of the skin, which then is made of four times as many triangles.
        yaw: the largest turn to either side, degrees.
    """
    number = seeds[1]
    rng = np.random.default_rng([VERSION, *seeds])
    distance = DISTANCES[number % 4] * rng.uniform(0.92, 1.08)
    neutral, vertices, strengths = draw_face(rng, head)
    pose, angles = draw_pose(rng, head, vertices, distance, size, yaw)
    pose = replace(pose, focal=zoom * pose.focal)
    person = Person(neutral, vertices, strengths, pose, *_complexion(rng))
    albedo, bodies = _body(mi, rng, head, person, sculpt)
    bodies |= _eyes(mi, rng, head, person, distance)
    kind = KINDS[(number // 4 + number) % 4]
    lit = _lit(mi, rng, kind, pose.to_camera(vertices[head.landmarks[17:]].mean(axis=0)), distance)
    return Composition(person, angles, kind, albedo, bodies, lit, rng)


def render(mi: Any, head: IctHead, seeds: tuple[int, int], samples: int, yaw: float = MAX_YAW) -> dict[str, Any]:
    """Portray one random person.

    Args:
        mi: from `load_mitsuba`.
        head: ICT's.
        seeds: of the split, and number within it, which decides the distance and the kind of light.
        samples: rays for each pixel.
        yaw: the largest turn to either side, degrees.

    Returns:
        Arrays by name: `image` (S, S, 3) uint8 sRGB; the camera (`rotation`, `translation` mm, `focal` px, `principal`
        px, `distance` mm, `angles` in degrees); the true surface of ICT's face area (`vertices`, `neutral`, mm;
        `triangles`; `albedo`, linear); the scored points (`visible`, indices; `areas` mm^2; `normals`); landmarks
        (`landmarks3d` mm; `landmarks_exact` px, the jaw on the visible outline; `landmarks_annotated`, with an
        annotator's scatter; `landmarks_projected`, the jaw hidden or not); `units` of expression and their `strengths`.
    """
    made = compose(mi, head, seeds, yaw=yaw)
    person, pose, rng = made.person, made.person.pose, made.rng
    vertices, strengths = person.vertices, person.strengths
    scene = tracing(5) | made.bodies | made.surroundings | {"camera": camera_of(mi, pose, samples)}
    built = mi.load_dict(scene)
    linear = np.array(mi.render(built, spp=samples, seed=seeds[1]))[..., :3].astype(np.float64)

    normals = vertex_normals(vertices, head.triangles)
    seen = _seen(mi, built, head, person, normals)
    image = developed(rng, linear, np.rint(pose.project(vertices[seen])).astype(int), float(person.tone[1]))
    return {
        "image": image,
        **described(head, made),
        "visible": seen,
        "areas": vertex_areas(vertices, head.triangles)[seen],
        "normals": normals[seen],
        "units": np.array(sorted(strengths)),
        "strengths": np.array([strengths[name] for name in sorted(strengths)]),
    }


def described(head: IctHead, made: Composition) -> dict[str, Any]:
    """The camera, the surface and the landmarks of `render`'s arrays."""
    person, pose = made.person, made.person.pose
    vertices = person.vertices
    landmarks3d = vertices[head.landmarks]
    projected = pose.project(landmarks3d)
    exact = np.concatenate([outline_landmarks(head, vertices, pose), projected[17:]])
    return {
        "version": VERSION,
        "rotation": pose.rotation,
        "translation": pose.translation,
        "focal": pose.focal,
        "principal": np.full(2, (pose.size - 1) / 2),
        "distance": -pose.to_camera(landmarks3d[17:].mean(axis=0))[2],
        "angles": made.angles,
        "light": made.light,
        "tone": person.tone,
        "vertices": vertices[: head.face_count],
        "albedo": made.albedo[: head.face_count],
        "neutral": person.neutral[: head.face_count],
        "triangles": head.triangles[(head.triangles < head.face_count).all(axis=1)],
        "landmarks3d": landmarks3d,
        "landmarks_exact": exact,
        "landmarks_annotated": _annotated(made.rng, exact),
        "landmarks_projected": projected,
    }


def _complexion(rng: np.random.Generator) -> tuple[float, Array, Array]:
    """Place among the tones, reflectance of skin, reflectance of hair."""
    at = rng.uniform(0, len(TONES) - 1)
    logs = np.log(decoded(TONES))
    tone = np.exp([np.interp(at, range(len(TONES)), logs[:, c]) for c in range(3)])
    tone = tone * np.exp(rng.normal() * 0.05 * np.array([0.6, 0.0, -0.8]) + rng.normal() * 0.06)
    kind = rng.choice(len(HAIRS), p=[0.3, 0.3, 0.2, 0.1, 0.1]) if at < 2.5 else rng.choice([0, 0, 1, 4])
    return at, tone, decoded(HAIRS[kind]) * rng.uniform(0.8, 1.3)


def _mesh(
    mi: Any, vertices: Array, triangles: Indices, normals: Array | None, bsdf: dict[str, Any], **attributes: Array
) -> Any:
    """A Mitsuba mesh; attributes are (N,) or (N, C) by name without `vertex_`."""
    properties = mi.Properties()
    properties["mesh_bsdf"] = mi.load_dict(bsdf)
    mesh = mi.Mesh("mesh", len(vertices), len(triangles), props=properties, has_vertex_normals=normals is not None)
    parameters = mi.traverse(mesh)
    parameters["vertex_positions"] = np.ascontiguousarray(vertices, np.float32).ravel()
    parameters["faces"] = np.ascontiguousarray(triangles, np.uint32).ravel()
    if normals is not None:
        parameters["vertex_normals"] = np.ascontiguousarray(normals, np.float32).ravel()
    parameters.update()
    for name, values in attributes.items():
        width = 1 if values.ndim == 1 else values.shape[1]
        mesh.add_attribute(f"vertex_{name}", width, np.ascontiguousarray(values, np.float32).ravel())
    return mesh


def _coated(roughness: float | dict[str, Any], specular: float, **more: float) -> dict[str, Any]:
    """A surface with the colours of its vertices and some shine."""
    return {"type": "principled", "base_color": _COLOUR, "roughness": roughness, "specular": specular, **more}


def _body(
    mi: Any, rng: np.random.Generator, head: IctHead, person: Person, sculpt: Sculpt | None
) -> tuple[Array, dict[str, Any]]:
    """(M, 3) reflectance, first of the head's own vertices; skin, hair and clothes."""
    camera, to_camera = person.pose.to_camera, person.pose.rotation.T
    # Skin, finer than the picture.
    x, y, z = head.mean.T
    ears = ((np.abs(x) > 71) & (np.abs(y - 15) < 48) & (z < 42)).astype(float)
    fine, triangles, (place, on_ear) = refined(person.vertices, head.triangles, [head.mean, ears])
    fine, triangles, (place, on_ear) = refined(fine, triangles, [place, on_ear])
    if sculpt:
        fine, triangles, (place, on_ear) = refined(fine, triangles, [place, on_ear])
    skin = paint_skin(rng, head, place, person.tone, person.hair)
    cover = hair_cover(rng, place, on_ear)
    strands = np.exp(0.35 * waves(rng, place * [1.0, 0.25, 0.6], 2.0))[:, None] * person.hair
    colour = skin.colour * (1 - 0.85 * cover[:, None]) + 0.85 * cover[:, None] * strands
    cloth = rng.uniform(0.03, 0.5) * np.exp(0.35 * rng.normal(size=3))
    clothed = ramp(-place[:, 1] - 0.0009 * place[:, 0] ** 2, 148, 151)[:, None]
    colour = colour * (1 - clothed) + clothed * cloth
    normals = vertex_normals(fine, triangles)
    if sculpt:
        fine = fine + sculpt(place, normals)[:, None] * normals
        normals = vertex_normals(fine, triangles)
    pores = normals + rng.uniform(0.0, 0.05) * np.stack([waves(rng, place, 1.0, 16) for _ in range(3)], axis=1)
    pores /= np.linalg.norm(pores, axis=1, keepdims=True)
    gloss, sheen = float(rng.uniform(0.2, 0.55)), float(rng.uniform(0, 0.15))
    shiny = _coated({"type": "mesh_attribute", "name": "vertex_rough"}, gloss, sheen=sheen)
    scene = {"skin": _mesh(mi, camera(fine), triangles, pores @ to_camera, shiny, color=colour, rough=skin.roughness)}
    # Hair: a shell that leaves the skin where it begins.
    thickness = float(rng.choice([0.0, 3.0, 8.0, 16.0, 24.0], p=[0.12, 0.2, 0.28, 0.25, 0.15]))
    if thickness:
        tufts = 1 + 0.25 * waves(rng, place * [1, 0.6, 0.8], 10) + 0.12 * waves(rng, place, 3)
        shell = fine + (thickness * np.sqrt(cover) * tufts - 0.7)[:, None] * normals
        used = triangles[(cover[triangles] > 0).any(axis=1)]
        turned = vertex_normals(shell, triangles) @ to_camera
        scene["hair"] = _mesh(mi, camera(shell), used, turned, _coated(0.45, 0.4), color=np.clip(strands, 0, 0.9))
        if rng.random() < 0.35 and thickness > 8:
            radii = np.array([rng.uniform(92, 112), 130.0, 48.0])
            behind, tris, _ = ellipsoid(np.array([0.0, -40.0, -45.0]), radii, 60)
            shade = np.exp(0.4 * waves(rng, behind * [1, 0.15, 1], 2.5))[:, None] * person.hair
            scene["long"] = _mesh(mi, camera(behind), tris, None, _CLOTH, color=np.clip(shade, 0, 0.9))
    torso, tris, unit = ellipsoid(np.array([0.0, -330.0, -45.0]), np.array([225.0, 165.0, 115.0]), 50)
    weave = cloth * np.exp(0.15 * waves(rng, torso, 8))[:, None]
    scene["torso"] = _mesh(mi, camera(torso), tris, unit @ to_camera, _CLOTH, color=np.clip(weave, 0, 0.9))
    return colour, scene


def _eyes(mi: Any, rng: np.random.Generator, head: IctHead, person: Person, distance: float) -> dict[str, Any]:
    camera, to_camera = person.pose.to_camera, person.pose.rotation.T
    iris = decoded(IRISES[rng.integers(len(IRISES) if person.tone_at < 2.0 else 2)]) * rng.uniform(0.7, 1.3)
    gaze = np.array([rng.normal() * 0.12, rng.normal() * 0.05, 1.0])
    if rng.random() < 0.6:  # into the camera
        ahead = -(person.pose.rotation.T @ camera(person.vertices[head.landmarks[27]])) / distance
        gaze = np.clip(ahead, [-0.45, -0.22, 0.0], [0.45, 0.18, 1.0]) + 0.3 * gaze * [1, 1, 0]
    gaze /= np.linalg.norm(gaze)
    scene = {}
    for name, side in (("left eye", -1), ("right eye", 1)):
        rim = head.rims[name]
        centre, radius = eyeball(head.mean[rim], person.neutral[rim], side)
        # The pole of the ball, where its triangles are finest, towards the gaze.
        ball, triangles, unit = ellipsoid(np.zeros(3), np.full(3, radius), 90)
        across = np.cross([0.0, 1.0, 0.0], gaze)
        across /= np.linalg.norm(across)
        frame = np.stack([across, gaze, np.cross(across, gaze)], axis=1)
        angle = np.degrees(np.arccos(np.clip(unit[:, 1], -1, 1)))[:, None]
        veins = 1 - 0.15 * ramp(angle, 40, 70) * [0, 1, 1]
        white = np.array([0.5, 0.45, 0.43]) * rng.uniform(0.75, 1.1) * veins
        rays = 1 + 0.25 * waves(rng, unit * [40, 2, 40], 9)[:, None]
        ring = ramp(angle, 23, 25.5)
        colour = white * ring + (1 - ring) * np.where(angle < rng.uniform(7.5, 10), 0.004, iris * rays)
        scene[name] = _mesh(
            mi,
            camera(centre + ball @ frame.T),
            triangles,
            unit @ frame.T @ to_camera,
            _coated(0.12, 0.5),
            color=np.clip(colour, 0.003, 0.9),
        )
    return scene


def _rgb(values: Array) -> dict[str, Any]:
    return {"type": "rgb", "value": [float(value) for value in values]}


def _lit(mi: Any, rng: np.random.Generator, kind: str, middle: Array, distance: float) -> dict[str, Any]:
    """Surroundings, lamps that shine at the middle of the face, and often a wall behind."""
    sky, lamps = surroundings(rng, kind)
    scene: dict[str, Any] = {"sky": {"type": "envmap", "bitmap": mi.Bitmap(sky.astype(np.float32))}}
    for index, (direction, drawn, size, radiance) in enumerate(lamps):
        # No lamp before the camera: further away and larger, it shines as it did.
        far = max(drawn, _BEHIND * distance)
        half = size * far / drawn
        at = list(middle + direction * far)
        facing = mi.ScalarTransform4f().look_at(origin=at, target=list(middle), up=[0, 1, 0.01])
        scene[f"lamp{index}"] = {
            "type": "rectangle",
            "to_world": facing.scale([half, half, 1]),
            "emitter": {"type": "area", "radiance": _rgb(radiance)},
        }
    if rng.random() < 0.75:
        back = mi.ScalarTransform4f().translate([0, 0, float(middle[2] - rng.uniform(500, 1500))])
        paint = rng.uniform(0.05, 0.8) * np.exp(rng.normal(size=3) * 0.2).clip(0.5, 1.2)
        scene["wall"] = {
            "type": "rectangle",
            "to_world": back.scale([4000, 4000, 1]),
            "bsdf": {"type": "diffuse", "reflectance": _rgb(paint)},
        }
    return scene


def tracing(depth: int) -> dict[str, Any]:
    """A scene in which light is followed over so many edges of its path."""
    return {"type": "scene", "integrator": {"type": "path", "max_depth": depth, "rr_depth": 10}}


def camera_of(mi: Any, pose: Pose, samples: int, filter_: str = "gaussian") -> dict[str, Any]:
    """Mitsuba's camera for a pose."""
    return {
        "type": "perspective",
        "fov": math.degrees(2 * math.atan(pose.size / 2 / pose.focal)),
        "near_clip": 20.0,
        "far_clip": 20000.0,
        "to_world": mi.ScalarTransform4f().look_at(origin=[0, 0, 0], target=[0, 0, -1], up=[0, 1, 0]),
        "film": {"type": "hdrfilm", "width": pose.size, "height": pose.size, "rfilter": {"type": filter_}},
        "sampler": {"type": "multijitter", "sample_count": samples},
    }


def _seen(mi: Any, scene: Any, head: IctHead, person: Person, normals: Array) -> Indices:
    """(Q,) scored vertices that the picture shows, not edge-on."""
    candidates = np.flatnonzero(head.scored)
    points = person.pose.to_camera(person.vertices[candidates])
    outward = normals[candidates] @ person.pose.rotation.T
    distance = np.linalg.norm(points, axis=1)
    towards = -points / distance[:, None]
    shown = (outward * towards).sum(axis=1) > 0.1
    xy = person.pose.project(person.vertices[candidates])
    shown &= ((xy > -0.5) & (xy < person.pose.size - 0.5)).all(axis=1)
    # From a little off the surface, which would else hide itself.
    start = points + 0.4 * outward + 0.3 * towards
    for index in np.flatnonzero(shown):
        ray = mi.Ray3f(mi.Point3f(*start[index]), mi.Vector3f(*towards[index]))
        ray.maxt = float(distance[index]) - 1.0
        shown[index] = not scene.ray_test(ray)
    return np.asarray(candidates[shown])


def developed(rng: np.random.Generator, linear: Array, face_xy: Indices, tone: float) -> NDArray[np.uint8]:
    """The picture as a camera writes it, exposed for the face: dark skins come out dark, but less so than they are."""
    level = np.median(linear[face_xy[:, 1], face_xy[:, 0], 1])
    exposed = linear * (rng.uniform(0.85, 1.15) * 0.33 * min(1.0, (tone / 0.35) ** 0.5) / level)
    exposed = exposed + rng.normal(size=linear.shape) * 0.003
    packed = io.BytesIO()
    Image.fromarray(encoded(exposed)).save(packed, "jpeg", quality=int(rng.integers(88, 97)), subsampling=0)
    return np.asarray(Image.open(io.BytesIO(packed.getvalue())))


def _annotated(rng: np.random.Generator, exact: Array) -> Array:
    """(68, 2) px: points (68, 2) with an annotator's scatter."""
    eye = float(np.linalg.norm(exact[36] - exact[45]))
    marked = exact + rng.normal(size=(68, 2)) * _ANNOTATOR * eye
    tangent = np.gradient(exact[:17], axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    marked[:17] += tangent * rng.normal(size=(17, 1)) * _ALONG_JAW * eye
    return marked

"""Binary glTF 2.0 read as its specification says, by nothing that faceinv writes with; and what makes a file valid."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DTYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
ARRAY, ELEMENTS = 34962, 34963
TARGETED = {"POSITION", "NORMAL"}


@dataclass(frozen=True)
class Glb:
    """A file."""

    tree: dict[str, Any]
    binary: bytes

    @classmethod
    def of(cls, content: bytes) -> Glb:
        """Read a file's bytes, and see that its two chunks fill it."""
        magic, version, length = struct.unpack("<4sII", content[:12])
        assert (magic, version, length) == (b"glTF", 2, len(content))
        chunks, at = [], 12
        while at < len(content):
            size, kind = struct.unpack("<I4s", content[at : at + 8])
            assert size % 4 == 0
            chunks.append((kind, content[at + 8 : at + 8 + size]))
            assert len(chunks[-1][1]) == size
            at += 8 + size
        assert [kind for kind, _ in chunks] == [b"JSON", b"BIN\0"]
        return cls(json.loads(chunks[0][1]), chunks[1][1])

    @classmethod
    def read(cls, path: Path) -> Glb:
        """Read a file."""
        return cls.of(path.read_bytes())

    def view(self, index: int) -> bytes:
        """The bytes of a buffer view."""
        view = self.tree["bufferViews"][index]
        start = view.get("byteOffset", 0)
        return self.binary[start : start + view["byteLength"]]

    def accessor(self, index: int) -> NDArray[Any]:
        """(count, width), sparse values put in."""
        entry = self.tree["accessors"][index]
        width, dtype = WIDTHS[entry["type"]], np.dtype(DTYPES[entry["componentType"]])
        values = np.zeros((entry["count"], width), dtype)
        if "bufferView" in entry:
            raw = self.view(entry["bufferView"])[entry.get("byteOffset", 0) :]
            values[:] = np.frombuffer(raw, dtype, entry["count"] * width).reshape(-1, width)
        if "sparse" in entry:
            where, moved = self.sparse(index)
            values[where] = moved
        return values

    def sparse(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Indices (M,) and values (M, width) of a sparse accessor."""
        entry = self.tree["accessors"][index]
        sparse = entry["sparse"]
        indices, values = sparse["indices"], sparse["values"]
        where = np.frombuffer(
            self.view(indices["bufferView"])[indices.get("byteOffset", 0) :],
            DTYPES[indices["componentType"]],
            sparse["count"],
        )
        width = WIDTHS[entry["type"]]
        raw = self.view(values["bufferView"])[values.get("byteOffset", 0) :]
        return where, np.frombuffer(raw, DTYPES[entry["componentType"]], sparse["count"] * width).reshape(-1, width)

    def image(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) an image's pixels."""
        with Image.open(io.BytesIO(self.view(self.tree["images"][index]["bufferView"]))) as image:
            return np.asarray(image.convert("RGB"))

    def node(self, name: str) -> dict[str, Any]:
        """The node of a name."""
        (node,) = [node for node in self.tree["nodes"] if node.get("name") == name]
        return dict(node)

    def mesh_of(self, name: str) -> dict[str, Any]:
        """The mesh of a named node."""
        return dict(self.tree["meshes"][self.node(name)["mesh"]])

    def posed(self, name: str, weights: Mapping[str, float] | None = None) -> NDArray[np.float64]:
        """(N, 3) m, a node's mesh at its place: its primitives one after the other, moved by named targets.

        Args:
            name: the node, which is at the top or below nodes that do not move it.
            weights: by target; None for those that the file sets. Targets the mesh lacks do nothing.
        """
        mesh = self.mesh_of(name)
        names = mesh.get("extras", {}).get("targetNames", [])
        chosen = mesh.get("weights", []) if weights is None else [weights.get(target, 0.0) for target in names]
        parts = []
        for primitive in mesh["primitives"]:
            points = self.accessor(primitive["attributes"]["POSITION"]).astype(np.float64)
            for weight, target in zip(chosen, primitive.get("targets", ()), strict=True):
                if weight:
                    points += weight * self.accessor(target["POSITION"])
            parts.append(points)
        return np.concatenate(parts) + np.asarray(self.node(name).get("translation", (0, 0, 0)))


def check_structure(glb: Glb) -> None:
    """Fail where a file breaks the specification, or holds what nothing uses."""
    tree = glb.tree
    assert tree["asset"]["version"] == "2.0"
    for path, value in _entries(tree):
        assert value is not None, path
        assert value != [], path
        assert path[-1] == "extras" or value != {} or "extensions" in path, path
    (buffer,) = tree["buffers"]
    assert "uri" not in buffer
    assert 0 <= len(glb.binary) - buffer["byteLength"] < 4
    _check_views(glb)
    _check_scene(tree)
    used = _check_meshes(glb)
    for index in range(len(tree["accessors"])):
        assert index in used, f"accessor {index} is not used"
        _check_accessor(glb, index)
    _check_looks(glb)


def _entries(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in pairs:
        yield (*path, str(key)), entry
        if key != "extras":
            yield from _entries(entry, (*path, str(key)))


def _check_views(glb: Glb) -> None:
    tree = glb.tree
    ends = 0
    for view in tree["bufferViews"]:
        assert view["buffer"] == 0
        start = view.get("byteOffset", 0)
        assert start % 4 == 0
        assert start >= ends  # in order, none over another
        assert view["byteLength"] > 0
        ends = start + view["byteLength"]
    assert ends <= tree["buffers"][0]["byteLength"]
    used = [image["bufferView"] for image in tree.get("images", ())]
    for accessor in tree["accessors"]:
        used += [accessor["bufferView"]] if "bufferView" in accessor else []
        for part in ("indices", "values"):
            used += [accessor["sparse"][part]["bufferView"]] if "sparse" in accessor else []
    assert set(used) == set(range(len(tree["bufferViews"])))


def _check_scene(tree: dict[str, Any]) -> None:
    (scene,) = tree["scenes"]
    assert tree["scene"] == 0
    children = [child for node in tree["nodes"] for child in node.get("children", ())]
    assert sorted([*scene["nodes"], *children]) == list(range(len(tree["nodes"])))  # a forest, all of it shown
    meshes = [node["mesh"] for node in tree["nodes"] if "mesh" in node]
    assert sorted(meshes) == list(range(len(tree["meshes"])))
    cameras = [node["camera"] for node in tree["nodes"] if "camera" in node]
    assert sorted(cameras) == list(range(len(tree.get("cameras", ()))))
    for node in tree["nodes"]:
        assert node["name"]
        assert not ("matrix" in node and {"translation", "rotation", "scale"} & set(node))
        if "matrix" in node:
            matrix = np.reshape(node["matrix"], (4, 4)).T
            assert np.allclose(matrix[3], [0, 0, 0, 1])
            assert np.allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-6)
            assert np.linalg.det(matrix[:3, :3]) > 0
    for camera in tree.get("cameras", ()):
        lens = camera[camera["type"]]
        assert {"perspective", "orthographic"} & set(camera) == {camera["type"]}
        assert 0 < lens["znear"] < lens["zfar"]
        if camera["type"] == "perspective":
            assert 0 < lens["yfov"] < np.pi
            assert lens["aspectRatio"] > 0
        else:
            assert min(lens["xmag"], lens["ymag"]) > 0


def _check_meshes(glb: Glb) -> set[int]:
    """The accessors that meshes use."""
    tree, used = glb.tree, set()
    for mesh in tree["meshes"]:
        names = mesh.get("extras", {}).get("targetNames", [])
        assert len(set(names)) == len(names)
        assert len(mesh.get("weights", ())) == len(names)
        for primitive in mesh["primitives"]:
            attributes, targets = primitive["attributes"], primitive.get("targets", [])
            assert primitive.get("mode", 4) == 4
            assert len(targets) == len(names)
            assert 0 <= primitive["material"] < len(tree["materials"])
            used |= {primitive["indices"], *attributes.values()} | {k for target in targets for k in target.values()}
            count = tree["accessors"][attributes["POSITION"]]["count"]
            for name, index in attributes.items():
                accessor = tree["accessors"][index]
                width = {"POSITION": 3, "NORMAL": 3, "TANGENT": 4, "TEXCOORD_0": 2}[name]
                assert (accessor["count"], WIDTHS[accessor["type"]], accessor["componentType"]) == (count, width, 5126)
                assert tree["bufferViews"][accessor["bufferView"]]["target"] == ARRAY
                values = glb.accessor(index).astype(np.float64)
                if name in ("NORMAL", "TANGENT"):
                    assert np.abs(np.linalg.norm(values[:, :3], axis=1) - 1).max() < 5e-4
                if name == "TANGENT":
                    assert set(np.unique(values[:, 3])) <= {-1.0, 1.0}
            positions = tree["accessors"][attributes["POSITION"]]
            assert {"min", "max"} <= set(positions)
            corners = tree["accessors"][primitive["indices"]]
            assert (corners["type"], corners["count"] % 3) == ("SCALAR", 0)
            assert tree["bufferViews"][corners["bufferView"]]["target"] == ELEMENTS
            indices = glb.accessor(primitive["indices"]).ravel()
            assert set(np.unique(indices)) == set(range(count))  # no vertex that no triangle has
            assert indices.max() < np.iinfo(indices.dtype).max
            for target in targets:
                assert set(target) == TARGETED
                assert {"min", "max"} <= set(tree["accessors"][target["POSITION"]])
                assert all(tree["accessors"][index]["count"] == count for index in target.values())
    return used


def _check_accessor(glb: Glb, index: int) -> None:
    entry = glb.tree["accessors"][index]
    assert entry["count"] > 0
    size = np.dtype(DTYPES[entry["componentType"]]).itemsize
    assert entry.get("byteOffset", 0) % size == 0
    assert "bufferView" in entry or "byteOffset" not in entry
    values = glb.accessor(index)
    if values.dtype.kind == "f":
        assert np.isfinite(values).all()
    for bound, found in (("min", values.min(axis=0)), ("max", values.max(axis=0))):
        if bound in entry:
            assert np.array_equal(np.array(entry[bound], values.dtype), found)
    if "sparse" in entry:
        where, _ = glb.sparse(index)
        assert 0 < len(where) <= entry["count"]
        assert (np.diff(where.astype(np.int64)) > 0).all()
        assert where.max() < entry["count"]
        views = [glb.tree["bufferViews"][entry["sparse"][part]["bufferView"]] for part in ("indices", "values")]
        assert not any({"target", "byteStride"} & set(view) for view in views)


def _check_looks(glb: Glb) -> None:
    tree = glb.tree
    images, textures, materials = (tree.get(name, []) for name in ("images", "textures", "materials"))
    used: set[int] = set()
    extensions: set[str] = set()
    assert {primitive["material"] for mesh in tree["meshes"] for primitive in mesh["primitives"]} == set(
        range(len(materials))
    )
    for material in materials:
        surface = material["pbrMetallicRoughness"]
        assert all(0 <= value <= 1 for value in surface.get("baseColorFactor", [1, 1, 1, 1]))
        assert 0 <= surface.get("metallicFactor", 1) <= 1
        assert 0 <= surface.get("roughnessFactor", 1) <= 1
        assert material.get("alphaMode", "OPAQUE") == "OPAQUE"
        assert "alphaCutoff" not in material
        used |= {surface["baseColorTexture"]["index"]} if "baseColorTexture" in surface else set()
        used |= {material["normalTexture"]["index"]} if "normalTexture" in material else set()
        extensions |= set(material.get("extensions", ()))
        if "normalTexture" in material:
            number = materials.index(material)
            for mesh in tree["meshes"]:
                for primitive in mesh["primitives"]:
                    assert primitive["material"] != number or "TANGENT" in primitive["attributes"]
    assert set(tree.get("extensionsUsed", ())) == extensions
    assert used == set(range(len(textures)))
    assert {texture["source"] for texture in textures} == set(range(len(images)))
    for texture in textures:
        assert 0 <= texture["sampler"] < len(tree["samplers"])
    for image in images:
        start = glb.view(image["bufferView"])[:4]
        assert image["mimeType"] == ("image/png" if start == b"\x89PNG" else "image/jpeg")
        assert image["mimeType"] == "image/png" or start[:3] == b"\xff\xd8\xff"

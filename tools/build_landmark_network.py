"""Convert the landmark network's published weights into the two ONNX files beside this script.

    npm pack @vladmandic/face-api@1.7.15
    python build_landmark_network.py vladmandic-face-api-1.7.15.tgz

Needs the `onnx` package, which faceinv itself does not. Weights stay the uint8 numbers they are published as; the
graph turns them into floats (`value = byte * scale + minimum`), so both files together stay near 550 KB. The same
archive gives the same bytes.

Both networks take `image`: float32 (B, 3, side, side), RGB, sRGB-encoded values times 255. The subtraction of the mean
colour and the division by 255 are part of the graph.

- face_detector.onnx: side is a multiple of 32 (it was trained at 416). Output `cells`: (B, 25, n, n), n = side / 32,
  5 anchors of (x, y, width, height, score) as logits.
- face_landmarks68.onnx: side is 112. Output `points`: (B, 68, 2), (x, y) as fractions of the crop's side.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

ARCHIVE_SHA256 = "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031"
DETECTOR_MEAN = (117.001, 114.697, 97.404)
LANDMARK_MEAN = (122.782, 117.001, 104.298)
OPSET = 13
IR_VERSION = 7


def read_weights(archive: Path, stem: str) -> dict[str, tuple[npt.NDArray[np.uint8], float, float]]:
    """Every tensor of one network: name -> (bytes as published, scale, minimum)."""
    with tarfile.open(archive) as files:

        def content(name: str) -> bytes:
            member = files.extractfile(f"package/model/{name}")
            if member is None:
                raise SystemExit(f"'{archive}' holds no model/{name}")
            return member.read()

        manifest = json.loads(content(f"{stem}-weights_manifest.json"))
        weights = {}
        for group in manifest:
            data = np.frombuffer(b"".join(content(name) for name in group["paths"]), dtype=np.uint8)
            offset = 0
            for entry in group["weights"]:
                size = int(np.prod(entry["shape"]))
                form = entry["quantization"]
                if form["dtype"] != "uint8":
                    raise SystemExit(f"{entry['name']}: uint8 weights are expected, not {form['dtype']}")
                tensor = data[offset : offset + size].reshape(entry["shape"])
                weights[entry["name"]] = (tensor, float(form["scale"]), float(form["min"]))
                offset += size
            if offset != data.size:
                raise SystemExit(f"{stem}: the manifest describes {offset} bytes, the file has {data.size}")
    return weights


class Graph:
    """Nodes and constants of a network that is being written down."""

    def __init__(self, weights: dict[str, tuple[npt.NDArray[np.uint8], float, float]]) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, name: str, axes: tuple[int, ...] | None = None) -> str:
        """One tensor, as bytes in the file and as floats in the graph; filters are moved to (out, in, kh, kw)."""
        data, scale, minimum = self.weights.pop(name)
        stored = self.constant(name, data if axes is None else data.transpose(axes))
        factor = self.constant(f"{name}/scale", np.array(scale, dtype=np.float32))
        shift = self.constant(f"{name}/minimum", np.array(minimum, dtype=np.float32))
        return self.node("Add", self.node("Mul", self.node("Cast", stored, to=TensorProto.FLOAT), factor), shift)

    def normalise(self, x: str, mean: tuple[float, float, float]) -> str:
        mean_name = self.constant("mean", np.array(mean, dtype=np.float32).reshape(1, 3, 1, 1))
        return self.node("Div", self.node("Sub", x, mean_name), self.constant("range", np.array(255, np.float32)))

    def convolve(self, x: str, name: str, pads: list[int], stride: int = 1) -> str:
        filters = self.weight(f"{name}/filters", (3, 2, 0, 1))
        return self.node("Conv", x, filters, self.weight(f"{name}/bias"), pads=pads, strides=[stride, stride])

    def separable(self, x: str, name: str, pads: list[int], stride: int = 1) -> str:
        channels = self.weights[f"{name}/depthwise_filter"][0].shape[2]
        depthwise = self.weight(f"{name}/depthwise_filter", (2, 3, 0, 1))
        x = self.node("Conv", x, depthwise, group=channels, pads=pads, strides=[stride, stride])
        return self.node("Conv", x, self.weight(f"{name}/pointwise_filter", (3, 2, 0, 1)), self.weight(f"{name}/bias"))

    def save(self, path: Path, result: str, output: str, in_shape: list[Any], out_shape: list[Any]) -> None:
        if self.weights:
            raise SystemExit(f"{path.name}: weights left over: {', '.join(self.weights)}")
        self.nodes.append(helper.make_node("Identity", [result], [output]))
        graph = helper.make_graph(
            self.nodes,
            path.stem,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, in_shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, out_shape)],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        content = model.SerializeToString(deterministic=True)
        path.write_bytes(content)
        sys.stdout.write(f"{path}: {len(content)} bytes\n")


def build_detector(archive: Path, path: Path) -> None:
    graph = Graph(read_weights(archive, "tiny_face_detector_model"))
    x = graph.normalise("image", DETECTOR_MEAN)
    for level in range(6):
        layer = graph.convolve if level == 0 else graph.separable
        x = graph.node("LeakyRelu", layer(x, f"conv{level}", [1, 1, 1, 1]), alpha=0.1)
        pool = {"pads": [0, 0, 1, 1], "strides": [1, 1]} if level == 5 else {"strides": [2, 2]}
        x = graph.node("MaxPool", x, kernel_shape=[2, 2], **pool)
    x = graph.convolve(x, "conv8", [0, 0, 0, 0])
    graph.save(path, x, "cells", ["batch", 3, "side", "side"], ["batch", 25, "n", "n"])


def build_landmarks(archive: Path, path: Path) -> None:
    graph = Graph(read_weights(archive, "face_landmark_68_model"))
    x = graph.normalise("image", LANDMARK_MEAN)
    for block in range(4):
        first = graph.convolve if block == 0 else graph.separable
        total = x = graph.node("Relu", first(x, f"dense{block}/conv0", [0, 0, 1, 1], stride=2))
        for index in (1, 2, 3):
            total = graph.node("Add", total, graph.separable(x, f"dense{block}/conv{index}", [1, 1, 1, 1]))
            x = graph.node("Relu", total)
    x = graph.node("Flatten", graph.node("AveragePool", x, kernel_shape=[7, 7], strides=[2, 2]))
    x = graph.node("Gemm", x, graph.weight("fc/weights"), graph.weight("fc/bias"))
    x = graph.node("Reshape", x, graph.constant("shape", np.array([-1, 68, 2], dtype=np.int64)))
    graph.save(path, x, "points", ["batch", 3, 112, 112], ["batch", 68, 2])


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert @vladmandic/face-api 1.7.15 to faceinv's two ONNX files.")
    parser.add_argument("archive", type=Path, help="vladmandic-face-api-1.7.15.tgz")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="folder to write into (default: here)")
    options = parser.parse_args()
    digest = hashlib.sha256(options.archive.read_bytes()).hexdigest()
    if digest != ARCHIVE_SHA256:
        raise SystemExit(f"'{options.archive}' is not version 1.7.15: its SHA-256 is {digest}, not {ARCHIVE_SHA256}")
    build_detector(options.archive, options.to / "face_detector.onnx")
    build_landmarks(options.archive, options.to / "face_landmarks68.onnx")


if __name__ == "__main__":
    main()

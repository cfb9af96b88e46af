"""Networks as ONNX files, from TensorFlow Lite: for the scripts beside this one.

Needs the packages `onnx` and `tflite`. Weights stay the float16 numbers that they are stored as; the graph widens them.
The same source gives the same bytes. Outputs that are not asked for are left out, with the operators that only they
need.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

__all__ = ["Converter", "checked"]

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
        kind = _KINDS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        return bytes(code.CustomCode()).decode() if kind == "CUSTOM" else kind

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

    def _hard_swish(self, operator: Any, inputs: list[int], output: int) -> str:
        name = self.tensor(inputs[0])
        return self.node("Mul", name, self.node("HardSigmoid", name, alpha=1 / 6, beta=0.5))

    def _logistic(self, operator: Any, inputs: list[int], output: int) -> str:
        return self.node("Sigmoid", self.tensor(inputs[0]))

    def _mul(self, operator: Any, inputs: list[int], output: int) -> str:
        product = self.node("Mul", *map(self.tensor, inputs))
        return self._activated(product, _options(operator, tflite.MulOptions).FusedActivationFunction())

    def _average_pool_2d(self, operator: Any, inputs: list[int], output: int) -> str:
        chosen = _options(operator, tflite.Pool2DOptions)
        if (chosen.FilterHeight(), chosen.FilterWidth()) != self.source.shape(inputs[0])[1:3]:
            raise SystemExit("an AVERAGE_POOL_2D of less than the whole picture cannot be converted")
        return self.node("GlobalAveragePool", self.tensor(inputs[0]))

    def _resize_bilinear(self, operator: Any, inputs: list[int], output: int) -> str:
        chosen = _options(operator, tflite.ResizeBilinearOptions)
        if chosen.AlignCorners() or not chosen.HalfPixelCenters():
            raise SystemExit("a RESIZE_BILINEAR of other than half-pixel centres cannot be converted")
        before, after = self.source.shape(inputs[0]), self.source.shape(output)
        scales = np.array([1.0, 1.0, after[1] / before[1], after[2] / before[2]], np.float32)
        name = self.tensor(inputs[0])
        mode = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return self.node("Resize", name, "", self.constant(scales), **mode)

    def _convolution2dtransposebias(self, operator: Any, inputs: list[int], output: int) -> str:
        """MediaPipe's own operator. Its options are three int32: padding, and strides across and down."""
        options = bytes(operator.CustomOptions(k) for k in range(operator.CustomOptionsLength()))
        _, *strides = np.frombuffer(options, "<i4").tolist()
        # (out, height, width, in)
        if list(self.source.shape(inputs[1])[1:3]) != strides:
            raise SystemExit("a transposed convolution whose patches overlap cannot be converted")
        kernel, bias = self.weight(inputs[1], (3, 0, 1, 2)), self.weight(inputs[2])
        return self.node("ConvTranspose", self.tensor(inputs[0]), kernel, bias, strides=strides[::-1])


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


def checked(content: bytes, name: str, expected: str) -> bytes:
    """The same content.

    Raises:
        SystemExit: when its SHA-256 is another.
    """
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise SystemExit(f"'{name}' is not the published file: its SHA-256 is {digest}, not {expected}")
    return content

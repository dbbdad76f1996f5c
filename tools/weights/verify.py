"""Compares every engine with plain Paddle on the sample inputs.

inference.onnx on ONNX Runtime and OpenVINO f32, inference.pdmodel on OpenVINO f32 and Paddle with oneDNN.
Each engine runs in its own process, because a crash of Paddle must not end the comparison, `--repeat`
times. Prints a Markdown table of the largest absolute difference. Needs paddlepaddle 3.2.2, onnxruntime
1.32.0, openvino 2026.4.1, opencv, pandas, PyYAML.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import yaml

CASES = {
    "classification_efficientnet_lite0": [
        "chelsea.png",
        "coffee.png",
        "camera.png",
        "rocket.jpg",
        "flower.jpg",
    ],
    "detection_nanodet_416": ["coffee.png", "astronaut.png", "camera.png"],
    "small_object_nanodet_832": ["small_objects_montage.jpg"],
    "multilabel_nanodet": ["astronaut.png", "coffee.png", "chelsea.png"],
    "segmentation_selfie": ["astronaut.png", "camera.png"],
    "instance_nuclei": ["nuclei_test_0.png", "nuclei_test_176.png", "nuclei_test_352.png"],
    "anomaly_brick": ["brick_good.png", "brick_defect_a.png", "brick_defect_b.png"],
    "layout_picodet_cdla": ["invoice_page.png", "08_letter_a4.jpg", "page.png"],
    "ts_forecast_dlinear_co2": ["ts_co2.csv"],
    "ts_anomaly_autoencoder_ucr135": ["ts_ucr135_anomaly.csv", "ts_ucr135_normal.csv"],
    "ts_classification_basicmotions": [
        f"ts_basicmotions_{n}.csv" for n in ("badminton", "running", "standing", "walking")
    ],
}
ENGINES = {
    "paddle_onednn": "Paddle oneDNN",
    "onnxruntime": "ONNX Runtime (.onnx)",
    "openvino_onnx": "OpenVINO f32 (.onnx)",
    "openvino": "OpenVINO f32 (.pdmodel)",
}


def normalised(image, config, size):
    x = (cv2.resize(image, size).astype("float32") / 255 - np.float32(config["mean"])) / np.float32(
        config["std"]
    )
    return x.transpose(2, 0, 1)[None].astype("float32")


def model_input(folder, sample):
    """{tensor name: array} for one sample file, as inference.yml says, except that every resize is linear."""
    config = yaml.safe_load(Path(folder, "inference.yml").read_text())
    if sample.endswith(".csv"):
        scaler = json.loads(Path(folder, "scaler.json").read_text())
        v = pd.read_csv(sample)[scaler["columns"]].to_numpy("float64")[-config["size"]["in_chunk_len"] :]
        v = ((v - scaler["mean"]) / scaler["scale"]).astype("float32")[None]
        return {
            n: v if len(s) == 3 else np.ones((1, s[1]), "float32") for n, s in config["input_data"].items()
        }
    image = cv2.imread(sample)[:, :, ::-1]
    h, w = image.shape[:2]
    if "Preprocess" in config:  # detection, instance segmentation, layout
        th, tw = config["Preprocess"][0]["target_size"]
        feed = {
            "image": normalised(image, config["Preprocess"][1], (tw, th)),
            "scale_factor": np.float32([[th / h, tw / w]]),
        }
        return {"im_shape": np.float32([[th, tw]]), **feed} if config.get("mask") else feed
    if "Deploy" in config:
        resize, norm = config["Deploy"]["transforms"][:2]
        return {"x": normalised(image, norm, tuple(resize["target_size"]))}
    ops = {k: v for op in config["PreProcess"]["transform_ops"] for k, v in op.items()}
    if "CropImage" in ops:
        k, s = ops["ResizeImage"]["resize_short"] / min(h, w), ops["CropImage"]["size"]
        image = cv2.resize(image, (round(w * k), round(h * k)))
        y, x = (image.shape[0] - s) // 2, (image.shape[1] - s) // 2
        return {"x": normalised(image[y : y + s, x : x + s], ops["NormalizeImage"], (s, s))}
    s = ops["ResizeImage"]["size"]
    return {"x": normalised(image, ops["NormalizeImage"], (s, s))}


def runner(engine, folder):
    """Function {name: array} -> list of output arrays."""
    base = str(Path(folder, "inference"))
    if engine == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(base + ".onnx", providers=["CPUExecutionProvider"])
        return lambda feed: session.run(None, feed)
    if engine.startswith("openvino"):
        import openvino

        compiled = openvino.Core().compile_model(
            base + (".onnx" if engine.endswith("onnx") else ".pdmodel"),
            "CPU",
            {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1},
        )
        return lambda feed: [compiled(feed)[o].copy() for o in compiled.outputs]
    from paddle import inference

    config = inference.Config(base + ".pdmodel", base + ".pdiparams")
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(1)
    config.enable_mkldnn() if engine == "paddle_onednn" else config.disable_mkldnn()
    predictor = inference.create_predictor(config)

    def run(feed):
        for n in predictor.get_input_names():
            h = predictor.get_input_handle(n)
            h.reshape(feed[n].shape)
            h.copy_from_cpu(feed[n])
        predictor.run()
        return [predictor.get_output_handle(n).copy_to_cpu() for n in predictor.get_output_names()]

    return run


def child(engine, folder, samples, out):
    run = runner(engine, folder)
    np.savez(
        out,
        **{f"{i}_{j}": o for i, s in enumerate(samples) for j, o in enumerate(run(model_input(folder, s)))},
    )


def outputs(engine, folder, samples):
    """{sample_output: array}, or the reason why not."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "out.npz")
        command = [sys.executable, __file__, "--child", engine, folder, str(path), *samples]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or not path.exists():
            said = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
            return f"failed: {said[-1][:120]}"
        with np.load(path) as found:
            return dict(found)


def difference(reference, other):
    """Largest absolute difference of each output; integer maps as the number of unequal elements."""
    if isinstance(other, str):
        return other
    worst = {}
    for key, a in reference.items():
        b, j = other[key], key.split("_")[1]
        if a.shape != b.shape:
            return f"shape {a.shape} / {b.shape}"
        if a.size:
            whole = a.dtype.kind in "iu"
            d = (a != b).sum() if whole else np.abs(a.astype("float64") - b).max()
            worst[j] = max(worst.get(j, 0.0), float(d))
    return " / ".join(
        f"{worst[j]:.0f} unequal" if reference["0_" + j].dtype.kind in "iu" else f"{worst[j]:.1e}"
        for j in sorted(worst)
    )


def row(name, models, samples, repeat):
    """One line of the table."""
    folder, files = str(Path(models, name)), [str(Path(samples, file)) for file in CASES[name]]
    reference = outputs("paddle", folder, files)
    if isinstance(reference, str):
        return f"| {name} | {reference} |"
    shapes = ", ".join(str(list(v.shape)) for k, v in reference.items() if k.startswith("0_"))
    cells = []
    for engine in ENGINES:
        runs = [difference(reference, outputs(engine, folder, files)) for _ in range(repeat)]
        cells.append(runs[0] if len(set(runs)) == 1 else "unstable: " + "; ".join(runs))
    return f"| {name} | {shapes} | " + " | ".join(cells) + " |"


def main():
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], sys.argv[5:], sys.argv[4])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", required=True, help="folder with the model folders")
    parser.add_argument("--samples", required=True, help="folder that make_samples.py filled")
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    print("| model | outputs | " + " | ".join(ENGINES.values()) + " |\n|" + "---|" * (len(ENGINES) + 2))
    for name in args.only:
        print(row(name, args.models, args.samples, args.repeat), flush=True)


if __name__ == "__main__":
    main()

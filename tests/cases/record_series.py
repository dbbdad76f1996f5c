"""Makes the golden cases of the time-series pipelines: records what PaddleX answers to small CSVs.

    benchmarks/.peers/paddlex-ts/bin/python tests/cases/record_series.py --models DIR

Runs in PaddleX's own environment (``paddlex[ts]==3.7.2``, ``paddlepaddle==3.2.2``, pandas 3.1.1). DIR holds
the starter models in Paddle's format, each with PaddleX's ``scaler.pkl``. More are made here; they
*echo* all their inputs as their answer, so that a forecast shows every number that PaddleX has computed.
PaddleX's time features fail with pandas 3: run again with pandas 2.2.3 and ``--time-features``, which records
them and leaves the other cases as they are.

What is recorded is what PaddleX's serving does, ``read_csv`` of the text, the model, ``to_csv`` of the
answer, or that it fails. Takes a minute.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import paddle
import pandas as pd
import yaml
from paddlex import create_model
from series_inputs import ECHOES, STARTERS, Echo, echo_description
from sklearn.preprocessing import MinMaxScaler, StandardScaler

HERE = Path(__file__).resolve().parent
ANSWERS = {
    "ts_forecast": "forecast",
    "ts_anomaly_detection": "anomaly",
    "ts_classification": "classification",
}


class EchoNet(paddle.nn.Layer):
    """All inputs, one number below the other, in as many columns as the answer must have."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = columns
        # Without any weights PaddlePaddle writes no weights file, and PaddleX wants one.
        self.zero = self.create_parameter([1], default_initializer=paddle.nn.initializer.Constant(0.0))

    def forward(self, inputs: Any) -> Any:
        flat = paddle.concat([tensor.reshape([-1]) for tensor in inputs])
        return self.zero + paddle.tile(flat.reshape([1, -1, 1]), [1, 1, self.columns])


def make_echo(folder: Path, echo: Echo) -> None:
    """An exported model folder, and ``scaler.json`` beside ``scaler.pkl`` as the recorded facts."""
    description = echo_description(echo)
    shapes = dict(sorted(description["input_data"].items()))
    specs = [paddle.static.InputSpec([None, *shape[1:]], "float32", name) for name, shape in shapes.items()]
    net = paddle.jit.to_static(EchoNet(echo.columns), input_spec=[specs])
    net.eval()
    paddle.jit.save(net, str(folder / "inference"))
    (folder / "inference.yml").write_text(yaml.safe_dump(description))
    if echo.scaler:
        joblib.dump(fitted(echo), folder / "scaler.pkl")


def fitted(echo: Echo) -> Any:
    """The scaler of an echo model, fitted on a few rows that differ per column."""
    kind = {"standard": StandardScaler, "minmax": MinMaxScaler}[echo.scaler]
    rows = np.arange(12.0).reshape(4, 3)[:, : echo.scaled] ** 1.5
    return kind().fit(rows)


def answer(model: Any, task: str, text: str) -> dict[str, Any]:
    """What PaddleX's serving answers to one CSV."""
    try:
        frame = pd.read_csv(io.StringIO(text))
        (found,) = model.predict(frame)
        if task == "ts_classification":
            row = found["classification"].iloc[0]
            return {"label": str(int(row["classid"])), "score": float(row["score"])}
        return {"csv": found[ANSWERS[task]].to_csv()}
    except Exception as error:
        return {"error": type(error).__name__}


def record_starters(models: Path, options: dict[str, Any]) -> None:
    """Cases of the starter models."""
    for task, starter in STARTERS.items():
        directory = models / starter.name
        model = create_model(starter.model_name, model_dir=str(directory), **options)
        cases = [
            {"name": name, "csv": text, "answer": answer(model, task, text)}
            for name, text in starter.inputs().items()
        ]
        write(HERE / task / "cases.json", cases)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", type=Path, required=True, help="folder of the starter models in Paddle's format"
    )
    parser.add_argument("--time-features", action="store_true", help="only these; with pandas 2")
    arguments = parser.parse_args()
    chosen = {echo.name: echo for echo in ECHOES if bool(echo.more) == arguments.time_features}
    warnings.simplefilter("ignore")
    options = {"engine": "paddle_static", "engine_config": {"run_mode": "paddle", "cpu_threads": 1}}
    if not arguments.time_features:
        record_starters(arguments.models, options)
    path = HERE / "series_echo.json"
    cases = [case for case in json.loads(path.read_text()) if case["echo"] not in chosen]
    for echo in chosen.values():
        with tempfile.TemporaryDirectory() as folder:
            make_echo(Path(folder), echo)
            model = create_model(echo.model_name, model_dir=folder, **options)
            scaler = fitted(echo) if echo.scaler else None
            for name, text in echo.inputs.items():
                case = {
                    "echo": echo.name,
                    "name": name,
                    "csv": text,
                    "answer": answer(model, echo.task, text),
                }
                cases.append(case | ({"scaler": scaler_facts(scaler)} if scaler is not None else {}))
    order = [echo.name for echo in ECHOES]
    write(path, sorted(cases, key=lambda case: order.index(case["echo"])))


def scaler_facts(scaler: Any) -> dict[str, Any]:
    """The scaler as ``scaler.json`` would say it."""
    if isinstance(scaler, MinMaxScaler):
        mean, scale = -scaler.min_ / scaler.scale_, 1 / scaler.scale_
    else:
        mean, scale = scaler.mean_, scaler.scale_
    return {"columns": [], "mean": mean.tolist(), "scale": scale.tolist()}


def write(path: Path, cases: list[dict[str, Any]]) -> None:
    """One case to a line."""
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(path.name, [(case["name"], *case["answer"]) for case in cases])


if __name__ == "__main__":
    main()

"""Makes the golden scalers: real ``scaler.pkl`` files of scikit-learn, and the numbers that each scales by.

    benchmarks/.peers/paddlex-ts/bin/python tests/cases/record_scalers.py

PaddleX reads what ``joblib.dump`` writes. Run once in PaddleX's own environment (scikit-learn 1.9.1, joblib
1.6.0, numpy 2.3.5) and once with scikit-learn 1.2.2, joblib 1.1.1 and numpy 1.26.4, which write another form;
files of other versions stay in ``scalers.json``.
"""

from __future__ import annotations

import base64
import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import sklearn
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

OUT = Path(__file__).resolve().parent / "scalers.json"
ROWS = np.arange(12.0).reshape(4, 3) ** 1.5


def scalers() -> Iterator[tuple[str, Any, Any]]:
    """Name, what it was fitted on, the fitted scaler."""
    named = pd.DataFrame(ROWS, columns=["a", "b c", "Größe"])
    yield "standard", ROWS, StandardScaler().fit(ROWS)
    yield "standard, named columns", named, StandardScaler().fit(named)
    yield "standard, single precision", ROWS, StandardScaler().fit(ROWS.astype("float32"))
    yield "standard, mean only", ROWS, StandardScaler(with_std=False).fit(ROWS)
    yield "standard, scale only", ROWS, StandardScaler(with_mean=False).fit(ROWS)
    yield "range", ROWS, MinMaxScaler().fit(ROWS)
    yield "range of its own, named columns", named, MinMaxScaler((-1, 3)).fit(named)
    yield "range, single precision", ROWS, MinMaxScaler().fit(ROWS.astype("float32"))
    yield "clipped", None, MinMaxScaler(clip=True).fit(ROWS)
    yield "not fitted", None, StandardScaler()
    yield "robust", None, RobustScaler().fit(ROWS)


def dumped(scaler: Any, how: str) -> bytes:
    """The file: of joblib as it is used, or a plain pickle of a protocol."""
    if how != "joblib":
        return pickle.dumps(scaler, int(how))
    file = io.BytesIO()
    joblib.dump(scaler, file)
    return file.getvalue()


def main() -> None:
    version = f"scikit-learn {sklearn.__version__}"
    kept = (
        [case for case in json.loads(OUT.read_text()) if case["version"] != version] if OUT.exists() else []
    )
    for name, rows, scaler in scalers():
        for how in ("joblib", "2", "4", "5") if name == "standard, named columns" else ("joblib",):
            case = {"version": version, "name": name, "how": how}
            case["file"] = base64.b64encode(dumped(scaler, how)).decode()
            if rows is not None:
                case |= {"rows": ROWS.tolist(), "scaled": np.asarray(scaler.transform(rows)).tolist()}
                case["columns"] = getattr(scaler, "feature_names_in_", np.array([])).tolist()
            kept.append(case)
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in kept)
    OUT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()

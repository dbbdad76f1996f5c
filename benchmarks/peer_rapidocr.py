"""RapidOCR behind FastAPI, as its users serve it: ``python benchmarks/peer_rapidocr.py PORT PROCESSES``.

Answers ``POST /ocr`` in the envelope of PaddleX. ENGINE, THREADS (0: the engine's own choice) and MODELS
are environment variables. One engine per process, which one request has at a time: OpenVINO's allows no more.
"""

import base64
import os
import sys
import threading
from functools import cache
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from rapidocr import EngineType, RapidOCR

SIDE = 960

app = FastAPI()
turn = threading.Lock()


class Body(BaseModel):
    file: str


@cache
def engine():
    kind = EngineType.OPENVINO if os.environ["ENGINE"] == "openvino" else EngineType.ONNXRUNTIME
    models, threads = Path(os.environ["MODELS"]), int(os.environ["THREADS"]) or -1
    params = {
        "Det.engine_type": kind,
        "Rec.engine_type": kind,
        "Det.model_path": str(models / "det_small.onnx"),
        "Rec.model_path": str(models / "rec_small.onnx"),
        "Det.limit_side_len": SIDE,
        "Det.limit_type": "max",
        "Global.use_cls": False,
        "Global.log_level": "error",
        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
        "EngineConfig.openvino.inference_num_threads": threads,
    }
    return RapidOCR(params=params)


@app.on_event("startup")
def load():
    engine()


@app.get("/health")
def health():
    return {"errorCode": 0}


@app.post("/ocr")
def ocr(body: Body):
    data = base64.b64decode(body.file)
    with turn:
        found = engine()(data)
    lines = {
        "rec_texts": list(found.txts or ()),
        "rec_scores": [float(score) for score in found.scores or ()],
    }
    lines["rec_polys"] = [] if found.boxes is None else found.boxes.tolist()
    return {"errorCode": 0, "result": {"ocrResults": [{"prunedResult": lines}]}}


if __name__ == "__main__":
    port, processes = map(int, sys.argv[1:])
    os.chdir(Path(__file__).parent)
    uvicorn.run("peer_rapidocr:app", host="127.0.0.1", port=port, workers=processes, log_level="warning")

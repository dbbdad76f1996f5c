"""One OCR library on one core, without any server: JSON on standard output.

    python benchmarks/library_ocr.py NAME MODELS IMAGES PASSES

``MODELS`` holds det_small.onnx, rec_small.onnx and keys.txt, ``IMAGES`` encoded images. Runs in the
library's own environment, so it imports nothing of this project unless NAME is one of ours. Each is asked for
one thread in its own way, and bound to one core, which is the limit that all of them obey.
"""

import contextlib
import json
import os
import resource
import sys
import time
from pathlib import Path

#: Longest side of the image that the detector sees.
SIDE = 960


def rapidocr(engine, models):
    from rapidocr import EngineType, RapidOCR

    kind = EngineType.OPENVINO if engine == "openvino" else EngineType.ONNXRUNTIME
    params = {"Det.engine_type": kind, "Rec.engine_type": kind, "Global.use_cls": False}
    threads = {
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        "EngineConfig.openvino.inference_num_threads": 1,
    }
    read = RapidOCR(params=params | threads | _files(models) | {"Global.log_level": "error"})
    return lambda data: list(read(data).txts or ())


def rapidocrlite(engine, models):
    """Shares the import name with rapidocr, and its options."""
    from rapidocr import RapidOCR

    params = {"Global.use_cls": False, "Rec.fast_mode": engine == "fast", "Global.log_level": "error"}
    params["Rec.rec_keys_path"] = str(models / "keys.txt")
    read = RapidOCR(params=params | _files(models))
    return lambda data: list(read(data).txts or ())


def _files(models):
    return {
        "Det.model_path": str(models / "det_small.onnx"),
        "Rec.model_path": str(models / "rec_small.onnx"),
        "Det.limit_side_len": SIDE,
        "Det.limit_type": "max",
    }


def faster(engine, models):
    """Its weights are in its binary."""
    from faster_paddle import OcrEngine

    read = OcrEngine(model_size=engine, threads=1, det_max_side=SIDE, det_min_side=32)
    return lambda data: [found["text"] for found in read.ocr(data)["bounds"].values()]


def turboocr(engine, models):
    os.environ["DET_MAX_SIDE"] = str(SIDE)
    from turboocr_engine import OCR

    read = OCR(tier=engine, models_dir=str(models), allow_download=False)
    return lambda data: [line.text for line in read.read(data).lines]


def ours(engine, models):
    """This project's pipeline in this process, over the model store's copy of the same files."""
    import cv2
    import numpy as np

    from pipelines.core.base import Item
    from pipelines.core.detection_size import DetectionParams
    from pipelines.core.ocr_api import OcrParams
    from pipelines.core.registry import load_engine
    from pipelines.engines.base import EngineOptions
    from tests.driver import Driver, config_of

    name, _, precision = engine.partition(" ")
    form = EngineOptions(threads=1, precision=precision or "f32")
    options = {"use_doc_preprocessor": False, "use_textline_orientation": False}
    config = config_of("OCR", name, options=options, leave_out=("doc_orientation", "textline_orientation"))
    run = Driver(config, lambda stage: load_engine(stage.engine_name)(stage.model, form))
    params = OcrParams(detection=DetectionParams(limit_side_len=SIDE, limit_type="max"))

    def read(data):
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        (page,) = run(Item(params=params, image=pixels))
        if isinstance(page, Exception):
            raise page
        return list(page.texts)

    return read


LIBRARIES = {each.__name__: each for each in (rapidocr, rapidocrlite, faster, turboocr, ours)}


def main(name, models, images, passes):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "ORT_NUM_THREADS": "1",
    }  # threads of one core only wait for each other
    library, _, engine = name.partition(" ")
    data = [path.read_bytes() for path in sorted(Path(images).iterdir())]
    with contextlib.redirect_stdout(sys.stderr):
        began = time.perf_counter()
        read = LIBRARIES[library](engine, Path(models))
        load_s = time.perf_counter() - began
        texts = [read(each) for each in data]  # unmeasured: shapes are met for the first time
        seconds = []
        for each in data * int(passes):
            began = time.perf_counter()
            read(each)
            seconds.append(time.perf_counter() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"name": name, "load_s": load_s, "seconds": seconds, "texts": texts, "peak_rss_mib": peak}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # some of them end their threads badly

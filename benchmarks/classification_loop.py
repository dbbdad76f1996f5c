"""A picture to its class the plain way: OpenCV, NumPy, ONNX Runtime, one thread.

    python benchmarks/classification_loop.py MODEL SECONDS JPEG...    prints pictures done, CPU seconds used

``bench_classification`` runs it as the loop that servers are compared with, and peers serve its class. It
imports nothing of this project.
"""

import sys
import time
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

SHORT, CROP = 256, 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SCALE = np.array([1 / 255 / s for s in STD], np.float32)
SHIFT = np.array([-m / s for m, s in zip(MEAN, STD)], np.float32)  # noqa: B905 - any Python


class Classifier:
    """Index and score of the best class of an encoded picture."""

    def __init__(self, model):
        cv2.setNumThreads(1)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, data):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        (scores,) = self._session.run(None, {self._input: prepared(image)})
        best = int(scores[0].argmax())
        return best, float(scores[0, best])


def prepared(image):
    """Short side to 256, centre crop of 224, RGB, normalised: float32 [1, 3, 224, 224]."""
    height, width = image.shape[:2]
    ratio = SHORT / min(height, width)
    size = round(width * ratio), round(height * ratio)
    left, top = (size[0] - CROP) // 2, (size[1] - CROP) // 2
    part = cv2.resize(image, size)[top : top + CROP, left : left + CROP, ::-1]
    values = part.astype(np.float32)
    values *= SCALE
    values += SHIFT
    return np.ascontiguousarray(values.transpose(2, 0, 1)[np.newaxis])


def main(model, seconds, *files):
    classifier, pictures = Classifier(model), [Path(file).read_bytes() for file in files]
    for picture in pictures:
        classifier(picture)
    count, used, end = 0, time.process_time(), time.perf_counter() + float(seconds)
    while time.perf_counter() < end:
        classifier(pictures[count % len(pictures)])
        count += 1
    print(count, time.process_time() - used)


if __name__ == "__main__":
    main(*sys.argv[1:])

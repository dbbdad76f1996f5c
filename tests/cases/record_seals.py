"""Makes the golden cases of seals: draws one, records how PaddleX finds, cuts and reads its texts.

    python tests/cases/record_seals.py

No weights for seals can be had from PyPI. PaddleX 3.7.2 runs with those of PP-OCRv4 mobile detection in their
place, told to give polygons, and so does the test; what happens around the network is the same. Recorded are
its answer for one seal, and the pictures that it cuts out along polygons: straight, curved, crossing itself.

Runs in this project's environment; PaddleX in its own.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDER = HERE / "seals"
_RED, _PAPER = (190, 30, 40), (255, 255, 255)

PADDLEX = """
import json, sys
import numpy as np, cv2
from paddlex import create_pipeline
from paddlex.inference.pipelines.components import CropByPolys
config, folder = json.load(sys.stdin), sys.argv[1]
image = cv2.imread(folder + "/seal.png")
(result,) = create_pipeline(config=config["document"]).predict(image)
crop = CropByPolys(det_box_type="poly")
pictures = {name: crop(image, [points])[0] for name, points in config["polygons"].items()}
np.savez_compressed(folder + "/crops.npz", **pictures)
found = result.json["res"]
print(json.dumps({name: value for name, value in found.items() if name not in ("input_path", "page_index")}))
"""


def seal(font_path: str) -> Image.Image:
    """A round seal with a text along its edge and one across it."""
    page = Image.new("RGB", (480, 480), _PAPER)
    pen = ImageDraw.Draw(page)
    pen.ellipse((20, 20, 460, 460), outline=_RED, width=6)
    font, text = ImageFont.truetype(font_path, 44), "NORTHWIND TRADERS"
    for place, letter in enumerate(text):
        angle = math.radians(-160 + 140 * place / (len(text) - 1))
        glyph = Image.new("RGB", (64, 64), _PAPER)
        ImageDraw.Draw(glyph).text((32, 32), letter, _RED, font, anchor="mm")
        turned = glyph.rotate(-math.degrees(angle) - 90, resample=Image.Resampling.BICUBIC, fillcolor=_PAPER)
        x, y = 240 + 175 * math.cos(angle), 240 + 175 * math.sin(angle)
        mask = turned.convert("L").point(lambda grey: 255 if grey < 200 else 0)
        page.paste(turned, (round(x) - 32, round(y) - 32), mask)
    pen.text((240, 260), "CONTRACT 4711", _RED, ImageFont.truetype(font_path, 34), anchor="mm")
    return page


def ribbon(
    start: float, end: float, inner: float, outer: float, count: int, inside: int = 0
) -> list[list[int]]:
    """A polygon along an arc around the middle of the seal; degrees, pixels, corners outside and inside."""
    angles = np.radians(np.linspace(start, end, count)), np.radians(np.linspace(end, start, inside or count))
    rim = [[240 + outer * math.cos(a), 240 + outer * math.sin(a)] for a in angles[0]]
    core = [[240 + inner * math.cos(a), 240 + inner * math.sin(a)] for a in angles[1]]
    return [[round(x), round(y)] for x, y in [*rim, *core]]


def polygons() -> dict[str, list[list[int]]]:
    """Name to corners."""
    return {
        "straight": [[100, 236], [240, 232], [380, 236], [380, 284], [100, 284]],
        "arc": ribbon(-165, -15, 140, 215, 12),
        "even": ribbon(-165, -15, 140, 215, 12, 8),
        "coarse": ribbon(-165, -15, 140, 215, 5),
        "turned": [*ribbon(-165, -15, 140, 215, 12)[7:], *ribbon(-165, -15, 140, 215, 12)[:7]],
        "four": [[60, 300], [240, 120], [420, 310], [240, 170]],
        "tall": [[200, 60], [230, 60], [232, 300], [200, 300]],
        "left": ribbon(110, 250, 140, 215, 12, 8),
        "right": ribbon(-70, 70, 140, 215, 9),
        "below": ribbon(15, 165, 140, 215, 12, 8),
        "wave": [[x, round(200 + 60 * math.sin(x / 40))] for x in range(40, 441, 20)]
        + [[x, round(240 + 60 * math.sin(x / 40))] for x in range(440, 39, -20)],
        "crossed": [[60, 60], [420, 420], [420, 60], [240, 130], [60, 420]],
        "spike": [[60, 240], [240, 200], [420, 240], [240, 90], [420, 240], [240, 280]],
    }


def main() -> None:
    sys.path[:0] = [str(ROOT)]
    from benchmarks import chat_peers, peers
    from tests.model_dirs import seal_detector

    seal(peers.font()).save(FOLDER / "seal.png", optimize=True)
    work = ROOT / "benchmarks" / ".peers"
    plain = {"engine": "paddle_static", "engine_config": {"run_mode": "paddle", "cpu_threads": 2}}
    with tempfile.TemporaryDirectory() as temporary:
        model = seal_detector(Path(temporary) / "model", peers.resolve(peers.DETECTION).directory)
        section = chat_peers.parser_section({"engine": "onnxruntime"}, plain, seal=str(model))
        document = section["SubPipelines"]["SealRecognition"]["SubPipelines"]["SealOCR"]
        asked = json.dumps({"document": document, "polygons": polygons()})
        command = [peers.paddlex_python(work), "-c", PADDLEX, str(FOLDER)]
        done = subprocess.run(command, input=asked, text=True, stdout=subprocess.PIPE, check=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    recorded = {"polygons": polygons(), "answer": answer}
    (FOLDER / "seal.json").write_text(json.dumps(recorded) + "\n")
    print(answer["rec_texts"])


if __name__ == "__main__":
    main()

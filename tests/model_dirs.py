"""Exported models without weights: an ``inference.yml`` in a folder, and an engine that a test scripts."""

import shutil

import numpy as np
import yaml

from pipelines.core.config import ModelFiles
from pipelines.engines.base import TensorSpec

DETECTION = {
    "PreProcess": {
        "transform_ops": [
            {"DecodeImage": {"img_mode": "BGR", "channel_first": False}},
            {"DetLabelEncode": None},
            {"DetResizeForTest": {"resize_long": 640}},
            {"NormalizeImage": {"scale": "1./255.", "mean": [0.5, 0.25, 0.0], "std": [0.5, 1.0, 0.25]}},
            {"ToCHWImage": None},
            {"KeepKeys": {"keep_keys": ["image"]}},
        ]
    },
    "PostProcess": {"name": "DBPostProcess", "thresh": 0.4, "box_thresh": 0.7, "unclip_ratio": 1.6},
}
ALPHABET = list("0123456789abcdef")
RECOGNITION = {
    "PreProcess": {"transform_ops": [{"RecResizeImg": {"image_shape": [3, 48, 320]}}]},
    "PostProcess": {"name": "CTCLabelDecode", "character_dict": ALPHABET},
}
PADDLEOCR_LINE = {
    "PreProcess": {"transform_ops": [{"ClsResizeImg": {"image_shape": [3, 48, 192]}}]},
    "PostProcess": {"name": "ClsPostProcess", "thresh": 0.9, "label_list": ["0_degree", "180_degree"]},
}
PADDLEX_LINE = {
    "PreProcess": {"transform_ops": [{"ResizeImage": {"size": [160, 80]}}, {"NormalizeImage": {}}]},
    "PostProcess": {"Topk": {"topk": 1, "label_list": ["0_degree", "180_degree"]}},
}
PAGE = {
    "PreProcess": {
        "transform_ops": [
            {"ResizeImage": {"resize_short": 256}},
            {"CropImage": {"size": 224}},
            {"NormalizeImage": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "order": ""}},
            {"ToCHWImage": None},
        ]
    },
    "PostProcess": {"Topk": {"topk": 1, "label_list": ["0", "90", "180", "270"]}},
}

TABLE = {
    "PreProcess": {
        "transform_ops": [
            {"DecodeImage": {"img_mode": "BGR", "channel_first": False}},
            {"TableLabelEncode": {"merge_no_span_structure": True}},
            {"TableBoxEncode": None},
            {"ResizeTableImage": {"max_len": 96}},
            {"NormalizeImage": {"scale": "1./255.", "mean": [0.5, 0.25, 0.0], "std": [0.5, 1.0, 0.25]}},
            {"PaddingTableImage": {"size": [96, 96]}},
            {"ToCHWImage": None},
        ]
    },
    "PostProcess": {
        "name": "TableLabelDecode",
        "character_dict": ["<tr>", "</tr>", "<td>", "<td", ">", "</td>", ' colspan="2"'],
    },
}
LAYOUT = {
    "Preprocess": [
        {"type": "Resize", "target_size": [96, 64], "keep_ratio": False, "interp": 2},
        {"type": "NormalizeImage", "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
        {"type": "Permute"},
    ],
    "draw_threshold": 0.5,
    "label_list": ["text", "table"],
}


def model(folder, description, name="PP-OCRv4_mobile_any"):
    """A model folder with this ``inference.yml`` in it."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"Global": {"model_name": name}, **description}
    (folder / "inference.yml").write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return ModelFiles(name, str(folder), {})


def seal_detector(folder, directory):
    """A text detector's folder again, as one that finds the text of seals: polygons in place of boxes."""
    shutil.copytree(directory, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
    path = folder / "inference.yml"
    description = yaml.safe_load(path.read_text(encoding="utf-8"))
    description["Global"]["model_name"] = "PP-OCRv4_mobile_seal_det"
    description["PostProcess"]["box_type"] = "poly"
    path.write_text(yaml.safe_dump(description, allow_unicode=True), encoding="utf-8")
    return folder


class Scripted:
    """An engine whose answer is a function of its input tensor; ``seen`` holds copies of the inputs."""

    def __init__(self, answer):
        self.inputs = (TensorSpec("x", (-1, 3, -1, -1), "float32"),)
        self.answer, self.seen = answer, []

    def run(self, feeds):
        (tensor,) = feeds.values()
        assert list(feeds) == ["x"] and tensor.dtype == np.float32 and tensor.flags.c_contiguous
        self.seen.append(tensor.copy())
        return [self.answer(tensor)]

    def close(self):
        pass


def spelled(characters, texts, steps, sure=0.9):
    """Probabilities ``[N, steps, classes]`` that decode to ``texts``; class 0 is the blank."""
    alphabet = ["", *characters, " "]
    answer = np.full((len(texts), steps, len(alphabet)), 0.01, np.float32)
    answer[:, :, 0] = 0.5
    for row, text in zip(answer, texts, strict=True):
        for place, character in enumerate(text):
            row[2 * place, alphabet.index(character)] = sure
    return answer


def finds_dark(tensor):
    """1.0 where a pixel is dark, as the description of DETECTION normalises it."""
    return ((tensor[:, :1] + 1) * 127.5 < 180).astype(np.float32)


def reads_grey(tensor):
    """Spells the grey in the middle of the line, turned lines with an f in front."""
    greys = [round(float(one[0, 24, 10] + 1) * 127.5) for one in tensor]
    return spelled(ALPHABET, [f"{grey:x}" for grey in greys], tensor.shape[3] // 8)


def box(left, top, right, bottom):
    """int16 corners of an upright rectangle."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.int16)

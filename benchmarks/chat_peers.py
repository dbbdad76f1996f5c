"""The visual step of document chat as both sides are given it: one section of YAML, the same weights.

PaddleX's app for PP-ChatOCRv3-doc needs extras for its language models. Its visual step is the layout parsing
pipeline, which PaddleX serves by itself, with the same answer but for ``visualInfo``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import peers

OURS, PEER = "/chatocr-visual", "/layout-parsing"


def parser_section(
    engine: Mapping[str, Any], reading: Mapping[str, Any], seal: str | None = None
) -> dict[str, Any]:
    """``LayoutParser`` without page preprocessing.

    Args:
        engine: engine keys of the layout and the table model; the store has the first as ONNX only.
        reading: engine keys of the OCR pipeline inside.
        seal: model that finds the text of seals; None leaves seals out.
    """
    table = peers.table_document(**engine)
    pages = {"use_doc_preprocessor": False, "use_layout_detection": False}
    ocr = peers.ocr_document(limit_side_len=960, limit_type="max", **reading)
    found: dict[str, Any] = {
        "use_doc_preprocessor": False,
        "use_table_recognition": True,
        "use_seal_recognition": seal is not None,
        "use_formula_recognition": False,
        "SubModules": {"LayoutDetection": table["SubModules"]["LayoutDetection"]},
        "SubPipelines": {
            "GeneralOCR": ocr,
            "TableRecognition": {
                "pipeline_name": "table_recognition",
                "use_ocr_model": False,
                **pages,
                "SubModules": {"TableStructureRecognition": table["SubModules"]["TableStructureRecognition"]},
            },
        },
    }
    if seal is not None:
        found["SubPipelines"]["SealRecognition"] = {
            "pipeline_name": "seal_recognition", **pages, "SubPipelines": {"SealOCR": _seals(seal, reading)}
        }  # fmt: skip
    return found


def _seals(model: str, reading: Mapping[str, Any]) -> dict[str, Any]:
    """PaddleX's values for the text of seals."""
    found = peers.ocr_document(batch_size=1, **reading)
    detection = {
        "module_name": "seal_text_detection",
        "model_name": "PP-OCRv4_mobile_seal_det",
        "model_dir": model,
        "limit_side_len": 736,
        "limit_type": "min",
        "max_side_limit": 4000,
        "thresh": 0.2,
        "box_thresh": 0.6,
        "unclip_ratio": 0.5,
    }
    found["SubModules"]["TextDetection"] = detection
    return found | {"text_type": "seal"}


def peer_document(section: Mapping[str, Any]) -> dict[str, Any]:
    """For ``paddlex --serve``."""
    return {"pipeline_name": "layout_parsing", **section}


def our_document(section: Mapping[str, Any]) -> dict[str, Any]:
    """For this project's server; the peer reads no embeddings either."""
    parser = {"pipeline_name": "layout_parsing", **section}
    return {"pipeline_name": "PP-ChatOCRv3-doc", "SubPipelines": {"LayoutParser": parser}}


def peer(folder: Path, name: str, section: Mapping[str, Any], *arguments: str) -> peers.Server:
    """PaddleX's server."""
    return peers.paddlex_server(folder, name, peer_document(section), *arguments)


def ours(folder: Path, name: str, section: Mapping[str, Any], *arguments: str) -> peers.Server:
    """This project's."""
    return peers.our_server(folder, name, our_document(section), *arguments)

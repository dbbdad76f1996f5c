"""OCR with fake models: pages whose right answer can be computed, folders, configuration."""

import base64
import json

import cv2
import msgspec
import numpy as np
import yaml

from pipelines.core.base import Item
from pipelines.core.config import ModelFiles, PipelineConfig, ServingOptions
from pipelines.core.registry import load_pipeline
from server.config import Config, DeviceConfig, Limits
from server.stages import Stages

#: Colours of the top-left corner that make the detector fail; bright, so that they are no text.
FAULTS = {
    "segv": (250, 10, 250),
    "abort": (250, 30, 250),
    "exit": (250, 50, 250),
    "hang": (250, 70, 250),
    "raise": (250, 90, 250),
    "error": (250, 110, 250),
    "slow": (250, 130, 250),
    "allocate": (250, 150, 250),
    "leak": (250, 170, 250),
    "crash": (250, 190, 250),
}
SLOW_MS = 1500
#: What a page can ask for that a device with little memory left does not get.
LARGE_BYTES = 256 << 20

_DESCRIPTIONS = {
    "text_detection": {
        "PreProcess": {
            "transform_ops": [
                {"DetResizeForTest": {"resize_long": 960}},
                {"NormalizeImage": {"scale": "1./255.", "mean": [0, 0, 0], "std": [1, 1, 1], "order": "hwc"}},
            ]
        },
        "PostProcess": {"name": "DBPostProcess", "thresh": 0.3, "box_thresh": 0.6, "unclip_ratio": 1.5},
    },
    "textline_orientation": {
        "PreProcess": {"transform_ops": [{"ClsResizeImg": {"image_shape": [3, 48, 192]}}]},
        "PostProcess": {"name": "ClsPostProcess", "thresh": 0.9},
    },
    "text_recognition": {
        "PreProcess": {"transform_ops": [{"RecResizeImg": {"image_shape": [3, 48, 320]}}]},
        "PostProcess": {"name": "CTCLabelDecode", "character_dict": list("0123456789abcdef")},
    },
}


def fake_models(
    folder,
    *,
    detection_ms=5.0,
    recognition_ms=1.0,
    slow_ms=SLOW_MS,
    allocate=1 << 20,
    leak=1 << 20,
    faults=(),
):
    """Model folders below ``folder``; role to ModelFiles.

    Args:
        folder: an empty folder.
        detection_ms, recognition_ms: one-thread time of a run.
        slow_ms: how much longer a ``slow`` page takes.
        allocate, leak: bytes that such a page takes.
        faults: further faults of the detector, before the named ones.
    """
    named = [
        {
            "pixel": list(colour),
            "action": action,
            "amount": {"slow": slow_ms, "allocate": allocate, "leak": leak}.get(action, 0),
        }
        for action, colour in FAULTS.items()
    ]
    programs = {
        "text_detection": {
            "kind": "text_detection",
            "delay_ms": detection_ms,
            "scale": [1 / 255] * 3,
            "faults": [*faults, *named],
        },
        "textline_orientation": {"kind": "classification", "classes": 2, "answer": 0},
        "text_recognition": {"kind": "text_recognition", "classes": 18, "delay_ms": recognition_ms},
    }
    models = {}
    for role, program in programs.items():
        own = folder / role
        own.mkdir(parents=True)
        description = {"Global": {"model_name": f"fake_{role}"}, **_DESCRIPTIONS[role]}
        (own / "inference.yml").write_text(yaml.safe_dump(description))
        (own / "fake.json").write_text(json.dumps(program))
        models[role] = ModelFiles(f"fake_{role}", str(own), {"fake": str(own / "fake.json")})
    return models


def fake_config(folder, *, devices=2, workers=1, limits=None, window=2, config=None, **models):
    """OCR on fake engines. ``models`` goes to :func:`fake_models`, ``config`` to the configuration."""
    files = fake_models(folder, **models)
    pipeline = PipelineConfig(
        name="ocr",
        title="OCR",
        generation="v3",
        options={"use_doc_preprocessor": False, "use_textline_orientation": True},
        models=files,
        engines=dict.fromkeys(files, "fake"),
        serving=ServingOptions(visualize=False),
    )
    return Config(
        pipelines=(pipeline,),
        devices=(DeviceConfig(threads=1, all_threads=2, window=window),) * devices,
        workers=workers,
        host="127.0.0.1",
        limits=limits or Limits(),
        **{"drain_grace_ms": 0} | (config or {}),
    )


def page(seed, lines=3, fault=None):
    """uint8 ``[H, 320, 3]`` BGR: dark noisy bars on white; ``fault`` colours the corner."""
    random = np.random.default_rng(seed)
    image = np.full((48 + 48 * lines, 320, 3), 255, np.uint8)
    for line in range(lines):
        top, width = 48 + 48 * line, int(random.integers(80, 260))
        image[top : top + 24, 30 : 30 + width] = random.integers(0, 90, (24, width, 3))
    if fault:
        image[:40, :40] = FAULTS[fault]
    return image


def png(image):
    """Lossless, so that the server sees exactly these pixels."""
    return cv2.imencode(".png", image)[1].tobytes()


def body(image, log_id=None):
    """JSON of a 3.x request for one image."""
    request = {"file": base64.b64encode(png(image)).decode(), "fileType": 1, "visualize": False}
    return json.dumps(request | ({"logId": log_id} if log_id else {})).encode()


class RightAnswers:
    """Computes in this process, with no server, what a page must be answered with."""

    def __init__(self, config):
        self._config = config.pipelines[0]
        self._stages = Stages(config, config.devices[0])
        self._pipeline = load_pipeline(self._config.name)(self._config, self._stages)
        self._stages.load()

    def texts(self, image):
        """``rec_texts`` of the page."""
        (operation,) = type(self._pipeline).operations
        form = operation.forms[0]
        request = msgspec.convert({"file": ""}, form.request)
        steps = self._pipeline.steps(Item(params=form.params(request, self._config), image=image))
        results = None
        try:
            while True:
                calls = steps.send(results) if results is not None else next(steps)
                results = [
                    call.stage.run(self._stages.engine(call.stage, False), [call.input])[0] for call in calls
                ]
        except StopIteration as end:
            return list(end.value.texts)

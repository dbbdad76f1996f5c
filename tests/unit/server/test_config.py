"""Configuration as it is handed down: defaults, JSON in a memfd, unknown fields."""

import os
from pathlib import Path

import msgspec
import pytest

from pipelines.core.config import ModelFiles, PipelineConfig
from server.config import Boot, Config, DeviceConfig, Limits, boot_memfd, read_boot

CONFIG = Config(
    pipelines=(
        PipelineConfig(
            name="ocr",
            title="OCR",
            generation="v3",
            options={"use_doc_preprocessor": True, "limit": 64},
            models={
                "text_detection": ModelFiles("m", "/m", {"onnx": "/m/inference.onnx"}, {"a": "b"}, "here")
            },
            engines={"text_detection": "onnxruntime"},
        ),
    ),
    devices=(DeviceConfig("cpu", 1, 2), DeviceConfig("gpu:0")),
)


def test_a_boot_record_reaches_a_child_unchanged(no_leaks):
    boot = Boot("device", 1, 7, 0, os.getpid(), 11, -1, (12, 13), (14,), CONFIG)
    fd = boot_memfd(boot)
    assert os.get_inheritable(fd)
    assert str(Path(f"/proc/self/fd/{fd}").readlink()).startswith("/memfd:boot-device-1")
    assert read_boot(fd) == boot  # and closes it
    with pytest.raises(OSError):
        os.fstat(fd)


def test_defaults():
    assert (CONFIG.host, CONFIG.port, CONFIG.api_generation) == ("0.0.0.0", 8080, "v3")
    assert Limits().max_pixels == 67_108_864


@pytest.mark.parametrize("kind", [Limits, DeviceConfig, Config])
def test_unknown_fields_are_refused(kind):
    with pytest.raises(msgspec.ValidationError, match=r"unknown field `maximum`"):
        msgspec.json.decode(b'{"maximum": 1}', type=kind)

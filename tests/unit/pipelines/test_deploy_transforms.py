import cv2
import numpy as np
import pytest

from pipelines.core.deploy_transforms import (
    DeployTransforms,
    SizeRule,
    batch_key,
    check_fixed,
)
from pipelines.core.errors import BadRequest, ConfigError
from pipelines.core.inference_yml import Description
from tests.model_dirs import model

RESIZE = {"type": "Resize", "target_size": [64, 32]}
NORMALIZE = {"type": "Normalize", "mean": [0.5, 0.25, 0.0], "std": [0.5, 1.0, 0.25]}


def transforms(folder, *entries, absent=SizeRule(), extra=()):  # noqa: B008 - frozen
    return DeployTransforms(
        Description(model(folder, {"Deploy": {"transforms": list(entries)}}).directory), absent, extra
    )


@pytest.mark.parametrize(
    ("rule", "source", "expected"),
    [
        pytest.param(SizeRule(), (333, 500), (333, 500), id="own size"),
        pytest.param(SizeRule((512, 512), False, 0), (333, 500), (512, 512), id="stretched"),
        pytest.param(SizeRule((64, 32), False, 0), (333, 500), (32, 64), id="width first"),
        pytest.param(SizeRule((512, 512), True, 0), (333, 500), (341, 512), id="fitted"),
        pytest.param(SizeRule((512, 512), True, 32), (333, 500), (352, 512), id="fitted, in steps"),
        pytest.param(SizeRule((500, 300), False, 32), (10, 10), (320, 512), id="stretched, in steps"),
        pytest.param(SizeRule((400, 600), True, 0), (333, 500), (400, 600), id="longer side to longer side"),
        pytest.param(SizeRule((5, 5), True, 0), (2, 4), (2, 5), id="half to even"),
        pytest.param(SizeRule((32, 32), True, 0), (1, 30000), (1, 32), id="never nothing"),
    ],
)
def test_sizes(rule, source, expected):
    assert rule.size(*source) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param(None, (8, 8), id="nothing asked"),
        pytest.param(16, (16, 16), id="one side"),
        pytest.param((16, 24), (16, 24), id="two sides"),
        pytest.param(-1, None, id="own size"),
        pytest.param((-1, -1), None, id="own size, twice"),
    ],
)
def test_a_request_changes_the_target_and_nothing_else(target, expected):
    rule = SizeRule((8, 8), True, 4, cv2.INTER_AREA)
    assert rule.to(target) == SizeRule(expected, True, 4, cv2.INTER_AREA)


@pytest.mark.parametrize("target", [0, -2, (16, -1), (0, 16), 32768, 10**30, (1, 10**30)])
def test_sizes_that_cannot_be_are_refused(target):
    with pytest.raises(BadRequest, match="targetSize"):
        SizeRule().to(target)


def test_inputs_that_take_too_much_memory_are_refused():
    assert SizeRule().checked_size(3000, 4000) == (3000, 4000)
    for source in ((5000, 4000), (1, 40000)):
        with pytest.raises(BadRequest, match="at most 16777216 pixels"):
            SizeRule().checked_size(*source)


def test_a_network_of_fixed_size_says_which():
    check_fixed((-1, 3, 256, -1), 256, 99)
    with pytest.raises(BadRequest, match="takes pictures of 320 x 256 pixels, not of 99 x 256"):
        check_fixed((-1, 3, 256, 320), 256, 99)


def test_large_inputs_are_not_batched():
    one, other = np.zeros((2, 1, 1, 3), np.uint8)
    assert batch_key(512, 512, one) == batch_key(512, 512, other) != batch_key(512, 513, other)
    assert batch_key(2048, 2048, one) != batch_key(2048, 2048, other)


def test_defaults_of_the_two_families(tmp_path):
    own = transforms(tmp_path / "a", {"type": "Normalize"})
    assert own.size_rule == SizeRule(None, True, 32, cv2.INTER_LINEAR)
    own = transforms(tmp_path / "b", RESIZE, {"type": "Normalize"})
    assert own.size_rule == SizeRule((64, 32), True, 32, cv2.INTER_LINEAR)
    own = transforms(tmp_path / "c", RESIZE, {"type": "Normalize"}, absent=None)
    assert own.size_rule == SizeRule((64, 32), False, 0, cv2.INTER_LINEAR)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({"keep_ratio": False}, SizeRule((64, 32), False, 32), id="keep_ratio"),
        pytest.param({"size_divisor": None}, SizeRule((64, 32), True, 0), id="size_divisor null"),
        pytest.param({"size_divisor": 8}, SizeRule((64, 32), True, 8), id="size_divisor"),
        pytest.param({"target_size": 48}, SizeRule((48, 48), True, 32), id="one side"),
        pytest.param({"target_size": -1}, SizeRule(None, True, 32), id="own size"),
        pytest.param({"interp": "bicubic"}, SizeRule((64, 32), True, 32, cv2.INTER_CUBIC), id="interp"),
    ],
)
def test_resize_as_the_model_has_it(tmp_path, changed, expected):
    assert transforms(tmp_path, {**RESIZE, **changed}, NORMALIZE).size_rule == expected


@pytest.mark.parametrize(
    ("interp", "code"),
    [("LINEAR", cv2.INTER_LINEAR), ("NEAREST", cv2.INTER_NEAREST), ("BICUBIC", cv2.INTER_CUBIC),
     ("AREA", cv2.INTER_AREA), ("LANCZOS4", cv2.INTER_LANCZOS4)],
)  # fmt: skip
def test_the_tensor_is_the_resized_normalised_picture(tmp_path, interp, code):
    image = np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)
    made = transforms(tmp_path, {**RESIZE, "interp": interp}, NORMALIZE)
    out = np.empty((3, 32, 64), np.float32)
    made.fill(image, 32, 64, made.size_rule.interpolation, out)
    resized = cv2.resize(image[:, :, ::-1], (64, 32), interpolation=code).astype(np.float32) / 255
    expected = (resized - NORMALIZE["mean"]) / NORMALIZE["std"]
    np.testing.assert_allclose(out, expected.transpose(2, 0, 1), atol=1e-5)


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0.5), (0, 1), ([0.5] * 3, 0.5)])
def test_one_number_counts_for_all_channels(tmp_path, mean, std):
    made = transforms(tmp_path, {"type": "Normalize", "mean": mean, "std": std})
    out = np.empty((3, 1, 1), np.float32)
    made.fill(np.full((1, 1, 3), 255, np.uint8), 1, 1, cv2.INTER_LINEAR, out)
    np.testing.assert_allclose(out, (1 - np.mean(mean)) / std, atol=1e-6)


def test_a_picture_longer_than_the_kernel_takes(tmp_path):
    made = transforms(tmp_path, RESIZE, {"type": "Normalize"})
    out = np.empty((3, 32, 64), np.float32)
    made.fill(np.full((2, 40000, 3), 255, np.uint8), 32, 64, cv2.INTER_LINEAR, out)
    assert (out == 1).all()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        pytest.param(None, "Deploy.transforms must be a list", id="no list"),
        pytest.param(["Resize"], "Deploy.transforms must be a list of operations", id="no mappings"),
        pytest.param([RESIZE], "has no Normalize", id="no Normalize"),
        pytest.param([{"type": "Pad"}, NORMALIZE], "Deploy.transforms.Pad is not supported", id="unknown"),
        pytest.param([{}, NORMALIZE], "Deploy.transforms.None is not supported", id="no type"),
        pytest.param(
            [{**RESIZE, "fill": 1}, NORMALIZE], "Deploy.transforms.Resize.fill is not supported", id="key"
        ),
        pytest.param([{**RESIZE, "interp": "PIL"}, NORMALIZE], "Resize.interp must be one of", id="interp"),
        pytest.param([{**RESIZE, "size_divisor": 0.5}, NORMALIZE], "size_divisor must be", id="divisor"),
        pytest.param([{**RESIZE, "target_size": [8, 0]}, NORMALIZE], "2 positive integers", id="target"),
        pytest.param([{**RESIZE, "target_size": [9000, 9000]}, NORMALIZE], "at most", id="large target"),
        pytest.param([{"type": "Normalize", "std": [1, 0, 1]}], "Normalize.std must not be 0", id="std 0"),
        pytest.param([{"type": "Normalize", "mean": [1, 1]}], "Normalize.mean must be three", id="mean"),
    ],
)
def test_what_is_not_known_is_named_with_its_file(tmp_path, entries, message):
    folder = model(tmp_path, {"Deploy": {"transforms": entries}}).directory
    with pytest.raises(ConfigError, match=message) as raised:
        DeployTransforms(Description(folder), SizeRule())
    assert str(raised.value).startswith(f"{folder}/inference.yml: ")


def test_anomaly_models_must_say_a_size(tmp_path):
    with pytest.raises(ConfigError, match="has no Resize"):
        transforms(tmp_path / "a", NORMALIZE, absent=None)
    with pytest.raises(ConfigError, match="target_size must be 2 positive"):
        transforms(tmp_path / "b", {"type": "Resize"}, NORMALIZE, absent=None)
    with pytest.raises(ConfigError, match="Map_to_mask is not supported"):
        transforms(tmp_path / "c", RESIZE, NORMALIZE, {"type": "Map_to_mask"})

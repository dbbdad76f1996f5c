import pytest

from pipelines.core.errors import ConfigError
from pipelines.core.inference_yml import Description
from tests.model_dirs import DETECTION, PAGE, model


def describe(folder, description):
    return Description(model(folder, description).directory)


def test_operations_are_found_by_name(tmp_path):
    about = describe(tmp_path, DETECTION)
    assert about.required("DetResizeForTest") == {"resize_long": 640}
    assert about.operation("DetLabelEncode") == {}
    assert about.operation("CropImage") is None
    with pytest.raises(ConfigError, match=r"inference\.yml: .*no CropImage"):
        about.required("CropImage")


def test_normalization_folds_scale_mean_and_std(tmp_path):
    norm = describe(tmp_path, DETECTION).normalization()
    assert norm.scale == pytest.approx((2 / 255, 1 / 255, 4 / 255))
    assert norm.shift == pytest.approx((-1.0, -0.25, 0.0))


def test_what_normalization_leaves_out_is_imagenet(tmp_path):
    norm = describe(tmp_path, {"PreProcess": {"transform_ops": []}}).normalization()
    assert norm.scale[0] == pytest.approx(1 / 255 / 0.229)
    assert norm.shift[2] == pytest.approx(-0.406 / 0.225)


@pytest.mark.parametrize(
    ("written", "value"), [("1./255.", 1 / 255), (" 1 / 255 ", 1 / 255), (0.5, 0.5), ("2e-1", 0.2)]
)
def test_numbers_may_be_written_as_fractions(tmp_path, written, value):
    assert describe(tmp_path, PAGE).number(written) == pytest.approx(value)


@pytest.mark.parametrize("written", ["1/0", "__import__('os')", None, [1]])
def test_text_is_never_evaluated(tmp_path, written):
    with pytest.raises(ConfigError, match="is not a number"):
        describe(tmp_path, PAGE).number(written)


@pytest.mark.parametrize("shape", [None, [3, 48], [3, 0, 320], ["a", 1, 1], 5])
def test_a_shape_is_positive_integers(tmp_path, shape):
    with pytest.raises(ConfigError, match="image_shape must be 3 positive integers"):
        describe(tmp_path, PAGE).shape(shape, 3, "image_shape")


def test_labels(tmp_path):
    about = describe(tmp_path, PAGE)
    assert about.labels("Topk") == ("0", "90", "180", "270")
    with pytest.raises(ConfigError, match="label_list is missing"):
        about.labels("MultiLabelThreshOutput")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "does not hold a mapping"),
        ("a: [", "is not YAML"),
        ("PostProcess: 5", "PostProcess must be a mapping"),
        ("!!python/object/apply:os.system [true]", "is not YAML"),
        ("day: 2024-99-99", "is not YAML"),
        ("number: 0b_", "is not YAML"),
        ("[" * 5000, "is not YAML"),
        ("a: \xff", "is not YAML"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, content, message):
    (tmp_path / "inference.yml").write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match=message) as caught:
        Description(str(tmp_path)).postprocess  # noqa: B018
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scale", ["1.2.3/4", "1/0", "[1]", "0x" + "f" * 9000, "9" * 400])
def test_what_is_no_number_is_one_line(tmp_path, scale):
    text = f"PreProcess: {{transform_ops: [NormalizeImage: {{scale: {scale}}}]}}"
    (tmp_path / "inference.yml").write_text(text)
    with pytest.raises(ConfigError, match="is not a number") as caught:
        Description(str(tmp_path)).normalization()
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*inference\.yml: No such file"):
        Description(str(tmp_path))

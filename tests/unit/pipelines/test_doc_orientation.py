import cv2
import numpy as np
import pytest

from pipelines.core.errors import ConfigError
from pipelines.stages.doc_orientation import DocOrientation
from tests.model_dirs import PADDLEX_LINE, PAGE, Scripted, model


def stage(tmp_path, description=PAGE):
    return DocOrientation(model(tmp_path, description), "x")


def best(*indices):
    return Scripted(lambda tensor: np.eye(4, dtype=np.float32)[list(indices)])


@pytest.mark.parametrize("shape", [(300, 500), (500, 300), (256, 256), (40, 900)])
def test_the_tensor_is_the_middle_of_the_page_in_rgb(tmp_path, shape):
    page = np.random.default_rng(3).integers(0, 256, (*shape, 3), np.uint8)
    engine = best(0)
    orientation = stage(tmp_path)
    orientation.run(engine, [orientation.call(page).input])
    ratio = 256 / min(shape)
    width, height = round(shape[1] * ratio), round(shape[0] * ratio)
    resized = cv2.resize(page, (width, height))[:, :, ::-1]
    left, top = (width - 224) // 2, (height - 224) // 2
    crop = resized[top : top + 224, left : left + 224] / 255
    expected = (crop - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(engine.seen[0][0], expected.transpose(2, 0, 1), atol=1e-5)


def test_labels_become_degrees(tmp_path):
    page = np.zeros((64, 64, 3), np.uint8)
    assert stage(tmp_path).run(best(0, 1, 2, 3), [page] * 4) == [0, 90, 180, 270]


@pytest.mark.parametrize("shape", [(2, 30000), (30000, 1)])
def test_a_strip_of_any_length_is_looked_at(tmp_path, shape):
    assert stage(tmp_path).run(best(2), [np.zeros((*shape, 3), np.uint8)]) == [180]


def test_another_kind_of_model_is_refused(tmp_path):
    with pytest.raises(ConfigError):
        stage(tmp_path, PADDLEX_LINE)

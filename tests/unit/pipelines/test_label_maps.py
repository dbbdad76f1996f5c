import base64

import cv2
import numpy as np
import orjson
import pytest

from pipelines.core.errors import EngineError
from pipelines.core.label_maps import answer, answer_bytes, compact, nearest, packed_bytes
from server import encode


def noise(height, width, most, dtype=np.uint8):
    return np.random.default_rng(height).integers(0, most, (height, width)).astype(dtype)


def written(labels, height, width, *, visualize=False):
    """An answer as a client sees it."""
    return orjson.loads(encode.success("v3", "id", answer(labels, height, width, visualize=visualize)))[
        "result"
    ]


@pytest.mark.parametrize(
    ("dtype", "most", "expected"),
    [
        pytest.param(np.int32, 2, np.uint8, id="classes"),
        pytest.param(np.int64, 256, np.uint8, id="as many as a byte holds"),
        pytest.param(np.int32, 257, np.uint16, id="one more"),
        pytest.param(np.uint8, 200, np.uint8, id="bytes"),
    ],
)
def test_the_smallest_type_that_holds_the_labels(dtype, most, expected):
    found = noise(20, 30, most, dtype)
    found[0, 0] = most - 1
    labels = compact(found)
    assert labels.dtype == expected and not np.shares_memory(labels, found)
    np.testing.assert_array_equal(labels, found)
    assert labels.nbytes <= packed_bytes(20, 30)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(np.zeros((2, 2), np.float32), id="scores"),
        pytest.param(np.zeros((1, 2, 2), np.int32), id="three dimensions"),
        pytest.param(np.array([[-1]], np.int32), id="negative"),
        pytest.param(np.array([[65536]], np.int32), id="beyond 16 bits"),
    ],
)
def test_what_is_no_map_of_labels_is_refused(found):
    with pytest.raises(EngineError, match="the model gives"):
        compact(found)


@pytest.mark.parametrize("size", [(7, 5), (70, 51), (3, 2), (7, 100)])
def test_the_answer_is_the_map_enlarged_as_opencv_does_it(size):
    labels = noise(7, 5, 300, np.uint16)
    result = written(labels, *size)
    expected = cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST)
    assert result == {"labelMap": expected.ravel().tolist(), "size": list(size)}


def test_places_are_opencvs():
    for size, wanted in ((256, 4000), (256, 3000), (513, 100), (1, 9), (9, 1)):
        line = np.random.default_rng(size).integers(0, 256, (1, size), np.uint8)
        expected = cv2.resize(line, (wanted, 1), interpolation=cv2.INTER_NEAREST)
        np.testing.assert_array_equal(line[:, nearest(size, wanted)], expected)


def test_the_estimate_holds_text_and_envelope_of_one_digit_labels():
    labels = np.zeros((64, 64), np.uint8)
    body = encode.success("v3", "id", answer(labels, 500, 700, visualize=False))
    assert 2 * len(body) <= answer_bytes(500, 700) + 1024


def paddlex_colours(count):
    """PaddleX's palette, ``count`` colours from the one of class 1 on, RGB."""
    colours = []
    for entry in range(1, count + 1):
        red = green = blue = 0
        for shift in range(3):
            bits = entry >> 3 * shift
            red |= (bits & 1) << (7 - shift)
            green |= (bits >> 1 & 1) << (7 - shift)
            blue |= (bits >> 2 & 1) << (7 - shift)
        colours.append((red, green, blue))
    return colours


def test_pictures_have_paddlexs_colours():
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    encoded = base64.b64decode(written(labels, 256, 256, visualize=True)["image"])
    seen = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[8::16, 8::16, ::-1].reshape(
        256, 3
    )
    assert np.abs(seen.astype(int) - paddlex_colours(256)).max() < 40  # JPEG, 4:2:0
    assert np.abs(seen.astype(int) - paddlex_colours(256)).mean() < 5


def test_labels_above_255_have_a_colour_too():
    low = written(np.full((8, 8), 3, np.uint16), 8, 8, visualize=True)
    high = written(np.full((8, 8), 259, np.uint16), 8, 8, visualize=True)
    assert low["image"] == high["image"] and high["labelMap"][0] == 259

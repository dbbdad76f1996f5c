import json

import cv2
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from kernels.labels import label_map_json
from tests.reference.labels import label_map_json as twin


def places(size, wanted):
    """What OpenCV's nearest-neighbour resize takes."""
    return cv2.resize(np.arange(size, dtype=np.int32)[None], (wanted, 1), interpolation=cv2.INTER_NEAREST)[0]


def noise(height, width, most, seed=0):
    dtype = np.uint8 if most <= 256 else np.uint16
    return np.random.default_rng(seed).integers(0, most, (height, width)).astype(dtype)


sides = st.integers(1, 60)


@settings(max_examples=200, deadline=None)
@given(
    height=sides,
    width=sides,
    to_height=sides,
    to_width=sides,
    most=st.sampled_from([1, 2, 10, 11, 100, 101, 256, 257, 1000, 65536]),
    seed=st.integers(0, 99),
)
def test_equals_the_enlarged_map(height, width, to_height, to_width, most, seed):
    labels = noise(height, width, most, seed)
    rows, columns = places(height, to_height), places(width, to_width)
    text = label_map_json(labels, rows, columns)
    assert text == twin(labels, rows, columns)
    resized = cv2.resize(labels, (to_width, to_height), interpolation=cv2.INTER_NEAREST)
    assert json.loads(text) == resized.ravel().tolist()


@pytest.mark.parametrize("edge", [0, 9, 10, 99, 100, 255, 256, 999, 1000, 9999, 10000, 65535])
def test_every_number_of_digits(edge):
    labels = np.array([[edge, 0, max(0, edge - 1), edge]], np.uint16)
    places = np.arange(4, dtype=np.int32)
    assert json.loads(label_map_json(labels, places[:1], places)) == labels[0].tolist()


def test_rows_in_any_order():
    """Only neighbours share their text; every order is right."""
    labels, rows = noise(5, 7, 300), np.array([4, 4, 0, 4, 4, 4, 2, 0], np.int32)
    columns = np.array([6, 0, 0, 3], np.int32)
    assert label_map_json(labels, rows, columns) == twin(labels, rows, columns)


def test_reads_views():
    labels = noise(20, 30, 200)
    labels.flags.writeable = False
    view, rows, columns = labels[3:17:2, 4:25], places(7, 11), places(21, 5)
    assert label_map_json(view, rows, columns) == twin(view, rows, columns)


INDICES = np.arange(4, dtype=np.int32)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"labels": np.zeros((4, 4), np.int32)}, id="32 bits"),
        pytest.param({"labels": np.zeros((4, 4, 1), np.uint8)}, id="three dimensions"),
        pytest.param({"labels": np.zeros((4, 8), np.uint8)[:, ::2]}, id="labels apart"),
        pytest.param({"labels": np.zeros((0, 4), np.uint8)}, id="no rows in the map"),
        pytest.param({"labels": np.zeros((4, 0), np.uint8)}, id="no columns in the map"),
        pytest.param(
            {"labels": np.ndarray((4, 4), np.uint16, np.zeros(64, np.uint8), 0, (9, 2))}, id="odd stride"
        ),
        pytest.param({"rows": INDICES[:0]}, id="no rows"),
        pytest.param({"columns": INDICES[:0]}, id="no columns"),
        pytest.param({"rows": INDICES - 1}, id="row below"),
        pytest.param({"columns": INDICES + 1}, id="column above"),
        pytest.param({"rows": INDICES.astype(np.int64)}, id="wide rows"),
        pytest.param({"columns": np.zeros(8, np.int32)[::2]}, id="columns apart"),
    ],
)
def test_refuses(changed):
    good = {"labels": np.zeros((4, 4), np.uint8), "rows": INDICES, "columns": INDICES}
    with pytest.raises((ValueError, TypeError), match=r"."):
        label_map_json(**(good | changed))

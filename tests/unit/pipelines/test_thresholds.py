import math

import msgspec
import numpy as np
import pytest

from pipelines.core.thresholds import Thresholds, read_thresholds


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        pytest.param(0.4, [0.4, 0.4, 0.4], id="one for all"),
        pytest.param(1, [1, 1, 1], id="a whole number"),
        pytest.param(0, [0, 0, 0], id="zero is a threshold"),
        pytest.param([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], id="one for each"),
        pytest.param({"default": 0.5}, [0.5, 0.5, 0.5], id="default"),
        pytest.param({"default": 0.5, "1": 0.9}, [0.5, 0.9, 0.5], id="one of its own"),
        pytest.param({"default": 0.5, 0: 0.1, 2: 1}, [0.1, 0.5, 1], id="keys of a YAML"),
        pytest.param({"1": 0.1, "01": 0.2, "default": 0}, [0, 0.2, 0], id="the last of equal keys"),
    ],
)
def test_a_limit_for_every_class(value, limits):
    found = read_thresholds(value)
    np.testing.assert_array_equal(found.limits(3), np.array(limits, np.float32))
    assert msgspec.convert(msgspec.to_builtins(found), Thresholds) == found


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"1": 0.5}, "must have the key `default`"),
        ({"default": None}, "must have the key `default`"),
        ({"default": 0.5, "cat": 0.1}, "'cat' is not the index of a class"),
        ({"default": 0.5, "-1": 0.1}, "'-1' is not the index of a class"),
        ({"default": 0.5, "²": 0.1}, "is not the index of a class"),
        ({"default": 0.5, "9" * 5000: 0.1}, "is not the index of a class"),
        ({"default": "high"}, "'high' is no threshold"),
        ([], "the list is empty"),
        ([0.1, "x"], "'x' is no threshold"),
        ([0.1, [0.2]], "is no threshold"),
        (math.nan, "nan is no threshold"),
        (math.inf, "inf is no threshold"),
        (1e10, "is no threshold"),
        (True, "must be a number"),
        ("0.5", "must be a number"),
        (None, "must be a number"),
    ],
)
def test_what_is_no_threshold_is_named(value, words):
    with pytest.raises(ValueError, match=words) as caught:
        read_thresholds(value)
    assert len(str(caught.value)) < 200


def test_limits_of_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match="the model has 3 classes, the list 2 numbers"):
        read_thresholds([0.1, 0.2]).limits(3)
    with pytest.raises(ValueError, match="class 3 does not exist, the model has 3 classes"):
        read_thresholds({"default": 0.1, "3": 0.2}).limits(3)

import pytest

from pipelines.core.detection_size import DetectionParams, input_size, padded_size


@pytest.mark.parametrize(
    ("side", "rounded"),
    [(1, 32), (47, 32), (48, 64), (80, 64), (111, 96), (112, 128), (113, 128), (960, 960)],
)
def test_a_side_becomes_the_nearest_multiple_of_32_and_ties_the_even_one(side, rounded):
    assert input_size(2000, side, DetectionParams(1, "min"))[1] == rounded


@pytest.mark.parametrize(
    ("height", "width", "limit", "kind", "expected"),
    [
        pytest.param(1000, 500, 64, "min", (992, 512), id="large enough"),
        pytest.param(100, 40, 64, "min", (160, 64), id="short side raised"),
        pytest.param(1000, 500, 960, "max", (960, 480), id="long side lowered"),
        pytest.param(500, 300, 960, "max", (512, 288), id="small enough"),
        pytest.param(500, 300, 960, "resize_long", (960, 576), id="long side raised"),
        pytest.param(1000, 333, 960, "max", (960, 320), id="cut to 319 before the rounding"),
        pytest.param(5000, 2600, 64, "min", (4000, 2080), id="never above max_side_limit"),
        pytest.param(10, 4000, 64, "min", (32, 4000), id="max_side_limit holds after the limit"),
        pytest.param(20, 20, 64, "min", (64, 64), id="tiny pages count as 32 x 32"),
    ],
)
def test_limits(height, width, limit, kind, expected):
    assert input_size(height, width, DetectionParams(limit, kind)) == expected


def test_a_negative_limit_gives_the_smallest_input_as_in_paddlex():
    assert input_size(500, 300, DetectionParams(-5, "max")) == (32, 32)


@pytest.mark.parametrize(
    ("size", "padded"), [((1, 1), (32, 32)), ((40, 10), (40, 32)), ((32, 31), (32, 32)), ((60, 4), (60, 4))]
)
def test_only_sides_that_sum_to_less_than_64_are_padded(size, padded):
    assert padded_size(*size) == padded

import cv2
import numpy as np
import pytest

from kernels.masks import decode_mask, encode_mask
from pipelines.core import instances as core
from pipelines.core.box_rules import Boxes
from pipelines.core.draw import Pen
from pipelines.core.draw_boxes import draw_boxes
from pipelines.core.errors import ConfigError, EngineError
from pipelines.core.instances import Instances, check_packed, draw_instances, packed_bytes
from pipelines.engines.base import TensorSpec
from pipelines.stages import instances as stages
from pipelines.stages.instances import InstanceSegmentation, mask_size
from server import wire
from tests.model_dirs import model

DESCRIPTION = {
    "draw_threshold": 0.5,
    "Preprocess": [
        {"type": "Resize", "target_size": [32, 64], "interp": 2, "keep_ratio": False},
        {"type": "Permute"},
    ],
    "label_list": ["cup", "cat"],
    "mask": True,
}
#: class, score, and a box in shares of the picture
OBJECTS = (
    (0, 0.9, 0.1, 0.2, 0.5, 0.8),
    (1, 0.4, 0.0, 0.0, 0.3, 0.3),
    (1, 0.7, 0.6, 0.1, 1.2, 0.9),
    (0, 0.8, 0.4, 0.9, 0.4, 0.5),
    (-1, 0.9, 0.0, 0.0, 1.0, 1.0),
    (0, 0.6, 0.3, 0.3, 0.6, 0.7),
)


class Discs:
    """An engine that finds :data:`OBJECTS` in every picture, each with a disc inside its box."""

    def __init__(self, dtype=np.int32):
        names = ("im_shape", "image", "scale_factor")
        self.inputs = tuple(TensorSpec(name, (-1,), "float32") for name in names)
        self.dtype, self.seen = dtype, []

    def run(self, feeds):
        self.seen.append({name: array.copy() for name, array in feeds.items()})
        sizes = np.rint(feeds["im_shape"] / feeds["scale_factor"]).astype(int)
        assert (sizes == sizes[0]).all(), "a batch has one size of masks"
        height, width = sizes[0]
        rows = np.array(OBJECTS, np.float32) * [1, 1, width, height, width, height]
        masks = np.stack([self.disc(row, height, width) for row in rows])
        count = len(feeds["image"])
        return [
            np.tile(rows, (count, 1)).astype(np.float32),
            np.full(count, len(rows), np.int32),
            np.tile(masks, (count, 1, 1)).astype(self.dtype),
        ]

    def disc(self, row, height, width):
        x1, y1, x2, y2 = row[2:]
        y, x = np.ogrid[:height, :width]
        radius = 0.4 * min(x2 - x1, y2 - y1)
        return (y - (y1 + y2) / 2) ** 2 + (x - (x1 + x2) / 2) ** 2 <= max(radius, 0) ** 2


def stage(folder, name="Mask-RT-DETR-S", **changed):
    return InstanceSegmentation(model(folder, {**DESCRIPTION, **changed}, name), "x")


def picture(height=100, width=200):
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


def found(stage, image, threshold=None, engine=None, **options):
    (answer,) = stage.run(engine or Discs(), [stage.call(image, threshold, **options).input])
    return answer


def mask(instances, index):
    height, width = instances.sizes[index].tolist()
    columns = np.empty((width, height), np.uint8)
    decode_mask(instances.masks[index], columns)
    return columns.T.astype(bool)


def whole(row, height=100, width=200):
    """The disc that the engine gave, as it is in the picture."""
    return Discs().disc(np.array(row, np.float32) * [1, 1, width, height, width, height], height, width)


def test_objects_above_the_models_threshold_with_their_part_of_the_mask(tmp_path):
    answer = found(stage(tmp_path), picture())
    assert answer.boxes.labels == ["cup", "cat", "cup"]
    np.testing.assert_allclose(answer.boxes.rows[:, 1], [0.9, 0.7, 0.6])
    np.testing.assert_allclose(answer.boxes.rows[1, 2:], [120, 10, 200, 90])
    assert answer.sizes.tolist() == [[60, 80], [80, 80], [40, 60]]
    for index, (row, (x, y)) in enumerate(
        ((OBJECTS[0], (20, 20)), (OBJECTS[2], (120, 10)), (OBJECTS[5], (60, 30)))
    ):
        height, width = answer.sizes[index]
        np.testing.assert_array_equal(mask(answer, index), whole(row)[y : y + height, x : x + width])


def test_a_box_without_an_area_takes_its_mask_with_it(tmp_path):
    """In PaddleX 3.7.2 the box goes and its mask stays, so that later boxes have another object's mask."""
    answer = found(stage(tmp_path), picture(), 0.55)
    assert len(answer.boxes.rows) == 3
    np.testing.assert_array_equal(mask(answer, 2), whole(OBJECTS[5])[30:70, 60:120])
    kept = found(stage(tmp_path), picture(), 0.55, solid=False)
    assert kept.boxes.labels == ["cup", "cat", "cup", "cup"]
    assert kept.sizes[2].tolist() == [0, 0] and kept.masks[2] == b"0"
    np.testing.assert_array_equal(mask(kept, 3), mask(answer, 2))


def test_a_threshold_of_the_request_wins_even_when_it_is_0(tmp_path):
    assert len(found(stage(tmp_path), picture(), 0.0).masks) == 4
    assert len(found(stage(tmp_path), picture(), 0.85).masks) == 1
    assert len(found(stage(tmp_path / "b", draw_threshold=0.3), picture()).masks) == 4


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.bool_, np.float32])
def test_masks_of_every_type(tmp_path, dtype):
    answer = found(stage(tmp_path), picture(), engine=Discs(dtype))
    assert answer.masks == found(stage(tmp_path), picture()).masks


def test_coordinates_are_rounded_half_to_even_for_the_mask(tmp_path):
    class Halves(Discs):
        def run(self, feeds):
            rows, counts, masks = super().run(feeds)
            rows[0, 2:] = 20.5, 21.5, 60.5, 81.5
            return [rows, counts, masks]

    answer = found(stage(tmp_path), picture(), 0.85, engine=Halves())
    assert answer.boxes.rows[0, 2:].tolist() == [20.5, 21.5, 60.5, 81.5]
    assert answer.sizes.tolist() == [[82 - 22, 60 - 20]]


def test_boxes_that_are_no_numbers_do_no_harm(tmp_path):
    class Wild(Discs):
        def run(self, feeds):
            rows, counts, masks = super().run(feeds)
            rows[:, 2:] = np.array([[np.nan, -np.inf, np.inf, 3e38]] * 6)
            rows[0, 2:] = np.inf, 5, np.nan, -9
            return [rows, counts, masks]

    assert found(stage(tmp_path), picture(), engine=Wild()).sizes.tolist() == [[100, 200]] * 3
    sizes = found(stage(tmp_path), picture(), engine=Wild(), solid=False).sizes.tolist()
    assert sizes == [[0, 0], [100, 200], [100, 200], [100, 200]]


def test_pictures_of_one_size_run_together_and_each_gets_its_own(tmp_path):
    segmentation, engine = stage(tmp_path), Discs()
    calls = [segmentation.call(picture(), threshold) for threshold in (0.0, 0.85, None)]
    assert len({call.key for call in calls}) == 1
    answers = segmentation.run(engine, [call.input for call in calls])
    assert [len(answer.masks) for answer in answers] == [4, 1, 3]
    assert answers[2].masks == found(segmentation, picture()).masks
    np.testing.assert_allclose(engine.seen[0]["scale_factor"], [[0.32, 0.32]] * 3)
    assert engine.seen[0]["im_shape"].tolist() == [[32, 64]] * 3


def test_what_may_not_run_together(tmp_path):
    def keys(segmentation, *sizes):
        pictures = [picture(*size) for size in sizes]  # kept: a key may be an address
        return len({segmentation.call(image, None).key for image in pictures})

    assert keys(stage(tmp_path / "a"), (100, 200), (100, 201)) == 2
    large = [stage(tmp_path / "b").call(image, None).key for image in (picture(600, 600), picture(600, 600))]
    assert large[0] != large[1]
    assert keys(stage(tmp_path / "c", "PP-YOLOE_seg-S"), (100, 200), (100, 200)) == 2


def test_the_masks_of_a_large_picture_are_made_smaller_and_enlarged(tmp_path, monkeypatch):
    """The network is told of fewer pixels; the answer is at the picture's size."""
    exact = found(stage(tmp_path), picture(300, 600))
    monkeypatch.setattr(stages, "MAX_MASK_PIXELS", 100 * 200)
    engine = Discs()
    answer = found(stage(tmp_path), picture(300, 600), engine=engine)
    assert (engine.seen[0]["im_shape"] / engine.seen[0]["scale_factor"]).tolist() == [[100, 200]]
    np.testing.assert_allclose(answer.boxes.rows, exact.boxes.rows, atol=1e-3)
    assert answer.sizes.tolist() == exact.sizes.tolist()
    for index in range(3):
        ours, theirs = mask(answer, index), mask(exact, index)
        assert (ours & theirs).sum() / (ours | theirs).sum() > 0.94


def test_the_size_of_masks_is_bounded_and_keeps_the_ratio():
    assert mask_size(1080, 1920) == (1080, 1920)
    for height, width in ((3000, 4000), (4000, 3000), (1 << 20, 3), (30000, 6000)):
        rows, columns = mask_size(height, width)
        assert rows * columns <= stages.MAX_MASK_PIXELS and columns >= 1
        assert min(height, width) < 100 or abs(rows / columns / (height / width) - 1) < 0.01


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda o: [o[1], o[0], o[0][:, 1], o[2]], id="SOLOv2, four outputs"),
        pytest.param(lambda o: [o[0][:, :5], o[1], o[2]], id="rows of five"),
        pytest.param(lambda o: [o[0], o[1], o[2][0]], id="one mask"),
        pytest.param(lambda o: [o[0], o[1] + 1, o[2]], id="more counted than given"),
        pytest.param(lambda o: [o[0], -o[1], o[2]], id="negative count"),
        pytest.param(lambda o: [o[0], o[1][:0], o[2]], id="no counts"),
        pytest.param(lambda o: [o[0], o[1], o[2][:3]], id="fewer masks than boxes"),
        pytest.param(lambda o: [o[0] + [2, 0, 0, 0, 0, 0], o[1], o[2]], id="a class without a name"),
    ],
)
def test_a_model_that_gives_something_else_is_an_engine_fault(tmp_path, change):
    class Other(Discs):
        def run(self, feeds):
            return change(super().run(feeds))

    with pytest.raises(EngineError, match="the model"):
        found(stage(tmp_path), picture(), engine=Other())


def test_a_model_without_labels_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="label_list is missing"):
        stage(tmp_path, label_list=None)


# --- the slot -----------------------------------------------------------------------------------------


def many(count, height, width, runs):
    """So many objects as large as the picture."""
    rows = np.tile(np.array([0, 0.9, 0, 0, width, height], np.float32), (count, 1))
    return Instances(
        Boxes(rows, ["a nucleus"] * count), [runs] * count, np.full((count, 2), height, np.int32)
    )


@pytest.mark.parametrize("count", [0, 1, 100, 300])
def test_what_passes_the_check_fits_its_slot(count):
    height, width = 300, 400
    largest = (packed_bytes(height, width) - 1024 - count * 80) // max(count, 1)
    instances = many(count, height, width, b"0" * largest)
    check_packed(instances, height, width)
    shape = wire.Shape(height=height, width=width)
    slot = memoryview(bytearray(wire.slot_bytes(shape, packed_bytes(height, width))))
    length = wire.write_result(slot, shape, instances, wire.Timings({"instances": 12.3}))
    assert length > 0
    assert wire.read_result(slot, shape, length, Instances)[0].masks == instances.masks


def test_masks_that_do_not_fit_are_a_fault_with_words():
    with pytest.raises(EngineError, match="the masks of 100 objects take"):
        check_packed(many(100, 300, 400, b"0" * 30_000), 300, 400)


def test_a_hundred_round_objects_as_large_as_the_picture_fit():
    y, x = np.ogrid[:600, :800]
    runs = encode_mask(((y - 300) ** 2 + (x - 400) ** 2 <= 290**2).astype(np.uint8))
    check_packed(many(100, 600, 800, runs), 600, 800)


# --- pictures -----------------------------------------------------------------------------------------


def pen():
    return Pen(lambda: "/no/font")


def paddlex_mask(image, rows, masks):
    """PaddleX's colours over an RGB picture: float32, one object after the other."""
    palette = np.array(core.PALETTE, np.int32)
    drawn, chosen = image.astype(np.float32), {}
    for place, (row, covered) in enumerate(zip(rows, masks, strict=True)):
        colour = chosen.setdefault(row[0], palette[place % 20].copy())
        for channel in range(3):
            colour[channel] = colour[channel] * (1 - 0.4) + 0.4 * 255
        where = np.nonzero(covered)
        drawn[where] *= 1.0 - 0.7
        drawn[where] += 0.7 * colour
    return drawn.astype(np.uint8)


def test_pictures_are_paddlexs_with_the_channels_in_place(tmp_path):
    image = picture()
    answer = found(stage(tmp_path), image)
    drawn = image.copy()
    draw_instances(drawn, answer, pen())
    full = [np.zeros((100, 200), bool) for _ in answer.masks]
    for index, part in enumerate(full):
        (left, top), (height, width) = np.rint(answer.boxes.rows[index, 2:4]).astype(int), answer.sizes[index]
        part[top : top + height, left : left + width] = mask(answer, index)
    expected = np.ascontiguousarray(paddlex_mask(image[:, :, ::-1], answer.boxes.rows, full)[:, :, ::-1])
    boxes, scores = answer.boxes.rows[:, 2:], answer.boxes.rows[:, 1].tolist()
    draw_boxes(expected, boxes, answer.boxes.labels, scores, pen())
    apart = np.abs(drawn.astype(int) - expected)
    assert not apart[full[0] & ~full[2]].any(), "objects that lie alone are equal"
    assert apart.max() <= 1, "where objects lie on each other PaddleX rounds once, this twice"
    assert (drawn != image).any()


def test_a_class_fades_to_white_from_object_to_object():
    rows = np.zeros((6, 6), np.float32)
    rows[:, 2] = np.arange(6) * 10
    rows[:, 4:] = rows[:, 2:4] + 10
    sizes = np.full((6, 2), 10, np.int32)
    everything = Instances(Boxes(rows, ["cup"] * 6), [encode_mask(np.ones((10, 10), np.uint8))] * 6, sizes)
    drawn = np.zeros((20, 60, 3), np.uint8)
    draw_instances(drawn, everything, pen())
    blue = drawn[5, 5::10, 0].astype(int)
    assert (np.diff(blue) > 0).all() and blue[0] == int(0.7 * 102)
    assert cv2.countNonZero(drawn[12:, :, 0]) == 0

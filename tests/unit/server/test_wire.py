import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import BY_NAME, BadRequest, EngineError, ServeError
from pipelines.core.forms import Operation
from server import wire
from server.wire import META, Shape, Timings
from tests.toy_pipeline import ToyForm, ToyParams, ToyResult

OPERATION = Operation("/toy", "infer", "image", ToyResult, (ToyForm(),))


class Arrays(msgspec.Struct):
    boxes: np.ndarray
    scores: list[float]
    nested: dict[str, np.ndarray] = {}


def slot(size):
    return memoryview(bytearray(size))


@given(st.integers(0, 300), st.integers(1, 300), st.integers(0, 5000))
def test_areas_do_not_overlap(height, width, blob):
    shape = Shape(height=height, width=width) if height else Shape(blob_bytes=blob)
    assert shape.nbytes == (height * width * 3 or blob)
    assert shape.result_offset % 64 == 0
    assert META + shape.nbytes <= shape.result_offset < META + shape.nbytes + 64
    assert wire.slot_bytes(shape, 100) == shape.result_offset + 100


def test_an_image_travels_in_place():
    shape = Shape(height=5, width=7)
    view = slot(wire.slot_bytes(shape, 1000))
    wire.pixels(view, shape)[:] = np.arange(105, dtype=np.uint8).reshape(5, 7, 3)
    length = wire.write_request(view, 1, 2, 0, shape, ToyParams(values=(3, 4)))
    request = wire.read_request(view, length)
    assert (request.pipeline, request.operation, request.form, request.shape) == (1, 2, 0, shape)
    item = wire.item(view, request, OPERATION)
    assert item.params == ToyParams(values=(3, 4))
    assert item.blob is None
    assert np.array_equal(item.image.ravel(), np.arange(105))
    assert np.shares_memory(item.image, np.frombuffer(view, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        item.image[0, 0, 0] = 1


def test_a_blob_travels_in_place():
    shape = Shape(blob_bytes=5)
    view = slot(wire.slot_bytes(shape, 100))
    view[META : META + 5] = b"a,b\n1"
    request = wire.read_request(view, wire.write_request(view, 0, 0, 0, shape, ToyParams()))
    item = wire.item(view, request, OPERATION)
    assert bytes(item.blob) == b"a,b\n1"
    assert item.blob.readonly
    assert item.image is None


def test_nothing_but_parameters():
    view = slot(wire.slot_bytes(Shape(), 100))
    request = wire.read_request(view, wire.write_request(view, 0, 0, 0, Shape(), ToyParams()))
    item = wire.item(view, request, OPERATION)
    assert (item.image, item.blob) == (None, None)


def test_parameters_that_do_not_fit_are_the_clients_fault():
    view = slot(2 * META)
    with pytest.raises(BadRequest, match="parameters"):
        wire.write_request(view, 0, 0, 0, Shape(), ToyParams(key="x" * META))
    assert bytes(view) == bytes(2 * META)


@pytest.mark.parametrize("length", [0, -1, META + 1, 2**31])
def test_a_request_of_an_impossible_length_is_not_read(length):
    with pytest.raises(ValueError, match="request record"):
        wire.read_request(slot(2 * META), length)


def test_a_shape_that_does_not_fit_the_slot_is_not_believed():
    view = slot(wire.slot_bytes(Shape(height=10, width=10), 0))
    length = wire.write_request(view, 0, 0, 0, Shape(height=10, width=100), ToyParams())
    with pytest.raises(ValueError, match="does not fit"):
        wire.read_request(view, length)


def test_a_result_with_arrays():
    shape = Shape(height=2, width=2)
    view = slot(wire.slot_bytes(shape, 4096))
    boxes = np.arange(16, dtype=np.int16).reshape(2, 4, 2)
    result = Arrays(boxes, [0.5, np.float32(0.25)], {"x": boxes[:, ::2].astype(np.float32)})
    length = wire.write_result(view, shape, result, Timings({"det": 1.5}))
    found, timings = wire.read_result(view, shape, length, Arrays)
    assert np.array_equal(found.boxes, boxes)
    assert found.boxes.dtype == np.int16
    assert found.scores == [0.5, 0.25]
    assert np.array_equal(found.nested["x"], boxes[:, ::2])
    assert timings.stages == {"det": 1.5}


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_faults_keep_their_class_and_message(name):
    view = slot(wire.slot_bytes(Shape(), 500))
    length = wire.write_result(view, Shape(), BY_NAME[name]("what happened"), Timings())
    found, _ = wire.read_result(view, Shape(), length, ToyResult)
    assert type(found) is BY_NAME[name]
    assert found.message == "what happened"


def test_a_fault_of_an_unknown_class_is_a_plain_500():
    class Private(EngineError):
        pass

    view = slot(wire.slot_bytes(Shape(), 500))
    length = wire.write_result(view, Shape(), Private("x"), Timings())
    found, _ = wire.read_result(view, Shape(), length, ToyResult)
    assert (type(found), found.status) == (ServeError, 500)


def test_a_result_that_does_not_fit_becomes_a_counted_500():
    shape = Shape(height=4, width=4)
    view = slot(wire.slot_bytes(shape, 200))
    wire.pixels(view, shape)[:] = 7
    length = wire.write_result(view, shape, ToyResult([1], "x" * 500), Timings())
    assert length < 0
    found, _ = wire.read_result(view, shape, -length, ToyResult)
    assert found.message == ServeError.default
    assert (wire.pixels(view, shape) == 7).all()


def test_a_slot_without_room_for_an_error_is_a_bug():
    with pytest.raises(ValueError, match="no room"):
        wire.write_result(slot(META), Shape(), ToyResult([1]), Timings())


@pytest.mark.parametrize("length", [0, -5, 501, 2**31])
def test_a_result_of_an_impossible_length_is_not_read(length):
    with pytest.raises(ValueError, match="result record"):
        wire.read_result(slot(wire.slot_bytes(Shape(), 500)), Shape(), length, ToyResult)


@given(st.binary(min_size=1, max_size=200))
def test_a_damaged_result_is_refused_not_believed(content):
    view = slot(wire.slot_bytes(Shape(), 500))
    view[META : META + len(content)] = content
    try:
        found, _ = wire.read_result(view, Shape(), len(content), Arrays)
    except (ValueError, TypeError, msgspec.MsgspecError):
        return
    assert isinstance(found, (Arrays, ServeError))

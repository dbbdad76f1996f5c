import base64
import json

import numpy as np
import pytest

from pipelines.core.errors import BY_NAME, NotReady, Overloaded
from server import encode


def test_key_order_of_both_generations():
    assert list(json.loads(encode.success("v3", "id", {}))) == ["logId", "result", "errorCode", "errorMsg"]
    assert list(json.loads(encode.success("2024", "id", {}))) == ["logId", "errorCode", "errorMsg", "result"]
    assert encode.message("id", 404, "Not Found") == b'{"logId":"id","errorCode":404,"errorMsg":"Not Found"}'


def test_v3_leaves_out_null_schema_fields_only():
    result = {
        "rows": [{"pruned": {"inside": None, "list": [None]}, "picture": None}, {"picture": "x"}],
        "info": None,
        "numbers": [1, None],
    }
    assert json.loads(encode.success("v3", "id", result))["result"] == {
        "rows": [{"pruned": {"inside": None, "list": [None]}}, {"picture": "x"}],
        "numbers": [1, None],
    }
    assert json.loads(encode.success("2024", "id", result))["result"] == result


def test_bytes_become_base64_wherever_they_are():
    for value in (b"\xff\xd8abc", bytearray(b"\xff\xd8abc"), memoryview(b"\xff\xd8abc")):
        answer = json.loads(encode.success("v3", "id", {"rows": [{"picture": value}], "picture": value}))
        wanted = base64.b64encode(b"\xff\xd8abc").decode()
        assert answer["result"] == {"rows": [{"picture": wanted}], "picture": wanted}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (np.arange(4, dtype=np.int16).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.arange(6).reshape(2, 3)[:, ::2], [[0, 2], [3, 5]]),
        (np.zeros((0, 4, 2), np.int16), []),
        (np.float16(1.5), 1.5),
        (np.float32(0.25), 0.25),
        (np.int64(7), 7),
        (np.array([1.5, 2.5], np.float16), [1.5, 2.5]),
        (float("nan"), None),
    ],
)
def test_numpy_is_written(value, wanted):
    assert json.loads(encode.success("2024", "id", {"x": value}))["result"]["x"] == wanted


def test_a_row_of_arrays_is_no_riddle():
    result = {"rows": [{"polys": np.arange(8).reshape(4, 2), "none": None}]}
    assert json.loads(encode.success("v3", "id", result))["result"]["rows"][0] == {
        "polys": [[0, 1], [2, 3], [4, 5], [6, 7]]
    }


def test_the_result_object_is_left_as_it_was():
    row = {"a": None}
    result = {"rows": [row], "b": None}
    encode.success("v3", "id", result)
    assert result == {"rows": [{"a": None}], "b": None}


def test_what_json_does_not_know_is_a_bug_not_an_answer():
    with pytest.raises(TypeError):
        encode.success("v3", "id", {"x": object()})


def test_refusals_say_when_to_come_back():
    assert encode.fault_headers(Overloaded(retry_after_s=7)) == {"Retry-After": "7"}
    assert int(encode.fault_headers(NotReady())["Retry-After"]) > 0
    refusals = {name for name, cls in BY_NAME.items() if encode.fault_headers(cls())}
    assert refusals == {name for name, cls in BY_NAME.items() if cls.status == 503}


def test_server_timing():
    assert encode.server_timing({"recv": 0.4111, "det": 12}) == "recv;dur=0.41, det;dur=12.00"

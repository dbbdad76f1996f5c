"""What the golden tests of all pipelines share: one answer without a server, and comparing it."""

import html
import json

import msgspec
import numpy as np
import pytest

from pipelines.core.base import Item
from pipelines.core.forms import Page, Reply
from server import encode

#: Corners of boxes: the engines of two versions differ in the last digits, whole pixels may tip over.
BOX_PX = 1
#: A box that is a pixel off gives another crop, and so another score.
SCORE = 0.02
#: What holds coordinates in an answer.
PLACES = frozenset(
    {"poly", "dt_polys", "rec_polys", "rec_boxes", "coordinate", "cell_box_list", "bbox", "block_bbox"}
)


def answer(driver, generation, request, image):
    """``result`` of the first operation's form of a generation, as the server writes it.

    Args:
        driver: of the pipeline.
        generation: of the API.
        request: the body without its file.
        image: uint8 ``[H, W, 3]`` BGR.
    """
    form = next(form for form in driver.pipeline.operations[0].forms if form.generation == generation)
    file = {field.encode_name: "" for field in msgspec.structs.fields(form.request) if field.required}
    body = msgspec.json.decode(json.dumps(file | request), type=form.request)
    params = form.params(body, driver.config)
    (found,) = driver(Item(params=params, image=image))
    if isinstance(found, Exception):
        raise found
    height, width = image.shape[:2]
    visualize = bool(request.get("visualize"))
    page = Page(found, width, height, image if visualize else None)
    info = {"width": width, "height": height, "type": "image"}
    reply = Reply(body, params, driver.config, [page], visualize, info, lambda: "")
    return json.loads(encode.success(generation, "id", form.respond(reply)))["result"]


def assert_close(found, expected, escaped=(), where="result"):
    """Equal, names and order of keys too; coordinates and scores nearly (``BOX_PX``, ``SCORE``).

    ``escaped``: ends of the keys whose texts are HTML; PaddleX does not escape what was read.
    """
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key, value in expected.items():
            assert_close(found[key], value, escaped, f"{where}.{key}")
    elif where.endswith("text_word_boxes"):  # one array a line, of different lengths
        assert len(found) == len(expected), where
        for place, boxes in enumerate(expected):
            assert_close(found[place], boxes, escaped, f"{where}[{place}].bbox")
    elif where.rpartition(".")[2] in PLACES:
        assert np.shape(found) == np.shape(expected), where
        assert np.abs(np.subtract(found, expected)).max(initial=0) <= BOX_PX, where
    elif where.endswith(("score", "scores")):
        assert found == pytest.approx(expected, abs=SCORE), where
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for place, value in enumerate(expected):
            assert_close(found[place], value, escaped, f"{where}[{place}]")
    elif isinstance(expected, str) and where.endswith(tuple(escaped)):
        assert html.unescape(found) == expected, where
    else:
        assert found == expected, where

"""Every line says when, how bad, which process and which request."""

import io
import json
import logging
import re

import pytest

from server.logs import setup_logging


@pytest.fixture
def stream():
    """A stream to log to; the root logger is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def test_text_line_has_time_level_role_and_message(stream):
    setup_logging("device-1", "text", "info", stream)
    logging.getLogger("server.device").info("loaded %d models", 3)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO    device-1 loaded 3 models\n", stream.getvalue()
    )


def test_text_line_carries_the_log_id(stream):
    setup_logging("worker-0", "text", "info", stream)
    logging.getLogger("x").warning("slow", extra={"log_id": "a1"})
    assert stream.getvalue().endswith("WARNING worker-0 [a1] slow\n")


def test_a_message_cannot_forge_a_second_line(stream):
    setup_logging("worker-0", "text", "info", stream)
    logging.getLogger("x").warning("name %s", "a\n2026 ERROR supervisor\x1b[2J", extra={"log_id": "i\nj"})
    assert stream.getvalue().count("\n") == 1
    assert r"[i\nj] name a\n2026 ERROR supervisor\x1b[2J" in stream.getvalue()


def test_json_line_is_one_object_with_traceback(stream):
    setup_logging("device-0", "json", "debug", stream)
    try:
        raise ValueError("表")
    except ValueError:
        logging.getLogger("server.device").exception("item failed", extra={"log_id": "b2"})
    line = json.loads(stream.getvalue())
    assert stream.getvalue().count("\n") == 1
    assert line["level"] == "error" and line["role"] == "device-0" and line["logger"] == "server.device"
    assert line["logId"] == "b2" and line["message"] == "item failed"
    assert line["traceback"].endswith("ValueError: 表")


def test_json_line_has_further_fields_and_is_one_line_for_any_reader(stream):
    setup_logging("worker-0", "json", "info", stream)
    odd = "a\u2028b\x85c\ud800"
    logging.getLogger("x").info("done", extra={"log_id": odd, "fields": {"status": 200, "client": odd}})
    assert len(stream.getvalue().splitlines()) == 1
    stream.getvalue().encode()
    line = json.loads(stream.getvalue())
    assert (line["logId"], line["client"], line["status"]) == (odd, odd, 200)


def test_level_filters_and_a_second_setup_does_not_double_lines(stream):
    setup_logging("supervisor", "text", "info", stream)
    setup_logging("supervisor", "text", "WARNING", stream)
    logging.getLogger("x").info("no")
    logging.getLogger("x").warning("yes")
    assert stream.getvalue().count("\n") == 1 and "yes" in stream.getvalue()


def test_unknown_level_is_refused(stream):
    with pytest.raises(ValueError, match="LOUD"):
        setup_logging("supervisor", "text", "loud", stream)

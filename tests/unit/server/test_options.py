"""The command line itself: every limit, units, bad values, help."""

import argparse

import msgspec
import pytest

from server.config import Limits
from server.options import LIMIT_HELP, make_parser, parse, public, read_bytes

LIMITS = [field.name for field in msgspec.structs.fields(Limits)]


def test_every_limit_has_an_option_and_a_help_text():
    assert list(LIMIT_HELP) == LIMITS
    text = make_parser().format_help()
    for name in LIMITS:
        assert f"--{name} " in text


def test_limits_default_to_the_structs_defaults():
    args = parse(["--pipeline", "OCR"])
    assert {name: getattr(args, name) for name in LIMITS} == msgspec.structs.asdict(Limits())


def test_help_has_groups_units_defaults_and_examples():
    text = make_parser().format_help()
    for word in ("what is served:", "network and logs:", "computing:", "limits:", "examples:", "devices:"):
        assert word in text
    assert "(default: 256M)" in text
    assert "--request_timeout_ms MS" in text
    assert "python -m server models fetch" in text
    assert max(len(line) for line in text.splitlines()) <= 110


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("1048576", 1 << 20), ("64k", 64 << 10), ("64K", 64 << 10), ("1MiB", 1 << 20), ("2G", 2 << 30),
     ("3gib", 3 << 30), ("512b", 512)],
)  # fmt: skip
def test_sizes(text, value):
    assert read_bytes(text) == value


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5M", "12Q", "M", "1 M x", "k1", "1kk", "1im"])
def test_sizes_that_are_none(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no size"):
        read_bytes(text)


@pytest.mark.parametrize("name", [name for name in LIMITS if name.endswith("_bytes")])
def test_a_size_in_the_plan_can_be_typed_again(name):
    value = getattr(Limits(), name)
    assert read_bytes(public(name, value)) == value


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "required: --pipeline"),
        (["--pipeline"], "expected one argument"),
        (["--pipeline", "OCR", "--port", "65536"], "65536 is out of range, 0 to 65535"),
        (["--pipeline", "OCR", "--port", "x"], "'x' is not a whole number"),
        (["--pipeline", "OCR", "--workers", "0"], "0 is out of range, 1 to 63"),
        (["--pipeline", "OCR", "--max_pages", "0"], "0 is out of range, at least 1"),
        (["--pipeline", "OCR", "--padding", "loose"], "invalid choice: 'loose'"),
        (["--pipeline", "OCR", "--precision", "int4"], "invalid choice: 'int4'"),
        (["--pipeline", "OCR", "--log_level", "loud"], "invalid choice: 'loud'"),
        (["--pipeline", "OCR", "--truncated_images", "maybe"], "invalid choice: 'maybe'"),
        (["--pipeline", "OCR", "--max_page", "3"], "unrecognized arguments: --max_page 3"),
        (["OCR"], "required: --pipeline"),
    ],
)
def test_what_is_wrong_is_one_line(argv, message, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(argv)
    out, err = capsys.readouterr()
    assert caught.value.code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert message in err


def test_paddlexs_own_command_line_is_understood():
    args = parse(
        [
            "--serve",
            "--pipeline",
            "OCR",
            "--device",
            "gpu:0",
            "--host",
            "127.0.0.1",
            "--port",
            "9",
            "--use_hpip",
            "--serial_number",
            "X",
            "--update_license",
            "--engine",
            "paddle",
            "--hpi_config",
            "{'backend':'openvino'}",
        ]
    )
    assert (args.device, args.use_hpip, args.serial_number, args.engine) == ("gpu:0", True, "X", "paddle")

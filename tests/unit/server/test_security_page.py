"""The table of parsers in docs/security.md says what the code does: options, defaults, existing tests."""

import re
from pathlib import Path

import msgspec
import pytest

from server import grpc_server, grpc_wire, memfd_door, memfd_wire
from server.config import Limits
from server.options import LIMIT_HELP

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text()
UNITS = {"": 1, "s": 1000, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "million": 1_000_000}
DEFAULTS = msgspec.structs.asdict(Limits())


def table(title):
    """Cells of the rows of a section's table, without its two lines of head."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


PARSERS = {row[0].partition(" (")[0]: row for row in table("Parsers behind the port")}


def is_said(text, default):
    """Whether "256 MiB", "30 s" or "67 million" is this number, rounded down to what is said."""
    number, unit = re.match(r"([\d.]+) ?(\w*)", text).groups()
    said = float(number) * UNITS.get(unit, 1)
    return said <= default < said + UNITS.get(unit, 1)


def test_every_parser_has_a_row():
    assert set(PARSERS) >= {
        "HTTP header", "HTTP body", "chunks", "JSON", "parameters", "base64", "images", "JPEG",
        "PDF, TIFF of several frames", "CSV", "YAML", "model folders", "pickled scalers", "API key files",
    }  # fmt: skip
    assert {"gRPC messages", "gRPC calls"} <= set(PARSERS)
    assert any(name.startswith("multipart") for name in PARSERS)


@pytest.mark.parametrize("parser", PARSERS)
def test_options_and_defaults_of_a_row_are_those_of_the_code(parser):
    _, bound, options, defaults, answer, tests = PARSERS[parser]
    assert bound and answer and tests
    names = re.findall(r"`(\w+)`", options)
    said = re.split(r"[,;] ", defaults)
    assert len(said) >= len(names)
    for name, text in zip(names, said, strict=False):
        assert name in LIMIT_HELP
        assert is_said(text, DEFAULTS[name]), (name, text, DEFAULTS[name])


@pytest.mark.parametrize("parser", PARSERS)
def test_tests_of_a_row_exist(parser):
    files = re.findall(r"`(test_\w+\.py)`", PARSERS[parser][5])
    assert files, "a row without a test is a claim"
    for name in files:
        assert list((ROOT / "tests").rglob(name)), name


def test_bounds_of_grpc_are_those_of_the_code():
    names = (grpc_server.MAX_METADATA, grpc_server.MAX_STREAMS, grpc_server.MAX_CALLS)
    said = PARSERS["gRPC calls"][3].split("; ")
    told = dict(grpc_server.options(Limits()))
    idle_ms, places = told["grpc.max_connection_idle_ms"], grpc_server.OPEN_PLACES
    for text, number in zip(said, (*names, idle_ms, places), strict=True):
        assert is_said(text, number), (text, number)
    assert told["grpc.max_metadata_size"] == told["grpc.absolute_max_metadata_size"] == names[0]
    assert told["grpc.max_concurrent_streams"] == names[1]
    assert is_said(PARSERS["gRPC messages"][3].split("; ")[1], grpc_wire.MAX_SMALL)


def test_bounds_of_messages_with_memfds_are_those_of_the_code():
    _, *said = PARSERS["messages with memfds"][3].split("; ")
    bounds = (memfd_wire.MAX_HEAD, memfd_wire.MAX_DEPTH, memfd_door.MAX_CONNECTIONS, 1000 * memfd_door.IDLE_S)
    for text, number in zip(said, bounds, strict=True):
        assert is_said(text, number), (text, number)


def test_a_default_that_is_not_the_codes_is_noticed():
    assert is_said("256 MiB", 256 << 20)
    assert is_said("67 million", 67_108_864)
    assert not is_said("255 MiB", 256 << 20)
    assert not is_said("1 million", 2_000_000)
    assert not is_said("30 s", 31_000)

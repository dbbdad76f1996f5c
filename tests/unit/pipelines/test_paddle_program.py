"""Shapes of saved Paddle programs, both formats."""

import pytest

from pipelines.core.errors import ConfigError
from pipelines.core.paddle_program import Port, read_ports
from tests.tiny import CASES


def test_old_format_has_every_variable():
    ports = read_ports(str(CASES / "pdmodel" / "inference.pdmodel"))
    assert ports["x"] == Port((-1, 3, -1, -1), "float32")
    assert Port((-1, 4), "float32") in ports.values()
    assert Port((4, 3, 3, 3), "float32") in ports.values()  # the kernel


def test_pir_has_inputs_and_outputs():
    ports = read_ports(str(CASES / "pir" / "inference.json"))
    assert ports == {
        "x": Port((-1, 3, -1, -1), "float32"),
        "fetch_name_0": Port((-1, 4), "float32"),
        "fetch_name_1": Port((-1, 4, -1, -1), "float32"),
    }


@pytest.mark.parametrize("name", ["inference.json", "inference.pdmodel"])
@pytest.mark.parametrize(
    "content",
    [
        b"", b"text", b"{}", b"\x0a\x00" * 3, b"[]", b"\xff\xfe", b"[" * 5000,
        *(b'{"program":{"regions":[{"blocks":[{"ops":[%b]}]}]}}' % each for each in (
            b'{"#":"1.data","A":[],"O":[]}', b'{"#":5}', b'{"#":"1.fetch","A":[{"N":"name","AT":[]}]}',
        )),
    ],
)  # fmt: skip
def test_what_is_no_program(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    try:
        ports = read_ports(str(path))
    except ConfigError:
        return
    assert ports == {}  # an empty block is a message without variables

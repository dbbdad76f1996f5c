"""Every Python fuzz target on examples of hypothesis, always the same ones, and on the saved corpus."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).resolve().parents[2] / "fuzz" / "corpus"

#: Pieces that parsers turn on, so that random bytes get past their first test.
PIECES = {
    "json_scan": [b'{"', b'":"', b'"', b'\\', b'\\u0041', b'[', b']', b'}', b'aaaaaaaaaaaa', b'\xc3\xa9',
        b','],
    "lax": [b'{', b'}', b'[', b']', b'"a":', b'1e999', b'-0.0', b'"nan"', b'"5"', b'true', b'null', b',',
        b"9" * 400],
    "base64": [b'QUJD', b'=', b'==', b' ', b'\r\n', b'-_', b'http://', b'\xff', b'A'],
    "image_header": [b'\xff\xd8', b'\x89PNG\r\n\x1a\n', b'RIFF', b'WEBPVP8X', b'WEBPVP8L', b'BM',
        b'GIF89a', b'II*\x00', b'MM\x00*', b'II+\x00', b'\xff\xe1\x00\x10Exif\x00\x00',
        b'\xff\xc0\x00\x11\x08', b'\xff\xda', b'\x00\x00\x00\x00\x00\x00\x00\x00', b'\x00\x01',
        b'\xff\xff\xff\xff', b'P6 9 9 255\n', b'IHDR'],
    "csv": [b',', b'\n', b'\r', b'"', b'1.5', b'\xef\xbb\xbf'],
    "pipeline_yaml": [b'pipeline_name: OCR\n', b'SubModules:\n', b'  TextDetection:\n',
        b'    model_name: x\n', b'&a [*a]', b'!!python/object/apply:os.system [x]', b'? ', b'- ', b'\t',
        b': ', b'\xff', b'<<: *a\n'],
    "api_keys": [b'ann:', b"0" * 64, b':rate=', b':burst=', b':concurrent=', b'1.5', b'nan', b'\n', b'# ',
        b'\xd9\xa3'],
}  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_stands_any_bytes(name):
    pieces = st.lists(st.one_of(st.sampled_from(PIECES[name]), st.binary(max_size=12)), max_size=14)

    @settings(
        max_examples=60 if name in {"lax", "pipeline_yaml"} else 250,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(pieces.map(b"".join))
    def run(data):
        TARGETS[name](data)

    run()


def test_the_corpus():
    files = sorted(CORPUS.glob("*/*"))
    assert len(files) >= len(TARGETS)
    for path in files:
        if path.parent.name in TARGETS:
            TARGETS[path.parent.name](path.read_bytes())


def test_a_target_that_meets_a_wrong_parser_fails(monkeypatch):
    import tests.fuzz.targets

    monkeypatch.setattr(tests.fuzz.targets, "csv_size", lambda data: (0, 0))
    with pytest.raises(AssertionError):
        TARGETS["csv"](b"a,b\nc")

"""Every Python fuzz target on examples of hypothesis, always the same ones, and on the saved corpus."""

import os
import re
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server import protocol
from tests.fuzz import targets
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
    "model_folder": [b'Global: {model_name: x}\n', b'PreProcess:\n  transform_ops:\n',
        b'  - NormalizeImage: {}\n',
        b'label_list: [a]\n', b'PostProcess: {Topk: {label_list: [a, b]}}\n', b'scale: 1./255.\n',
        b'target_size: [1, 2]\n', b'2024-99-99', b'&a [*a]', b'\x0a\x03\x1a\x01',
        b'{"program":{"regions":[{"blocks":[',
        b'{"ops":[{"#":"1.data"', b']}]}]}}', b': ', b'[' * 2000],
    "scaler_pickle": [b'\x80\x04', b'\x95', b'\x8c\x05', b'sklearn.preprocessing._data', b'StandardScaler',
        b'\x93', b'\x94',
        b')', b'\x81', b'}', b'(', b'u', b'b', b'.', b'\x8c\x05mean_', b'G', b'R', b'cos\nsystem\n',
        b'h\x00'],
    "chunked": [b'5\r\nhello\r\n', b'0\r\n\r\n', b'0\r\n', b'\r\n', b';a=b', b'\r', b'\n', b'1', b'a',
        b'T: x\r\n', b'0x1', b' ',
        b'GET / HTTP/1.1\r\n'],
    "document": [b'%PDF-1.4\n', b'1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n',
        b'2 0 obj<</Type/Pages/Count 9/Kids[3 0 R]>>endobj\n',
        b'3 0 obj<</Type/Page/MediaBox[0 0 99 99]/Parent 2 0 R/Contents 4 0 R>>endobj\n',
        b'4 0 obj<</Length 9>>stream\n1 1 m 9 9 l S\nendstream endobj\n', b'trailer<</Root 1 0 R>>\n',
        b'II*\x00\x08\x00\x00\x00',
        b'\x02\x00\x00\x01\x03\x00\x01\x00\x00\x00\x09\x00\x00\x00'],
    "api_keys": [b'ann:', b"0" * 64, b':rate=', b':burst=', b':concurrent=', b'1.5', b'nan', b'\n', b'# ',
        b'\xd9\xa3'],
    "form": [b'--b\r\n', b'--b--', b'\r\n', b'\r\n\r\n', b'\r\n--b', b'; name="visualize"', b'%PDF-',
        b'Content-Disposition: form-data', b'; name="file"', b'; filename="a.pdf"', b'Content-Length: 5'],
    "tensors": [b'\x00{"inputs":[', b'\x7a{"inputs":[', b'{"name":"file","datatype":"BYTES"', b',"shape":[1]',
        b',"data":[', b'"QUJD"', b']', b'}', b',"parameters":{', b'"binary_data_size":7', b',"id":"x"',
        b'\x03\x00\x00\x00abc'],
    "call": [b'\x0a\x03ocr', b'\x2a\x10\x0a\x04file\x12\x05BYTES\x1a\x01\x01', b'\x3a\x07\x03\x00\x00\x00abc',
        b'\x2a\x17\x0a\x04file\x12\x05BYTES\x1a\x01\x01\x2a\x05\x42\x03abc', b'\x3a\x00', b'\x2a\x00',
        b'\x32\x08\x0a\x06result', b'\x22\x0f\x0a\x09visualize\x12\x02\x08\x00', b'\xff', b'\x0b',
        b'\x1a\x01'],
    "memfd_head": [b'{"path":"/ocr"', b',"query":"a=1"', b',"headers":{"A":"b"', b',"a":"\\u000a"',
        b',"pixels":[4,6]', b'}', b'"path":"/x"', b'"\xff":"\xff"', b'[', b'1e3', b'4.0', b'-1', b'null'],
    "head": [b'POST /ocr HTTP/1.1', b'hEaD / HTTP/1.1', b'\r\nContent-Length:', b'\r\nTransfer-Encoding:',
        b' chunked', b'5', b'\x0b', b'\xc2\xa0', b'\r\nHost: x', b' ', b'\t', b'\r\n', b':'],
    "json_body": [*(bytes([place]) + b'{' for place in range(0, 22, 3)), b'"image":"QUJD"',
        b'"file":"QUJD"', b',', b'"visualInfo":[{"normal_text_dict":{"a":"b"}}]', b'"keyList":["a"]',
        b'"logId":', b'"x"', b'}', b'null', b'"topk":', b'1e999', b'"threshold":', b'{"0":0.5}',
        b'"inferenceParams":{', b'"csv":"QUJD"'],
    "query": [b'visualize=', b'&', b'textDetThresh=', b'%00', b'%ff', b'{"', b'[[[[', b'NaN', b'1',
        b'fileType=0', b'file=x'],
    "vector": [b'\x00\x94', b'\xa1m', b'\x91\xa3abc', b'\x01', b'\xc4\x02\x00<', b'\x90',
        b'\xce\xff\xff\xff\xff', b'QUJD'],
    "address": [b'http://', b'https://', b'files.test', b':8080', b'/', b'//', b'@', b'\\', b'127.0.0.1',
        b':81', b'?', b'#', b'[::1]', b'%2f', b'\xef\xbc\x8f', b'evil.test'],
    "series": [b't,a\n', b'2024-01-01', b'2024-01-01 00:00:00', b',1.5\n', b',', b'\n', b'"', b'1',
        b'+0100', b'nan', b'Z', b'99999999999999999999', b'1e400', b'UTC'],
    "llm_answer": [b'{"choices":[{"message":{"content":', b'"{\\"total\\": \\"5\\"}"', b'}}]}', b'{"data":[',
        b'{"index":0,"embedding":[1,2]}', b',{"index":1,"embedding":[3e38,-3e38]}', b']}', b'null',
        b'```json\n', b'"total": ', b'"5"', b'"\\n"', b'\xe9\x87\x91\xe9\xa2\x9d', b'\xef\xbc\x9a',
        b'total: ', b'\n', b'{', b'}', b'[', b']', b'"', b'\\', b'9' * 5000, b'1e999', b'true', b' \xc2\xa0'],
    "settings_file": [b'port = ', b'use_hpip = ', b'max_body_bytes = ', b'"64M"', b'host = ', b'"\\u007f"',
        b'pipeline = ', b'workers = ', b'8081', b'true', b'"text"', b'\n', b'9' * 5000, b'inf', b'nan',
        b'[[a]]\n', b'2024-01-01', b'[', b'"a"', b']', b'a.b = ', b'#', b"'''", b'x = ', b'-1',
        b'0x7f', b'1e400'],
}  # fmt: skip


#: Of the slow ones; ``document`` starts a process for each.
EXAMPLES = {"lax": 60, "pipeline_yaml": 60, "model_folder": 60, "document": 15, "series": 10, "query": 60}


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_stands_any_bytes(name):
    pieces = st.lists(st.one_of(st.sampled_from(PIECES[name]), st.binary(max_size=12)), max_size=14)

    @settings(
        max_examples=EXAMPLES.get(name, 250),
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
    monkeypatch.setattr(targets, "csv_size", lambda data: (0, 0))
    with pytest.raises(AssertionError):
        TARGETS["csv"](b"a,b\nc")


def test_a_chunk_that_only_we_would_read_is_found(monkeypatch):
    """Sanic's own parsing of a size, which ours replaces, takes 0x5."""
    body = b"0x5\r\nhello\r\n0\r\n\r\n"
    TARGETS["chunked"](body)
    monkeypatch.setattr(targets.Connection, "_safe_int", staticmethod(int))
    with pytest.raises(AssertionError, match="no other server"):
        TARGETS["chunked"](body)


@pytest.mark.parametrize("value", [b"\x0b5", "\u00a05".encode()])
def test_a_length_that_only_we_would_read_is_found(monkeypatch, value):
    """Sanic strips more white space than HTTP has."""
    header = b"POST /ocr HTTP/1.1\r\nContent-Length:" + value
    TARGETS["head"](header)
    monkeypatch.setattr(protocol, "_ODD_FRAMING", re.compile(b"$^"))
    with pytest.raises(AssertionError):
        TARGETS["head"](header)


@pytest.mark.parametrize("crash", [False, True])
def test_a_document_may_end_its_child_by_a_crash_but_not_by_an_exception(monkeypatch, crash, capfd):
    def opener(path, limit, max_pixels):
        if crash:
            os.kill(os.getpid(), signal.SIGSEGV)
        raise KeyError

    monkeypatch.setattr(targets.render, "open_pdf", opener)
    if crash:
        TARGETS["document"](b"%PDF")
        return
    with pytest.raises(AssertionError, match="as it should"):
        TARGETS["document"](b"%PDF")
    assert "KeyError" in capfd.readouterr().err


def test_every_c_kernel_with_a_header_of_its_own_has_a_target():
    """Those without are headers that the targets' own use, or covered by others (named here)."""
    root = CORPUS.parents[2]
    targeted = {path.name.removesuffix("_fuzz.c") for path in CORPUS.parent.glob("*_fuzz.c")}
    kernels = {path.stem for path in (root / "kernels").glob("*.pyx")}
    inside_others = {"slots", "segment", "ring"}  # reap
    own_names = {"text": "ctc", "series": "calendar"}
    assert {own_names.get(name, name) for name in kernels - inside_others - {"fingerprint"}} <= targeted
    assert "reap" in targeted

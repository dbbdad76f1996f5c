"""What a picture of 12 megapixels costs on its way in: lent in a memfd, or sent as base64 in JSON.

    python -m benchmarks.memfd

One server (one worker, one device whose engine computes nothing) and one client that asks one after another,
each way in turn. A time is all of ``Client.infer``: from the array, or the encoded file, in the client's hand
to the result. ``in_ms`` is what is left without the device's step, which makes the picture small and is the
same for all. Encoding is in neither: ``encode_ms`` says what it cost once, for a program that has pixels.
``tiny`` is a small page, which shows what is left when there is nothing to bring.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import httpx
import numpy as np
import numpy.typing as npt

from server.client import Client
from server.config import Access
from server.memfd_client import MemfdTransport
from tests.fakes import fake_config, page
from tests.harness import Server

from .bench_http import photo
from .common import parser, percentile, report, summary, table

WIDTH, HEIGHT = 4000, 3000


class Heard(httpx.BaseTransport):
    """Keeps what the last answer said the device took, in ``device_ms``."""

    device_ms = 0.0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        found = re.search(r"det;dur=([0-9.]+)", response.headers.get("server-timing", ""))
        self.device_ms = float(found[1]) if found else 0.0
        return response


class Lending(Heard, MemfdTransport):
    """Over the socket for memfds."""


class Sending(Heard, httpx.HTTPTransport):
    """Over HTTP."""


class Way(NamedTuple):
    """One way in: a picture as a client has it, and how it goes."""

    name: str
    file: bytes | npt.NDArray[np.uint8]
    lent: bool
    form: Literal["raw", "paddlex"]
    encode_ms: float = 0.0


@contextlib.contextmanager
def serving() -> Iterator[tuple[str, str]]:
    """A running server: its URL, and the path of its socket for memfds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "memfd.sock")
        config = fake_config(
            Path(folder, "models"), devices=1, detection_ms=0.0, recognition_ms=0.0,
            config={"access": Access(memfd_socket=str(path))},
        )  # fmt: skip
        with Server(config, folder) as server:
            server.wait_ready(60.0)
            yield f"http://127.0.0.1:{server.port}", str(path)


def ways(width: int, height: int) -> Iterator[Way]:
    """All of them, for a photograph that is bright enough to have no text in it."""
    photograph = cv2.imdecode(np.frombuffer(photo(width, height), np.uint8), cv2.IMREAD_COLOR)
    pixels = (photograph // 4 + 191).astype(np.uint8)
    yield Way("memfd, pixels", pixels, True, "raw")
    for kind, end in (("PNG", ".png"), ("JPEG", ".jpg")):
        began = time.perf_counter()
        file = cv2.imencode(end, pixels)[1].tobytes()
        took = 1e3 * (time.perf_counter() - began)
        yield Way(f"memfd, {kind}", file, True, "raw", took)
        yield Way(f"HTTP, {kind} as it is", file, False, "raw", took)
        yield Way(f"HTTP, {kind} in base64", file, False, "paddlex", took)
    yield Way("memfd, pixels, tiny", page(1), True, "raw")


def measure(all_ways: list[Way], rounds: int) -> list[dict[str, Any]]:
    """Times of each way, of ``rounds`` rounds after one that is not counted."""
    times: dict[str, list[tuple[float, float]]] = {way.name: [] for way in all_ways}
    with serving() as (url, socket):
        lending, sending = Lending(socket), Sending()
        with Client(transport=lending) as lender, Client(url, transport=sending) as sender:
            for count in range(rounds + 1):
                for way in all_ways:
                    client, heard = (lender, lending) if way.lent else (sender, sending)
                    began = time.perf_counter()
                    client.infer("/ocr", way.file, form=way.form, visualize=False)
                    took = 1e3 * (time.perf_counter() - began)
                    if count:
                        times[way.name].append((took, took - heard.device_ms))
    return [
        {
            "way": way.name,
            "mb": (len(way.file) if isinstance(way.file, bytes) else way.file.nbytes) / 1e6,
            "encode_ms": way.encode_ms,
            "p50_ms": percentile([whole for whole, _ in times[way.name]], 50),
            "in_ms": percentile([brought for _, brought in times[way.name]], 50),
            "times_ms": summary([whole for whole, _ in times[way.name]]),
        }
        for way in all_ways
    ]


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    side = 4 if options.quick else 1
    return measure(list(ways(WIDTH // side, HEIGHT // side)), options.rounds)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, default=30, help="requests of each way")
    options = made.parse_args()
    if options.quick:
        options.rounds = 3
    rows = run(options)
    shown = ("way", "mb", "encode_ms", "p50_ms", "in_ms")
    print(table(shown, [[row[name] for name in shown] for row in rows]))
    report("memfd", rows, options=vars(options), path=options.json)


if __name__ == "__main__":
    main()

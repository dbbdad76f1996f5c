"""Options of ``python -m server bench``, ``bench pair`` and ``bench compare``."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import orjson

from server.bench.compare import LEAST_PAIRS, Metric
from server.options import PROG, Parser

_DESCRIPTION = """\
Finds the highest rate at which a server answers in time: Poisson arrivals, rates that go up until too much
is late.
All options that are not listed here go to the server that is started (python -m server --help).
"""
_EXAMPLES = """\
examples:
  python -m server bench --pipeline OCR --seconds 120
  python -m server bench --url http://host:8080 --file page.png --budget_ms 500
  python -m server bench pair --url http://old:8080 --url http://new:8080 --out runs
  python -m server bench compare runs/a.json runs/b.json --threshold 3%
"""


class Options(msgspec.Struct, frozen=True):
    """Of a measurement. ``server``: options of the server to start, where no URL is given."""

    urls: tuple[str, ...]
    server: tuple[str, ...]
    path: str | None
    file: Path | None
    fields: dict[str, Any]
    headers: tuple[str, ...]
    insecure: bool
    out: Path
    rate: float | None
    budget_ms: float = 0.0
    seconds: float = 0.0
    blocks: int = 0
    block_seconds: float = 0.0


def knee_options(argv: Sequence[str]) -> Options:
    """Of ``bench``. Prints one line and exits with 2 when they are wrong."""
    parser = _parser("bench", _DESCRIPTION, "capacity")
    parser.add_argument(
        "--budget_ms", type=_positive, default=1000.0, metavar="MS",
        help="time for an answer, from when its request was due (default: 1000)",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=_positive, default=60.0, metavar="S", help="time for all steps (default: 60)"
    )
    parser.add_argument("--rate", type=_positive, metavar="R", help="first rate, requests per second")
    args, rest = parser.parse_known_args(argv)
    if bool(args.url) == bool(rest):
        parser.error("give --url, or the options of a server to start (--pipeline …)" + _unknown(rest))
    if len(args.url) > 1:
        parser.error("one --url is measured at a time; bench pair takes two")
    return _options(args, rest)


def pair_options(argv: Sequence[str]) -> Options:
    """Of ``bench pair``. Prints one line and exits with 2 when they are wrong."""
    parser = _parser("bench pair", "Measures two running servers in turns, for bench compare.", "pair")
    parser.add_argument(
        "--blocks", type=_count, default=20, metavar="N",
        help=f"blocks of each server, at least {LEAST_PAIRS} (default: 20)",
    )  # fmt: skip
    parser.add_argument(
        "--block_seconds", type=_positive, default=3.0, metavar="S", help="length of a block (default: 3)"
    )
    parser.add_argument(
        "--rate", type=_positive, metavar="R",
        help="requests per second (default: a quarter of what one client gets of the first server)",
    )  # fmt: skip
    args = parser.parse_args(argv)
    if len(args.url) != 2:
        parser.error("give --url twice")
    return _options(args, ())


def compare_options(argv: Sequence[str]) -> tuple[tuple[Path, Path], float, Metric]:
    """Of ``bench compare``: both files, the threshold as a share, the percentile."""
    parser = Parser(
        prog=f"{PROG} bench compare", allow_abbrev=False,
        description="Exit code 1: b is slower than a by more than the threshold, or fails more.",
    )  # fmt: skip
    parser.add_argument("a", type=Path, metavar="a.json")
    parser.add_argument("b", type=Path, metavar="b.json")
    parser.add_argument("--threshold", type=_share, default=0.03, metavar="P%", help="(default: 3%%)")
    parser.add_argument(
        "--metric", choices=("p50", "p90", "p99"), default="p50",
        help="percentile of each block's latencies (default: p50)",
    )  # fmt: skip
    args = parser.parse_args(argv)
    return (args.a, args.b), args.threshold, cast(Metric, args.metric)


def _parser(name: str, description: str, out: str) -> Parser:
    parser = Parser(
        prog=f"{PROG} {name}", description=description, epilog=_EXAMPLES, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--url", action="append", default=[], metavar="URL", help="a running server: http://host:port")
    add("--path", metavar="ROUTE", help="route to ask (default: the first that takes a file)")
    add("--file", type=Path, metavar="FILE", help="what to send (default: the examples of the package)")
    add("--fields", type=_fields, default={}, metavar="JSON", help='further fields: {"visualize": true}')
    add("--header", action="append", default=[], metavar="'N: V'", help="a header of every request")
    add("--insecure", action="store_true", help="take any certificate")
    add("--out", type=Path, default=Path(out), metavar="DIR", help=f"where results go (default: {out})")
    return parser


def _options(args: argparse.Namespace, rest: Sequence[str]) -> Options:
    named = vars(args) | {"urls": tuple(args.url), "headers": tuple(args.header), "server": tuple(rest)}
    return Options(**{name: named[name] for name in Options.__struct_fields__ if name in named})


def _unknown(rest: Sequence[str]) -> str:
    return f"; not known here: {' '.join(rest)}" if rest else ""


def _reader(read: Callable[[str], Any], wanted: str) -> Callable[[str], Any]:
    """A type of argparse that says what is wanted where ``read`` raises ValueError."""

    def reader(text: str) -> Any:
        try:
            return read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}: {wanted}") from None

    return reader


def _read_positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError
    return value


def _read_count(text: str) -> int:
    value = int(text)
    if value < LEAST_PAIRS:
        raise ValueError
    return value


def _read_share(text: str) -> float:
    return _read_positive(text.removesuffix("%")) / (100 if text.endswith("%") else 1)


def _read_fields(text: str) -> dict[str, Any]:
    found = orjson.loads(text)
    if not isinstance(found, dict):
        raise ValueError
    return found


_positive = _reader(_read_positive, "a number above 0 is wanted")
_count = _reader(_read_count, f"a whole number, at least {LEAST_PAIRS}")
_share = _reader(_read_share, "write 3% or 0.03")
_fields = _reader(_read_fields, "a JSON object is wanted")

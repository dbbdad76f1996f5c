"""The command line: what it takes, and the text of ``--help``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from server import settings
from server.access import add_options
from server.config import Config, Limits
from server.readers import Secret, Whole, public, read_bytes

PROG = "python -m server"

#: Help of each limit; a test holds this table equal to the fields of ``Limits``.
LIMIT_HELP = {
    "max_body_bytes": "largest HTTP body, counted while it streams in; 256M holds the base64 of 190 MB",
    "max_pixels": "largest image or page, width x height, from its header (PaddleX: 178956970)",
    "max_pages": "most pages of one document; PaddleX drops all but 10 unless its YAML says otherwise",
    "max_json_depth": "deepest nesting of the body",
    "body_timeout_ms": "time a client has to send its whole request",
    "request_timeout_ms": "deadline of a request; a client may lower it with X-Request-Timeout-Ms",
    "document_slots": "pages of one document that are in flight together",
    "max_queue_ms": "estimated device time that may wait per device before requests get 503",
    "latency_budget_ms": "what is served is answered within it, the rest gets 503 at once; 0: no promise",
    "max_decoded_bytes": "decoded pixels that one worker holds at once",
    "max_csv_rows": "most lines of a CSV, counted before it is read",
    "max_csv_cells": "most fields of a CSV, commas and lines counted before it is read",
    "truncated_images": "images cut short: refuse with 422, or read what could be decoded, as PaddleX",
    "render_timeout_ms": "wall time of the child that renders one PDF or TIFF",
    "render_memory_bytes": "address space of that child",
    "url_timeout_ms": "time for getting a file by URL (--allow_url_hosts)",
}

EPILOG = """\
devices:
  cpu        one process per core up to 8 cores, wider shares above; each also holds its models in an
             all-core form, used while no other device computes
  cpu:N      N processes that share the cores
  gpu        all GPUs, one process each       gpu:0,1    these GPUs

other commands:
  python -m server config …                     the options as they would be, and where each is from
  python -m server completion bash|zsh|fish     completion for a shell
  python -m server plan --pipeline …            try every engine on every model (docs/engine-plan.md)
  python -m server list                         pipelines, their routes and default models; engines
  python -m server models [list]                models with a card, and which are on disk
  python -m server models names                 every name of PaddleX that its hubs are asked for
  python -m server models fetch [NAME ...]      fetch models (all with a card) without serving
  python -m server models verify                read every model file again and compare SHA-256
  python -m server models convert DIR ...       make scaler.json of a time-series model's scaler.pkl
  python -m server keys new NAME                make an API key
  python -m server bench --pipeline …           how many requests a second it can do (docs/scaling.md)

examples:
  python -m server --pipeline OCR
  python -m server --pipeline OCR --use_hpip --port 9000
  python -m server --pipeline OCR,table_recognition
  python -m server --pipeline ./my_ocr.yaml --device cpu:2 --request_timeout_ms 20000
"""


class _Help(argparse.RawDescriptionHelpFormatter):
    """Wide enough that an option and its help share a line."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=100)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        sys.stderr.write(f"{PROG}: {message} (--help lists the options)\n")
        raise SystemExit(2)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("limits")
    for field in msgspec.structs.fields(Limits):
        text = f"{LIMIT_HELP[field.name]} (default: {public(field.name, field.default)})"
        settings: dict[str, Any] = {"default": field.default, "help": text}
        if isinstance(field.default, str):
            settings["choices"] = ("reject", "accept")
        elif field.name.endswith("_bytes"):
            settings |= {"type": read_bytes, "metavar": "BYTES"}
        else:
            unit = "MS" if field.name.endswith("_ms") else "N"
            settings |= {"type": Whole(min(1, field.default)), "metavar": unit}
        group.add_argument(f"--{field.name}", **settings)


def make_parser() -> argparse.ArgumentParser:
    """The parser of ``python -m server --pipeline …``."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(Config)}
    parser = Parser(
        prog=PROG,
        usage=f"{PROG} --pipeline NAME_OR_YAML[,...] [options]",
        description="Serves PaddleX pipelines over HTTP: same routes, fields and answers.",
        epilog=EPILOG,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what is served")
    what.add_argument(
        "--pipeline", required=True, metavar="NAME_OR_YAML[,...]",
        help="a pipeline by PaddleX's name (OCR), or a pipeline YAML of either PaddleX generation; several "
        "with commas between them share the models that they have in common",
    )  # fmt: skip
    what.add_argument(
        "--models", choices=("starter", "paddlex"), default="starter",
        help="models of what no YAML names: those that come with this server or from PyPI (the small ones "
        "are starters, docs/models.md), or PaddleX 3.7.2's own from its hubs (default: starter)",
    )  # fmt: skip
    what.add_argument(
        "--api_generation", choices=("v3", "2024"), default=defaults["api_generation"],
        help="which PaddleX API answers a body that is valid in both (default: v3)",
    )  # fmt: skip
    what.add_argument(
        "--padding", choices=("exact", "tight"), default="tight",
        help="text lines padded as PaddleX does, or no further than each needs (default: tight)",
    )  # fmt: skip
    what.add_argument(
        "--allow_pickle_scaler", action="store_true",
        help="take the numbers of a time-series model's scaler.pkl where it has no scaler.json; nothing in "
        "the pickle is run (docs/models.md)",
    )  # fmt: skip
    what.add_argument(
        settings.FILE_OPTION, metavar="TOML",
        help="options of a file, without their dashes: port = 9000; PPS_PORT=9000 in the environment goes "
        "before it, --port before both (docs/operations.md)",
    )  # fmt: skip
    what.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)  # paddlex --serve
    _add_network(parser, defaults)
    add_options(parser)
    _add_computing(parser, defaults)
    _add_processes(parser, defaults)
    _add_limits(parser)
    return parser


def _add_network(parser: argparse.ArgumentParser, defaults: dict[str, Any]) -> None:
    network = parser.add_argument_group("network and logs")
    network.add_argument("--host", default=defaults["host"], help="address to listen on (default: 0.0.0.0)")
    network.add_argument(
        "--port", type=Whole(0, 65535), default=defaults["port"], metavar="N",
        help="port to listen on, 0 for any free one (default: 8080)",
    )  # fmt: skip
    network.add_argument(
        "--grpc_port", type=Whole(0, 65535), default=defaults["grpc_port"], metavar="N",
        help="port of the Open Inference Protocol over gRPC, extra 'grpc' (default: 0, off; docs/doors.md)",
    )  # fmt: skip
    network.add_argument(
        "--workers", type=Whole(1, 63), metavar="N",
        help="HTTP processes (default: 1 up to 4 cores, else cores / 8 and at least 2)",
    )  # fmt: skip
    network.add_argument(
        "--playground", choices=("on", "off"), default="on",
        help="a page for people at /, which asks the same routes with the same API keys (default: on)",
    )  # fmt: skip
    network.add_argument(
        "--log_format", choices=("text", "json"), default=defaults["log_format"],
        help="lines for people, or JSON objects (default: text)",
    )  # fmt: skip
    network.add_argument(
        "--log_level", choices=("debug", "info", "warning", "error"), default=defaults["log_level"],
        help="(default: info)",
    )  # fmt: skip
    network.add_argument(
        "--access_log", action="store_true", help="a line for each request, at any level (docs/operations.md)"
    )
    network.add_argument(
        "--otlp_endpoint", metavar="URL", default=defaults["otlp_endpoint"],
        help="OpenTelemetry collector that traces are sent to, over OTLP/HTTP: http://127.0.0.1:4318 "
        "(extra otel; default: none)",
    )  # fmt: skip


def _add_computing(parser: argparse.ArgumentParser, defaults: dict[str, Any]) -> None:
    computing = parser.add_argument_group("computing")
    computing.add_argument("--device", help="cpu, cpu:N, gpu or gpu:I,J (default: gpu if usable, else cpu)")
    computing.add_argument(
        "--engine", metavar="NAME",
        help="paddle, onnxruntime or openvino, or PaddleX's paddle_static and hpi (default: paddle for "
        "Paddle files where it is installed, else onnxruntime)",
    )  # fmt: skip
    computing.add_argument(
        "--use_hpip", action="store_true", default=None,
        help="high-performance inference: what a plan has found to be the fastest correct engine of every "
        "model (docs/engine-plan.md); until there is a plan OpenVINO, or TensorRT on a GPU",
    )  # fmt: skip
    computing.add_argument("--hpi_config", metavar="DICT", help="as PaddleX; 'backend' chooses the engine")
    computing.add_argument(
        "--precision", choices=("fp32", "f32", "bf16", "fp16", "int8", "auto"), default="fp32",
        help="what a plan may reduce a model to where its results stay as good; auto is any of them "
        "(default: fp32)",
    )  # fmt: skip
    computing.add_argument(
        "--plan", choices=("background", "existing"), default="background",
        help="make the plan that --use_hpip or --precision lacks beside the server and change over to it, "
        "or do without (default: background)",
    )  # fmt: skip
    computing.add_argument("--for_server", type=Whole(1), help=argparse.SUPPRESS)  # see plan_command.py
    computing.add_argument(
        "--replan", action="store_true", help="python -m server plan: measure again, whatever plan there is"
    )
    computing.add_argument(
        "--cache_dir", metavar="DIR",
        help="models and compiled artefacts (default: $XDG_CACHE_HOME/paddle-pipeline-server)",
    )  # fmt: skip
    computing.add_argument("--serial_number", type=Secret, metavar="X", help="accepted; no licence is needed")
    computing.add_argument("--update_license", action="store_true", help="accepted; no licence is needed")


def _add_processes(parser: argparse.ArgumentParser, defaults: dict[str, Any]) -> None:
    processes = parser.add_argument_group("processes")
    processes.add_argument(
        "--drain_grace_ms", type=Whole(0), default=defaults["drain_grace_ms"], metavar="MS",
        help="at SIGTERM: time in which the server still takes requests and says that it is not ready; "
        "more than what sends them needs to notice (default: 2000)",
    )  # fmt: skip
    processes.add_argument(
        "--drain_timeout_ms", type=Whole(1), default=defaults["drain_timeout_ms"], metavar="MS",
        help="time that accepted requests get after that (default: 60000)",
    )  # fmt: skip
    processes.add_argument(
        "--max_rss_mb", type=Whole(0), default=defaults["max_rss_mb"], metavar="MB",
        help="own memory of a process, in MiB, at which a fresh one takes over (default: 0, no bound)",
    )  # fmt: skip
    processes.add_argument(
        "--cache_mb", type=Whole(0), default=defaults["cache_mb"], metavar="MB",
        help="answers that all workers keep together, in MiB, for who sends the same file with the same "
        "parameters again; never across API keys (default: 0, none)",
    )  # fmt: skip


def make_models_parser() -> argparse.ArgumentParser:
    """The parser of ``python -m server models …``."""
    parser = Parser(
        prog=f"{PROG} models", description="Lists, fetches, verifies and converts models.", allow_abbrev=False
    )
    parser.add_argument(
        "action", nargs="?", choices=("list", "names", "fetch", "verify", "convert"), default="list"
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="models to fetch (default: all with a card), or folders to convert",
    )
    parser.add_argument("--cache_dir", metavar="DIR", help="as when serving")
    return parser


def make_completion_parser() -> argparse.ArgumentParser:
    """The parser of ``python -m server completion SHELL``."""
    parser = Parser(prog=f"{PROG} completion", description="Prints a script for a shell.", allow_abbrev=False)
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    return parser


def parse(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> argparse.Namespace:
    """Options for serving: those of ``argv``, of the environment, of a file, and defaults, in that order.

    Prints one line and exits with 2 when ``argv`` is wrong; raises ConfigError when it is something else.
    """
    return settings.read(make_parser, argv, os.environ if environment is None else environment).options

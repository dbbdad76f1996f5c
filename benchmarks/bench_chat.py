"""The visual step of document chat, served end to end, against PaddleX 3.7.2's on the same weights and pages.

    python -m benchmarks.bench_chat --json benchmarks/results/chat.json           4 minutes
    python -m benchmarks.bench_chat --only paddlex --json FILE                    one server, the others stay

Layout, lines, tables and blocks of six pages of ``chat_pages.py``; PP-OCRv4 mobile, SLANet_plus and the
starter layout model, without page preprocessing, ``visualize`` off. PaddleX's side is its layout parsing
server (``chat_peers.py`` says why that is the same step). Each server in turn: one unmeasured pass over the
pages, one client, then four. ``same`` is how much of the text in all blocks is what ``paddlex`` read
(difflib's ratio). Every row says when it was measured.
"""

from __future__ import annotations

import argparse
import base64
import difflib
import html
import io
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import chat_pages, chat_peers, load, peers, process
from .common import parser, percentile, report, table

PAGES = (("invoice-en-0", 0), ("invoice-zh-1", 0), ("receipt-en-0", 0),
         ("contract-en-0", 0), ("contract-en-0", 1), ("contract-zh-0", 0))  # fmt: skip
CLIENTS = (1, 4)
#: Passes over the pages per number of clients.
PASSES = {1: 1, 4: 2}
BASE, ONNX = "paddlex", "paddlex onnxruntime"
_ONNX = {"engine": "onnxruntime"}


def servers(folder: Path) -> dict[str, peers.Server]:
    """Row label to server; the layout model is there as ONNX only, all else runs on what the label says."""
    plain, onnx = chat_peers.parser_section({}, {}), chat_peers.parser_section(_ONNX, _ONNX)
    ours = chat_peers.parser_section({}, {})
    del ours["SubModules"]["LayoutDetection"]["engine"]
    return {
        BASE: chat_peers.peer(folder, "chat paddlex", plain),
        "ours openvino": chat_peers.ours(folder, "chat openvino", ours, "--engine", "openvino"),
        "ours onnxruntime": chat_peers.ours(folder, "chat onnx", ours, "--engine", "onnxruntime"),
        ONNX: chat_peers.peer(folder, "chat paddlex onnx", onnx),
    }


def bodies() -> list[bytes]:
    """A request body per page."""
    papers, found = {paper.name: paper for paper in chat_pages.papers()}, []
    for name, page in PAGES:
        out = io.BytesIO()
        chat_pages.draw(papers[name], peers.font())[page].save(out, "PNG")
        document = {"file": base64.b64encode(out.getvalue()).decode(), "fileType": 1, "visualize": False}
        found.append(json.dumps(document).encode())
    return found


def text_of(body: bytes) -> str:
    """What all blocks of an answer say."""
    (page,) = json.loads(body)["result"]["layoutParsingResults"]
    blocks = page["prunedResult"]["parsing_res_list"]
    return html.unescape("\n".join(block["block_content"] for block in blocks))


def visit(
    label: str, server: peers.Server, options: argparse.Namespace
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of one server, and what it read on each page."""
    port, log = process.free_port(), options.peers / "logs" / f"chat-{label.replace(' ', '-')}.log"
    path = chat_peers.PEER if server.peer else chat_peers.OURS
    requests = [load.request_bytes("127.0.0.1", port, path, body) for body in bodies()]
    rows = []
    with process.running(server.on(port), port, log, ready_path=server.ready_path, env=server.env) as (
        pid,
        _,
    ):
        order = list(range(len(requests)))
        warm = load.closed_loop("127.0.0.1", port, requests, order, 1)
        if warm.failed:
            raise RuntimeError(f"{label}: {warm.answers[-1].body[:300]!r}")
        texts = [text_of(a.body) for a in sorted(warm.answers, key=lambda answer: answer.index)]
        for clients in CLIENTS:
            passes = 1 if options.quick else PASSES[clients]
            with process.Meter(pid) as meter:
                run = load.closed_loop("127.0.0.1", port, requests, order * passes, clients)
            rows.append({
                "server": label, "clients": clients, "requests": len(run.answers), "failed": run.failed,
                "rps": run.rps, "p50_ms": percentile(run.latencies_ms, 50),
                "p99_ms": percentile(run.latencies_ms, 99),
                "cpu_s": meter.usage.cpu_s / len(run.answers), "pss_mib": meter.usage.peak_pss / 2**20,
                "others": meter.usage.others,
                "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            })  # fmt: skip
    return rows, texts


def same(texts: Mapping[str, list[str]], label: str) -> float | None:
    """The share of equal text with the peer."""
    if BASE not in texts or label not in texts:
        return None
    pairs = zip(texts[label], texts[BASE], strict=True)
    ratios = [difflib.SequenceMatcher(None, ours, theirs, autojunk=False).ratio() for ours, theirs in pairs]
    return sum(ratios) / len(ratios)


def main() -> None:
    options_parser = parser(__doc__)
    options_parser.add_argument("--only", nargs="+", help="rows to measure")
    options_parser.add_argument("--peers", type=Path, default=peers.DEFAULT_FOLDER)
    options = options_parser.parse_args()
    (options.peers / "logs").mkdir(parents=True, exist_ok=True)
    rows, texts = earlier(options.json) if options.only else ([], {})
    known = servers(options.peers)
    for label in options.only or known:
        found, texts[label] = visit(label, known[label], options)
        rows = [row for row in rows if row["server"] != label] + found
        rows.sort(key=lambda row: list(known).index(row["server"]))
        conclude(rows, texts, options)  # after each: a run that is broken off has said something


def earlier(path: Path | None) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Rows and texts of a file; without texts what its rows say about them stays."""
    if path is None or not path.exists():
        return [], {}
    found = json.loads(path.read_text())
    return found["rows"], found.get("texts", {})


def conclude(rows: list[dict[str, Any]], texts: Mapping[str, list[str]], options: argparse.Namespace) -> None:
    """Compare with both peers, print, write."""
    for name, peer in (("times_paddlex", BASE), ("times_onnx", ONNX)):
        base = {row["clients"]: row["rps"] for row in rows if row["server"] == peer}
        for row in rows:
            row[name] = row["rps"] / base[row["clients"]] if base else None
    for row in rows:
        row["same"] = same(texts, row["server"]) or row.get("same")
    header = ("server", "clients", "rps", "times_paddlex", "times_onnx", "p50_ms", "p99_ms", "cpu_s",
              "pss_mib", "others", "failed", "same")  # fmt: skip
    print(table(header, [[row[name] for name in header] for row in rows]), flush=True)
    report("chat", rows, options=vars(options), path=options.json, pages=[list(page) for page in PAGES],
           texts=dict(texts), peer=peers.paddlex_versions(options.peers))  # fmt: skip


if __name__ == "__main__":
    main()

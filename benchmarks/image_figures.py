"""Tables, ratios and targets of the image benchmark. Pure functions over what it measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .common import table

Row = Mapping[str, Any]

PADDLEX, PADDLEX_DEFAULT = "paddlex --engine onnxruntime", "paddlex"
#: PaddleX's rows and ours, with the engine of each.
THEIRS = {PADDLEX: "onnxruntime", PADDLEX_DEFAULT: "paddle"}
OURS = {"ours onnxruntime": "onnxruntime", "ours openvino": "openvino"}

#: The project's targets for two cores, of ``ours onnxruntime`` with 8 clients: over the bare engine, over
#: PaddleX where that spends less than ``MOSTLY`` of its time in the engine, and over PaddleX for an image of
#: 12 megapixels.
OF_BARE, OF_PADDLEX, OF_PADDLEX_12MP, MOSTLY = 0.90, 4.0, 10.0, 0.5
LARGE = "semantic_segmentation_12mp"


def find(rows: Sequence[Row], server: str, visualize: bool, clients: int) -> Row | None:
    """The row of one cell."""
    wanted = (server, visualize, clients)
    return next((row for row in rows if (row["server"], row["visualize"], row["clients"]) == wanted), None)


def best_peer(found: Row, visualize: bool, clients: int) -> Row | None:
    """PaddleX's faster row of one cell."""
    rows = (find(found["rows"], server, visualize, clients) for server in THEIRS)
    return max((row for row in rows if row and row["rps"]), key=lambda row: row["rps"], default=None)


def over_paddlex(found: Row, row: Row) -> float | None:
    """Throughput of ``row`` over that of the faster PaddleX in the same cell."""
    peer = best_peer(found, row["visualize"], row["clients"])
    return float(row["rps"] / peer["rps"]) if peer else None


def over_bare(found: Row, row: Row) -> float | None:
    """Throughput of ``row`` over that of the bare engine that we serve."""
    ceiling = found["bare"].get(OURS.get(row["server"]), {}).get("ceiling")
    return float(row["rps"] / ceiling) if ceiling else None


def engine_share(found: Row) -> float | None:
    """Share of its time that the faster PaddleX, with one client and no pictures, spends in the engine."""
    alone = best_peer(found, visualize=False, clients=1)
    bare_rate = found["bare"].get(THEIRS[alone["server"]], {}).get("all_core") if alone else None
    return float(1e3 / bare_rate / alone["latency_ms"]["p50"]) if alone and bare_rate else None


def lines(name: str, found: Row) -> Iterator[tuple[object, ...]]:
    """Rows of the printed table."""
    for row in found["rows"]:
        latency = row["latency_ms"]
        yield (
            name, row["server"], "on" if row["visualize"] else "off", row["clients"], row["rps"],
            latency.get("p50"), latency.get("p99"), row["cpu_ms_per_request"], row["failed"] + row["wrong"],
            over_paddlex(found, row), over_bare(found, row), row["others_cores"],
        )  # fmt: skip


def tables(results: Mapping[str, Row]) -> str:
    """Everything that was measured: servers and cells, bare engines, and where PaddleX spends its time."""
    cells = (
        "pipeline", "server", "pictures", "clients", "req/s", "p50 ms", "p99 ms", "CPU ms", "bad",
        "× PaddleX", "× bare", "others",
    )  # fmt: skip
    engines = ("onnxruntime", "openvino", "paddle")
    about = [
        (
            name, engine_share(found), *(found["bare"].get(name, {}).get("ceiling") for name in engines),
            f"{found['agree']} of {found['pictures']}", found["errors"] or None,
        )
        for name, found in results.items()
    ]  # fmt: skip
    return "\n\n".join(
        (
            table(cells, [line for name, found in results.items() for line in lines(name, found)]),
            table(
                (
                    "pipeline", "PaddleX's time in the engine", *(f"bare {name}/s" for name in engines),
                    "pictures answered alike", "not measured",
                ),
                about,
            ),
        )
    )  # fmt: skip


def missed(name: str, found: Row) -> Iterator[str]:
    """Targets that a subject did not reach; of what was not measured nothing is said."""
    share = engine_share(found)
    asked = OF_PADDLEX_12MP if name == LARGE else OF_PADDLEX if share is not None and share < MOSTLY else None
    for visualize in (False, True):
        row = find(found["rows"], "ours onnxruntime", visualize, 8)
        if row is None:
            continue
        where = f"{name}, pictures {'on' if visualize else 'off'}"
        bare, peer = over_bare(found, row), over_paddlex(found, row)
        if bare is not None and bare < OF_BARE and not visualize:
            yield f"{where}: {bare:.2f} of the bare engine"
        if asked is not None and peer is not None and peer < asked:
            yield f"{where}: {peer:.1f} x PaddleX, {asked:g} is asked"

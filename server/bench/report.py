"""A capacity report: the numbers as JSON, plots where matplotlib is there, and one page that has it all."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

import msgspec

from pipelines.core.cpu import cpu_name
from server.bench import words
from server.bench.knee import Knee, Row, Search
from server.cores import Machine

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: right; padding: .2rem .8rem .2rem 0; white-space: nowrap; }
th:last-child, td:last-child { text-align: left; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }
dd { margin: 0; overflow-wrap: anywhere; }
tr { border-bottom: 1px solid #8886; }
img { max-width: 100%; background: #fff; }
"""


class Report(msgspec.Struct, frozen=True, tag="capacity", tag_field="kind"):
    """Everything that was found, and what it depends on.

    Attributes:
        url: of the server.
        what: what was sent, and how the server was started, in words.
        machine: where the load came from; the server's too, when it was started here.
        time: when, UTC.
        budget_ms: for an answer, from its scheduled time.
        one_client_ms: median latency of one client that sends one request after the other.
        search: how the knee was looked for.
        knee: what was found.
    """

    url: str
    what: dict[str, str]
    machine: dict[str, str]
    time: str
    budget_ms: float
    one_client_ms: float
    search: Search
    knee: Knee


def this_machine() -> dict[str, str]:
    """Processor and usable cores."""
    return {"processor": cpu_name(), "cores": str(Machine().cores())}


def now() -> str:
    """UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def write(folder: Path, report: Report, plots: Mapping[str, bytes]) -> list[Path]:
    """Write ``report.json``, ``report.html`` and a PNG for every plot; gives their paths. Raises OSError."""
    contents = {f"{name}.png": content for name, content in plots.items()}
    contents["report.json"] = msgspec.json.format(msgspec.json.encode(report), indent=1)
    contents["report.html"] = page(report, plots).encode()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def page(report: Report, plots: Mapping[str, bytes]) -> str:
    """One HTML page without anything from elsewhere: pictures are inside."""
    result = "".join(
        f"<p><strong>{escape(line)}</strong></p>" for line in words.knee_words(report.knee, report.budget_ms)
    )
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in _facts(report))
    pictures = "".join(_picture(name, content) for name, content in plots.items())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Capacity of {escape(report.url)}</title><style>{_STYLE}</style></head><body><main>
<h1>Capacity</h1>{result}<dl>{facts}</dl>{pictures}
<table><caption>Steps, by rate</caption>{_table(report.knee.rows)}</table>
<p>Arrivals are a Poisson process; latency counts from the time a request was due, whether or not it could be
sent then. <em>kept</em>: 99 % of what was sent was answered with 200 within the budget, and the queue did not
grow. <em>growth</em>: by what share arrivals exceeded answers. <em>sent late</em>: the load generator's own
delay (p99).</p>
</main></body></html>
"""


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    yield "server", report.url
    yield from report.what.items()
    yield from report.machine.items()
    yield "time", report.time
    yield "one client", f"{report.one_client_ms:.2f} ms (median)"
    yield "a step", f"{report.search.step_s:g} s"


def _picture(name: str, content: bytes) -> str:
    data = base64.b64encode(content).decode()
    return f'<p><img alt="Plot: {escape(name)}" src="data:image/png;base64,{data}"></p>'


def _table(rows: Sequence[Row]) -> str:
    head = "".join(f"<th scope=col>{escape(heading or 'verdict')}</th>" for heading in words.headings())
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in words.cells(row))}</tr>"
        for row in sorted(rows, key=lambda row: row.rate)
    )
    return f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"

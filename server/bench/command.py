"""``python -m server bench``, ``bench pair`` and ``bench compare``."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Sequence

from pipelines.core.errors import ConfigError
from server.bench import report, words
from server.bench.blocks import Blocks, Side, measure_in_turns, new_session, read_blocks, write_blocks
from server.bench.compare import compare
from server.bench.figures import percentile
from server.bench.knee import Row, Search, find_knee, row_of
from server.bench.load import Answer, arrivals, closed_loop, sequence, timed_loop
from server.bench.options import Options, compare_options, knee_options, pair_options
from server.bench.plots import draw
from server.bench.requests import Subject, choose_path, files_for, subject
from server.bench.target import Target, own_server, target

#: Steps that ``--seconds`` has room for: three up, four or five between the last good one and the first bad
#: one, and some for waiting between them.
_STEPS = 12
_LEAST_STEP_S = 0.2
#: The warm-up: so many requests or seconds of one client, whichever ends first, then as long of several, who
#: reach every device.
_WARM_REQUESTS, _WARM_S, _WARM_CLIENTS = 20, 1.0, 4
#: An answer that takes longer than so many budgets, and at least so long, is not waited for.
_PATIENCE, _LEAST_PATIENCE_S = 4.0, 5.0
#: How much of what one client gets alone is asked at first; and throughout of servers that are compared: most
#: requests then find a server idle, and a median is what a request takes, not how long it waits.
_FIRST_SHARE, _PAIR_SHARE = 0.5, 0.25
#: In a comparison the generator may be late by one unloaded latency: that is 5 % of so many.
_LATE_LATENCIES = 20.0


def run_bench(argv: Sequence[str]) -> int:
    """Run ``argv`` (behind ``bench``); returns the exit code. Raises ConfigError and OSError."""
    if argv and argv[0] == "compare":
        return _compare(argv[1:])
    return _pair(argv[1:]) if argv and argv[0] == "pair" else _knee(argv)


class Load:
    """What is asked of one server, and how long an answer is waited for."""

    def __init__(self, server: Target, asked: Subject, budget_ms: float) -> None:
        self._server, self._requests, self.budget_ms = server, server.requests(asked), budget_ms
        self._patience_s = max(_LEAST_PATIENCE_S, _PATIENCE * budget_ms / 1e3)

    def warm_up(self) -> float:
        """Send one request after the other; median latency in milliseconds. Raises ConfigError."""
        took, end = list[float](), time.monotonic() + _WARM_S
        for index in sequence(_WARM_REQUESTS, len(self._requests), seed=0):
            (answer,) = self._closed([index], 1)
            if answer.status != 200:
                said = answer.body[:300].decode(errors="replace")
                raise ConfigError(f"{self._server.url} answers {answer.status or 'nothing'}: {said}")
            took.append(1e3 * answer.latency_s)
            if time.monotonic() > end:
                break
        one_ms = percentile(took[len(took) // 4 :], 50)
        count = max(_WARM_CLIENTS, min(4 * _WARM_REQUESTS, round(1e3 * _WARM_S / one_ms)))
        self._closed(sequence(count, len(self._requests), seed=1), _WARM_CLIENTS)
        return one_ms

    def _closed(self, order: Sequence[int], clients: int) -> Sequence[Answer]:
        """Patiently: the first answers of a server may take long, models are compiled for new shapes."""
        host, port, tls = self._server.host, self._server.port, self._server.tls
        return closed_loop(host, port, self._requests, order, clients, tls).answers

    def step(self, rate: float, seconds: float, seed: int) -> Row:
        """Poisson arrivals of ``rate`` for ``seconds``, at least one; the same seed gives the same ones."""
        due = list(itertools.takewhile(lambda at: at < seconds, arrivals(rate, seed))) or [0.0]
        order = sequence(len(due), len(self._requests), seed)
        run = timed_loop(self._server.client(self._patience_s), self._requests, order, due, keep=False)
        return row_of(rate, seconds, run, self.budget_ms)


def _knee(argv: Sequence[str]) -> int:
    options = knee_options(argv)
    folder = options.out
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        url = options.urls[0] if options.urls else stack.enter_context(
            own_server(options.server, folder / "server.log")
        )  # fmt: skip
        server = target(url, options.headers, verify=bool(options.urls) and not options.insecure)
        asked = _asked(server, options)
        load = Load(server, asked, options.budget_ms)
        one_ms = load.warm_up()
        step_s = max(_LEAST_STEP_S, options.seconds / _STEPS)
        search = Search(options.rate or _FIRST_SHARE * 1e3 / one_ms, options.seconds, step_s)
        numbers = itertools.count(1)
        knee = find_knee(_shown(lambda rate, seconds: load.step(rate, seconds, next(numbers))), search)
    found = report.Report(
        url,
        _what(asked, options),
        report.this_machine(),
        report.now(),
        options.budget_ms,
        one_ms,
        search,
        knee,
    )
    _say(*words.lines(knee.rows), *words.knee_words(knee, options.budget_ms))
    _say(*(f"wrote {path}" for path in report.write(folder, found, _plots(found))))
    return 0


def _pair(argv: Sequence[str]) -> int:
    options = pair_options(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    servers = [target(url, options.headers, not options.insecure) for url in options.urls]
    asked = _asked(servers[0], options)
    one_ms, _ = (Load(server, asked, 1e3).warm_up() for server in servers)
    sides: tuple[Side, Side] = ("a", "b")
    loads = {
        side: Load(server, asked, _LATE_LATENCIES * one_ms)
        for side, server in zip(sides, servers, strict=True)
    }
    rate = options.rate or _PAIR_SHARE * 1e3 / one_ms

    def measure(side: Side, number: int) -> Row:
        return loads[side].step(rate, options.block_seconds, number)

    session = new_session()
    what = _what(asked, options) | {"rate": f"{rate:.4g} requests/s", "time": report.now()}
    for side, server, rows in zip(sides, servers, measure_in_turns(measure, options.blocks), strict=True):
        path = options.out / f"{side}.json"
        write_blocks(path, Blocks(session, server.url, what, rows))
        _say(f"wrote {path}")
    return 0


def _compare(argv: Sequence[str]) -> int:
    (a, b), threshold, metric = compare_options(argv)
    verdict = compare(read_blocks(a), read_blocks(b), threshold, metric)
    _say(*words.verdict_words(verdict, threshold))
    return int(verdict.slower or verdict.fails_more)


def _asked(server: Target, options: Options) -> Subject:
    path = choose_path([] if options.path else server.routes(), options.path)
    files, named = files_for(path, options.file, options.server)
    return subject(path, files, options.fields, named)


def _what(asked: Subject, options: Options) -> dict[str, str]:
    facts = {"route": asked.path, "files": asked.words, "further fields": str(options.fields or "none")}
    return facts | ({"server options": " ".join(options.server)} if options.server else {})


def _shown(measure: Callable[[float, float], Row]) -> Callable[[float, float], Row]:
    """``measure``, telling who waits what came of each step."""

    def step(rate: float, seconds: float) -> Row:
        row = measure(rate, seconds)
        sys.stderr.write(f"{rate:.4g} requests/s: {row.verdict}\n")
        return row

    return step


def _plots(found: report.Report) -> dict[str, bytes]:
    try:
        return draw(found)
    except ImportError:
        sys.stderr.write("no plots: python -m pip install 'paddle-pipeline-server[report]'\n")
        return {}


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")

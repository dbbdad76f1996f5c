"""Starts a real server on fake models, loads it over HTTP, and checks that nothing is left behind."""

import contextlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from kernels.segment import READY, Segment
from kernels.slots import FREE, Slots
from server.liveness import Policy
from server.memory import own_bytes
from server.metrics import Table
from tests.conditions import wait_for
from tests.fakes import RightAnswers, body, page
from tests.serve import Setup

ROOT = Path(__file__).resolve().parent.parent
#: Patient with a loaded machine, quick with what tests provoke.
POLICY = Policy(
    heartbeat_ns=1_500_000_000,
    stage_floor_ns=2_000_000_000,
    first_delay_ns=50_000_000,
    last_delay_ns=200_000_000,
)
START_LIMIT_S = 60.0
#: Full speed is back so soon after a death: a start takes about a second, several times that on a machine
#: with other work.
RECOVERY_S = 10.0
#: A frozen process is seen by ``/health/ready`` within this.
UNREADY_S = 2.0
#: How long a client waits for an answer, and for a client to end, before it counts as hung.
PATIENCE_S, JOIN_S = 30.0, 60.0
#: What a process may grow by although it keeps nothing: the allocator's own play.
GROWTH_BYTES = 3 << 20


class Server:
    """One running server. A context manager: leaving it stops the server and checks what is left.

    Attributes:
        process: the supervisor.
        port: where it listens; None for a Unix socket.
        segment, slots: its shared memory, mapped through ``/proc``.
    """

    def __init__(self, config, folder, policy=POLICY, stops=""):
        self.config, self.log_path = config, Path(folder) / "server.log"
        self.seen = set()
        self.expected_exit = 0
        self.setup_path, self._setup = Path(folder) / "setup.json", Setup(config, policy, str(stops))
        self.setup_path.write_bytes(msgspec.json.encode(self._setup))
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.serve", str(self.setup_path)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self.segment = self.port = None

    def __enter__(self):
        try:
            self.port = self._wait_for_url()
            self._attach()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.stop()
        finally:
            self._end()
            if kind is not None:
                print(self.log()[-8000:])

    # --- life

    def _wait_for_url(self):
        """Port from the ready line. Raises AssertionError when the server ends instead."""
        timer = threading.Timer(START_LIMIT_S, self.process.kill)
        timer.start()
        try:
            for line in self.process.stdout:
                if line.startswith(b"server ready: "):
                    port = line.strip().rpartition(b":")[2]
                    return int(port) if port.isdigit() else None
        finally:
            timer.cancel()
        raise AssertionError(f"no ready line:\n{self.log()[-4000:]}")

    def _attach(self):
        found = self._segments()
        assert found, "the supervisor holds no segment"
        self.segment = Segment.attach(os.open(found[0], os.O_RDWR))
        self.slots = Slots(self.segment)
        self._memory = os.fstat(self.segment.fd)[1:3]

    def reconfigure(self, config):
        """Put another configuration where the server reads it, and tell it to."""
        self.setup_path.write_bytes(msgspec.json.encode(msgspec.structs.replace(self._setup, config=config)))
        self.process.send_signal(signal.SIGHUP)

    def follow(self, config):
        """Wait until the new processes of ``config`` serve alone, and look at their memory from now on."""
        wait_for(lambda: "the new configuration serves" in self.log(), 30, "the new configuration serves")
        wait_for(lambda: len(self._segments()) == 1, 30, "the old processes have left")
        self.slots = None
        self.segment.close()
        self.config = config
        self._attach()

    def _segments(self):
        files = Path(f"/proc/{self.process.pid}/fd").iterdir()
        return [entry for entry in files if _link(entry).startswith("/memfd:segment")]

    def wait_exit(self, timeout=30.0):
        """Exit code of the server."""
        self.remember()
        return self.process.wait(timeout)

    def stop(self):
        """SIGTERM, unless it has ended; then everything that must hold after any server."""
        if self.process.poll() is None:
            self.remember()
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        assert code == self.expected_exit, f"exit code {code}:\n{self.log()[-4000:]}"
        self.check_gone()

    def check_gone(self):
        """No process that belonged to the server is left, and nobody maps or holds its memory."""
        wait_for(lambda: not [pid for pid in self.seen if psutil.pid_exists(pid)], what="processes are left")
        if self.segment is not None:
            holders = {pid for pid in psutil.pids() if pid != os.getpid() and self._memory in _files_of(pid)}
            assert not holders, f"processes {holders} still hold the segment"

    def _end(self):
        self.remember()
        for pid in (self.process.pid, *self.seen):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        self.process.stdout.close()
        if self.segment is not None:
            self.slots = None
            self.segment.close()

    # --- looking inside

    def log(self):
        return self.log_path.read_text(errors="replace")

    def remember(self):
        """Note all processes of the server; they have to be gone in the end."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.seen |= {child.pid for child in psutil.Process(self.process.pid).children(recursive=True)}

    def lanes(self, role):
        segment = self.segment
        if role == "worker":
            return [segment.worker(index) for index in range(segment.workers)]
        return [segment.device(index) for index in range(segment.devices)]

    def headers(self):
        """Of all slots."""
        return map(self.slots.header, range(self.segment.slots))

    def pids(self, role):
        """Of the processes of ``role`` that serve."""
        return [lane.pid for lane in self.lanes(role) if lane.state == READY]

    def all_ready(self):
        self.remember()
        want = {"worker": self.config.workers, "device": len(self.config.devices)}
        return all(len(self.pids(role)) == count for role, count in want.items())

    def wait_ready(self, timeout=RECOVERY_S):
        wait_for(self.all_ready, timeout, "all processes ready")

    def wait_unready(self):
        """Until it says that it is not ready; it has to within the time that is promised."""
        wait_for(lambda: not self.is_ready(), UNREADY_S, "not ready")

    def starts(self):
        """Processes started so far."""
        return max(lane.epoch for role in ("worker", "device") for lane in self.lanes(role))

    def counter(self, name):
        """Sum over all lanes."""
        index = Table.of(self.config).counters[name]
        return sum(lane.counters[index] for role in ("worker", "device") for lane in self.lanes(role))

    def gauge(self, name):
        """A gauge, over the processes that serve."""
        place = Table.of(self.config).gauges[name]
        return sum(lane.counters[place] for lane in self.lanes("worker") if lane.state == READY)

    def open_files(self):
        """Open fds per process role: supervisor, and the sorted counts of workers and devices."""
        counts = {role: sorted(map(_fd_count, self.pids(role))) for role in ("worker", "device")}
        return counts | {"supervisor": _fd_count(self.process.pid)}

    def settled_files(self):
        """:meth:`open_files` once connections that have just been closed are gone there too."""
        seen = []

        def settled():
            seen.append(self.open_files())
            return seen[-40:] == [seen[-1]] * 40

        wait_for(settled, what="files come and go")
        return seen[-1]

    def memory(self):
        """Memory of its own, per living process that serves, and of the supervisor."""
        pids = [self.process.pid, *self.pids("worker"), *self.pids("device")]
        return {pid: own_bytes(pid) for pid in pids}

    def check_memory(self, before):
        """No process that was there ``before`` has grown; those that have come since are new."""
        now = self.memory()
        grown = {pid: now[pid] - before[pid] for pid in now.keys() & before.keys()}
        assert self.process.pid in grown, "the supervisor is another one"
        assert max(grown.values()) <= GROWTH_BYTES, f"memory has grown: {grown}"

    def check_calm(self, files_before):
        """Everybody is back, every slot is free, nobody holds more files than before, no wake-up was lost."""
        self.wait_ready()
        wait_for(lambda: self.slots.count(FREE) == self.segment.slots, what="slots are still taken")
        wait_for(lambda: self.open_files() == files_before, what=f"{self.open_files()} != {files_before}")
        assert self.counter("device_missed_wakeups") == 0
        assert self.counter("worker_missed_wakeups") == 0

    # --- talking to it

    def connect(self, timeout=PATIENCE_S):
        """A connection; to a server with TLS one that takes any certificate."""
        if self.config.access.tls_cert:
            context = ssl._create_unverified_context()
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def is_ready(self):
        """What ``/health/ready`` says, over a connection of its own."""
        with contextlib.closing(self.connect()) as connection:
            connection.request("GET", "/health/ready")
            response = connection.getresponse()
            response.read()
            return response.status == 200

    def post(self, content, path="/ocr", headers=None, timeout=30.0):
        """(status, body as object) over a connection of its own."""
        with contextlib.closing(self.connect(timeout)) as connection:
            return exchange(connection, content, path, headers)


def exchange(connection, content, path="/ocr", headers=None):
    """(status, body as object) of one POST."""
    head = {"Content-Type": "application/json"} | (headers or {})
    connection.request("POST", path, content, head)
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def texts_of(answer):
    """``rec_texts`` of every page of a 3.x answer."""
    return [found["prunedResult"]["rec_texts"] for found in answer["result"]["ocrResults"]]


def _files_of(pid):
    """(inode, device) of every open file and mapping of a process."""
    found = set()
    for folder in ("fd", "map_files"):
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/{folder}").iterdir():
                with contextlib.suppress(OSError):
                    found.add(entry.stat()[1:3])
    return found


def _link(entry):
    with contextlib.suppress(OSError):
        return str(entry.readlink())
    return ""


def _fd_count(pid):
    with contextlib.suppress(OSError):
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return -1


class Fault(NamedTuple):
    """A request that was not answered with 200: when it was sent (monotonic s), and what came instead."""

    sent: float
    what: object


class Load:
    """Clients in a closed loop. Each has its own pages and checks every answer against the right one.

    Args:
        server: where to.
        clients, lines, pages_each: how many, and what their pages are like.
        patience_s: how long a client waits for an answer; a request that takes longer hangs.
        retry: a connection that was used before and closes without a byte of an answer is opened again
            once, as every HTTP client does: the server may close idle connections at any time.

    Attributes:
        good: answers that were right.
        faults: a :class:`Fault` for everything else: (HTTP status, message), or the exception.
        wrong: answers that were not right, or not to the request that was sent.
    """

    def __init__(self, server, clients=6, lines=3, pages_each=2, retry=False, patience_s=PATIENCE_S):
        right = RightAnswers(server.config)
        self.good, self.faults, self.wrong = 0, [], []
        self._server, self._retry, self._patience_s = server, retry, patience_s
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = []
        for client in range(clients):
            pages = [page(100 * client + number, lines) for number in range(pages_each)]
            work = [(image, right.texts(image)) for image in pages]
            self._threads.append(threading.Thread(target=self._run, args=[client, work]))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        wait_for(lambda: self.good >= len(self._threads), what=f"load is running: {self.faults[:3]}")
        return self

    def __exit__(self, *exc_info):
        self._stop.set()
        for thread in self._threads:
            thread.join(JOIN_S)
        assert not any(thread.is_alive() for thread in self._threads), "a client hangs"

    def stop(self):
        """Send nothing more; what is on its way is waited for at the end."""
        self._stop.set()

    def wait_more(self, count, timeout=30.0):
        """Until ``count`` more right answers have come."""
        target = self.good + count
        wait_for(lambda: self.good >= target, timeout, f"{count} more answers: {self.faults[-3:]}")

    def _run(self, client, work):
        connection, number, fresh = self._server.connect(self._patience_s), 0, True
        while not self._stop.is_set():
            image, texts = work[number % len(work)]
            log_id, sent = f"client-{client}-{number}", time.monotonic()
            try:
                status, answer = exchange(connection, body(image, log_id))
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                if not (self._retry and not fresh and isinstance(error, ConnectionError)):
                    self._note(sent, error)
                    time.sleep(0.05)  # do not hammer a server that is gone
                    number += 1
                connection, fresh = self._server.connect(self._patience_s), True
                continue
            number, fresh = number + 1, False
            if status != 200:
                self._note(sent, (status, answer.get("errorMsg")))
            elif answer["logId"] != log_id or texts_of(answer) != [texts]:
                with self._lock:
                    self.wrong.append((log_id, texts, answer))
            else:
                with self._lock:
                    self.good += 1
        connection.close()

    def _note(self, sent, what):
        with self._lock:
            self.faults.append(Fault(sent, what))

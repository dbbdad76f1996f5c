"""CPU of the worker per request, with devices that do nothing; and image decoding against simplejpeg alone.

One real worker process serves ``/ocr`` on one connection; a second process stands in for the device
and answers every slot at once with an empty page. Rows:

- ``request``: HTTP, JSON, base64, hash, slot, rings and answer. The body is as long as that of the JPEG,
  but holds an image of one pixel and padding, so that decoding costs nothing.
- ``whole``: the JPEG itself, decoding included.
- ``decode``: the JPEG into a slot, as the worker does it, against ``simplejpeg.decode_jpeg`` into a buffer.

Run: ``python -m benchmarks.bench_http``.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
import simplejpeg

from benchmarks import common
from benchmarks.process import cpu_s
from kernels.segment import READY, Segment
from kernels.slots import Slots
from pipelines.core.config import PipelineConfig, ServingOptions
from pipelines.core.ocr_api import OcrPage
from server import wire
from server.child import enter
from server.config import Boot, Config, DeviceConfig, Limits, boot_memfd
from server.headers import read_header
from server.images import decode_into, shape_of
from server.intake import Intake
from server.launch import child_command
from server.metrics import Metrics, Table
from server.outbox import Outbox
from server.sizes import slot_classes

#: Targets of the project for this benchmark, checked by ``--check``.
TARGET_REQUEST_MS = 1.5
TARGET_DECODE_RATIO = 1.1


#: A PNG of one pixel.
ONE_PIXEL = cv2.imencode(".png", np.zeros((1, 1, 3), np.uint8))[1].tobytes()


def body_of(data: bytes) -> bytes:
    """A 3.x request for one image."""
    return json.dumps({"file": base64.b64encode(data).decode(), "fileType": 1}).encode()


def photo(width: int, height: int, quality: int = 90) -> bytes:
    """A JPEG with the detail of a photograph, from a seed: smooth shapes and fine grain."""
    random = np.random.default_rng(7)
    coarse = cv2.resize(
        random.integers(0, 256, (24, 32, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    grain = random.normal(0, 6, (height, width, 3))
    image = np.clip(coarse + grain, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


# --- the device that does nothing ---------------------------------------------------------------------


def be_device(argv: list[str]) -> int:
    """Answer every slot with an empty page until killed."""
    boot, segment, lane = enter(argv)
    slots, metrics = Slots(segment), Metrics(Table.of(boot.config), lane.counters)
    intake = Intake(segment, slots, lane, boot.device_events[lane.index], metrics)
    outbox = Outbox(segment, slots, lane, boot.worker_events, metrics)
    empty = OcrPage(-1, np.empty((0, 4, 2), np.int16), [], [], [], [])
    lane.state = READY
    while True:
        intake.collect()
        claim = intake.claim(busy=False)
        if claim is None:
            intake.sleep()
            continue
        request = wire.read_request(slots.data(claim.slot), claim.header.request_bytes)
        outbox.send(claim, request.shape, empty)


# --- the worker under test ----------------------------------------------------------------------------


class Rig:
    """A segment, one worker, one device. A context manager: leaving it ends both."""

    def __init__(self) -> None:
        pipeline = PipelineConfig(
            name="ocr",
            title="OCR",
            generation="v3",
            options={"use_doc_preprocessor": False, "use_textline_orientation": False},
            models={},
            engines={},
            serving=ServingOptions(visualize=False),
        )
        self.config = Config(
            pipelines=(pipeline,), devices=(DeviceConfig(),), host="127.0.0.1", log_level="warning"
        )
        self.segment = Segment.create(1, 1, slot_classes(Limits()))
        self.listen = socket.create_server(("127.0.0.1", 0))
        self.events = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2)]
        self.device = self._start("device", [*child_command("benchmarks.bench_http"), "--device"], 1)
        self.worker = self._start("worker", child_command("server.worker"), 2)

    def _start(self, role: str, command: list[str], epoch: int) -> subprocess.Popen[bytes]:
        boot = Boot(
            role=role,  # type: ignore[arg-type]
            index=0,
            epoch=epoch,
            ordinal=0,
            parent_pid=os.getpid(),
            segment_fd=self.segment.fd,
            listen_fd=self.listen.fileno() if role == "worker" else -1,
            worker_events=(self.events[0],),
            device_events=(self.events[1],),
            config=self.config,
        )
        fd = boot_memfd(boot)
        environment = os.environ | {"PYTHONPATH": str(common.ROOT)}
        passed = [fd, self.segment.fd, *self.events, *([self.listen.fileno()] if role == "worker" else [])]
        process = subprocess.Popen(
            [*command, "--index", "0", "--boot-fd", str(fd)], pass_fds=passed, env=environment
        )
        os.close(fd)
        lane = self.segment.worker(0) if role == "worker" else self.segment.device(0)
        lane.incarnate(process.pid, epoch)
        give_up = time.monotonic() + 30
        while lane.state != READY:
            if process.poll() is not None or time.monotonic() > give_up:
                raise SystemExit(f"the {role} did not start")
            time.sleep(0.01)
        return process

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in (self.worker, self.device):
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.listen.close()
        for fd in self.events:
            os.close(fd)
        self.segment.close()

    def requests(self, body: bytes, count: int) -> list[float]:
        """Seconds of each of ``count`` requests, one after another on one connection."""
        head = "POST /ocr HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
        message, took = f"{head}{len(body)}\r\n\r\n".encode() + body, []
        with socket.create_connection(self.listen.getsockname()) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(count):
                started = time.perf_counter()
                client.sendall(message)
                answer = client.recv(65536)
                took.append(time.perf_counter() - started)
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise SystemExit(answer[:500])
        return took

    def cpu_ms(self, body: bytes, count: int) -> tuple[float, float]:
        """CPU milliseconds of worker and device per request; the best of ten parts, against neighbours."""
        self.requests(body, 100)
        found = []
        for _ in range(10):
            before = cpu_s(self.worker.pid), cpu_s(self.device.pid)
            self.requests(body, count // 10)
            after = cpu_s(self.worker.pid), cpu_s(self.device.pid)
            found.append(tuple(1000 * (b - a) / (count // 10) for a, b in zip(before, after, strict=True)))
        return min(found, key=sum)


# --- rows -----------------------------------------------------------------------------------------------


def decode_times(jpeg: bytes) -> dict[str, float]:
    """Seconds of CPU per decode: ours into a slot-like buffer, simplejpeg alone into the same buffer."""
    header = read_header(jpeg)
    view = memoryview(bytearray(wire.META + shape_of(header).nbytes))
    target = wire.pixels(view, shape_of(header))

    def ours() -> None:
        decode_into(view, jpeg, read_header(jpeg), "reject")

    def alone() -> None:
        simplejpeg.decode_jpeg(jpeg, colorspace="BGR", buffer=target)

    def cpu_of(work: Callable[[], None]) -> float:
        started = time.thread_time()
        for _ in range(10):
            work()
        return (time.thread_time() - started) / 10

    ours()
    if not np.array_equal(target, cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)):
        raise SystemExit("the decoded picture differs from OpenCV's")
    # In turns, so that both meet the same disturbances; medians of pairs.
    pairs = [(cpu_of(ours), cpu_of(alone)) for _ in range(15)]
    return {
        "ours": common.percentile([pair[0] for pair in pairs], 50),
        "alone": common.percentile([pair[1] for pair in pairs], 50),
        "ratio": common.percentile([pair[0] / pair[1] for pair in pairs], 50),
    }


def main(argv: list[str]) -> int:
    if argv[:1] == ["--device"]:
        return be_device(argv[1:])
    parser = common.parser(__doc__)
    parser.add_argument("-n", "--requests", type=int, default=2000, help="measured requests per size")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    options = parser.parse_args(argv)
    count = 100 if options.quick else options.requests
    rows, missed = [], []
    with Rig() as rig:
        for name, (width, height) in {"1 MP": (1152, 864), "0.3 MP": (640, 480)}.items():
            jpeg = photo(width, height)
            body = body_of(jpeg)
            request = rig.cpu_ms(body_of(ONE_PIXEL.ljust(len(jpeg), b"\0")), count)
            whole = rig.cpu_ms(body, count)
            took = rig.requests(body, count)
            decode = decode_times(jpeg)
            row = {
                "image": name,
                "body_kb": len(body) / 1000,
                "request_cpu_ms": sum(request),
                "of_that_device_ms": request[1],
                "whole_cpu_ms": sum(whole),
                "decode_ms": 1000 * decode["ours"],
                "simplejpeg_ms": 1000 * decode["alone"],
                "decode_ratio": decode["ratio"],
                "wall_p50_ms": 1000 * common.percentile(took, 50),
                "wall_p99_ms": 1000 * common.percentile(took, 99),
            }
            rows.append(row)
            if name == "1 MP" and sum(request) > TARGET_REQUEST_MS:
                missed.append(f"{sum(request):.2f} ms CPU a request")
            if row["decode_ratio"] > TARGET_DECODE_RATIO:
                missed.append(f"decode {row['decode_ratio']:.2f} x simplejpeg on {name}")
    print(common.table(list(rows[0]), [list(row.values()) for row in rows]))
    common.report("http", rows, options=vars(options), path=options.json)
    if missed:
        print("missed: " + ", ".join(missed))
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

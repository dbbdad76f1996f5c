"""A trace collector in a process of its own: takes OTLP over HTTP and says what it got.

``python -m tests.collector`` prints its port. ``POST /v1/traces`` takes protobuf, ``GET /`` gives the spans.
"""

import contextlib
import json
import subprocess
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Collector:
    """A running collector. A context manager.

    Attributes:
        endpoint: its URL.
    """

    def __enter__(self):
        command = [sys.executable, "-m", "tests.collector"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.endpoint = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *exc_info):
        self.kill()
        self._process.stdout.close()

    def kill(self):
        self._process.kill()
        self._process.wait(20)

    def spans(self):
        """All spans so far: dictionaries with the resource's attributes as ``resource``."""
        with urllib.request.urlopen(self.endpoint, timeout=20) as answer:
            return json.load(answer)


class Handler(BaseHTTPRequestHandler):
    spans = []

    def do_POST(self):
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        content = self.rfile.read(int(self.headers["Content-Length"]))
        fine = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
        if fine:
            for group in ExportTraceServiceRequest.FromString(content).resource_spans:
                resource = _attributes(group.resource)
                found = (span for scope in group.scope_spans for span in scope.spans)
                self.spans.extend(_plain(span, resource) for span in found)
        self._answer(200 if fine else 400, b"")

    def do_GET(self):
        self._answer(200, json.dumps(self.spans).encode())

    def _answer(self, status, content):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        return


def _plain(span, resource):
    return {
        "resource": resource,
        "name": span.name,
        "trace": span.trace_id.hex(),
        "id": span.span_id.hex(),
        "parent": span.parent_span_id.hex(),
        "kind": span.kind,
        "status": span.status.code,
        "start_ns": span.start_time_unix_nano,
        "end_ns": span.end_time_unix_nano,
        "attributes": _attributes(span),
    }


def _attributes(thing):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in thing.attributes}


def main():
    server = HTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()

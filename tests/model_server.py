"""A hub on loopback that does what a test tells it, and remembers what it was asked."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """``files`` maps a path to bytes; ``faults`` maps a path to a list of faults, one per request.

    Faults: an integer is answered as a status; ``("cut", n)`` sends n bytes of what is left and hangs up;
    ``("stall", n)`` sends n bytes and then nothing until the hub closes.
    """

    def __init__(self, weak=False):
        self.files, self.faults, self.asked = {}, {}, []
        self.tag = 'W/"1"' if weak else '"1"'
        self._closing = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub.answer(self)

            def do_HEAD(self):
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, handler):
        path, wanted = handler.path, handler.headers.get("Range")
        self.asked.append((path, wanted))
        fault = self.faults[path].pop(0) if self.faults.get(path) else None
        body = self.files.get(path)
        if isinstance(fault, int) or body is None:
            handler.send_response(fault if isinstance(fault, int) else 404)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        start = 0
        if wanted and handler.headers.get("If-Range") == self.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body) - start))
        handler.send_header("ETag", self.tag)
        handler.end_headers()
        if fault is None:
            handler.wfile.write(body[start:])
            return
        kind, count = fault
        handler.wfile.write(body[start : start + count])
        handler.wfile.flush()
        if kind == "stall":
            self._closing.wait()
        handler.close_connection = True

    def close(self):
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

"""A web server that plays whoever files are fetched from, friendly or hostile."""

import contextlib
import http.server
import ssl
import threading


class FileHost(contextlib.AbstractContextManager):
    """Serves ``files`` (path to (content type, content)) on 127.0.0.1, over TLS with ``cert`` = (chain, key).

    ``/slow`` never answers, ``/drip`` sends a byte now and then, ``/endless`` sends without end, ``/cut``
    breaks off, ``/to?URL`` redirects. ``moves`` maps further paths to where they redirect.

    Attributes:
        seen: (path, Host header) of every request.
    """

    def __init__(self, files, cert=None):
        self.seen, self.moves, self._over = [], {}, threading.Event()
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                host.seen.append((self.path, self.headers["Host"]))
                self.close_connection = True
                with contextlib.suppress(OSError):
                    host._answer(self, files)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None
        self.port = self._server.server_address[1]
        if cert:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*cert)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def _answer(self, request, files):
        path = request.path
        if path in self.moves or path.startswith("/to?"):
            request.send_response(302)
            request.send_header("Location", self.moves.get(path) or path.partition("?")[2])
            request.send_header("Content-Length", "0")
            request.end_headers()
        elif path == "/slow":
            self._over.wait(30)
        elif path in {"/drip", "/endless", "/cut"}:
            request.send_response(200)
            request.send_header("Content-Type", "image/png")
            if path == "/cut":
                request.send_header("Content-Length", "1000")
            request.end_headers()
            request.wfile.write(b"x")
            while path != "/cut" and not self._over.is_set():
                request.wfile.write(b"x" * (1 if path == "/drip" else 65536))
                self._over.wait(0.05 if path == "/drip" else 0)
        elif path in files:
            kind, content, *more = files[path]
            request.send_response(200)
            if kind:
                request.send_header("Content-Type", kind)
            for line in more:
                request.send_header(*line)
            if not any(name == "Content-Length" for name, _ in more):
                request.send_header("Content-Length", str(len(content)))
            request.end_headers()
            request.wfile.write(content)
        else:
            request.send_error(404)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

"""The server that is measured: one somewhere, or one that is started for it."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import orjson

from pipelines.core.errors import ConfigError
from server.bench.load import Client, request_bytes
from server.bench.requests import Subject
from server.launch import child_command

_READY = b"server ready: "
#: What a server that is started gets besides the user's options: a port that nobody else asks.
_PRIVATE = ("--host", "127.0.0.1", "--port", "0", "--drain_grace_ms", "0")
_STOP_S = 30.0


class Target(NamedTuple):
    """Where requests go.

    Attributes:
        url: as it was given.
        host, port: of the server.
        tls: settings of HTTPS, or None.
        prefix: in front of every route, of a server behind a proxy.
        headers: sent with every request.
    """

    url: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    prefix: str
    headers: Mapping[str, str]

    def requests(self, subject: Subject) -> list[bytes]:
        """Whole requests, ready to be sent."""
        lines = [f"{name}: {value}" for name, value in self.headers.items()]
        path = self.prefix + subject.path
        return [request_bytes(self.host, self.port, path, body, headers=lines) for body in subject.bodies]

    def client(self, timeout_s: float) -> Client:
        """A client of the load generator."""
        return Client(self.host, self.port, self.tls, timeout_s)

    def routes(self) -> list[str]:
        """Its routes by its API document; none where it has none. Raises ConfigError without an answer."""
        request = urllib.request.Request(f"{self.url}/openapi.json", headers=dict(self.headers))  # noqa: S310
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.tls)
        )
        try:
            with opener.open(request, timeout=10) as answer:
                return list(orjson.loads(answer.read())["paths"])
        except urllib.error.HTTPError:
            return []
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"{self.url} cannot be asked for its routes: {error}") from error


def target(url: str, headers: Sequence[str] = (), verify: bool = True) -> Target:
    """A server by its URL. Raises ConfigError.

    Args:
        url: ``http://host:port``, or ``https://``.
        headers: ``Name: value`` each.
        verify: whether the certificate of HTTPS has to be good.
    """
    try:
        parts = urlsplit(url.rstrip("/"))
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError as error:
        raise ConfigError(f"--url {url!r}: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        raise ConfigError(f"--url {url!r}: write http://host:port or https://host:port")
    named = dict[str, str]()
    for line in headers:
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or not line.isprintable():
            raise ConfigError(f"--header {line!r}: write Name: value")
        named[name.strip()] = value.strip()
    tls = None
    if parts.scheme == "https":
        tls = ssl.create_default_context()
        if not verify:
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    return Target(url.rstrip("/"), parts.hostname, port, tls, parts.path, named)


@contextlib.contextmanager
def own_server(options: Sequence[str], log: Path) -> Iterator[str]:
    """Serve with ``options`` as long as it is needed, what it says going to ``log``; gives its URL.

    Raises ConfigError when it does not start.
    """
    command = [*child_command("server"), *options, *_PRIVATE]
    with (
        log.open("wb") as sink,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=sink) as server,
    ):
        try:
            yield _ready(server, log)
        finally:
            if server.poll() is None:
                server.send_signal(signal.SIGTERM)
            try:
                server.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()  # its processes end with it


def _ready(server: subprocess.Popen[bytes], log: Path) -> str:
    assert server.stdout is not None  # noqa: S101 - it is a pipe
    for line in server.stdout:
        if line.startswith(_READY):
            return os.fsdecode(line.removeprefix(_READY).strip())
    said = log.read_text(errors="replace").strip().splitlines()
    raise ConfigError(f"the server does not start: {said[-1] if said else f'exit code {server.wait()}'}")

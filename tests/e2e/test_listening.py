"""HTTPS whose certificate is renewed under way, and a Unix socket."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import ssl
import stat
from pathlib import Path

import msgspec
import pytest

from pipelines.core.errors import ConfigError
from server.config import Access, Limits
from server.tls import Certificate
from server.unix_socket import bind_unix, removed_at_the_end
from tests.conditions import wait_for
from tests.fakes import RightAnswers, body, fake_config, page
from tests.harness import Server, exchange, texts_of

TLS = Path(__file__).resolve().parents[1] / "cases" / "tls"
PAGE = page(4)


def put(folder, name, what=("crt", "key")):
    """Install certificate ``name`` as an operator's tool does: each file replaced in one step."""
    for end in what:
        shutil.copy(TLS / f"{name}.{end}", folder / "new")
        (folder / "new").replace(folder / f"server.{end}")
    return str(folder / "server.crt"), str(folder / "server.key")


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secure")
    cert, key = put(folder, "one")
    config = fake_config(folder / "models", workers=2, limits=Limits(body_timeout_ms=1500))
    config = msgspec.structs.replace(config, access=Access(tls_cert=cert, tls_key=key))
    with Server(config, folder) as running:
        running.wait_ready()
        yield running, folder


def handshake(server, version=None):
    """DER of the certificate that a new connection is shown."""
    context = ssl._create_unverified_context()
    if version:
        context.maximum_version = version
    plain = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    with contextlib.closing(plain), context.wrap_socket(plain) as wrapped:
        return wrapped.getpeercert(binary_form=True)


def der(name):
    return ssl.PEM_cert_to_DER_cert((TLS / f"{name}.crt").read_text())


def test_https_is_answered_and_verified(secure):
    server, _ = secure
    context = ssl.create_default_context(cafile=TLS / "one.crt")
    connection = http.client.HTTPSConnection("localhost", server.port, timeout=30, context=context)
    connection.sock = context.wrap_socket(
        socket.create_connection(("127.0.0.1", server.port)), server_hostname="localhost"
    )
    with contextlib.closing(connection):
        status, answer = exchange(connection, body(PAGE))
    assert (status, texts_of(answer)) == (200, [RightAnswers(server.config).texts(PAGE)])


def test_a_renewed_certificate_is_used_and_no_connection_is_dropped(secure):
    server, folder = secure
    starts = server.starts()
    with contextlib.closing(server.connect()) as connection:
        assert exchange(connection, body(PAGE))[0] == 200
        put(folder, "two", ["crt"])  # the key has not come yet: the old pair stays
        wait_for(lambda: server.log().count("stays as it was") == 2)
        assert handshake(server) == der("one")
        put(folder, "two", ["key"])
        wait_for(lambda: server.log().count("new TLS certificate") == 2)
        assert {handshake(server) for _ in range(8)} == {der("two")}
        assert exchange(connection, body(PAGE))[0] == 200, "the old connection goes on"
    assert server.starts() == starts


def test_sighup_with_a_new_certificate_loses_no_request(secure):
    server, folder = secure
    put(folder, "one")
    starts = server.starts()
    server.remember()
    os.kill(server.process.pid, signal.SIGHUP)
    count = 0
    while server.starts() < starts + 4 or not server.all_ready():
        assert server.post(body(PAGE))[0] == 200
        count += 1
    assert count > 0
    assert handshake(server) == der("one")


def test_handshakes_that_have_begun_before_sighup_are_finished_after_it(tmp_path):
    cert, key = put(tmp_path, "one")
    config = fake_config(
        tmp_path / "models", workers=2, config={"access": Access(tls_cert=cert, tls_key=key)}
    )
    context = ssl._create_unverified_context()
    with Server(config, tmp_path) as server, contextlib.ExitStack() as stack:
        server.wait_ready()
        starts = server.starts()
        address = ("127.0.0.1", server.port)
        plain = [stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(8)]
        assert handshake(server) == der("one")  # a worker takes connections in turn: those before it as well
        os.kill(server.process.pid, signal.SIGHUP)
        # Two devices, then one worker after another: as its successor is there, the first is told to leave.
        wait_for(lambda: server.starts() >= starts + 3 and server.log().count("worker-2 ready") == 1)
        for each in plain:
            connection = http.client.HTTPSConnection(*address, timeout=10)
            with contextlib.closing(connection), context.wrap_socket(each) as connection.sock:
                assert exchange(connection, body(PAGE))[0] == 200


def test_what_is_no_tls_is_shut_out(secure):
    server, _ = secure
    with contextlib.closing(socket.create_connection(("127.0.0.1", server.port), timeout=10)) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert not client.recv(4096).startswith(b"HTTP")
    silent = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    with contextlib.closing(silent), contextlib.suppress(ConnectionResetError):
        assert silent.recv(4096) == b"", "a handshake that never begins ends in time"
    with pytest.warns(DeprecationWarning), pytest.raises((ssl.SSLError, ConnectionResetError)):
        handshake(server, ssl.TLSVersion.TLSv1_1)
    assert server.post(body(PAGE))[0] == 200


@pytest.mark.parametrize(
    ("cert", "key"),
    [("one.crt", "two.key"), ("one.key", "one.key"), ("none", "one.key"), ("one.crt", "none")],
)
def test_a_pair_that_does_not_fit_is_one_line(cert, key):
    with pytest.raises(ConfigError, match="cannot use the TLS certificate in"):
        Certificate(str(TLS / cert), str(TLS / key))


# --- Unix socket


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def test_a_server_on_a_unix_socket(tmp_path):
    path = tmp_path / "s"
    config = fake_config(tmp_path / "models")
    access = Access(unix_socket=str(path), unix_socket_mode=0o600)
    with Server(msgspec.structs.replace(config, access=access), tmp_path) as server:
        assert server.port is None
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with contextlib.closing(UnixConnection(path)) as connection:
            for _ in range(2):
                status, answer = exchange(connection, body(PAGE))
                assert (status, texts_of(answer)) == (200, [RightAnswers(config).texts(PAGE)])
        with contextlib.closing(UnixConnection(path)) as connection:  # half closed clients work there too
            connection.connect()
            connection.sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            connection.sock.shutdown(socket.SHUT_WR)
            assert connection.sock.recv(15) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_its_mode_is_what_was_asked_for(tmp_path, mode):
    before = os.umask(0o027)
    try:
        with bind_unix(str(tmp_path / "s"), mode):
            assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == mode
        assert os.umask(0o027) == 0o027, "the umask is put back"
    finally:
        os.umask(before)


def test_what_a_killed_server_left_is_replaced_and_a_living_one_is_not(tmp_path):
    path = str(tmp_path / "s")
    bind_unix(path, 0o600).close()
    with bind_unix(path, 0o600) as listen:
        listen.listen()
        with pytest.raises(ConfigError, match="a server answers there"):
            bind_unix(path, 0o600)
    (tmp_path / "f").write_text("data")
    with pytest.raises(ConfigError, match="it is no socket"):
        bind_unix(str(tmp_path / "f"), 0o600)
    for bad in (tmp_path / "no" / "s", tmp_path / ("x" * 200)):
        with pytest.raises(ConfigError, match="cannot listen on"):
            bind_unix(str(bad), 0o600)


def test_the_file_is_removed_unless_it_is_anothers(tmp_path):
    path = str(tmp_path / "s")
    with bind_unix(path, 0o600), removed_at_the_end(path):
        pass
    assert not Path(path).exists()
    with bind_unix(path, 0o600), removed_at_the_end(path):
        Path(path).rename(tmp_path / "old")
        other = bind_unix(path, 0o600)
    with other:
        assert Path(path).exists()
    with removed_at_the_end(""):
        pass

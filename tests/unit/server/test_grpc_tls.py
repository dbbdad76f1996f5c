"""TLS of the gRPC port, in this process: the operator's certificate, and a new one without a new start."""

import asyncio
import shutil
import socket
import ssl
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from benchmarks.process import free_port
from pipelines.core.errors import ConfigError
from server.config import Access, Config
from server.decode import Endpoint
from server.grpc_schema import SERVICE, message
from server.grpc_server import GrpcServer
from server.grpc_tls import Pair
from tests.unit.server.test_decode import CONFIG
from tests.unit.server.test_uploads import Both

TLS = Path(__file__).resolve().parents[2] / "cases" / "tls"


def put(folder, cert, key):
    """Where a certificate and a key are."""
    for end, name in (("crt", cert), ("key", key)):
        shutil.copy(TLS / f"{name}.{end}", folder / "new")
        (folder / "new").replace(folder / f"server.{end}")
    return str(folder / "server.crt"), str(folder / "server.key")


def der(name):
    return ssl.PEM_cert_to_DER_cert((TLS / f"{name}.crt").read_text())


def handshake(port):
    """DER of the certificate that a new connection is shown."""
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain) as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True)


async def is_live(port):
    roots = grpc.ssl_channel_credentials((TLS / "one.crt").read_bytes())
    async with grpc.aio.secure_channel(f"localhost:{port}", roots) as channel:
        answer = await channel.unary_unary(f"/{SERVICE}/ServerLive")(b"", timeout=10)
    return message("ServerLiveResponse").FromString(answer).live


def test_a_new_certificate_is_shown_and_a_broken_one_changes_nothing(tmp_path):
    cert, key = put(tmp_path, "one", "one")
    access = Access(tls_cert=cert, tls_key=key)
    config = Config(pipelines=(), devices=(), host="127.0.0.1", grpc_port=free_port(), access=access, port=0)
    routes = SimpleNamespace(endpoints={"/both": Endpoint(Both, CONFIG, (0, 0), "v3")}, unready=list)

    async def run():
        server = GrpcServer(config, None, None, routes, str, None)
        await server.start()
        try:
            assert await is_live(config.grpc_port)
            shown = [await asyncio.to_thread(handshake, config.grpc_port)]
            for pair in (("two", "one"), ("two", "two")):
                put(tmp_path, *pair)
                shown.append(await asyncio.to_thread(handshake, config.grpc_port))
        finally:
            assert await server.stop(5) == 0
        return shown

    assert asyncio.run(run()) == [der("one"), der("one"), der("two")]


def test_a_pair_that_does_not_belong_together_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="TLS certificate"):
        Pair(*put(tmp_path, "one", "two"))
    with pytest.raises(ConfigError):
        Pair(str(tmp_path / "none.crt"), str(tmp_path / "none.key"))

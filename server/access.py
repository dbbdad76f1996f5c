"""Options of who may ask: reading and checking them, and the command that makes an API key."""

from __future__ import annotations

import argparse
import ipaddress
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.core.addresses import host_and_port
from pipelines.core.errors import ConfigError
from server.config import Access
from server.keys import KeyFile, append_key, new_key
from server.tls import Certificate

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The group of options that :func:`read_access` reads."""
    group = parser.add_argument_group("who may ask")
    group.add_argument(
        "--api_keys", metavar="FILE", default="",
        help="only who has a key of this file, with its limits; read again when it changes "
        "(make one: python -m server keys new NAME --api_keys FILE)",
    )  # fmt: skip
    group.add_argument(
        "--tls_cert", metavar="PEM", default="", help="HTTPS with this chain; read again when it changes"
    )
    group.add_argument("--tls_key", metavar="PEM", default="", help="its private key, without a password")
    group.add_argument(
        "--cors_origins", metavar="ORIGINS", default="",
        help="pages of these origins may ask from browsers: https://a.example,https://b.example or *",
    )  # fmt: skip
    group.add_argument(
        "--unix_socket", metavar="PATH", default="", help="listen there in place of host and port"
    )
    group.add_argument(
        "--unix_socket_mode", metavar="OCTAL", default="660",
        help="its permission bits, and those of --memfd_socket (default: 660)",
    )  # fmt: skip
    group.add_argument(
        "--memfd_socket", metavar="PATH", default="",
        help="listen there too, for programs of this machine that share files and pixels as sealed memfds "
        "(docs/doors.md; default: none)",
    )  # fmt: skip
    group.add_argument(
        "--memfd_uids", metavar="UIDS", default="",
        help="users who may do so beside the server's own and root: 1000,1001 (default: none)",
    )  # fmt: skip
    group.add_argument(
        "--allow_url_hosts", metavar="HOSTS", default="",
        help="files may be named by URL on these hosts: files.example,10.0.0.7:9000 (default: none)",
    )  # fmt: skip
    group.add_argument(
        "--allow_url_networks", metavar="NETWORKS", default="",
        help="networks of such hosts that are not public: 10.0.0.0/8 (default: none)",
    )  # fmt: skip


def read_access(args: argparse.Namespace) -> Access:
    """Check the options, and that the files they name can be used. Raises ConfigError."""
    if bool(args.tls_cert) != bool(args.tls_key):
        raise ConfigError("--tls_cert and --tls_key go together")
    if not re.fullmatch(r"0?[0-7]{3}", args.unix_socket_mode):
        raise ConfigError("--unix_socket_mode is three octal digits, such as 660")
    access = Access(
        api_keys=_absolute(args.api_keys),
        tls_cert=_absolute(args.tls_cert),
        tls_key=_absolute(args.tls_key),
        cors_origins=_split(args.cors_origins),
        unix_socket=_absolute(args.unix_socket),
        unix_socket_mode=int(args.unix_socket_mode, 8),
        memfd_socket=_absolute(args.memfd_socket),
        memfd_uids=_uids(args.memfd_uids),
        url_hosts=tuple(host.lower() for host in _split(args.allow_url_hosts)),
        url_networks=_split(args.allow_url_networks),
    )
    _check_memfd(access)
    for origin in access.cors_origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ConfigError(f"{origin!r} is no origin; write https://host or https://host:port")
    for host in access.url_hosts:
        if host_and_port(host) is None:
            raise ConfigError(f"--allow_url_hosts: {host!r} is no host and no host:port")
    for network in access.url_networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as fault:
            raise ConfigError(f"--allow_url_networks: {fault}") from None
    if access.url_networks and not access.url_hosts:
        raise ConfigError("--allow_url_networks needs --allow_url_hosts")
    if access.api_keys:
        KeyFile(access.api_keys)
    if access.tls_cert:
        Certificate(access.tls_cert, access.tls_key)
    return access


def _check_memfd(access: Access) -> None:
    if access.memfd_uids and not access.memfd_socket:
        raise ConfigError("--memfd_uids needs --memfd_socket")
    if access.memfd_socket and access.memfd_socket == access.unix_socket:
        raise ConfigError("--memfd_socket and --unix_socket are two sockets with two paths")


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _uids(text: str) -> tuple[int, ...]:
    found = _split(text)
    if not all(re.fullmatch(r"[0-9]{1,10}", uid) for uid in found):
        raise ConfigError("--memfd_uids are numbers of users, such as 1000,1001")
    return tuple(map(int, found))


def _absolute(path: str) -> str:
    """Children may have another working directory."""
    return str(Path(path).absolute()) if path else ""


def make_keys_parser(prog: str) -> argparse.ArgumentParser:
    """The parser of ``python -m server keys …``."""
    parser = argparse.ArgumentParser(prog=f"{prog} keys", description="Makes API keys.", allow_abbrev=False)
    parser.add_argument("action", choices=("new",))
    parser.add_argument("name", metavar="NAME", help="whose key it is; letters, digits, dots, dashes")
    parser.add_argument("--api_keys", metavar="FILE", help="add its line to this file; default: print it")
    parser.add_argument(
        "--rate", type=float, default=0.0, metavar="R", help="requests a second (default: any)"
    )
    parser.add_argument("--burst", type=int, default=0, metavar="N", help="of them at once (default: R)")
    parser.add_argument(
        "--concurrent", type=int, default=0, metavar="N", help="requests at a time (default: any)"
    )
    return parser


def keys_command(argv: Sequence[str], prog: str) -> int:
    """``python -m server keys new NAME``: the key on stdout, once; its line in a file. Raises ConfigError."""
    args = make_keys_parser(prog).parse_args(argv)
    text, key = new_key(args.name, args.rate, args.burst, args.concurrent)
    if args.api_keys:
        append_key(Path(args.api_keys), key)
        sys.stderr.write(f"{prog}: {args.name} may ask with this key; it is shown only now\n")
    else:
        sys.stderr.write(f"{prog}: add this line to the file of --api_keys:\n{key.line()}\n")
    sys.stdout.write(text + "\n")
    return 0

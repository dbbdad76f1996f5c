"""Which addresses are whose: the open internet's, a listed network's, or nobody's to ask."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

#: Addresses that carry an IPv4 address of anybody's choice inside: 6to4, Teredo, NAT64.
_CARRIERS = tuple(map(ipaddress.IPv6Network, ("2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48")))
#: Where clouds tell a machine its own passwords: never, whatever networks are allowed.
_METADATA = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192"))
)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")

#: From a host and a port to its addresses. Raises OSError.
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def _plain(address: str) -> Address | None:
    """The address that is meant; None when it is none, or hides one of anybody's choice."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return found.ipv4_mapped
        if any(found in carrier for carrier in _CARRIERS):
            return None
    return found


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet's."""
    found = _plain(address)
    if found is None or found in _METADATA:
        return False
    return found.is_global and not found.is_multicast and not found.is_reserved


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address is in one of these networks; link-local ones and those of metadata never are."""
    found = _plain(address)
    if found is None or found in _METADATA or found.is_link_local or found.is_multicast:
        return False
    return any(found in network for network in networks)


def host_and_port(text: str) -> tuple[str, int | None] | None:
    """``host``, ``host:port`` or ``[IPv6]:port`` (the brackets are left out of the host), else None."""
    found = _HOST.fullmatch(text)
    if found is None:
        return None
    port = int(found[2]) if found[2] else None
    return (found[1].strip("[]").lower(), port) if port is None or 0 < port < 65536 else None


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, by the system's resolver. Raises OSError or UnicodeError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]

"""Times a server's answers where they pass the kernel: no client is late in seeing them.

A load generator notices an answer milliseconds after it came, when it keeps hundreds of them apart or has to
wait for a core. Here the kernel's own time stamps are read: of the packet with which a request reaches the
server's socket, and of the one with which the answer leaves it. Waiting for the server's process to run is
part of that, waiting for the client's is not. Needs CAP_NET_RAW; IPv4 on the loopback interface only.
"""

from __future__ import annotations

import contextlib
import ctypes
import select
import socket
import struct
import threading
from typing import NamedTuple

#: Linux: include/uapi/asm-generic/socket.h, linux/if_packet.h, linux/filter.h.
_SO_ATTACH_FILTER, _SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 26, 35, 33
_ETH_P_IP, _OUTGOING, _TCP = 0x0800, 4, 6
_PACKET_TYPE = 0xFFFFF004  # SKF_AD_OFF + SKF_AD_PKTTYPE
_TIMESPEC = struct.Struct("qq")
#: Of a packet: its headers and a status line.
_SNAP_BYTES, _BUFFER_BYTES = 160, 8 << 20
_REQUEST, _ANSWER = b"POST", b"HTTP"


class Passed(NamedTuple):
    """One answer: HTTP status, and seconds from the request's first packet to the answer's."""

    status: int
    seconds: float


class Wire:
    """Listens to one port while it is entered. Raises PermissionError without CAP_NET_RAW.

    Requests have to begin a packet, as they do where each is sent by one call and waits for its answer.

    Attributes:
        passed: what has been answered so far.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        self._asked: dict[int, float] = {}
        self._done = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self.passed: list[Passed] = []

    def __enter__(self) -> Wire:
        listener = self._socket
        self._attach_filter()
        listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        listener.bind(("lo", _ETH_P_IP))
        listener.setblocking(False)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._reader.join()
        self._socket.close()

    def _attach_filter(self) -> None:
        """Let through what begins a request to the port or an answer from it, as it arrives."""
        port = self._port
        code = [
            (0x20, 0, 0, _PACKET_TYPE), (0x15, 15, 0, _OUTGOING),  # each packet passes twice
            (0x30, 0, 0, 9), (0x15, 0, 13, _TCP),
            (0xB1, 0, 0, 0),  # X: length of the IP header
            (0x48, 0, 0, 0), (0x15, 2, 0, port),
            (0x48, 0, 0, 2), (0x15, 0, 8, port),
            (0x50, 0, 0, 12), (0x54, 0, 0, 0xF0), (0x74, 0, 0, 2), (0x0C, 0, 0, 0), (0x07, 0, 0, 0),
            (0x40, 0, 0, 0),  # first four bytes behind the TCP header
            (0x15, 2, 0, int.from_bytes(_REQUEST, "big")), (0x15, 1, 0, int.from_bytes(_ANSWER, "big")),
            (0x06, 0, 0, 0), (0x06, 0, 0, _SNAP_BYTES),
        ]  # fmt: skip
        packed = b"".join(struct.pack("HBBI", *each) for each in code)
        kept = ctypes.create_string_buffer(packed)
        program = struct.pack("HL", len(code), ctypes.addressof(kept))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def _read(self) -> None:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        while not self._done.is_set():
            poller.poll(20)
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet, notes, _, _ = self._socket.recvmsg(_SNAP_BYTES, 64)
                    seconds, nanoseconds = _TIMESPEC.unpack(notes[0][2][: _TIMESPEC.size])
                    self._note(packet, seconds + 1e-9 * nanoseconds)

    def _note(self, packet: bytes, when: float) -> None:
        header = 4 * (packet[0] & 0x0F)
        source, target = struct.unpack_from(">HH", packet, header)
        content = packet[header + 4 * (packet[header + 12] >> 4) :]
        if target == self._port and content.startswith(_REQUEST):
            self._asked[source] = when
        elif source == self._port and content.startswith(_ANSWER):
            status = int(content[9:12])
            asked = self._asked.pop(target, None) if status >= 200 else None
            if asked is not None:
                self.passed.append(Passed(status, when - asked))

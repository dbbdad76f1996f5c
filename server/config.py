"""Everything the server can be told, validated once and passed down as frozen structs.

Units are in the names. The supervisor builds one :class:`Config` (``cli.py``)
and hands it to every child as JSON in an inherited memfd.
"""

from __future__ import annotations

import os
from typing import Literal

import msgspec

from pipelines.core.config import Generation, PipelineConfig

#: In ``Config.plans``: it is served without the plan that it wants.
NO_PLAN_YET = "missing"
#: Exit code of ``python -m server plan`` where some pipelines got a new plan and others none.
SOME_PLANS_MADE = 3


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds that every request meets at the door.

    Attributes:
        max_body_bytes: HTTP body, counted while it streams in. 256 MiB holds the
            base64 of a 190 MB file.
        max_pixels: width x height of one image or page, from its header. The
            default holds an A3 page at 600 dpi; PaddleX takes 178,956,970 (docs/security.md).
        max_pages: hard limit on pages of a document, answered with 422. PaddleX's
            ``max_num_input_imgs`` (10) drops further pages before it is met.
        max_json_depth: nesting of the body.
        body_timeout_ms: time a client has to send its whole request.
        request_timeout_ms: deadline of a request, lowered by ``X-Request-Timeout-Ms``.
        document_slots: pages of one document that are in flight together.
        max_queue_ms: estimated device time that may wait per device before requests are
            refused with 503.
        latency_budget_ms: what is served is answered within it; a request that would take longer is
            refused with 503 at once. 0 for no promise. Work of low priority is exempt.
        max_decoded_bytes: bodies, files and decoded pixels that one worker holds at once.
        max_csv_rows, max_csv_cells: lines of a CSV, and fields of all of them, from counting line ends and
            commas before anything else looks at it. The series models look at its last rows only.
        truncated_images: ``reject`` (422) or ``accept`` what could be decoded, as PaddleX.
        render_timeout_ms: wall time of the PDF/TIFF child for one document.
        render_memory_bytes: address space of that child.
        url_timeout_ms: time for getting a file from an allowed host, redirects and all.
    """

    max_body_bytes: int = 256 << 20
    max_pixels: int = 67_108_864
    max_pages: int = 1000
    max_json_depth: int = 64
    body_timeout_ms: int = 30_000
    request_timeout_ms: int = 60_000
    document_slots: int = 8
    max_queue_ms: int = 30_000
    latency_budget_ms: int = 0
    max_decoded_bytes: int = 2 << 30
    max_csv_rows: int = 1_000_000
    max_csv_cells: int = 10_000_000
    truncated_images: Literal["reject", "accept"] = "reject"
    render_timeout_ms: int = 30_000
    render_memory_bytes: int = 2 << 30
    url_timeout_ms: int = 10_000


class DeviceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device process.

    Attributes:
        device: ``cpu`` or ``gpu:<index>``.
        threads: intra-op threads of its own share (1 on a one-core share).
        all_threads: threads of the all-core form, used while no other device computes.
        window: items that are in work on the device at once, at most: enough for runs that
            small items share. A CPU claims fewer while what it has is long (``device_loop.py``).
        node: NUMA node whose cores and memory it keeps to; None: all of them.
    """

    device: str = "cpu"
    threads: int = 1
    all_threads: int = 1
    window: int = 8
    node: int | None = None


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may ask, from where, and what the server fetches for them. All is off by default.

    Attributes:
        api_keys: file of API keys (``keys.py``); "" lets everybody in.
        tls_cert, tls_key: PEM files of the certificate chain and its key; "" is plain HTTP.
        cors_origins: origins whose pages may ask; ``*`` is any.
        unix_socket: path to listen on in place of host and port; ``unix_socket_mode``: its permission bits,
            and those of ``memfd_socket``.
        memfd_socket: path to listen on for files in shared memory (``memfd_door.py``); "" is nowhere.
        memfd_uids: users who may ask there, beside the server's own and root.
        url_hosts: hosts, or hosts with ports, whose files a request may name by URL.
        url_networks: networks of such hosts that are not public.
    """

    api_keys: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    cors_origins: tuple[str, ...] = ()
    unix_socket: str = ""
    unix_socket_mode: int = 0o660
    memfd_socket: str = ""
    memfd_uids: tuple[int, ...] = ()
    url_hosts: tuple[str, ...] = ()
    url_networks: tuple[str, ...] = ()


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole server.

    Attributes:
        pipelines: what is served.
        devices: one entry per device process.
        workers: HTTP worker processes.
        host, port: where to listen; ``grpc_port``: for gRPC, 0 for nowhere.
        api_generation: which generation answers a body that is valid in both.
        precision: ``f32``, or the reduced precision that a plan may have chosen for some models.
        plans: pipeline to the plan that chose its engines (the key of its file), or :data:`NO_PLAN_YET`;
            without those that leave nothing to a plan.
        cache_dir: model store and compiled artefacts.
        log_format: ``text`` or ``json``; ``log_level``: a logging level name.
        access_log: each request has a line (``access_log.py``).
        otlp_endpoint: where traces are sent (``otlp.py``); "" for nowhere.
        heartbeat_timeout_ms: a child whose beat is older is killed and replaced.
        drain_grace_ms: how long the server goes on as before at SIGTERM while ``/health/ready`` says 503:
            whoever sends it requests gets so long to see that.
        drain_timeout_ms: time that accepted requests get after that.
        max_rss_mb: own memory (shared memory not counted) of a process at which a fresh one takes its
            place; 0 for no bound.
        cache_mb: answers that all workers keep together, in MiB (``answer_cache.py``); 0 for none.
        playground: ``/`` is a page for people.
        limits: bounds on requests.
        access: who may ask.
    """

    pipelines: tuple[PipelineConfig, ...]
    devices: tuple[DeviceConfig, ...]
    workers: int = 1
    host: str = "0.0.0.0"  # noqa: S104 - PaddleX's default
    port: int = 8080
    grpc_port: int = 0
    api_generation: Generation = "v3"
    precision: str = "f32"
    plans: dict[str, str] = {}
    cache_dir: str = ""
    log_format: Literal["text", "json"] = "text"
    log_level: str = "info"
    access_log: bool = False
    otlp_endpoint: str = ""
    heartbeat_timeout_ms: int = 3000
    drain_grace_ms: int = 2000
    drain_timeout_ms: int = 60_000
    max_rss_mb: int = 0
    cache_mb: int = 0
    playground: bool = True
    limits: Limits = Limits()
    access: Access = Access()


class Boot(msgspec.Struct, frozen=True):
    """What one child process is told, as JSON in a memfd whose number is on its command line.

    Attributes:
        role: ``worker`` or ``device``; ``index``: its lane; ``epoch``: its incarnation.
        ordinal: which ``Config.devices`` entry a device serves (a spare lane takes over one).
        parent_pid: the supervisor.
        segment_fd, listen_fd, memfd_fd: inherited; the sockets are -1 for devices, and ``memfd_fd`` where
            nobody listens for files in shared memory.
        worker_events, device_events: eventfd per lane, inherited by everybody.
        config: the whole configuration.
        quota_fd: what API keys use, inherited by workers (``guard.py``); -1 for devices.
    """

    role: Literal["worker", "device"]
    index: int
    epoch: int
    ordinal: int
    parent_pid: int
    segment_fd: int
    listen_fd: int
    worker_events: tuple[int, ...]
    device_events: tuple[int, ...]
    config: Config
    quota_fd: int = -1
    memfd_fd: int = -1


def boot_memfd(boot: Boot) -> int:
    """An inheritable memfd that holds ``boot`` as JSON; the caller closes it."""
    fd = os.memfd_create(f"boot-{boot.role}-{boot.index}", 0)
    os.set_inheritable(fd, True)
    with open(fd, "wb", closefd=False) as file:
        file.write(msgspec.json.encode(boot))
    return fd


def read_boot(fd: int) -> Boot:
    """Read and close a boot memfd."""
    with open(fd, "rb") as file:
        file.seek(0)
        return msgspec.json.decode(file.read(), type=Boot)

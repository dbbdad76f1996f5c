"""``python -m server``: options, models, socket, plan, then the supervisor.

Whatever is wrong with the command line, a file or the machine is one line on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from pipelines.core.errors import ConfigError
from pipelines.core.models import ModelStore
from pipelines.core.registry import engine_names, load_engine, load_pipeline, pipeline_modules
from server.access import keys_command, make_keys_parser, read_access
from server.build import build_config
from server.completion import script
from server.config import Config
from server.grpc_port import check_grpc, port_held
from server.models_command import run_models
from server.options import PROG, make_completion_parser, make_models_parser, make_parser, parse
from server.plan import plan
from server.plan_command import planning_command, run_plan
from server.settings import read, show
from server.unix_socket import bind_unix, removed_at_the_end

#: Connections that the kernel keeps waiting; it cuts this to net.core.somaxconn.
_BACKLOG = 4096


def main(argv: Sequence[str]) -> int:
    """Run the command line ``argv`` (without the program's name); returns the exit code."""
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone; nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ConfigError, OSError) as error:  # OSError: a full disk, a folder that cannot be written
        text = _reason(error) if isinstance(error, OSError) else " ".join(str(error).split())
        sys.stderr.write(f"{PROG}: {text}\n")
        return 2


class _Command(NamedTuple):
    """A command behind ``python -m server``: what runs it, and its parser where it takes anything."""

    run: Callable[[Sequence[str]], int]
    make_parser: Callable[[], argparse.ArgumentParser] | None


def _run(argv: Sequence[str]) -> int:
    if argv and argv[0] in _COMMANDS:
        return _COMMANDS[argv[0]].run(argv[1:])
    return _serve(argv)


def _serve(argv: Sequence[str]) -> int:
    args = parse(argv)
    with contextlib.ExitStack() as at_the_end:
        config, listen, memfd = _prepare(args, at_the_end)
        from server.supervisor import serve  # noqa: PLC0415 - what comes before needs no kernels

        def read_again() -> Config:
            try:
                again = parse(argv)
                return build_config(again, ModelStore(again.cache_dir, sys.stderr), notice=_notice)
            except OSError as error:
                raise ConfigError(_reason(error)) from error

        plan_command = planning_command(argv) if args.plan == "background" else []
        return serve(config, listen, read_config=read_again, plan_command=plan_command, memfd=memfd)


def _prepare(
    args: argparse.Namespace, at_the_end: contextlib.ExitStack
) -> tuple[Config, socket.socket, socket.socket | None]:
    """Everything up to the first process: the port first, because models may take minutes to fetch."""
    access = read_access(args)
    path = access.unix_socket
    listen = bind_unix(path, access.unix_socket_mode) if path else bind(args.host, args.port)
    at_the_end.enter_context(removed_at_the_end(path))
    memfd: socket.socket | None = None
    try:
        if access.memfd_socket:
            memfd = bind_unix(access.memfd_socket, access.unix_socket_mode, socket.SOCK_SEQPACKET)
            at_the_end.enter_context(memfd)
            at_the_end.enter_context(removed_at_the_end(access.memfd_socket))
        at_the_end.enter_context(port_held(args.host, check_grpc(args.grpc_port)))
        config = build_config(args, ModelStore(args.cache_dir, sys.stderr), notice=_notice)
        # From here on the port is really ours; what connects waits for the first worker.
        for each in (listen, memfd):
            if each is not None:
                each.listen(_BACKLOG)
    except OSError as error:
        listen.close()
        raise ConfigError(_reason(error)) from error
    except BaseException:
        listen.close()
        raise
    sys.stdout.write(plan(config, url(listen, args.host, "https" if access.tls_cert else "http")) + "\n")
    sys.stdout.flush()
    return config, listen, memfd


def _reason(error: OSError) -> str:
    """What the system says, and of which file."""
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _notice(line: str) -> None:
    sys.stderr.write(f"{PROG}: {line}\n")


def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket. Raises ConfigError when the address is taken, not ours, or none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigError(f"cannot listen on {host!r}: no such address") from error
    family, _, protocol, _, address = found[0]
    listen = socket.socket(family, socket.SOCK_STREAM, protocol)
    try:
        listen.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listen.bind(address)
    except OSError as error:
        listen.close()
        reason = "the port is taken" if error.errno == errno.EADDRINUSE else (error.strerror or str(error))
        raise ConfigError(f"cannot listen on {host}:{port}: {reason}") from error
    return listen


def url(listen: socket.socket, host: str, scheme: str = "http") -> str:
    """``http://host:port`` of a bound socket, or ``http+unix:PATH:``, to be followed by a route."""
    if listen.family == socket.AF_UNIX:
        return f"{scheme}+unix:{listen.getsockname()}:"
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{listen.getsockname()[1]}"


def _list(argv: Sequence[str]) -> int:
    if argv:
        raise ConfigError("list takes nothing more")
    out = sys.stdout
    for module in pipeline_modules():
        cls = load_pipeline(module)
        routes = ", ".join(operation.path for operation in cls.operations)
        out.write(f"{cls.names[0]}  {routes}\n")
        for role, spec in cls.roles.items():
            names = f"{spec.default:<34} --models paddlex: {spec.named('paddlex')}" if spec.default else ""
            out.write(f"  {role:<28} {names or 'not loaded by default'}\n")
    for name in (name for name in engine_names() if name != "fake"):
        cls_engine = load_engine(name)
        out.write(
            f"engine {name:<20} {', '.join(cls_engine.formats):<22} {cls_engine.available() or 'ready'}\n"
        )
    return 0


def _config(argv: Sequence[str]) -> int:
    settings = read(make_parser, argv, os.environ)
    sys.stdout.write("\n".join(show(make_parser(), settings)).lstrip("\n") + "\n")
    return 0


def _completion(argv: Sequence[str]) -> int:
    makers = {name: command.make_parser for name, command in _COMMANDS.items()}
    parsers = {name: make() if make else None for name, make in makers.items()}
    names = [load_pipeline(module).names[0] for module in pipeline_modules()]
    shell = make_completion_parser().parse_args(argv).shell
    sys.stdout.write(script(shell, {"": make_parser(), **parsers}, {"NAME_OR_YAML": names}))
    return 0


def _bench(argv: Sequence[str]) -> int:
    from server.bench.command import run_bench  # noqa: PLC0415 - nothing that serves needs it

    return run_bench(argv)


_COMMANDS = {
    "plan": _Command(run_plan, make_parser),
    "list": _Command(_list, None),
    "models": _Command(run_models, make_models_parser),
    "bench": _Command(_bench, None),
    "keys": _Command(partial(keys_command, prog=PROG), partial(make_keys_parser, PROG)),
    "config": _Command(_config, make_parser),
    "completion": _Command(_completion, make_completion_parser),
}

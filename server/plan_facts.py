"""What a plan holds for: change any of it, and another engine may be the fastest, or wrong."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

import msgspec

from pipelines.core import examples
from pipelines.core.config import ModelFiles
from pipelines.core.cpu import cpu_flags, cpu_name
from pipelines.core.registry import engine_names, load_engine
from server.choose import reference_engine
from server.resolved import Resolved

#: Goes up when a change of this code makes measurements of before worthless.
VERSION = 1
#: What the NVIDIA driver says of itself and of every GPU.
_DRIVER = Path("/proc/driver/nvidia")


class Subject(msgspec.Struct, frozen=True):
    """One model: its files by SHA-256, whose answers count, and what may run it."""

    model: str
    sha256: dict[str, str]
    reference: str
    candidates: tuple[str, ...]


class Facts(msgspec.Struct, frozen=True):
    """Two servers with equal facts have the same plan.

    Attributes:
        version, package: of this code.
        pipeline: its name; ``settings``: digest of its options, which shape tensors.
        examples: digest of the inputs.
        device, threads, all_threads: of one device process.
        precision: what is permitted.
        machine: processor or GPU, and driver.
        libraries: engine to name and version of its framework.
        models: role to model.
    """

    version: int
    package: str
    pipeline: str
    settings: str
    examples: str
    device: str
    threads: int
    all_threads: int
    precision: str
    machine: tuple[str, ...]
    libraries: dict[str, str]
    models: dict[str, Subject]

    @property
    def key(self) -> str:
        """Digest of everything here."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    @property
    def short_key(self) -> str:
        """Enough of it to name the plan's file."""
        return self.key[:24]


def facts_of(resolved: Resolved) -> Facts:
    """What a plan for this would hold for; loads no framework."""
    spec, device = resolved.spec, resolved.devices[0]
    settings = repr((sorted(spec.options.items()), spec.generation)).encode()
    return Facts(
        version=VERSION,
        package=version("paddle-pipeline-server"),
        pipeline=spec.name,
        settings=hashlib.sha256(settings).hexdigest(),
        examples=examples.digest(),
        device=device.device,
        threads=device.threads,
        all_threads=device.all_threads,
        precision=resolved.precision,
        machine=_machine(device.device),
        libraries={name: load_engine(name).version() for name in engine_names()},
        models={role: _subject(role, model, resolved) for role, model in resolved.models.items()},
    )


def _subject(role: str, model: ModelFiles, resolved: Resolved) -> Subject:
    chosen = resolved.engines[role]
    every = tuple(name for name in engine_names() if name != "fake" or "fake" in model.files)
    return Subject(
        model=model.name,
        sha256=model.sha256,
        reference=reference_engine(model, chosen),
        candidates=every if role in resolved.open_roles else (chosen,),
    )


def _machine(device: str) -> tuple[str, ...]:
    flags = hashlib.sha256(" ".join(sorted(cpu_flags())).encode()).hexdigest()[:12]
    found = [cpu_name(), f"flags {flags}"]
    if device != "cpu":
        # The lines that differ from start to start (interrupts, bus) stay out.
        for path in sorted(_DRIVER.glob("gpus/*/information")):
            lines = path.read_text(errors="replace").splitlines()
            found += [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
        driver = _DRIVER / "version"
        found += driver.read_text(errors="replace").splitlines()[:1] if driver.exists() else []
    return tuple(found)

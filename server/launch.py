"""Starts Python modules of this very installation, whatever the working directory holds.

``python -m`` puts the working directory first on ``sys.path``. Run from a source tree whose
extensions were never built, that would import the wrong copy. This file is therefore also a script,
``python <root>/server/launch.py MODULE ARGUMENT...``: its own path says which copy is meant, and it
behaves alike on every supported Python (``-P`` exists from 3.11 only).
"""

import sys

if __name__ == "__main__" and sys.path and sys.path[0] == __file__.rpartition("/")[0]:
    del sys.path[0]  # a script's own folder; its file names are not top-level modules

from collections.abc import Mapping
from pathlib import Path

#: The folder that ``server``, ``pipelines`` and ``kernels`` are imported from.
ROOT = Path(__file__).resolve().parent.parent

NOT_BUILT = "not built: run python -m pip install -e ."


def child_command(module: str) -> list[str]:
    """Command line that runs ``module`` as ``__main__`` from the same place as this process.

    Append the module's own arguments. ``sys.path[0]`` of the child is never the
    working directory.
    """
    return [sys.executable, str(ROOT / "server" / "launch.py"), module]


#: What the C library's allocator is told in a device. Activations are hundreds of megabytes, given back
#: after a large page: huge pages make getting them again cheap (1.5 k page faults a detection instead
#: of 106 k), and from 1 MiB on memory goes back to the system instead of staying in the heap (409 MB
#: instead of 613 MB resident after ten pages with OpenVINO). glibc 2.35 and newer; others ignore it.
DEVICE_MALLOC = {
    "glibc.malloc.hugetlb": "1",
    "glibc.malloc.mmap_threshold": str(1 << 20),
    "glibc.malloc.trim_threshold": str(16 << 20),
}


def child_environment(module: str, inherited: Mapping[str, str]) -> dict[str, str]:
    """Environment for ``child_command(module)``: the parent's, with what libraries only read at the start.

    What the user has set in ``GLIBC_TUNABLES`` stays as it is.
    """
    environment = {**inherited, "OPENBLAS_NUM_THREADS": "1"}
    if module == "server.device":
        kept = [entry for entry in inherited.get("GLIBC_TUNABLES", "").split(":") if entry]
        names = {entry.partition("=")[0] for entry in kept}
        added = [f"{name}={value}" for name, value in DEVICE_MALLOC.items() if name not in names]
        environment["GLIBC_TUNABLES"] = ":".join(kept + added)
        # gpu:0 is then the GPU that nvidia-smi calls 0, whose NUMA node Linux knows.
        environment.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    return environment


def missing_extensions(folder: Path) -> list[str]:
    """Names of kernels in ``folder`` (a ``kernels`` package) that have no extension for this Python.

    Every kernel has a stub, in a source tree and in an installed copy alike.
    """
    from importlib.machinery import EXTENSION_SUFFIXES  # noqa: PLC0415 - the script form fixes sys.path first

    names = sorted({path.stem for path in (*folder.glob("*.pyi"), *folder.glob("*.pyx"))})
    return [
        name for name in names if not any((folder / (name + end)).is_file() for end in EXTENSION_SUFFIXES)
    ]


def _other_copy() -> Path | None:
    """Root of a built copy elsewhere on the import path (installed or editable), or None."""
    import importlib.util  # noqa: PLC0415

    kept_path, kept_modules = (
        sys.path[:],
        {k: v for k, v in sys.modules.items() if k.split(".")[0] == "kernels"},
    )
    for name in kept_modules:
        del sys.modules[name]
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    try:
        spec = importlib.util.find_spec("kernels")
    finally:
        sys.path[:] = kept_path
        sys.modules.update(kept_modules)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location).resolve()
        root = folder.parent
        built = any(folder.glob("*.pyi")) and not missing_extensions(folder)
        if root != ROOT and built and (root / "server" / "launch.py").is_file():
            return root
    return None


def ensure_built(module: str, arguments: list[str]) -> None:
    """Return when this copy has its extensions; else run ``module`` from one that has, or exit 2.

    Called before anything that imports ``kernels``. Replaces the process (``execv``) when an installed
    copy exists elsewhere.
    """
    if not missing_extensions(ROOT / "kernels"):
        return
    import os  # noqa: PLC0415

    other = _other_copy()
    if other is None:
        sys.stderr.write(NOT_BUILT + "\n")
        raise SystemExit(2)
    sys.stderr.flush()
    command = [sys.executable, str(other / "server" / "launch.py"), module, *arguments]
    os.execv(sys.executable, command)  # noqa: S606 - our own interpreter


def _place() -> int:
    """Where on ``sys.path`` this copy has to stand to be the one that is imported.

    In front of any other that is there, but not further: ROOT may be a ``site-packages`` folder,
    which must not come before the standard library.
    """
    for index, entry in enumerate(sys.path):
        if (Path(entry) / "server" / "__init__.py").is_file() or (Path(entry) / "server.py").is_file():
            return index
    return 0


def _main() -> None:
    """The script form: ``launch.py MODULE ARGUMENT...``."""
    sys.path.insert(_place(), str(ROOT))
    import runpy  # noqa: PLC0415

    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()

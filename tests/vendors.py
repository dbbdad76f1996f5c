"""Strict stand-ins (tests/vendor) for packages that no index has or that need a GPU."""

import contextlib
import importlib.util
import os
import sys
from pathlib import Path

from pipelines.core import cuda
from pipelines.engines import fastdeploy as fastdeploy_engine
from pipelines.engines import tensorrt as tensorrt_engine

VENDOR = Path(__file__).with_name("vendor")
#: Engine to the packages that it runs on.
PACKAGES = {"fastdeploy": ("fastdeploy", "ultra_infer"), "tensorrt": ("tensorrt",)}
_MODULES = {"fastdeploy", "ultra_infer", "tensorrt", "cuda"}
#: Everything that remembers an imported package.
_CACHES = (
    fastdeploy_engine._package,
    fastdeploy_engine._convert_in_child,
    tensorrt_engine._tensorrt,
    tensorrt_engine._logger,
    cuda.cuda_device,
)


def installed(engine):
    """Whether a real package of this engine is there."""
    return any(importlib.util.find_spec(name) for name in PACKAGES[engine])


@contextlib.contextmanager
def stand_in(package, **environment):
    """``package`` can be imported inside, here and in children; ``environment`` is set for it."""
    entry = str(VENDOR / package)
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    sys.path.insert(0, entry)
    forget()
    try:
        yield
    finally:
        sys.path.remove(entry)
        forget()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def forget():
    """Drop what was imported and what engines have found out."""
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.split(".")[0] in _MODULES]:
        del sys.modules[name]
    for cache in _CACHES:
        cache.cache_clear()

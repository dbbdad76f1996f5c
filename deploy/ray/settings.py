"""What is served, read in every replica: it finds, or fetches, the models on its own node."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.core.models import ModelStore
from server.build import build_config
from server.config import Config
from server.options import parse


def config_of(argv: Sequence[str]) -> Config:
    """From the words of a command line of ``python -m server``. Raises ConfigError."""
    options = parse(list(argv))
    return build_config(options, ModelStore(options.cache_dir))

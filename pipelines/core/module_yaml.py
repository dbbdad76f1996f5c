"""Pipeline YAMLs that hold one model and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .config import Generation
from .yaml_config import MODULE_KEYS, Section, own_settings


def module_settings(document: Mapping[str, Any], generation: Generation, submodule: str) -> Section:
    """What is left to read of the one sub-module; the caller finishes it.

    In the 2024 generation there is nothing beside the model. Batch sizes change no result. Raises ConfigError
    for a key that is not known around the sub-module.
    """
    own = own_settings(document, generation)
    if generation == "2024":
        own.skip("model", "batch_size", "device").finish()
        return Section(None)
    modules = own.section("SubModules")
    module = modules.section(submodule).skip(*MODULE_KEYS, "batch_size")
    modules.finish()
    own.finish()
    return module

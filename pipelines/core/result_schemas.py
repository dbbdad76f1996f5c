"""JSON schemas of ``result``, as PaddleX describes it: what an answer holds, for documents and for tests.

``results/<pipeline>.json`` is ``{operation name: {generation: schema}}``; no request
waits for it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .config import Generation


def result_schema(module: str, operation: str, generation: Generation) -> dict[str, Any]:
    """The schema of one form's ``result``; any object where none is written down.

    Args:
        module: registry name of the pipeline.
        operation: PaddleX's operationId.
        generation: of the form.
    """
    try:
        text = (Path(__file__).with_name("results") / f"{module}.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {"type": "object"}
    found: dict[str, Any] = json.loads(text).get(operation, {}).get(generation, {"type": "object"})
    return found

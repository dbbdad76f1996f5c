"""``python -m server models``: which models are on disk, fetch and verify them, convert scalers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.core.cards import card_names
from pipelines.core.errors import ConfigError
from pipelines.core.models import ModelStore
from pipelines.core.official import official
from pipelines.core.scalers import convert
from server.options import make_models_parser


def run_models(argv: Sequence[str]) -> int:
    """Run ``argv`` (behind ``models``); returns the exit code. Raises ConfigError."""
    args = make_models_parser().parse_args(argv)
    if args.action == "convert":
        return _convert(args.names)
    store = ModelStore(args.cache_dir, sys.stderr)
    if args.action == "fetch":
        return _fetch(store, args.names)
    if args.names:
        raise ConfigError(f"models {args.action} takes no names")
    if args.action == "names":
        for task, names in official().tasks.items():
            sys.stdout.writelines(f"{task:<34} {name}\n" for name in sorted(names, key=str.casefold))
        return 0
    bad = False
    for listed in store.list() if args.action == "list" else store.verify():
        bad = bad or listed.state.startswith("changed")
        sys.stdout.write(f"{listed.name:<26} {listed.task:<22} {listed.state:<12} {listed.origin}\n")
    return 2 if bad else 0


def _fetch(store: ModelStore, names: Sequence[str]) -> int:
    for name in names or card_names():
        model = store.resolve(name)
        sys.stdout.write(f"{model.name:<26} {model.directory}\n")
    if not names:
        sys.stdout.write(f"{'font':<26} {store.font()}\n")
    return 0


def _convert(folders: Sequence[str]) -> int:
    if not folders:
        raise ConfigError("models convert needs the folder of a model with scaler.pkl")
    for folder in folders:
        path, scaler = convert(Path(folder))
        columns = ", ".join(scaler.columns) or "without names"
        sys.stdout.write(f"{path}  {len(scaler.mean)} columns: {columns}\n")
    return 0

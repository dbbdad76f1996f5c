"""Makes ONNX of Paddle programs for engines that read nothing else, and proves it before it is used.

Each conversion is a child process, bounded in time and memory. What it has made answers the pipeline's
examples on ONNX Runtime in another, and is judged next to Paddle's answers as an engine of a plan is.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from pipelines.core.config import ModelFiles
from pipelines.core.download import locked
from pipelines.core.errors import ConfigError
from pipelines.core.models import ModelStore
from pipelines.core.onnx_export import missing, program_of
from pipelines.core.rehearsal import tape_exists
from server.choose import reference_engine
from server.config import DeviceConfig
from server.converted import Conversion, folder_of, keep_conversion, read_conversion
from server.cores import Machine
from server.plan_child import Order, Trial
from server.resolved import Resolved, pipeline_config
from server.trials import Bounds, Outcome, run_child, tape_folder

Say = Callable[[str], None]


class Converter:
    """Converts models of one command line.

    Args:
        args: from :func:`server.options.parse`.
        store: where models and conversions are kept.
        machine: bounds children.
        say: takes a line about each conversion.
    """

    def __init__(self, args: argparse.Namespace, store: ModelStore, machine: Machine, say: Say) -> None:
        self._args, self._store, self._say = args, store, say
        self._bounds = Bounds.of("cpu", machine)

    def convert(self, resolved: Sequence[Resolved], *, asked_only: bool) -> bool:
        """Convert what has not been tried yet; True when there are ONNX files that were not there before.

        Args:
            resolved: the pipelines.
            asked_only: only models whose engine was named; else also those that a plan could use so.
        """
        news = False
        for each in resolved:
            models = [model for model in _wanting(each, asked_only) if not self._known(model)]
            if not models or missing() is not None:
                continue
            try:
                with tape_folder(self._store.root / "plans") as folder:
                    found = [self._one(each, model, folder) for model in models]
            except ConfigError as error:
                self._say(str(error))
            else:
                news = news or any(found)
        return news

    def _known(self, model: ModelFiles) -> bool:
        found = read_conversion(self._store.root, model, self._say)
        return found is not None and not (found.refused and self._args.replan)

    def _one(self, resolved: Resolved, model: ModelFiles, folder: Path) -> bool:
        place = folder_of(self._store.root, model)
        with locked(place.with_suffix(".lock")):
            if self._known(model):  # another process was faster
                return True
            self._say(f"{model.name}: ONNX is made of it, and compared with Paddle")
            program = folder / f"{place.name}.onnx"
            found = self._tried(self._order(resolved, folder), model, program)
            keep_conversion(self._store.root, model, None if found.refused else program, found)
        if found.refused:
            self._say(f"{model.name}: the ONNX made of it is not used: {found.refused}")
        return not found.refused

    def _order(self, resolved: Resolved, folder: Path) -> Order:
        """What children are told; examples go through the engines that are trusted."""
        references = {
            role: reference_engine(model, resolved.engines[role]) for role, model in resolved.models.items()
        }
        trusted = pipeline_config(self._args, self._store, resolved, references, {})
        device = DeviceConfig(threads=max(1, resolved.devices[0].threads))
        return Order(trusted, device, "", str(folder), os.getpid())

    def _tried(self, order: Order, model: ModelFiles, program: Path) -> Conversion:
        """Convert into ``program``, run that, and judge it."""
        change = msgspec.structs.replace
        outcome = run_child(change(order, convert=model, target=str(program)), self._bounds)
        if why := _failure(outcome):
            return Conversion(refused=f"paddle2onnx: {why}")
        if not tape_exists(Path(order.folder)) and (why := _failure(run_child(order, self._bounds))):
            engines = ", ".join(sorted(set(order.pipeline.engines.values())))
            raise ConfigError(
                f"no ONNX of {model.name} can be compared, the reference ({engines}) fails: {why}"
            )
        candidate = change(model, files={"onnx": str(program)})
        outcome = run_child(change(order, trial=Trial(candidate, "onnxruntime", "f32")), self._bounds)
        why = _failure(outcome) or outcome.report.objection
        return Conversion(refused=why, difference=outcome.report.difference)


def _wanting(resolved: Resolved, asked_only: bool) -> Iterator[ModelFiles]:
    """Models of which ONNX is to be made, each once."""
    seen = set[str]()
    on_cpu = resolved.devices[0].device == "cpu"
    for role, model in resolved.models.items():
        asked = role in resolved.unmet and role not in resolved.open_roles
        # OpenVINO, the engine of plans on a CPU that is not Paddle, reads .pdmodel by itself.
        useful = role in resolved.open_roles and not (on_cpu and "pdmodel" in model.files)
        if (asked or (useful and not asked_only)) and program_of(model) and model.directory not in seen:
            seen.add(model.directory)
            yield model


def _failure(outcome: Outcome) -> str:
    """How a child failed, in words; "" when it did not."""
    return outcome.words or outcome.report.error


def stand_ins(root: Path, resolved: Sequence[Resolved]) -> Iterator[str]:
    """A line about each model that runs on Paddle in place of the engine asked for."""
    for each in resolved:
        for role, wished in each.unmet.items():
            model = each.models[role]
            known, reason = read_conversion(root, model), missing()
            if known is not None and known.refused:
                why = f"the ONNX made of it is not used: {known.refused}"
            elif reason is not None:
                why = f"that needs ONNX, and {reason}"
            elif role in each.open_roles:
                why = "ONNX is made of it with the plan"
            else:
                why = "no ONNX could be made of it"
            yield f"{model.name} runs on paddle, not {wished}: {why}"

"""Runs pipelines in this process: the device loop without rings, slots or other processes."""

import contextlib
from collections import defaultdict
from hashlib import sha256

import numpy as np

from pipelines.core.config import PipelineConfig
from pipelines.core.models import ModelStore
from pipelines.core.registry import load_engine, load_pipeline
from pipelines.core.stage import StageFactory
from pipelines.core.yaml_config import from_name
from pipelines.engines.base import EngineOptions
from server.choose import fitting


def config_of(
    title, engine="onnxruntime", *, store=None, padding="tight", models=None, options=None, leave_out=()
):
    """The configuration that ``--pipeline title`` gives, with real files behind every role.

    Args:
        title: PaddleX's pipeline name.
        engine: engine of every role.
        store: model store; None is the user's own cache.
        models: role to model name, over the defaults.
        options: own settings over the defaults.
        leave_out: roles that are not loaded.
    """
    spec, store = from_name(title), store or ModelStore()
    names = {role: choice.name for role, choice in spec.models.items()} | (models or {})
    files = {role: store.resolve(name) for role, name in names.items() if role not in leave_out}
    return PipelineConfig(
        name=spec.name,
        title=spec.title,
        generation=spec.generation,
        options=spec.options | (options or {}),
        models={role: fitting(model, engine) for role, model in files.items()},
        engines=dict.fromkeys(files, engine),
        serving=spec.serving,
        padding=padding,
    )


class Stages(StageFactory):
    """Every distinct stage once."""

    def __init__(self):
        self.all = {}

    def get(self, cls, model, engine, **settings):
        key = (cls, model.directory, engine, tuple(sorted(settings.items())))
        if key not in self.all:
            self.all[key] = cls(model, engine, **settings)
        return self.all[key]


class Remembering:
    """An engine that computes nothing twice: for tests that do different things with the same tensors."""

    #: of outputs; the oldest go first
    KEPT_BYTES = 256 << 20

    def __init__(self, engine):
        self._engine, self._known, self._bytes = engine, {}, 0

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def run(self, feeds):
        key = tuple(
            (name, x.shape, x.dtype.str, sha256(np.ascontiguousarray(x)).digest())
            for name, x in feeds.items()
        )
        if key not in self._known:
            self._known[key] = [np.array(output) for output in self._engine.run(feeds)]
            self._bytes += sum(output.nbytes for output in self._known[key])
        found = [output.copy() for output in self._known[key]]
        while self._bytes > self.KEPT_BYTES:
            oldest = self._known.pop(next(iter(self._known)))
            self._bytes -= sum(output.nbytes for output in oldest)
        return found

    def close(self):
        """Several drivers may share one; it ends with the last of them."""


class Remembered:
    """``load`` for drivers that share their engines: each model once per engine, :class:`Remembering`."""

    def __init__(self):
        self._known = {}

    def __call__(self, stage):
        key = stage.engine_name, stage.model.directory
        if key not in self._known:
            engine = load_engine(stage.engine_name)(stage.model, EngineOptions(threads=2))
            self._known[key] = Remembering(engine)
        return self._known[key]


class Driver(contextlib.AbstractContextManager):
    """One pipeline with its engines.

    Args:
        config: what to run.
        load: ``(stage) -> Engine``; None loads the engine that the stage names.
    """

    def __init__(self, config, load=None, threads=2):
        self.stages = Stages()
        self.pipeline = load_pipeline(config.name)(config, self.stages)
        self.config = config
        self._load = load or (
            lambda stage: load_engine(stage.engine_name)(stage.model, EngineOptions(threads=threads))
        )
        self._engines = {}
        #: (stage name, inputs) of every engine run
        self.log = []

    def __exit__(self, *_):
        for engine in self._engines.values():
            engine.close()

    def engine(self, stage):
        if id(stage) not in self._engines:
            self._engines[id(stage)] = self._load(stage)
        return self._engines[id(stage)]

    def __call__(self, *items):
        """Results of the items, run side by side: waiting calls of one stage and key share a run.

        An item that fails gives its exception instead of a result.
        """
        running = {index: self.pipeline.steps(item) for index, item in enumerate(items)}
        results, waiting = [None] * len(items), {}
        answers = dict.fromkeys(running)
        while running:
            for index, steps in list(running.items()):
                try:
                    answer = answers[index]
                    raised = isinstance(answer, Exception)
                    waiting[index] = steps.throw(answer) if raised else steps.send(answer)
                except StopIteration as stop:
                    results[index] = stop.value
                    del running[index]
                except Exception as error:
                    results[index] = error
                    del running[index]
            answers = self._answer({index: waiting[index] for index in running})
        return results

    def _answer(self, waiting):
        """One answer per item: a list of results, or the first exception."""
        batches = defaultdict(list)
        for index, calls in waiting.items():
            for place, call in enumerate(calls):
                batches[id(call.stage), call.key].append((index, place, call))
        found = {index: [None] * len(calls) for index, calls in waiting.items()}
        for batch in batches.values():
            stage = batch[0][2].stage
            for start in range(0, len(batch), stage.max_batch):
                part = batch[start : start + stage.max_batch]
                self.log.append((stage.name, len(part)))
                try:
                    outcomes = stage.run(self.engine(stage), [call.input for _, _, call in part])
                except Exception as error:
                    outcomes = [error] * len(part)
                assert len(outcomes) == len(part)
                for (index, place, _), outcome in zip(part, outcomes, strict=True):
                    found[index][place] = outcome
        return {
            index: next((value for value in values if isinstance(value, Exception)), values)
            for index, values in found.items()
        }

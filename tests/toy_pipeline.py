"""A pipeline for tests of the device process: its steps and its stage do what the request says."""

import msgspec
import numpy as np

from pipelines.core.base import Item, Pipeline, Role
from pipelines.core.errors import BadRequest, EngineError
from pipelines.core.forms import Form, Operation, Source
from pipelines.core.stage import Call, Stage


class ToyParams(msgspec.Struct, frozen=True):
    """What one item does.

    Attributes:
        values: numbers to double, one call each; the answer holds their doubles.
        key: batching key of the calls.
        rounds: how often to do that.
        trouble: ``steps`` raises in the steps, ``refuse`` is a BadRequest there, ``batch`` raises for the
            whole batch, ``item`` answers an exception for this call alone, ``engine`` an EngineError,
            ``catch`` as ``item`` but the steps go on, ``pack`` answers what cannot be packed, ``none``
            answers nothing, ``big`` answers more than a slot holds.
        scratch: ``scratch_bytes`` of the calls.
    """

    values: tuple[int, ...] = (1,)
    key: str = "k"
    rounds: int = 1
    trouble: str = ""
    scratch: int = 0


class ToyResult(msgspec.Struct, frozen=True):
    doubles: list[int]
    text: str = ""


class ToyStage(Stage):
    """Doubles numbers. ``log`` holds the engine and the inputs of every run."""

    name = "det"
    max_batch = 4

    def __init__(self, model, engine, offset=0):
        super().__init__(model, engine)
        self.offset = offset
        self.log = []
        self.before_run = lambda inputs: None

    def run(self, engine, inputs):
        self.log.append((engine, [value for _, value in inputs]))
        self.before_run(inputs)
        if any(params.trouble == "batch" for params, _ in inputs):
            raise RuntimeError("the whole batch")
        return [self._one(params, value) for params, value in inputs]

    def _one(self, params, value):
        if params.trouble in {"item", "catch"}:
            return ValueError("this one")
        if params.trouble == "engine":
            return EngineError("the engine refused")
        return 2 * value + self.offset

    def canary(self):
        return [Call(self, (ToyParams(), 1), None, 1.0)]


class ToyForm(Form):
    generation = "v3"
    request = msgspec.defstruct("ToyRequest", [("file", str)])
    params_type = ToyParams
    marks = frozenset({"file"})

    def source(self, request):
        return Source("file", request.file)

    def params(self, request, config):
        return ToyParams()

    def respond(self, reply):
        return {}


class ToyPipeline(Pipeline):
    names = ("toy",)
    operations = (Operation("/toy", "infer", "image", ToyResult, (ToyForm(),)),)
    roles = {"only": Role("toy", "Toy")}
    options = ToyParams

    def __init__(self, config, stages):
        self.stage = stages.get(ToyStage, config.models["only"], config.engines["only"])
        self.started = []

    def steps(self, item):
        params = item.params
        self.started.append(params)
        if params.trouble == "steps":
            raise ZeroDivisionError("a bug in the steps")
        if params.trouble == "refuse":
            raise BadRequest("no such page")
        doubles = list(params.values)
        for _ in range(params.rounds):
            calls = [Call(self.stage, (params, value), params.key, 10.0, params.scratch) for value in doubles]
            try:
                doubles = list((yield calls))
            except ValueError:
                if params.trouble != "catch":
                    raise
                doubles = [-1]
        if params.trouble == "none":
            return None
        if params.trouble == "pack":
            return ToyResult([object()])
        return ToyResult(doubles, "x" * (10 << 20) if params.trouble == "big" else "")

    @classmethod
    def parse_yaml(cls, document, generation):
        return {}

    @classmethod
    def cost_ms(cls, params, height, width):
        return 10.0 * len(params.values)

    def canary(self):
        return Item(params=ToyParams(values=(1, 2)), image=np.zeros((2, 2, 3), np.uint8))


PIPELINE = ToyPipeline

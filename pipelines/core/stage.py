"""The contract of a stage: one model's work on a device, and the calls that ask for it.

Nothing here imports an inference framework.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Hashable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from . import likeness
from .config import ModelFiles

if TYPE_CHECKING:
    from pipelines.engines.base import Engine


class Call(msgspec.Struct, frozen=True):
    """One input for one stage. Calls of one stage with equal keys may share an engine run.

    Attributes:
        stage: who runs it.
        input: whatever the stage's ``run`` takes.
        key: batching key, typically the tensor shape.
        cost_ms: expected one-thread time, for liveness and scheduling.
        scratch_bytes: memory that the run takes beside the model, where that is worth bounding.
    """

    stage: Stage
    input: Any
    key: Hashable
    cost_ms: float
    scratch_bytes: int = 0


#: Yields the calls it waits for, receives their results in the same order,
#: returns the result Struct. A failed call is *raised* into the generator.
Steps = Generator[Sequence[Call], Sequence[Any], msgspec.Struct]


class Stage(ABC):
    """One model's pre- and post-processing around an engine.

    A stage keeps no request state. It is shared by all pipelines of a device
    that name the same model with the same settings.
    """

    #: short name for timings and metrics: ``det``, ``rec``, ``textline_ori``, ``doc_ori``
    name: ClassVar[str]

    def __init__(self, model: ModelFiles, engine: str) -> None:
        self.model = model
        self.engine_name = engine

    #: how many calls of one key may share an engine run on an accelerator
    max_batch: int = 1
    #: the same on a CPU, where a larger batch costs as much per call and brings one more shape to compile
    #: for: OpenVINO takes 5 MB and 20 ms for each shape of a recogniser (measured)
    cpu_batch: int = 1

    @abstractmethod
    def run(self, engine: Engine, inputs: Sequence[Any]) -> Sequence[Any]:
        """Run a batch of inputs whose keys are equal.

        Returns one result or one Exception per input, same length and order.
        """

    @abstractmethod
    def canary(self) -> Sequence[Call]:
        """Calls to warm the engine up and prove that it answers."""

    def judge(self, expected: Sequence[Any], found: Sequence[Any]) -> str | None:
        """Why one engine's results are worse than another's; None: they are as good.

        A family says here what counts in its results: texts, boxes, pixels. Left alone, results are
        equal but for the last digits of their numbers.

        Args:
            expected: results of :meth:`run` for several inputs, computed by the engine that is trusted.
            found: results for the same inputs by the engine on trial.

        Returns:
            One line that names the first or the worst difference.
        """
        return likeness.same(expected, found)


class StageFactory(ABC):
    """Gives each distinct stage of a device once, however many pipelines ask."""

    @abstractmethod
    def get(self, cls: type[Stage], model: ModelFiles, engine: str, **settings: Any) -> Any:
        """The shared instance of ``cls(model, engine, **settings)``; settings are hashable."""

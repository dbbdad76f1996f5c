"""The contracts of a pipeline: what a route accepts, what runs on a device, what is answered.

A pipeline lives in one file, ``pipelines/<name>.py``, which defines
``PIPELINE``, a subclass of :class:`Pipeline`. The worker process uses its
operations (parse, parameters, response); the device process uses ``steps``.
Neither side imports an inference framework through this module.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TextIO

import msgspec
import numpy as np

if TYPE_CHECKING:
    from pipelines.engines.base import Engine

Generation = Literal["v3", "2024"]
#: Whose default models: this project's, or those of PaddleX 3.7.2.
ModelSet = Literal["starter", "paddlex"]
InputKind = Literal["document", "image", "csv", "none"]


# --- configuration, resolved once by the supervisor, then passed down ---------


class ModelFiles(msgspec.Struct, frozen=True):
    """One model on disk, resolved by ``core/models.py``.

    Attributes:
        name: ``Global.model_name`` (``PP-OCRv4_mobile_det``).
        directory: absolute folder that holds ``inference.yml``.
        files: format to absolute path: ``onnx``, ``pdmodel``, ``pir``, ``ir``,
            ``params`` (weights of ``pdmodel`` and ``pir``), and ``scaler`` where it was made elsewhere.
        sha256: file name to hex digest of what was loaded, for the plan.
        source: where it came from, in words, for the plan.
        avoid: engine to formats that it should not run while the model has another one.
    """

    name: str
    directory: str
    files: dict[str, str]
    sha256: dict[str, str] = {}
    source: str = ""
    avoid: dict[str, tuple[str, ...]] = {}


class ServingOptions(msgspec.Struct, frozen=True):
    """The ``Serving`` section of a pipeline YAML (API reference, 5.2)."""

    visualize: bool = True
    max_num_input_imgs: int | None = 10
    max_output_img_size: tuple[int, int] | None = (2000, 2000)


class PipelineConfig(msgspec.Struct, frozen=True):
    """One pipeline as it will be served.

    Attributes:
        name: registry name, the module in ``pipelines/`` (``ocr``).
        title: PaddleX's own name (``OCR``).
        generation: which YAML layout it came from; default ``v3``.
        options: the pipeline's own settings, a builtin form of its ``Options``.
        models: role (``text_detection``) to model; a role that is not loaded is absent.
        engines: role to engine name.
        serving: the ``Serving`` section.
        padding: ``exact`` or ``tight`` line padding (design, section 4).
        absent: optional role to why its model could not be had.
        files: what :meth:`Pipeline.fetch` gave.
    """

    name: str
    title: str
    generation: Generation
    options: dict[str, Any]
    models: dict[str, ModelFiles]
    engines: dict[str, str]
    serving: ServingOptions = ServingOptions()
    padding: Literal["exact", "tight"] = "tight"
    absent: dict[str, str] = {}
    files: dict[str, str] = {}


# --- the device side ------------------------------------------------------------


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


class StageFactory(ABC):
    """Gives each distinct stage of a device once, however many pipelines ask."""

    @abstractmethod
    def get(self, cls: type[Stage], model: ModelFiles, engine: str, **settings: Any) -> Any:
        """The shared instance of ``cls(model, engine, **settings)``; settings are hashable."""


class Item(msgspec.Struct):
    """One page, image or table on a device.

    Attributes:
        params: the ``Params`` struct that the operation's form made.
        image: uint8 ``[H, W, 3]`` BGR view of the slot; read-only; or None.
        blob: raw bytes for pipelines that do not take images (CSV); or None.
    """

    params: msgspec.Struct
    image: np.ndarray | None = None
    blob: memoryview | None = None


# --- the worker side ---------------------------------------------------------


class Source(msgspec.Struct, frozen=True):
    """Where a request's file is.

    Attributes:
        field: name of the body field, for error messages (``file``, ``image``).
        data: URL or base64 text as the client sent it.
        file_type: 0 PDF, 1 image, None unknown (API reference, 3.3).
    """

    field: str
    data: str
    file_type: int | None = None


class Page(msgspec.Struct):
    """One answered item: the device's result and the pixels it was made from.

    ``pixels`` is uint8 ``[H, W, 3]`` BGR over the slot, or None when the
    operation did not ask to keep them; valid only inside ``respond``.
    """

    result: msgspec.Struct
    width: int
    height: int
    pixels: np.ndarray | None = None


class Reply(msgspec.Struct):
    """Everything ``Form.respond`` may look at.

    ``data_info`` is PaddleX's ``dataInfo`` of the document, or None.
    ``font`` gives the path of a font with CJK glyphs, fetched on first use.
    """

    request: msgspec.Struct
    params: msgspec.Struct
    config: PipelineConfig
    pages: list[Page]
    visualize: bool
    data_info: dict[str, Any] | None
    font: Callable[[], str]


class Form(ABC):
    """One API generation of an operation."""

    generation: ClassVar[Generation]
    #: msgspec Struct with the body's fields by their wire names (``rename`` allowed)
    request: ClassVar[type[msgspec.Struct]]
    #: msgspec Struct that travels to the device with the item
    params_type: ClassVar[type[msgspec.Struct]]
    #: body fields that only this generation has; they choose the form
    marks: ClassVar[frozenset[str]]

    @abstractmethod
    def source(self, request: Any) -> Source:
        """Where the file of this request is."""

    @abstractmethod
    def params(self, request: Any, config: PipelineConfig) -> msgspec.Struct:
        """Device-side parameters. Raises BadRequest or PipelineError."""

    def visualize(self, request: Any, config: PipelineConfig) -> bool:
        """Whether pictures are wanted (v3: request, else ``Serving.visualize``; 2024: always)."""
        asked = getattr(request, "visualize", None)
        return config.serving.visualize if asked is None else bool(asked)

    def answer_bytes(self, params: msgspec.Struct, height: int, width: int) -> int:
        """About how much memory the answer for one image takes beside the image and the device's result.

        It is counted before the image is decoded; an answer that is large is made off the event loop.
        """
        return 0

    @abstractmethod
    def respond(self, reply: Reply) -> dict[str, Any]:
        """The ``result`` object, made of builtins and NumPy arrays/scalars (orjson writes both).

        JSON text that a kernel has written goes in as ``orjson.Fragment``. Pictures are ``bytes`` of an
        encoded JPEG; ``server/encode.py`` makes base64 of them. Runs off the event loop if that takes long.
        """


class Errand(msgspec.Struct):
    """A request without a file, which a worker answers itself; devices help where it asks them.

    Attributes:
        request, config: as in :class:`Reply`.
        desk: what :meth:`Pipeline.desk` gave this worker.
        compute: runs an item (``params`` and a blob) of the errand's own operation on a device.
        in_thread: runs a function off the event loop: everything that takes more than a millisecond.
    """

    request: msgspec.Struct
    config: PipelineConfig
    desk: Any
    compute: Callable[[msgspec.Struct, bytes], Awaitable[msgspec.Struct]]
    in_thread: Callable[..., Awaitable[Any]]


class ErrandForm(Form):
    """A form of an operation whose input is ``none``."""

    @abstractmethod
    async def answer(self, errand: Errand) -> dict[str, Any]:
        """The ``result`` object. On the event loop; cancelled at the deadline or when the client goes."""

    def source(self, request: Any) -> Source:
        """There is none."""
        raise TypeError("an errand has no file")

    def visualize(self, request: Any, config: PipelineConfig) -> bool:
        """There are no pictures."""
        return False

    def respond(self, reply: Reply) -> dict[str, Any]:
        """See :meth:`answer`."""
        raise TypeError("an errand is answered by a worker")


class Operation(msgspec.Struct, frozen=True):
    """One route. ``forms`` are tried by their marks; the first is the default.

    Attributes:
        path: ``/ocr``.
        name: PaddleX's operationId (``infer``).
        input: how the file becomes items: a ``document`` gives one item per page. ``none``: there is no
            file, all forms are of :class:`ErrandForm`.
        result: Struct that the device returns for one item.
        forms: the API generations that this route answers.
        echoes_log_id: whether a success echoes the request's ``logId``.
        gives_way: another pipeline's operation on the same path goes first.
        patience: how many times the server's usual time a request may take.
    """

    path: str
    name: str
    input: InputKind
    result: type[msgspec.Struct]
    forms: tuple[Form, ...]
    echoes_log_id: bool = False
    gives_way: bool = False
    patience: int = 1


class Role(msgspec.Struct, frozen=True):
    """One sub-model of a pipeline.

    Attributes:
        task: module name as PaddleX writes it (``text_detection``).
        submodule: key under ``SubModules`` in a v3 YAML (``TextDetection``),
            dotted through sub-pipelines (``DocPreprocessor.DocOrientationClassify``).
        beta_key: key under ``Pipeline`` in a 2024 YAML (``text_det_model``), or None.
        default: model name when no YAML says otherwise, or None: not loaded by default.
        official: what PaddleX 3.7.2 takes in its place (``paddlex/configs/pipelines``), or None: the same.
        optional: left out, with a line in the plan, where no folder is given and the model cannot be had.
    """

    task: str
    submodule: str
    beta_key: str | None = None
    default: str | None = None
    official: str | None = None
    optional: bool = False

    def named(self, models: ModelSet) -> str | None:
        """The model of one set of defaults."""
        return self.official or self.default if models == "paddlex" else self.default


class Pipeline(ABC):
    """What one pipeline accepts, runs and answers. Instances live on devices only."""

    #: PaddleX's names for it, 3.x first
    names: ClassVar[tuple[str, ...]]
    operations: ClassVar[tuple[Operation, ...]]
    roles: ClassVar[Mapping[str, Role]]
    #: frozen msgspec Struct of the pipeline's own settings, every field with a default
    options: ClassVar[type[msgspec.Struct]]

    @abstractmethod
    def __init__(self, config: PipelineConfig, stages: StageFactory) -> None:
        """Take the stages it needs from ``stages``; loads nothing itself."""

    @abstractmethod
    def steps(self, item: Item) -> Steps:
        """The work on one item, as a generator of Calls."""

    @classmethod
    @abstractmethod
    def parse_yaml(cls, document: Mapping[str, Any], generation: Generation) -> dict[str, Any]:
        """Own settings from a PaddleX YAML, as builtins of ``options``.

        Raises ConfigError naming an unknown key.
        """

    @classmethod
    def loads(cls, role: str, options: Mapping[str, Any]) -> bool:
        """Whether a YAML with these options loads ``role``: not the sub-models that its flags turn off."""
        return True

    @classmethod
    @abstractmethod
    def cost_ms(cls, params: msgspec.Struct, height: int, width: int) -> float:
        """Rough one-thread device time of an item, for admission; corrected by measurement.

        ``height`` and ``width`` are those of an image in pixels; of other files they are 1 and the bytes.
        """

    @classmethod
    def result_bytes(cls, params: msgspec.Struct, height: int, width: int) -> int:
        """Upper bound of the packed result. Overflow is a counted 500."""
        return 256 * 1024

    @classmethod
    def fetch(cls, options: Mapping[str, Any], cache_dir: Path, stream: TextIO | None) -> dict[str, str]:
        """Files besides models that these options need, by name: fetched once, before anything starts.

        Raises ConfigError.
        """
        return {}

    @classmethod
    def desk(cls, config: PipelineConfig) -> Any:
        """What a worker keeps for this pipeline's errands (connections); loads and connects nothing yet.

        Raises ConfigError for settings that cannot be.
        """
        return None

    @classmethod
    def notes(cls, config: PipelineConfig) -> Sequence[str]:
        """Lines for the start-up plan about what else is set up. Raises ConfigError."""
        return ()

    @abstractmethod
    def canary(self) -> Item:
        """A small real item that must succeed before a device calls itself ready."""

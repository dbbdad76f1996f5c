"""One pipeline's configuration: resolved once by the supervisor, then passed down to every process."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Generation = Literal["v3", "2024"]
#: Whose default models: this project's, or those of PaddleX 3.7.2.
ModelSet = Literal["starter", "paddlex"]


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


class FileStorage(msgspec.Struct, frozen=True, tag="file_system"):
    """Pictures are files below ``directory``; ``base_url`` is where somebody serves that folder, or ""."""

    directory: str
    base_url: str = ""


class S3Keys(msgspec.Struct, frozen=True):
    """Access key and secret key, which nothing may print."""

    ak: str
    sk: str

    def __repr__(self) -> str:
        return "S3Keys(...)"


class S3Storage(msgspec.Struct, frozen=True, tag="s3"):
    """Pictures are objects of a bucket.

    Attributes:
        bucket_name, endpoint, region, key_prefix: "" is what boto3 takes by itself.
        keys: of the YAML; None: boto3 finds them.
        connect_ms: how long a connection may take.
    """

    bucket_name: str
    endpoint: str = ""
    region: str = ""
    key_prefix: str = ""
    keys: S3Keys | None = None
    connect_ms: int = 3000


Storage = FileStorage | S3Storage


class ServingOptions(msgspec.Struct, frozen=True):
    """The ``Serving`` section of a pipeline YAML (API reference, 5.2).

    ``storage`` is where pictures of documents are kept, if anywhere; with ``return_urls`` answers have their
    addresses, valid for ``url_expires_in`` seconds, -1 for ever.
    """

    visualize: bool = True
    max_num_input_imgs: int | None = 10
    max_output_img_size: tuple[int, int] | None = (2000, 2000)
    storage: Storage | None = None
    return_urls: bool = False
    url_expires_in: int = -1


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
        precisions: role to what its engine may compute in (``bf16``); f32 where it is absent.
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
    precisions: dict[str, str] = {}

"""The three time-series routes in both generations: requests, answers (API reference, 10.10 to 10.12)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, ClassVar, cast

import msgspec

from .config import Generation, PipelineConfig
from .draw import jpeg
from .errors import ConfigError
from .forms import Form, Reply, Source
from .series_plot import draw_plot
from .series_results import ClassResult, SeriesResult
from .yaml_config import MODULE_KEYS, own_settings

#: Quality of Pillow's JPEGs, which PaddleX sends on these routes.
_QUALITY = 75

_log = logging.getLogger(__name__)


class SeriesOptions(msgspec.Struct, frozen=True):
    """These pipelines have no settings of their own."""


class SeriesParams(msgspec.Struct, frozen=True):
    """What a device needs to know: whether somebody wants a plot."""

    plotted: bool = False


class SeriesRequest(msgspec.Struct):
    """Body of 3.x."""

    csv: str
    visualize: bool | None = None


class SeriesRequest2024(msgspec.Struct):
    """Body of the 2024 generation."""

    csv: str


class SeriesForm(Form):
    """3.x: ``csv``, URL or base64; ``visualize`` by the request, else by the ``Serving`` section."""

    generation: ClassVar[Generation] = "v3"
    request: ClassVar[type[msgspec.Struct]] = SeriesRequest
    params_type = SeriesParams
    marks: ClassVar[frozenset[str]] = frozenset({"visualize"})

    def source(self, request: Any) -> Source:
        """``csv``."""
        return Source("csv", request.csv)

    def params(self, request: Any, config: PipelineConfig) -> SeriesParams:
        """Device-side parameters."""
        return SeriesParams(self.visualize(request, config))

    def respond(self, reply: Reply) -> dict[str, Any]:
        """``{csv, image}`` or ``{label, score, image}``."""
        found = cast("SeriesResult | ClassResult", reply.pages[0].result)
        answer: dict[str, Any]
        if isinstance(found, ClassResult):
            answer = {"label": found.label, "score": found.score}
        else:
            answer = {"csv": found.csv}
        if reply.visualize and found.plot is not None:
            answer["image"] = jpeg(draw_plot(found.plot, _font(reply.font)), quality=_QUALITY)
        return answer


class SeriesForm2024(SeriesForm):
    """2024: the same without a plot, which that generation did not have."""

    generation: ClassVar[Generation] = "2024"
    request = SeriesRequest2024
    marks = frozenset()

    def visualize(self, request: Any, config: PipelineConfig) -> bool:
        """Never."""
        return False


def _font(font: Callable[[], str]) -> str:
    """Path of the font, "" when it cannot be had: then letters are Pillow's, which are Latin only."""
    try:
        return font()
    except (ConfigError, OSError) as error:
        _tell_once(f"{type(error).__name__}: {error}")
        return ""


@cache
def _tell_once(reason: str) -> None:
    _log.warning("plots have Latin letters only, there is no font: %s", reason)


def series_options(document: Mapping[str, Any], generation: Generation, submodule: str) -> dict[str, Any]:
    """Check a YAML of a time-series pipeline; there is nothing to keep. Raises ConfigError."""
    own = own_settings(document, generation)
    if generation == "2024":
        own.skip("model", "batch_size").finish()
    else:
        modules = own.section("SubModules")
        modules.section(submodule).skip(*MODULE_KEYS, "batch_size").finish()
        modules.finish()
        own.finish()
    return {}

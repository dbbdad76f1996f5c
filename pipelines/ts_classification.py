"""Classification of time series: a CSV in, the number of a class out."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, cast

import msgspec

from pipelines.core.base import Item, Role
from pipelines.core.forms import Operation
from pipelines.core.series_api import SeriesForm, SeriesForm2024, SeriesParams
from pipelines.core.series_results import ClassResult, classification
from pipelines.core.stage import Call
from pipelines.stages.series import Series
from pipelines.ts_forecast import ForecastPipeline


class ClassificationPipeline(ForecastPipeline):
    """PaddleX's ``ts_classification``."""

    names: ClassVar[tuple[str, ...]] = ("ts_classification", "ts_cls")
    operations: ClassVar[tuple[Operation, ...]] = (
        Operation(
            "/time-series-classification", "infer", "csv", ClassResult, (SeriesForm(), SeriesForm2024())
        ),
    )
    roles: ClassVar[Mapping[str, Role]] = {
        "ts_classification": Role(
            "ts_classification",
            "TSClassification",
            "model",
            default="ts_classification_basicmotions",
            official="TimesNet_cls",
        )
    }

    def _check(self, series: Series) -> None:
        if not series.about.is_whole:
            raise series.about.error("this is no model for classes: input_data has no features")

    def steps(self, item: Item) -> Generator[Sequence[Call], Sequence[Any], msgspec.Struct]:
        """One CSV."""
        about, params = self._series.about, cast("SeriesParams", item.params)
        window = self._series.window(cast("memoryview", item.blob), about.window if params.plotted else 0)
        (output,) = yield [self._series.call(window)]
        return classification(window, output)


PIPELINE = ClassificationPipeline

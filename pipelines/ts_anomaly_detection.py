"""Anomaly detection in time series: a CSV in, a label for each of its last rows out."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, cast

import msgspec

from pipelines.core.base import Item, Role
from pipelines.core.forms import Operation
from pipelines.core.series_api import SeriesForm, SeriesForm2024, SeriesParams
from pipelines.core.series_results import SeriesResult, anomalies
from pipelines.core.stage import Call
from pipelines.stages.series import Series
from pipelines.ts_forecast import ForecastPipeline


class AnomalyPipeline(ForecastPipeline):
    """PaddleX's ``ts_anomaly_detection``."""

    names: ClassVar[tuple[str, ...]] = ("ts_anomaly_detection", "ts_ad")
    operations: ClassVar[tuple[Operation, ...]] = (
        Operation(
            "/time-series-anomaly-detection", "infer", "csv", SeriesResult, (SeriesForm(), SeriesForm2024())
        ),
    )
    roles: ClassVar[Mapping[str, Role]] = {
        "ts_anomaly_detection": Role(
            "ts_anomaly_detection",
            "TSAnomalyDetection",
            "model",
            default="ts_anomaly_autoencoder_ucr135",
            official="DLinear_ad",
        )
    }

    def _check(self, series: Series) -> None:
        if math.isnan(series.about.threshold) or series.about.is_whole:
            raise series.about.error("this is no model for anomalies: model_threshold is missing")

    def steps(self, item: Item) -> Generator[Sequence[Call], Sequence[Any], msgspec.Struct]:
        """One CSV."""
        params = cast("SeriesParams", item.params)
        window = self._series.window(cast("memoryview", item.blob))
        (output,) = yield [self._series.call(window)]
        return anomalies(window, self._series.about, output, plotted=params.plotted)


PIPELINE = AnomalyPipeline

"""Time-series forecasting: a CSV in, the rows that come next out."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, ClassVar, cast

import msgspec

from pipelines.core.base import Item, Pipeline, Role
from pipelines.core.config import Generation, PipelineConfig
from pipelines.core.forms import Operation
from pipelines.core.series_api import (
    SeriesForm,
    SeriesForm2024,
    SeriesOptions,
    SeriesParams,
    series_options,
)
from pipelines.core.series_example import example_csv
from pipelines.core.series_results import SeriesResult, forecast
from pipelines.core.stage import Call, StageFactory
from pipelines.stages.series import MS_PER_SERIES, Series

#: Time to look at a byte of a CSV; measured on 100 MB.
_MS_PER_BYTE = 0.5e-6


class ForecastPipeline(Pipeline):
    """PaddleX's ``ts_forecast``; the other two are built like it."""

    names: ClassVar[tuple[str, ...]] = ("ts_forecast", "ts_fc")
    operations: ClassVar[tuple[Operation, ...]] = (
        Operation("/time-series-forecasting", "infer", "csv", SeriesResult, (SeriesForm(), SeriesForm2024())),
    )
    roles: ClassVar[Mapping[str, Role]] = {
        "ts_forecast": Role(
            "ts_forecast", "TSForecast", "model", "ts_forecast_dlinear_co2", official="DLinear"
        )
    }
    options = SeriesOptions

    def __init__(self, config: PipelineConfig, stages: StageFactory) -> None:
        (role,) = self.roles
        self._series: Series = stages.get(Series, config.models[role], config.engines[role])
        self._check(self._series)

    def _check(self, series: Series) -> None:
        """Raise ConfigError when this is not the model of such a pipeline."""
        if not series.about.horizon or series.about.is_whole:
            raise series.about.error("this is no model for forecasts: size.out_chunk_len is missing")

    def steps(self, item: Item) -> Generator[Sequence[Call], Sequence[Any], msgspec.Struct]:
        """One CSV."""
        about, params = self._series.about, cast("SeriesParams", item.params)
        window = self._series.window(cast("memoryview", item.blob), about.horizon if params.plotted else 0)
        (output,) = yield [self._series.call(window)]
        return forecast(window, about, output)

    @classmethod
    def parse_yaml(cls, document: Mapping[str, Any], generation: Generation) -> dict[str, Any]:
        """There are no settings but the model. Raises ConfigError."""
        (role,) = cls.roles.values()
        return series_options(document, generation, role.submodule)

    @classmethod
    def cost_ms(cls, params: msgspec.Struct, height: int, width: int) -> float:
        """From the bytes of the CSV: of most of it only the lines are counted."""
        return MS_PER_SERIES + height * width * _MS_PER_BYTE

    @classmethod
    def result_bytes(cls, params: msgspec.Struct, height: int, width: int) -> int:
        """A forecast has at most 4,096 numbers, labels have no more rows than the CSV."""
        return (512 << 10) + 8 * height * width

    def canary(self) -> Item:
        """A CSV with the columns that the model wants."""
        return Item(SeriesParams(plotted=True), blob=memoryview(example_csv(self._series.about)))


PIPELINE = ForecastPipeline

"""What a time-series model wants to see of a CSV: its ``inference.yml`` and ``scaler.json``.

Keys: API reference, 7.1; what PaddleX does with them: 9.10.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from .config import ModelFiles
from .errors import ConfigError
from .inference_yml import Description
from .scalers import FILE, JSON, read_scaler

#: Tensors by the names that PaddleX's exporter gives them. PAST and FEATURES hold the same columns.
PAST, OBSERVED, KNOWN, STATIC = (
    "past_target",
    "observed_cov_numeric",
    "known_cov_numeric",
    "static_cov_numeric",
)
FEATURES, MASK = "features", "pad_mask"
#: Columns of time features, without and with ``holiday``.
CALENDAR_COLUMNS, HOLIDAY_COLUMNS = 4, 25
#: Most rows or values of a chunk; PaddleX's models look at some hundred rows.
_MOST = 1 << 20
#: Most numbers of a forecast: with times and plot 60 bytes each, so that an answer fits a small slot.
_MOST_ANSWER = 4096


class Tensor(msgspec.Struct, frozen=True):
    """One input of the model.

    Attributes:
        name: key of ``input_data``.
        shape: of one item, as it will be made.
        places: which of :attr:`SeriesInfo.columns` it takes; empty for time features and the mask.
    """

    name: str
    shape: tuple[int, ...]
    places: tuple[int, ...] = ()


class SeriesInfo:
    """What a model wants to see of a CSV.

    Attributes:
        time_col: column of times, or None: rows are counted from 0.
        freq: text for dates, a whole number for whole numbers, None to infer.
        group_id: column whose first value chooses the rows, or None.
        is_whole: the model looks at a whole CSV of at most ``window`` rows, not at its end (classification).
        window: rows that the model looks at.
        horizon: rows that it adds; 0 when it adds none.
        columns: columns of numbers that are read.
        mean, scale: float64, one number per column; 0 and 1 where nothing is scaled.
        is_scaled: whether the model wants to see scaled columns.
        target: which of the columns results are about: ``target_cols``, else ``feature_cols``.
        compared: which of the columns a reconstruction is compared with.
        tensors: inputs in alphabetical order, which is the order of PaddleX.
        calendar: time features, 0 for none.
        threshold: ``model_threshold``; NaN when there is none.

    Args:
        model: a folder with ``inference.yml`` and, where that says ``scale``, ``scaler.json``.

    Raises:
        ConfigError: a key or file that is missing or cannot be.
    """

    def __init__(self, model: ModelFiles) -> None:
        self._about = about = Description(model.directory)
        info, size, inputs = (self._section(key) for key in ("info_params", "size", "input_data"))
        self.time_col, self.group_id = self._text(info, "time_col"), self._text(info, "group_id")
        self.freq = self._freq(info.get("freq"))
        self.is_whole = FEATURES in inputs or MASK in inputs
        self.horizon = self._count(size, "out_chunk_len")
        self.window = self._rows(inputs) if self.is_whole else self._chunk(size)
        limit = about.top("model_threshold")
        self.threshold = math.nan if limit is None else about.number(limit)
        targets, features = self._names(info, "target_cols"), self._names(info, "feature_cols")
        past = self._names(info, "label_col") or targets
        known, static = self._names(info, "known_cov_cols"), self._names(info, "static_cov_cols")
        sources = {
            PAST: past, FEATURES: past, OBSERVED: features or self._names(info, "observed_cov_cols"),
            KNOWN: known, STATIC: static,
        }  # fmt: skip
        results = targets or features
        if not results:
            raise about.error("info_params names neither target_cols nor feature_cols")
        compared = past or sources[OBSERVED]
        wanted = [sources[name] for name in inputs if name in sources]
        self.columns = tuple(dict.fromkeys(name for names in (*wanted, results, compared) for name in names))
        self.target, self.compared = self._places(results), self._places(compared)
        if self.horizon * len(results) > _MOST_ANSWER:
            raise about.error(f"a forecast of more than {_MOST_ANSWER} numbers is not supported")
        self.calendar = self._calendar(known)
        self.tensors = tuple(self._tensor(name, inputs[name], sources) for name in sorted(inputs))
        self.is_scaled = bool(about.top("scale"))
        self.mean, self.scale = self._scaling(targets, features, model)

    def error(self, message: str) -> ConfigError:
        """A ConfigError that names ``inference.yml``."""
        return self._about.error(message)

    # --- keys

    def _section(self, key: str) -> Mapping[str, Any]:
        found = self._about.top(key)
        if not isinstance(found, Mapping):
            raise self.error(f"{key} is missing or no mapping")
        return found

    def _text(self, info: Mapping[str, Any], key: str) -> str | None:
        found = info.get(key)
        if found is not None and not isinstance(found, str):
            raise self.error(f"info_params.{key} must be the name of a column, not {found!r}")
        return found

    def _names(self, info: Mapping[str, Any], key: str) -> tuple[str, ...]:
        found = info.get(key) or []
        names = [found] if isinstance(found, str) else found
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise self.error(f"info_params.{key} must be names of columns, not {found!r}")
        if len(set(names)) != len(names):
            raise self.error(f"info_params.{key} names a column twice")
        return tuple(names)

    def _freq(self, found: Any) -> str | int | None:
        whole = isinstance(found, int) and not isinstance(found, bool) and found > 0
        if found is not None and not isinstance(found, str) and not whole:
            raise self.error(f"info_params.freq must be text or a positive whole number, not {found!r}")
        return found or None

    def _count(self, size: Mapping[str, Any], key: str) -> int:
        found = size.get(key) or 0
        if not isinstance(found, int) or not 0 <= found <= _MOST:
            raise self.error(f"size.{key} must be a whole number up to {_MOST}, not {found!r}")
        return found

    def _chunk(self, size: Mapping[str, Any]) -> int:
        if not self._count(size, "in_chunk_len"):
            raise self.error("size.in_chunk_len is missing")
        return self._count(size, "in_chunk_len") + self._count(size, "skip_chunk_len")

    def _rows(self, inputs: Mapping[str, Any]) -> int:
        """Rows of a classifier: length of the mask, else of the features."""
        shape = (
            self._shape(MASK, inputs[MASK])
            if MASK in inputs
            else self._shape(FEATURES, inputs[FEATURES])[:-1]
        )
        rows = shape[-1] if shape else -1
        if not 0 < rows <= _MOST:
            raise self.error("input_data does not say how many rows the model takes")
        return rows

    def _calendar(self, known: Iterable[str]) -> int:
        if not self._about.top("time_feat") or self.is_whole:
            return 0
        if tuple(known):
            raise self.error(
                "time_feat together with known_cov_cols is not supported (PaddleX cannot run it either)"
            )
        if self.time_col is None or isinstance(self.freq, int):
            raise self.error("time_feat needs a time_col of dates, so freq must be text")
        return HOLIDAY_COLUMNS if self._about.top("holiday") else CALENDAR_COLUMNS

    # --- tensors

    def _places(self, names: Iterable[str]) -> tuple[int, ...]:
        return tuple(self.columns.index(name) for name in names)

    def _shape(self, name: str, listed: Any) -> tuple[int, ...]:
        """Shape of one item; -1 where the model takes any size."""
        try:
            shape = tuple(-1 if size is None else size for size in msgspec.convert(listed, list[int | None]))
        except msgspec.ValidationError:
            shape = ()
        if len(shape) < 2 or any(not -1 <= size <= _MOST or size == 0 for size in shape[1:]):
            raise self.error(f"input_data.{name} must be a shape, not {listed!r}")
        return shape[1:]

    def _tensor(self, name: str, listed: Any, sources: Mapping[str, tuple[str, ...]]) -> Tensor:
        declared = self._shape(name, listed)
        places: tuple[int, ...] = ()
        if name == MASK:
            made: tuple[int, ...] = (self.window,)
        elif name == KNOWN and self.calendar:
            made = (self.window + self.horizon, self.calendar)
        elif sources.get(name):
            places = self._places(sources[name])
            made = (self.window, len(places))
            if name == STATIC and math.prod(declared) == len(places):
                made = declared
        else:
            raise self.error(f"input_data.{name}: info_params names no columns for it")
        if len(made) != len(declared) or any(d not in (-1, m) for m, d in zip(made, declared, strict=True)):
            raise self.error(
                f"input_data.{name} is {list(declared)}, but size and info_params give {list(made)}"
            )
        return Tensor(name, made, places)

    # --- scaling

    def _scaling(
        self, targets: tuple[str, ...], features: tuple[str, ...], model: ModelFiles
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        mean, scale = np.zeros(len(self.columns)), np.ones(len(self.columns))
        if not self.is_scaled:
            return mean, scale
        if set(targets) & set(features):
            raise self.error("scale with a column in both target_cols and feature_cols is not supported")
        scaler = read_scaler(Path(model.files.get(FILE) or Path(model.directory) / JSON))
        for names in (targets, features):
            if set(names) <= set(scaler.columns):
                found = [scaler.columns.index(name) for name in names]
            elif len(names) == len(scaler.mean):
                found = list(range(len(names)))
            else:
                raise self.error(f"{JSON} has {len(scaler.mean)} columns and not all of {', '.join(names)}")
            for name, place in zip(names, found, strict=True):
                if name in self.columns:
                    own = self.columns.index(name)
                    mean[own], scale[own] = scaler.mean[place], scaler.scale[place]
        return mean, scale

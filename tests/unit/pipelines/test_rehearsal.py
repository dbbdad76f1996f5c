"""Recording a pipeline's examples, playing them again, and what is said of another engine's answers."""

import numpy as np
import pytest

from pipelines.core.errors import EngineError
from pipelines.core.rehearsal import Listener, Recorder, difference, read_tape, rehearse, write_tape
from server.stages import Stages
from tests.fakes import fake_config
from tests.toy_pipeline import ToyPipeline, ToyStage


class Rehearsal:
    """OCR on fake models, with what its stages have answered."""

    def __init__(self, folder):
        config = fake_config(folder, detection_ms=0, recognition_ms=0)
        self.stages = Stages(config, config.devices[0])
        from pipelines.ocr import OcrPipeline

        self.pipeline = OcrPipeline(config.pipelines[0], self.stages)
        self.stages.load()
        self.results = []

    def run(self, engine_of):
        def step(stage, one):
            self.results.append((stage.name, stage.run(engine_of(stage), [one])[0]))
            return self.results[-1][1]

        rehearse(self.pipeline, self.stages.all, step)
        return self.results


def plain(results):
    return [(name, repr(result)) for name, result in results]


def test_a_tape_gives_what_was_recorded(tmp_path):
    tape = tmp_path / "tape"
    tape.mkdir()
    first, recorders = Rehearsal(tmp_path / "one"), {}

    def recorded(stage):
        if stage.name not in recorders:
            recorders[stage.name] = Recorder(first.stages.engine(stage, False), tape / stage.name)
        return recorders[stage.name]

    results = plain(first.run(recorded))
    write_tape(tape, {name: recorder.track for name, recorder in recorders.items()})
    assert {name for name, _ in results} == {"det", "rec", "textline_ori"}
    assert sum(name == "det" for name, _ in results) == 3
    assert sum(name == "rec" for name, _ in results) > 20

    players, second = read_tape(tape), Rehearsal(tmp_path / "two")
    assert plain(second.run(lambda stage: players[stage.name])) == results
    assert sum(len(player.take()) for player in players.values()) == len(results)
    with pytest.raises(EngineError, match=r"runs of det are on the tape"):
        players["det"].run({})


def test_there_is_no_tape(tmp_path):
    with pytest.raises(EngineError, match=r"there is no tape"):
        read_tape(tmp_path)


def test_a_listener_keeps_copies(tmp_path):
    rehearsal = Rehearsal(tmp_path)
    (stage,) = [stage for stage in rehearsal.stages.all if stage.name == "det"]
    listener = Listener(rehearsal.stages.engine(stage, False))
    tensor = np.ones((1, 3, 32, 32), np.float32)
    (answer,) = listener.run({"x": tensor})
    tensor[...] = 0
    assert listener.feeds[0]["x"].all() and not answer.any()
    listener.run({"x": tensor})
    assert [heard[0].any() for heard in listener.take()] == [False, True]
    assert listener.take() == []


def test_a_stage_that_no_example_reaches_runs_its_canary(tmp_path):
    class Idle(ToyPipeline):
        def examples(self):
            return []

    class Stage(ToyStage):
        def run(self, engine, inputs):
            return inputs

    stage, seen = Stage(None, "fake"), []

    class Shelf:
        def get(self, cls, model, engine, **settings):
            return stage

    from pipelines.core.config import PipelineConfig

    pipeline = Idle(PipelineConfig("toy", "toy", "v3", {}, {"only": None}, {"only": "fake"}), Shelf())
    rehearse(pipeline, [stage], lambda stage, one: seen.append(one))
    assert seen == [call.input for call in stage.canary()]


def test_a_result_that_is_an_exception_is_raised(tmp_path):
    rehearsal = Rehearsal(tmp_path)
    with pytest.raises(EngineError, match=r"this one"):
        rehearse(rehearsal.pipeline, (), lambda stage, one: EngineError("this one"))


class TestDifference:
    ONE = [[np.array([[1.0, 2.0]], np.float32), np.array([3], np.int64)]]

    def test_the_largest(self):
        other = [[np.array([[1.0, 2.25]], np.float32), np.array([2], np.int64)]]
        assert difference(self.ONE, self.ONE) == 0.0
        assert difference(self.ONE, other) == 1.0
        assert difference(self.ONE + self.ONE, self.ONE + other) == 1.0

    def test_unsigned_and_truth_values(self):
        small, large = [[np.array([0], np.uint8)]], [[np.array([255], np.uint8)]]
        assert difference(small, large) == 255.0
        assert difference([[np.array([True])]], [[np.array([False])]]) == 1.0

    def test_other_shapes_have_none(self):
        assert difference(self.ONE, [[np.zeros((1, 3), np.float32), np.array([3])]]) is None
        assert difference(self.ONE, [self.ONE[0][:1]]) is None

    def test_what_is_not_finite(self):
        broken = [[np.array([[np.nan, 2.0]], np.float32), np.array([3], np.int64)]]
        assert difference(self.ONE, broken) == float("inf")
        assert difference(broken, broken) == 0.0

    def test_more_than_is_compared_at_once(self):
        one = np.zeros(3 << 21, np.float32)
        other = one.copy()
        other[-1] = 0.5
        assert difference([[one]], [[other]]) == 0.5

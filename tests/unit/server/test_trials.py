"""Trials in real processes: engines that are slow, wrong, or take their process down are rows of a plan."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest

import server.trials
from pipelines.core.config import PipelineConfig
from pipelines.core.download import locked
from pipelines.core.errors import ConfigError
from pipelines.core.yaml_config import ModelChoice, PipelineSpec
from pipelines.engines.base import Engine
from server.config import DeviceConfig
from server.plan_child import Order, Report, Trial
from server.plan_facts import facts_of
from server.plan_file import Choice, read_plan, write_plan
from server.resolved import Resolved
from server.trials import Bounds, Outcome, make_plan, run_child, starved_s
from tests.conditions import wait_for
from tests.fakes import fake_models

PATIENT = Bounds(100.0, 4 << 30)
OPTIONS = {"use_doc_preprocessor": False, "use_textline_orientation": False}


class Bench:
    """OCR on two fake models whose behaviour by precision is planted."""

    def __init__(self, folder, detection=None, recognition=None, precision="auto"):
        found = fake_models(folder / "models", detection_ms=20, recognition_ms=0.2)
        models = {role: found[role] for role in ("text_detection", "text_recognition")}
        for role, forms in (("text_detection", detection), ("text_recognition", recognition)):
            path = Path(models[role].files["fake"])
            path.write_text(json.dumps(json.loads(path.read_text()) | {"forms": forms or {}}))
        engines = dict.fromkeys(models, "fake")
        choices = {role: ModelChoice(None, model.directory) for role, model in models.items()}
        spec = PipelineSpec("ocr", "OCR", "v3", OPTIONS, choices)
        devices = (DeviceConfig(threads=1, all_threads=2),)
        self.resolved = Resolved(spec, models, {}, engines, (), devices, precision)
        self.trusted = PipelineConfig("ocr", "OCR", "v3", OPTIONS, models, engines)
        self.root, self.facts, self.rows = folder, facts_of(self.resolved), []

    def plan(self, bounds=PATIENT):
        return make_plan(self.facts, self.resolved, self.trusted, self.root, self.rows.append, bounds)

    def order(self, role="text_detection", precision="f32"):
        tape = self.root / "tape"
        tape.mkdir()
        trial = Trial(self.resolved.models[role], "fake", precision)
        return Order(self.trusted, self.resolved.devices[0], "", str(tape), os.getpid(), trial)


def test_a_plan_of_engines_that_are_fast_wrong_crash_and_refuse(tmp_path):
    bench = Bench(
        tmp_path,
        detection={
            "bf16": {"delay_ms": 1},
            "fp16": {"delay_ms": 0, "mirrored": True},
            "int8": {"run": "crash"},
        },
        recognition={
            "bf16": {"delay_ms": 8},
            "fp16": {"load": "error"},
            "int8": {"load": "exit", "amount": 3},
        },
    )
    plan = bench.plan()
    verdicts = {(row.role[5:8], row.precision): row.verdict for row in plan.rows}
    assert verdicts == {
        ("det", "f32"): "slower", ("det", "bf16"): "fastest", ("det", "fp16"): "wrong",
        ("det", "int8"): "crashed",
        ("rec", "f32"): "fastest", ("rec", "bf16"): "slower", ("rec", "fp16"): "failed",
        ("rec", "int8"): "crashed",
    }  # fmt: skip
    assert plan.choices == {
        "text_detection": Choice("fake", "bf16"),
        "text_recognition": Choice("fake", "f32"),
    }
    rows = {(row.role[5:8], row.precision): row for row in plan.rows}
    exact, fast = rows["det", "f32"], rows["det", "bf16"]
    assert set(exact.ms) == set(fast.ms) == {1, 2}
    assert plan.runs["text_detection"] == 3
    assert exact.ms[1] >= 3 * 20 and exact.ms[2] >= 3 * 10
    assert exact.ms[1] > fast.ms[1] >= 3 * 1
    assert exact.difference == fast.difference == 0.0
    assert rows["det", "fp16"].difference == 1.0 and "box" in rows["det", "fp16"].note
    assert rows["det", "fp16"].ms == {}
    assert rows["det", "int8"].note == "SIGSEGV"
    assert rows["det", "int8"].load_ms is not None
    assert rows["rec", "int8"].note.startswith("exit code 3")
    assert rows["rec", "int8"].load_ms is None
    assert rows["rec", "fp16"].note == "a fault that was asked for"
    assert len(bench.rows) == len(plan.rows)

    write_plan(bench.root, plan)
    assert read_plan(bench.root, bench.facts) == plan
    assert [path.suffix for path in (bench.root / "plans").iterdir()] == [".json"]


@pytest.fixture
def tried(monkeypatch):
    """Children that all succeed at once; what they were asked."""
    asked = []

    def run(order, bounds):
        if order.trial:
            asked.append((order.trial.model.name[10:], order.trial.precision))
        return Outcome("", "", Report(done=True, load_ms=1.0, ms={1: 1.0}, runs=1))

    monkeypatch.setattr("server.trials.run_child", run)
    return asked


@pytest.mark.parametrize("precision", ["f32", "bf16", "auto"])
def test_only_what_is_permitted_is_tried(tmp_path, tried, precision):
    plan = Bench(tmp_path, precision=precision).plan()
    permitted = {"f32": ["f32"], "bf16": ["f32", "bf16"], "auto": ["f32", "bf16", "fp16", "int8"]}[precision]
    assert tried == [(name, one) for name in ("detection", "recognition") for one in permitted]
    others = [row for row in plan.rows if row.precision not in permitted]
    assert {(row.verdict, row.load_ms) for row in others} <= {("not run", None)}
    assert {row.note for row in others if row.precision == "fp16"} <= {"--precision fp16 or auto permits it"}
    assert len(plan.rows) == 8


def test_a_model_of_two_roles_is_tried_once(tmp_path, tried):
    bench = Bench(tmp_path, precision="f32")
    models = dict.fromkeys(bench.resolved.models, bench.resolved.models["text_detection"])
    bench.resolved = msgspec.structs.replace(bench.resolved, models=models)
    bench.facts = facts_of(bench.resolved)
    plan = bench.plan()
    assert tried == [("detection", "f32")]
    assert plan.choices == dict.fromkeys(models, Choice("fake", "f32"))
    write_plan(bench.root, plan)
    assert read_plan(bench.root, bench.facts) == plan


def test_engines_that_cannot_run_a_model_are_named(tmp_path, monkeypatch, tried):
    bench = Bench(tmp_path, precision="f32")
    everything = {
        role: msgspec.structs.replace(subject, candidates=("gone", "misfit", "elsewhere"))
        for role, subject in bench.facts.models.items()
    }

    class Gone(Engine):
        formats = ("fake",)

        @classmethod
        def available(cls):
            return "gone is not installed"

    class Misfit(Gone):
        formats = ("onnx", "ir")

        @classmethod
        def available(cls):
            return None

    class Elsewhere(Misfit):
        formats = ("fake",)

        @classmethod
        def precisions(cls, device):
            return ("f32",) if device != "cpu" else ()

    known = {"gone": Gone, "misfit": Misfit, "elsewhere": Elsewhere}
    monkeypatch.setattr("server.trials.load_engine", known.get)
    monkeypatch.setattr("server.choose.load_engine", known.get)
    bench.facts = msgspec.structs.replace(bench.facts, models=everything)
    plan = bench.plan()
    assert plan.choices == {} and tried == []
    assert [(row.engine, row.verdict, row.note) for row in plan.rows if row.role == "text_detection"] == [
        ("gone", "not installed", "gone is not installed"),
        ("misfit", "not run", "it runs onnx or ir, the model has fake"),
        ("elsewhere", "not run", "it does not run on cpu"),
    ]


def test_without_a_reference_there_is_no_plan(tmp_path):
    bench = Bench(tmp_path, detection={"f32": {"run": "abort"}})
    with pytest.raises(ConfigError, match=r"no plan can be made, the reference \(fake\) fails: SIGABRT"):
        bench.plan()
    assert list((bench.root / "plans").iterdir()) == []


def test_a_reference_that_refuses_says_why(tmp_path):
    bench = Bench(tmp_path, detection={"f32": {"run": "raise"}})
    with pytest.raises(ConfigError, match=r"fails: RuntimeError: a fault that was asked for"):
        bench.plan()


def test_an_engine_that_hangs_is_ended(tmp_path):
    bench = Bench(tmp_path, detection={"bf16": {"load": "hang"}})
    outcome = run_child(bench.order(precision="bf16"), Bounds(3.0, 4 << 30))
    assert (outcome.end, outcome.words) == ("timed out", "not done after 3 s")
    assert outcome.report.load_ms is None
    assert not [pid for pid in psutil.pids() if _is_trial_of(pid, bench.root)]


def test_what_a_trial_waits_for_a_processor_is_not_its_time(tmp_path, monkeypatch):
    """But it ends, whatever the machine does."""
    bench, asked = Bench(tmp_path, detection={"bf16": {"load": "hang"}}), []
    monkeypatch.setattr(server.trials, "starved_s", lambda pid: asked.append(pid) or 1e9)
    started = time.monotonic()
    assert run_child(bench.order(precision="bf16"), Bounds(0.5, 4 << 30)).end == "timed out"
    assert time.monotonic() - started >= 4.0
    assert len(set(asked)) == 1


def test_a_process_that_others_keep_from_its_processor_is_starved():
    children = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        for child, policy in zip(children, (os.SCHED_OTHER, os.SCHED_IDLE), strict=True):
            os.sched_setaffinity(child.pid, {min(os.sched_getaffinity(0))})
            os.sched_setscheduler(child.pid, policy, os.sched_param(0))
        wait_for(lambda: starved_s(children[1].pid) > 0.2, what="the idle one waits")
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert starved_s(children[0].pid) == 0.0


def test_an_engine_that_grows_is_ended(tmp_path):
    bench = Bench(tmp_path, detection={"bf16": {"load": "allocate", "amount": 3 << 30}})
    outcome = run_child(bench.order(precision="bf16"), Bounds(100.0, 700 << 20))
    assert (outcome.end, outcome.words) == ("too large", "more than 700 MiB")


def test_tapes_of_processes_that_were_killed_go(tmp_path, tried):
    bench, plans = Bench(tmp_path, precision="f32"), tmp_path / "plans"
    for name in ("dead", "young", "alive"):
        (plans / f".tape-{name}").mkdir(parents=True)
        (plans / f".tape-{name}" / "0-0-0.npy").write_bytes(b"x")
    for name in ("dead", "alive"):
        os.utime(plans / f".tape-{name}", (0, 0))
    with locked(plans / ".tape-alive" / "lock"):
        os.utime(plans / ".tape-alive", (0, 0))
        bench.plan()
    assert {path.name for path in plans.iterdir()} == {".tape-young", ".tape-alive"}


def test_bounds_fit_the_machine():
    class Small:
        def memory_bytes(self):
            return 3 << 30

    class Large:
        def memory_bytes(self):
            return 256 << 30

    assert Bounds.of("cpu", Small()) == Bounds(120.0, 3 << 29)
    assert Bounds.of("cpu", Large()) == Bounds(120.0, 6 << 30)
    assert Bounds.of("gpu:0", Large()).seconds > 120


def test_a_reference_that_does_not_answer_again_is_none(tmp_path, monkeypatch):
    bench = Bench(tmp_path)

    def run(order, bounds):
        return Outcome("", "", Report(done=True, error="not today" if order.trial else ""))

    monkeypatch.setattr("server.trials.run_child", run)
    with pytest.raises(
        ConfigError, match=r"no plan can be made: fake on fake_text_detection: failed, not today"
    ):
        bench.plan()


def _is_trial_of(pid, folder):
    try:
        return str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False

"""Models in Paddle format become ONNX: in children that may do anything, and only if the answers agree.

A stand-in for ``paddle2onnx`` does what the real one has been seen to do. Paddle and ONNX Runtime are real.
"""

import shutil
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest
import yaml

import server.conversion
from pipelines.core.errors import ConfigError, EngineError
from pipelines.core.models import ModelStore
from pipelines.core.onnx_export import export
from server.build import build_config
from server.conversion import Converter, stand_ins
from server.converted import folder_of, read_conversion
from server.cores import Machine
from server.options import parse
from server.plan_child import Report
from server.resolved import resolve
from server.trials import Outcome, tape_folder
from tests import tiny

STAND_IN = """
    import os, shutil, tempfile
    from pathlib import Path

    def export(program, params, target, **options):
        assert os.environ["POLYGRAPHY_AUTOINSTALL_DEPS"] == "0" and options["optimize_tool"] == "None"
        assert tempfile.gettempdir() == str(Path(target).parent)
        print("[Paddle2ONNX] Start parsing the Paddle model file...")
        act = Path(os.environ["STAND_IN_ACT"]).read_text()
        if act == "exit":
            print("[Paddle2ONNX] not an operator of mine", flush=True)
            os._exit(255)
        if act != "nothing":
            shutil.copyfile(os.environ["STAND_IN_ACT"] + "." + act, target)
"""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A pipeline YAML on a net of four layers in PIR, the form that only Paddle reads."""
    folder = tmp_path_factory.mktemp("pir")
    tiny.model("pir", folder / "tiny")
    steps = [
        {"ResizeImage": {"size": [64, 48]}},
        {"NormalizeImage": {"mean": [0.5] * 3, "std": [0.5] * 3, "scale": 1 / 255, "order": ""}},
    ]
    description = {
        "Global": {"model_name": "tiny"},
        "PreProcess": {"transform_ops": steps},
        "PostProcess": {"Topk": {"topk": 2, "label_list": ["a", "b", "c", "d"]}},
    }
    (folder / "tiny/inference.yml").write_text(yaml.safe_dump(description))
    module = {"module_name": "image_classification", "model_name": "tiny", "model_dir": str(folder / "tiny")}
    document = {"pipeline_name": "image_classification", "SubModules": {"ImageClassification": module}}
    path = folder / "pipeline.yml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def act(tmp_path, monkeypatch):
    """Installs the stand-in; call it to say what it does."""
    package = tmp_path / "site/paddle2onnx"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(textwrap.dedent(STAND_IN))
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    path = tmp_path / "act"
    monkeypatch.setenv("STAND_IN_ACT", str(path))
    right = tiny.onnx_model()
    (tmp_path / "act.right").write_bytes(right)
    bias = tiny.weights()[1]
    (tmp_path / "act.wrong").write_bytes(right.replace(bias.tobytes(), (bias[::-1] * 30).tobytes()))
    assert (tmp_path / "act.wrong").read_bytes() != right
    path.write_text("right")
    return path.write_text


@pytest.fixture
def options(pipeline, tmp_path):
    argv = ["--pipeline", str(pipeline), "--engine", "onnxruntime", "--device", "cpu:1"]
    return parse([*argv, "--cache_dir", str(tmp_path / "cache")])


def build(options):
    said = []
    return build_config(options, ModelStore(options.cache_dir), notice=said.append).pipelines[0], said


def test_what_is_right_is_used_and_what_is_not_is_one_line(act, options):
    """One tape of Paddle's answers for all; every conversion and every trial is a process of its own."""
    store, said = ModelStore(options.cache_dir), []
    (resolved,) = resolve(options, store, Machine())
    model = resolved.models["classification"]
    assert resolved.unmet == {"classification": "onnxruntime"}
    assert resolved.engines == {"classification": "paddle"}
    converter = Converter(options, store, Machine(), said.append)
    with tape_folder(store.root / "plans") as folder:

        def tried(what):
            act(what)
            program = folder / f"{what}.onnx"
            return converter._tried(converter._order(resolved, folder), model, program)

        refused = "paddle2onnx: exit code 255: [Paddle2ONNX] not an operator of mine"
        assert tried("exit").refused == refused
        wrong = tried("wrong")
        assert "probabilit" in wrong.refused or "class" in wrong.refused, wrong
        right = tried("right")
        assert right.refused == "" and right.difference < 1e-5


def test_a_file_that_was_not_written_is_an_error(act, pipeline, tmp_path, monkeypatch):
    monkeypatch.setenv("POLYGRAPHY_AUTOINSTALL_DEPS", "1")  # put back at the end
    monkeypatch.delitem(sys.modules, "paddle2onnx", raising=False)
    model = tiny.model("pir", tmp_path / "pir")
    act("nothing")
    with pytest.raises(EngineError, match="it has written nothing"):
        export(model, tmp_path / "made.onnx")
    act("right")
    export(model, tmp_path / "made.onnx")
    assert (tmp_path / "made.onnx").read_bytes() == tiny.onnx_model()
    monkeypatch.delitem(sys.modules, "paddle2onnx")
    with pytest.raises(ConfigError, match="no Paddle program"):
        export(tiny.model("onnx", tmp_path / "onnx"), tmp_path / "other.onnx")


@pytest.fixture
def outcomes(monkeypatch, tmp_path):
    """What children come to, in place of children; a conversion leaves what the act holds."""
    known, orders = {"convert": Outcome("", "", Report(True)), "trial": Outcome("", "", Report(True))}, []

    def run_child(order, bounds):
        kind = "convert" if order.convert is not None else "trial" if order.trial is not None else "tape"
        orders.append(kind)
        if kind == "convert":
            shutil.copyfile(tmp_path / "act.right", order.target)
        return known.get(kind, Outcome("", "", Report(True)))

    monkeypatch.setattr(server.conversion, "run_child", run_child)
    return known, orders


def test_a_named_engine_gets_its_onnx_once(act, options, outcomes):
    config, said = build(options)
    assert config.engines == {"classification": "onnxruntime"}
    model = config.models["classification"]
    assert model.files["onnx"].startswith(options.cache_dir)
    assert said == ["tiny: ONNX is made of it, and compared with Paddle"]
    assert outcomes[1] == ["convert", "tape", "trial"]
    assert build(options) == (config, []) and len(outcomes[1]) == 3

    with Path(model.files["onnx"]).open("ab") as file:
        file.write(b"x")
    again, said = build(options)
    assert again == config and len(outcomes[1]) == 6
    assert any(line.endswith("is not used: its checksum is wrong") for line in said)


def test_paddle_goes_on_where_it_is_refused(act, options, outcomes):
    report = Report(True, objection="the best class is another one")
    outcomes[0]["trial"] = Outcome("", "", report)
    config, said = build(options)
    assert config.engines == {"classification": "paddle"}
    why = "the ONNX made of it is not used: the best class is another one"
    assert said[-1] == f"tiny runs on paddle, not onnxruntime: {why}"
    assert build(options)[1] == said[-1:] and len(outcomes[1]) == 3
    options.replan = True
    outcomes[0]["trial"] = Outcome("", "", Report(True))
    assert build(options)[0].engines == {"classification": "onnxruntime"}


def test_paddle_goes_on_where_nothing_can_be_compared(act, options, outcomes):
    outcomes[0]["tape"] = Outcome("crashed", "SIGSEGV", Report())
    config, said = build(options)
    assert config.engines == {"classification": "paddle"}
    assert "no ONNX of tiny can be compared, the reference (paddle) fails: SIGSEGV" in said
    assert said[-1] == "tiny runs on paddle, not onnxruntime: no ONNX could be made of it"
    store = ModelStore(options.cache_dir)
    (resolved,) = resolve(options, store, Machine())
    assert read_conversion(store.root, resolved.models["classification"]) is None


def test_without_the_package_the_extra_is_named(options, monkeypatch):
    hint = "the extra 'convert' makes it"
    monkeypatch.setattr("server.choose.missing", lambda: hint)
    monkeypatch.setattr("server.conversion.missing", lambda: hint)
    with pytest.raises(
        ConfigError, match=r"tiny cannot run on engine onnxruntime: .*, and no ONNX: the extra"
    ):
        build(options)
    options.engine, options.use_hpip = None, True
    config, said = build(options)
    assert config.engines == {"classification": "paddle"}
    assert f"tiny runs on paddle, not openvino: that needs ONNX, and {hint}" in said


def test_high_performance_inference_leaves_it_to_the_plan(act, options, outcomes):
    options.engine, options.use_hpip = None, True
    config, said = build(options)
    assert config.engines == {"classification": "paddle"} and outcomes[1] == []
    assert "tiny runs on paddle, not openvino: ONNX is made of it with the plan" in said
    store = ModelStore(options.cache_dir)
    found = resolve(options, store, Machine())
    assert Converter(options, store, Machine(), said.append).convert(found, asked_only=False)
    (resolved,) = found = resolve(options, store, Machine())
    assert resolved.unmet == {} and resolved.engines == {"classification": "openvino"}
    assert not Converter(options, store, Machine(), said.append).convert(found, asked_only=False)
    assert list(stand_ins(store.root, found)) == []


def test_another_release_converts_anew(act, options, outcomes, monkeypatch):
    build(options)
    (resolved,) = resolve(options, store := ModelStore(options.cache_dir), Machine())
    model = msgspec.structs.replace(resolved.models["classification"])
    del model.files["onnx"]
    before = folder_of(store.root, model)
    monkeypatch.setattr("server.converted.versions", lambda: {"paddle2onnx": "9"})
    assert folder_of(store.root, model) != before
    assert read_conversion(store.root, model) is None

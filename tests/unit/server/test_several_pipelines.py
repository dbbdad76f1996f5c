"""Several pipelines in one server: routes, models that they share, the start-up plan, plans of engines."""

import msgspec
import pytest
import yaml

import server.plan_command
import server.supervisor
from pipelines.core.config import ModelFiles, PipelineConfig
from pipelines.core.errors import ConfigError
from pipelines.core.models import ModelStore
from pipelines.core.registry import load_pipeline
from server.build import build_config
from server.cli import main
from server.config import SOME_PLANS_MADE, Config, DeviceConfig
from server.options import parse
from server.ownership import check_routes, owners
from server.plan import plan
from server.plan_file import Choice, Plan, Row
from server.stages import Stages
from tests.fakes import fake_models
from tests.toy_pipeline import ToyStage

READING = ("text_detection", "text_recognition")


@pytest.fixture
def paths(tmp_path):
    """``(ocr.yaml, table.yaml)`` on fake models; both read with the same two."""
    models = fake_models(tmp_path / "models")
    structure = tmp_path / "models" / "table_structure"
    structure.mkdir()
    (structure / "inference.yml").write_text("Global: {model_name: fake_structure}")
    (structure / "fake.json").write_text('{"kind": "classification"}')

    def entry(role, folder, name):
        return {"module_name": role, "model_name": name, "model_dir": folder}

    modules = {
        key: entry(role, models[role].directory, models[role].name)
        for key, role in zip(("TextDetection", "TextRecognition"), READING, strict=True)
    }
    flags = {"use_doc_preprocessor": False, "use_textline_orientation": False}
    ocr = {"pipeline_name": "OCR", "SubModules": modules} | flags
    table = {
        "pipeline_name": "table_recognition",
        "use_layout_detection": False,
        "use_doc_preprocessor": False,
        "engine": "fake",
        "SubModules": {
            "TableStructureRecognition": entry(
                "table_structure_recognition", str(structure), "fake_structure"
            )
        },
        "SubPipelines": {"GeneralOCR": ocr},
    }
    for name, document in {"ocr": ocr | {"engine": "fake"}, "table": table}.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(document))
    return str(tmp_path / "ocr.yaml"), str(tmp_path / "table.yaml")


@pytest.fixture
def options(paths, tmp_path):
    return ["--pipeline", ",".join(paths), "--cache_dir", str(tmp_path / "cache")]


@pytest.fixture
def build(options):
    def run(*argv):
        args, said = parse([*options, *argv]), []
        return build_config(args, ModelStore(args.cache_dir), notice=said.append), said

    return run


# --- what is asked for


def test_pipelines_are_named_one_after_the_other(build, paths):
    config, _ = build()
    assert [each.title for each in config.pipelines] == ["OCR", "table_recognition"]
    config, _ = build("--pipeline", f"{paths[1]} , {paths[0]}")
    assert [each.title for each in config.pipelines] == ["table_recognition", "OCR"]


def test_a_file_with_a_comma_in_its_name_is_one_pipeline(build, paths, tmp_path):
    own = tmp_path / "a,b.yaml"
    own.write_text((tmp_path / "ocr.yaml").read_text())
    config, _ = build("--pipeline", str(own))
    assert [each.title for each in config.pipelines] == ["OCR"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("{0},{0}", "--pipeline: {0} and {0} both answer /ocr"),
        ("{0},OCR", "--pipeline: {0} and OCR both answer /ocr"),
        ("{1},OCR,{1}", "--pipeline: {1} and {1} both answer /table-recognition"),
        ("OCR,", "unknown pipeline ''; known: "),
        ("OCR,ocr", "unknown pipeline 'ocr'; known: "),
        ("{0},missing.yaml", "cannot read missing.yaml: No such file or directory"),
    ],
)
def test_what_cannot_be_served_together_is_one_line(options, paths, monkeypatch, capsys, names, message):
    monkeypatch.setattr(server.supervisor, "serve", lambda *_, **__: 17)
    argv = [*options, "--port", "0", "--host", "127.0.0.1", "--pipeline", names.format(*paths)]
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"python -m server: {message.format(*paths)}")


# --- routes


def test_an_operation_that_gives_way_has_a_route_only_where_nobody_else_wants_it():
    large, small = (load_pipeline(f"{kind}object_detection") for kind in ("", "small_"))
    check_routes([("large", large), ("small", small)])
    assert owners([small]) == {"/small-object-detection": (0, 0), "/object-detection": (0, 1)}
    for order in ([large, small], [small, large]):
        found = owners(order)
        assert order[found["/object-detection"][0]] is large
        assert order[found["/small-object-detection"][0]] is small
    with pytest.raises(ConfigError, match=r"^--pipeline: a and b both answer /small-object-detection$"):
        check_routes([("a", small), ("b", small)])


# --- models that are shared


def test_the_plan_names_every_pipeline_and_what_it_shares(build):
    lines = plan(build()[0], "http://h:1").splitlines()
    assert [line for line in lines if line.startswith("pipeline")] == [
        "pipeline  OCR (API v3 first, padding tight)",
        "pipeline  table_recognition (API v3 first, padding tight)",
    ]
    second = lines.index("pipeline  table_recognition (API v3 first, padding tight)")
    for role in READING:
        first, other = (line for line in lines if f"fake_{role}" in line)
        assert lines.index(first) < second < lines.index(other)
        assert first.endswith(", shared with table_recognition") and other.endswith(", shared with OCR")
    (structure,) = (line for line in lines if "fake_structure" in line)
    assert "shared" not in structure
    assert lines[-2:] == [
        "url       http://h:1/ocr  OCR",
        "          http://h:1/table-recognition  table_recognition",
    ]


def toy(tmp_path, **changes):
    (tmp_path / "fake.json").write_bytes(b'{"kind": "classification"}')
    model = ModelFiles("toy", str(tmp_path), {"fake": str(tmp_path / "fake.json")})
    return msgspec.structs.replace(
        PipelineConfig("toy", "toy", "v3", {}, {"only": model}, {"only": "fake"}), **changes
    )


def test_a_model_that_two_pipelines_name_is_loaded_once_on_a_device(tmp_path, caplog):
    caplog.set_level("INFO", "server.stages")
    first, second = toy(tmp_path), toy(tmp_path, title="other")
    device = DeviceConfig(threads=1, all_threads=2)
    stages = Stages(Config(pipelines=(first, second), devices=(device,)), device)
    one = stages.get(ToyStage, first.models["only"], "fake")
    same = stages.get(ToyStage, second.models["only"], "fake")
    other = stages.get(ToyStage, second.models["only"], "fake", offset=1)
    stages.load()
    assert one is same and one is not other and stages.all == (one, other)
    assert stages.engine(one, whole=False) is stages.engine(other, whole=False)
    assert [record.message.split(" in ")[0] for record in caplog.records] == ["toy: fake loaded"]


# --- plans


@pytest.fixture
def made(monkeypatch):
    """Plans are given, not measured: bf16, but the detector of tables in f32. Lists what they are for."""
    calls = []

    def make(facts, resolved, trusted, root, say, bounds):
        calls.append(facts.pipeline)
        exact = {"text_detection"} if facts.pipeline == "table_recognition" else set()
        precision = {role: "f32" if role in exact else "bf16" for role in facts.models}
        rows = tuple(Row(role, "fake", precision[role], "fastest", 1.0, {1: 2.0}) for role in facts.models)
        return Plan(facts, {}, rows, {role: Choice("fake", precision[role]) for role in facts.models})

    monkeypatch.setattr(server.plan_command, "make_plan", make)
    return calls


def test_every_pipeline_gets_a_plan_and_a_shared_model_one_precision(build, options, made, capsys):
    config, said = build("--precision", "auto")
    assert said == ["no plan for these models here yet: fake in f32 (docs/engine-plan.md)"] * 2
    assert [each.precisions for each in config.pipelines] == [{}, {}]

    assert main(["plan", *options, "--precision", "auto"]) == 0
    assert made == ["ocr", "table_recognition"]
    heads = [line.split(" on ")[0] for line in capsys.readouterr().out.splitlines() if ", precision" in line]
    assert heads == made

    config, said = build("--precision", "auto")
    assert said == []
    assert [each.precisions for each in config.pipelines] == [
        {"text_recognition": "bf16"},
        {"table_structure": "bf16", "text_recognition": "bf16"},
    ]


def test_a_pipeline_without_a_plan_keeps_no_other_from_its_own(build, options, made, capsys, monkeypatch):
    make = server.plan_command.make_plan

    def fail(facts, *given):
        if facts.pipeline == "ocr":
            raise ConfigError("no plan can be made: fake on det: crashed")
        return make(facts, *given)

    monkeypatch.setattr(server.plan_command, "make_plan", fail)
    plan = ["plan", *options, "--precision", "auto"]
    assert main(plan) == SOME_PLANS_MADE
    printed = capsys.readouterr()
    assert "ocr: no plan can be made: fake on det: crashed\n" in printed.err
    assert printed.out.startswith("table_recognition on ")
    assert main(plan) == 2, "nothing new came of it"
    assert made == ["table_recognition"]

    config, said = build("--precision", "auto")
    assert len(said) == 1
    assert [bool(each.precisions) for each in config.pipelines] == [False, True]

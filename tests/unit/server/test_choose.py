"""Which engine runs a model, in PaddleX's words and in ours, and why not."""

import msgspec
import pytest

from pipelines.core.config import ModelFiles
from pipelines.core.errors import ConfigError
from pipelines.core.registry import load_engine
from pipelines.core.yaml_config import ModelChoice
from server.choose import (
    ON_GPU,
    EngineWish,
    choose_engine,
    engine_name,
    fitting,
    gpu_in_reach,
    parse_hpi_config,
    reads_onnx,
)

ONNX = ModelFiles("m", "/m", {"onnx": "/m/inference.onnx"})
PADDLE = ModelFiles("m", "/m", {"pdmodel": "/m/inference.pdmodel", "params": "/m/inference.pdiparams"})
PIR = ModelFiles("m", "/m", {"pir": "/m/inference.json", "params": "/m/inference.pdiparams"})
BOTH = ModelFiles("m", "/m", ONNX.files | PADDLE.files)
ANY = ModelChoice("m")


@pytest.fixture
def without(monkeypatch):
    """Take engines away."""

    def take(*names):
        for name in names:
            monkeypatch.setattr(
                load_engine(name), "available", classmethod(lambda cls, n=name: f"no {n} here")
            )

    return take


@pytest.mark.parametrize(
    ("model", "gone", "engine"),
    [
        (ONNX, (), "onnxruntime"),
        (PADDLE, (), "paddle"),
        (PIR, (), "paddle"),
        (BOTH, (), "paddle"),
        (BOTH, ("paddle",), "onnxruntime"),
        (PADDLE, ("paddle",), "openvino"),
        (ONNX, ("onnxruntime",), "openvino"),
    ],
    ids=["onnx", "pdmodel", "pir", "both", "both-no-paddle", "pdmodel-no-paddle", "onnx-no-ort"],
)
def test_automatic(model, gone, engine, without):
    without(*gone)
    assert choose_engine(model, EngineWish(), ANY) == engine


@pytest.mark.parametrize(
    ("wish", "choice", "gone", "expected"),
    [
        (EngineWish(), ANY, (), False),
        (EngineWish(), ANY, ("paddle",), True),
        (EngineWish("onnxruntime"), ANY, (), True),
        (EngineWish(use_hpip=True), ANY, (), True),
        (EngineWish("paddle"), ANY, ("paddle",), False),
        (EngineWish(), ModelChoice("m", engine="onnxruntime"), (), True),
    ],
    ids=["paddle", "no-paddle", "onnxruntime", "hpip", "asked-but-missing", "yaml"],
)
def test_what_an_official_model_is_fetched_as(wish, choice, gone, expected, without):
    without(*gone)
    assert reads_onnx(wish, choice) is expected


def test_nothing_can_run_it(without):
    without("paddle")
    with pytest.raises(ConfigError) as caught:
        choose_engine(PIR, EngineWish(), ANY)
    assert str(caught.value) == (
        "no engine can run m (paddle: no paddle here; onnxruntime: it runs onnx, the model has pir; "
        "openvino: it runs onnx or ir or pdmodel, the model has pir)"
    )


@pytest.mark.parametrize(
    ("wish", "choice", "engine"),
    [
        pytest.param(EngineWish("openvino"), ANY, "openvino", id="engine"),
        pytest.param(EngineWish("paddle_static"), ANY, "paddle", id="paddlexs-name"),
        pytest.param(EngineWish("hpi"), ANY, "openvino", id="hpi"),
        pytest.param(EngineWish("fake"), ANY, None, id="fake-has-no-file"),
        pytest.param(EngineWish(use_hpip=True), ANY, "openvino", id="hpip"),
        pytest.param(EngineWish("onnxruntime", True), ANY, "onnxruntime", id="engine-before-hpip"),
        pytest.param(
            EngineWish(use_hpip=True, hpi_config={"backend": "onnxruntime"}), ANY, "onnxruntime", id="backend"
        ),
        pytest.param(EngineWish(), ModelChoice("m", engine="openvino"), "openvino", id="yaml-engine"),
        pytest.param(EngineWish(), ModelChoice("m", use_hpip=True), "openvino", id="yaml-hpip"),
        pytest.param(EngineWish(), ModelChoice("m", use_hpip=False), "paddle", id="yaml-no-hpip"),
        pytest.param(
            EngineWish(), ModelChoice("m", use_hpip=True, hpi_config={"backend": "paddle"}), "paddle",
            id="yaml-backend",
        ),
        pytest.param(
            EngineWish(use_hpip=True), ModelChoice("m", hpi_config={"backend": "paddle"}), "paddle",
            id="option-with-the-yamls-backend",
        ),
        pytest.param(
            EngineWish("openvino"), ModelChoice("m", engine="paddle"), "openvino", id="option-before-yaml"
        ),
        pytest.param(EngineWish(hpi_config={"backend": "openvino"}), ANY, "paddle", id="config-without-hpip"),
    ],
)  # fmt: skip
def test_wishes(wish, choice, engine):
    if engine is None:
        with pytest.raises(ConfigError, match=r"m cannot run on engine fake"):
            choose_engine(BOTH, wish, choice)
    else:
        assert choose_engine(BOTH, wish, choice) == engine


def test_a_wish_that_cannot_be_met_says_why(without):
    with pytest.raises(
        ConfigError, match=r"m cannot run on engine paddle: it runs pir or pdmodel, the model has onnx"
    ):
        choose_engine(ONNX, EngineWish("paddle"), ANY)
    without("paddle")
    with pytest.raises(ConfigError, match=r"m cannot run on engine paddle: no paddle here"):
        choose_engine(PADDLE, EngineWish("paddle"), ANY)


def test_hpip_without_openvino_names_the_extra(without):
    without("openvino")
    with pytest.raises(ConfigError, match=r"--use_hpip needs OpenVINO.*the extra 'hpip' brings it"):
        choose_engine(ONNX, EngineWish(use_hpip=True), ANY)


@pytest.mark.parametrize("name", ["paddle_dynamic", "flexible", "transformers", "genai_client"])
def test_what_paddlex_knows_and_this_server_cannot(name):
    with pytest.raises(ConfigError, match=rf"engine {name} cannot be used: it "):
        engine_name(name)


@pytest.mark.parametrize("name", ["tensorflow", "om", "", "base", "ONNXRUNTIME"])
def test_unknown_engines_list_the_known(name):
    with pytest.raises(ConfigError, match=r"unknown engine .*known: fastdeploy, hpi, onnxruntime"):
        engine_name(name)


def test_hpi_config_is_a_python_dictionary():
    assert parse_hpi_config("{'backend': 'openvino', 'backend_config': {'cpu_num_threads': 2}}")["backend"]
    for text in ("[1]", "backend=openvino", "__import__('os')", "{", "{'a': " * 200):
        with pytest.raises(ConfigError, match=r"--hpi_config must be a Python dictionary"):
            parse_hpi_config(text)


def test_hpi_config_with_an_unknown_key():
    with pytest.raises(ConfigError, match=r"unknown key hpi_config\.backnd"):
        choose_engine(ONNX, EngineWish(use_hpip=True, hpi_config={"backnd": "openvino"}), ANY)


#: As the table structure model: each of two engines has a format that is not for it.
PICKY = ModelFiles("m", "/m", BOTH.files, avoid={"paddle": ("pdmodel",), "openvino": ("onnx",)})


def test_an_engine_that_needs_a_format_to_avoid_comes_last(without):
    assert choose_engine(PICKY, EngineWish(), ANY) == "onnxruntime"
    without("onnxruntime")
    assert choose_engine(PICKY, EngineWish(), ANY) == "openvino"
    without("onnxruntime", "openvino")
    assert choose_engine(PICKY, EngineWish(), ANY) == "paddle"


def test_an_engine_gets_only_the_files_that_suit_it():
    assert set(fitting(PICKY, "openvino").files) == {"pdmodel", "params"}
    assert set(fitting(PICKY, "onnxruntime").files) == {"onnx", "pdmodel", "params"}
    # Asked for by name it runs what there is, as in PaddleX.
    assert choose_engine(PICKY, EngineWish("paddle"), ANY) == "paddle"
    assert fitting(PICKY, "paddle").files == PICKY.files


class TestOnAGpu:
    """High-performance inference there. Nothing is run: engines say what they are told to say."""

    ASKED = EngineWish(use_hpip=True, device="gpu")

    @pytest.fixture
    def install(self, monkeypatch):
        """Leaves only the named engines, each with GPUs."""

        def only(*names, refusing=()):
            for name in ON_GPU:
                cls = load_engine(name)
                reason = None if name in names else f"no {name} here"
                monkeypatch.setattr(cls, "available", classmethod(lambda cls, reason=reason: reason))
                monkeypatch.setattr(cls, "gpus", classmethod(lambda cls, here=name in names: int(here)))
                why = "no shapes" if name in refusing else None
                monkeypatch.setattr(cls, "refuses", classmethod(lambda cls, model, why=why: why))

        return only

    @pytest.mark.parametrize(
        ("model", "installed", "refusing", "engine"),
        [
            pytest.param(ONNX, ON_GPU, (), "tensorrt", id="tensorrt-first"),
            pytest.param(ONNX, ON_GPU[1:], (), "onnxruntime_tensorrt", id="inside-ort"),
            pytest.param(BOTH, ("onnxruntime", "paddle"), (), "onnxruntime", id="cuda"),
            pytest.param(ONNX, ON_GPU, ("tensorrt", "onnxruntime_tensorrt"), "onnxruntime", id="no-shapes"),
            pytest.param(PADDLE, ON_GPU, (), "paddle_tensorrt", id="pdmodel"),
            pytest.param(PIR, ON_GPU, (), "paddle", id="pir"),
        ],
    )  # fmt: skip
    def test_the_first_that_can(self, install, model, installed, refusing, engine):
        install(*installed, refusing=refusing)
        assert gpu_in_reach()
        assert choose_engine(model, self.ASKED, ANY) == engine

    def test_a_backend_is_what_it_says(self, install):
        install(*ON_GPU)
        asked = msgspec.structs.replace(self.ASKED, hpi_config={"backend": "onnxruntime"})
        assert choose_engine(ONNX, asked, ANY) == "onnxruntime"

    def test_without_any_the_reasons_are_listed(self, install):
        install()
        assert not gpu_in_reach()
        with pytest.raises(
            ConfigError, match=r"no engine for m on a GPU \(tensorrt: no tensorrt here; .*paddle"
        ):
            choose_engine(ONNX, self.ASKED, ANY)

    @pytest.mark.parametrize(("installed", "expected"), [(("onnxruntime",), True), (("paddle",), False)])
    def test_the_files_that_are_fetched(self, install, installed, expected):
        install(*installed)
        assert reads_onnx(self.ASKED, ANY) is expected

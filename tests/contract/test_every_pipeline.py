"""What every pipeline in the registry must keep, on the engine of the base install."""

import json

import msgspec
import numpy as np
import pytest

from pipelines.core.base import Item, Pipeline
from pipelines.core.errors import ConfigError
from pipelines.core.forms import Page, Reply
from pipelines.core.models import ModelStore
from pipelines.core.registry import find_pipeline, load_pipeline, pipeline_modules
from pipelines.core.rehearsal import rehearse
from pipelines.core.yaml_config import from_name
from server import encode, wire
from tests.contract.every import check_result, defaults, forms, minimal_body, schema
from tests.driver import Driver, Remembered


def minimal_request(module, operation, form):
    return msgspec.convert(minimal_body(module, operation, form), form.request)


@pytest.fixture(scope="module")
def remembered():
    """Most tests here do other things with the same pictures, and pipelines share models."""
    return Remembered()


@pytest.fixture(scope="module", params=pipeline_modules())
def driver(request, remembered):
    with Driver(defaults(request.param), remembered) as driver:
        yield driver


@pytest.mark.parametrize("module", pipeline_modules())
def test_every_name_leads_to_its_module(module):
    cls = load_pipeline(module)
    assert issubclass(cls, Pipeline) and cls.names
    assert {find_pipeline(name) for name in cls.names} == {module}


@pytest.mark.parametrize("module", pipeline_modules())
def test_routes_fit_into_the_slot_header(module):
    operations = load_pipeline(module).operations
    assert 0 < len(operations) < 16
    assert len({operation.path for operation in operations}) == len(operations)
    assert all(operation.path.startswith("/") for operation in operations)


@pytest.mark.parametrize("module", pipeline_modules())
def test_default_models_and_options_are_usable_without_a_yaml(module):
    cls, spec = load_pipeline(module), from_name(load_pipeline(module).names[0])
    assert spec.generation == "v3" and set(spec.models) <= set(cls.roles)
    assert msgspec.convert(spec.options, cls.options) == cls.options()


@pytest.mark.parametrize("module", pipeline_modules())
@pytest.mark.parametrize(
    ("generation", "document", "key"),
    [
        pytest.param("v3", {"pipeline_name": "p", "no_such_key": 1}, "no_such_key", id="v3"),
        pytest.param(
            "2024", {"Global": {}, "Pipeline": {"no_such_key": 1}}, "Pipeline.no_such_key", id="2024"
        ),
    ],
)
def test_an_unknown_yaml_key_is_named(module, generation, document, key):
    with pytest.raises(ConfigError, match=f"unknown key {key}$"):
        load_pipeline(module).parse_yaml(document, generation)


@pytest.mark.parametrize(("module", "operation", "form"), forms())
def test_the_request_has_the_fields_of_the_schema(module, operation, form):
    described = schema(module, operation, form)["request"]
    fields = {field.encode_name: field for field in msgspec.structs.fields(form.request)}
    assert set(fields) == set(described["properties"])
    assert {name for name, field in fields.items() if field.required} == set(described["required"])
    assert form.marks <= set(fields)
    others = [other for other in operation.forms if other is not form]
    assert all(form.marks.isdisjoint(other.marks) for other in others)


@pytest.mark.parametrize(("module", "operation", "form"), forms())
def test_parameters_survive_the_trip_to_the_device(module, operation, form):
    params = form.params(minimal_request(module, operation, form), defaults(module))
    shape = wire.Shape(height=4, width=4)
    slot = memoryview(bytearray(wire.slot_bytes(shape, 0)))
    length = wire.write_request(slot, 0, 0, operation.forms.index(form), shape, params)
    assert wire.item(slot, wire.read_request(slot, length), operation).params == params


@pytest.mark.parametrize(("module", "operation", "form"), forms())
def test_a_larger_input_costs_no_less(module, operation, form):
    cls = load_pipeline(module)
    params = form.params(minimal_request(module, operation, form), defaults(module))
    assert 0 < cls.cost_ms(params, 500, 500) <= cls.cost_ms(params, 2000, 3000)
    assert 0 < cls.result_bytes(params, 500, 500) <= cls.result_bytes(params, 2000, 3000)


def test_the_canary_passes(driver):
    (result,) = driver(driver.pipeline.canary())
    assert isinstance(result, msgspec.Struct), result


def test_examples_make_every_model_work(driver):
    """And whoever judges them takes the reference's own results for as good."""
    results = {}

    def run(stage, one):
        results.setdefault(stage, []).append(stage.run(driver.engine(stage), [one])[0])
        return results[stage][-1]

    rehearse(driver.pipeline, (), run)
    assert results.keys() == set(driver.stages.all.values())
    for stage, found in results.items():
        assert stage.judge(found, found) is None


def inputs(driver, operation, form):
    """Items of different sizes that make an operation do all its work."""
    request = minimal_request(driver.config.name, operation, form)
    params = form.params(request, driver.config)
    canary = driver.pipeline.canary()
    if canary.image is None:
        return request, [Item(params, blob=canary.blob) for _ in range(3)]
    white = np.full((100, canary.image.shape[1], 3), 255, np.uint8)
    pictures = [canary.image, np.concatenate([white, canary.image, canary.image]), white]
    return request, [Item(params, np.ascontiguousarray(picture)) for picture in pictures]


def close(one, other):
    """Equal but for the last digits of floats."""
    if isinstance(one, msgspec.Struct):
        return type(one) is type(other) and close(msgspec.structs.asdict(one), msgspec.structs.asdict(other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, (float, np.ndarray)):
        return np.allclose(one, other, rtol=1e-3, atol=1e-4)
    return one == other


def with_files(driver):
    """Operations whose items come from a file; errands are tested with their pipelines."""
    return [operation for operation in driver.pipeline.operations if operation.input != "none"]


def test_items_together_give_what_each_gives_alone(driver):
    for operation in with_files(driver):
        for form in operation.forms:
            _, items = inputs(driver, operation, form)
            alone = [driver(item)[0] for item in items]
            assert not [result for result in alone if isinstance(result, Exception)]
            assert close(alone, list(driver(*items)))


@pytest.mark.parametrize("visualize", [False, True])
def test_answers_fit_their_slot_and_their_schema(driver, visualize):
    config = driver.config
    for operation in with_files(driver):
        for form in operation.forms:
            request, items = inputs(driver, operation, form)
            wanted = form.visualize(request, config) or visualize
            for item, result in zip(items, driver(*items), strict=True):
                height, width = item.image.shape[:2] if item.image is not None else (0, 0)
                shape = wire.Shape(height=height, width=width)
                bound = driver.pipeline.result_bytes(item.params, height, width)
                slot = memoryview(bytearray(wire.slot_bytes(shape, bound)))
                length = wire.write_result(slot, shape, result, wire.Timings())
                assert length > 0, "the result is larger than result_bytes"
                received, _ = wire.read_result(slot, shape, length, operation.result)
                pixels = np.array(item.image) if wanted and item.image is not None else None
                info = {"width": width, "height": height, "type": "image"}
                answer = form.respond(
                    Reply(
                        request=request, params=item.params, config=config,
                        pages=[Page(received, width, height, pixels)],
                        visualize=wanted, data_info=info, font=ModelStore().font,
                    )
                )  # fmt: skip
                sent = json.loads(encode.success(form.generation, "id", answer))
                check_result(sent["result"], config.name, operation, form)

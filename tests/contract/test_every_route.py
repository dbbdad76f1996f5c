"""Every route of every pipeline in the registry, over HTTP, on one real server that serves them all.

Inputs are the pipelines' own canaries. The server's default generation is 2024, so that bodies which
both generations allow are of 2024; 3.x bodies are told by ``visualize``.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import httpx
import jsonschema
import numpy as np
import pytest

from kernels.slots import FREE
from pipelines.core.registry import load_pipeline, pipeline_modules
from server.config import Config, DeviceConfig
from server.decode import endpoints
from server.liveness import Policy
from tests.conditions import wait_for
from tests.contract.every import check_result, defaults, forms, minimal_body, schema
from tests.driver import Stages, config_of
from tests.harness import Server

#: What is sent instead of a file, by kind of input. Everything is 422.
BROKEN_FILES = {
    "empty": "",
    "no base64": "abcde",
    "data uri": "data:image/png;base64,QUJD",
    "url": "http://127.0.0.1:1/file",
    "noise": base64.b64encode(bytes(range(256)) * 4).decode(),
}
#: Values that no parameter takes which is not of their kind.
ODD_VALUES = ("no such value", [{}], {"no such key": "x"}, -1.5)
#: Routes that are in the document besides operations.
PROBES = ("/health", "/health/live", "/health/ready")
#: Numbers that no parameter takes, whatever its schema says: they leave float32 and 64 bits.
FAR_VALUES = (1e300, -1e300)


def files():
    """Every form that takes a file. Of routes that two pipelines share the first one's counts."""
    owners = endpoints(Config(pipelines=tuple(map(bare, pipeline_modules())), devices=()))
    return [
        case
        for case in forms()
        for module, operation, _ in [case.values]
        if operation.input != "none" and owners[operation.path].config.name == module
    ]


def bare(module):
    """The configuration of a pipeline without its models: enough for its routes."""
    return config_of(load_pipeline(module).names[0], leave_out=tuple(load_pipeline(module).roles))


@pytest.fixture(scope="module")
def everything():
    return Config(
        pipelines=tuple(map(defaults, pipeline_modules())),
        devices=(DeviceConfig(threads=2, all_threads=2),),
        host="127.0.0.1",
        api_generation="2024",
        drain_grace_ms=0,
    )


@pytest.fixture(scope="module")
def canaries(everything):
    """Module to the file that its canary is, in base64."""
    found = {}
    for each in everything.pipelines:
        canary = load_pipeline(each.name)(each, Stages()).canary()
        if canary.image is not None:
            content = cv2.imencode(".png", canary.image)[1].tobytes()
        else:
            content = bytes(canary.blob or b"")
        found[each.name] = base64.b64encode(content).decode()
    return found


@pytest.fixture(scope="module")
def server(everything, tmp_path_factory):
    with Server(everything, tmp_path_factory.mktemp("routes"), Policy()) as running:
        running.wait_ready(120)
        yield running


def body_of(module, operation, form, file, **fields):
    """A body of this form with ``file`` in it."""
    body = minimal_body(module, operation, form) | {field_of(module, operation, form): file}
    properties = schema(module, operation, form)["request"]["properties"]
    known = {"visualize": False, "fileType": 1}
    body |= {name: value for name, value in known.items() if name in properties}
    return body | fields


def field_of(module, operation, form):
    """Name of the body field that holds the file."""
    required = schema(module, operation, form)["request"]["required"]
    return next(name for name in ("file", "image", "csv") if name in required)


def pictures(value):
    """Every JPEG inside a result."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [found for entry in value for found in pictures(entry)]
    if isinstance(value, str) and value.startswith("/9j/"):
        return [cv2.imdecode(np.frombuffer(base64.b64decode(value), np.uint8), cv2.IMREAD_COLOR)]
    return []


def post(server, operation, body):
    return server.post(json.dumps(body).encode(), path=operation.path, timeout=120)


def switched():
    """Forms with every state that their ``visualize`` has; None where the form has no such field."""
    for module, operation, form in (case.values for case in files()):
        has = "visualize" in schema(module, operation, form)["request"]["properties"]
        for value in (False, True) if has else (None,):
            name = f"{module}-{operation.name}-{form.generation}-{value}"
            yield pytest.param(module, operation, form, value, id=name)


@pytest.mark.parametrize(("module", "operation", "form", "visualize"), list(switched()))
def test_a_good_request_is_answered_with_or_without_pictures(
    server, canaries, module, operation, form, visualize
):
    fields = {} if visualize is None else {"visualize": visualize}
    body = body_of(module, operation, form, canaries[module], **fields)
    status, answer = post(server, operation, body)
    assert status == 200, answer
    v3, beta = ["logId", "result", "errorCode", "errorMsg"], ["logId", "errorCode", "errorMsg", "result"]
    assert list(answer) == (v3 if form.generation == "v3" else beta)
    assert (answer["errorCode"], answer["errorMsg"]) == (0, "Success")
    check_result(answer["result"], module, operation, form)
    described = schema(module, operation, form)["result"]
    always = "image" in json.dumps(described).lower()
    found = pictures(answer["result"])
    assert bool(found) == (always if visualize is None else visualize) and all(
        picture is not None for picture in found
    )


def check_lines(text, whole):
    """The lines of a document of one page are its ordinary answer."""
    page, last = map(json.loads, text.splitlines())
    result = {name: value for name, value in whole.items() if name != "dataInfo"}
    assert page == {"pageIndex": 0, "result": result}
    assert (last["errorCode"], last["dataInfo"], last["numPages"]) == (0, whole["dataInfo"], 1)


@pytest.mark.parametrize(("module", "operation", "form"), files())
def test_the_file_as_it_is_and_in_a_form_get_the_answer_that_json_gets_and_the_document_has(
    server, canaries, module, operation, form
):
    body = body_of(module, operation, form, canaries[module])
    _, wanted = post(server, operation, body)
    name = field_of(module, operation, form)
    data = base64.b64decode(body.pop(name))
    body.pop("fileType", None)  # the content type and the file's name say it
    texts = {key: json.dumps(value) for key, value in body.items()}
    media = "text/csv" if operation.input == "csv" else "image/png"
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=120, trust_env=False) as client:
        raw = client.post(operation.path, params=texts, content=data, headers={"Content-Type": media})
        in_form = client.post(operation.path, data=texts, files={name: ("a.png", data)})
        document = client.get("/openapi.json").json()
        if form.page_by_page:
            headers = {"Content-Type": media, "Accept": "application/x-ndjson"}
            in_lines = client.post(operation.path, params=texts, content=data, headers=headers)
            check_lines(in_lines.text, wanted["result"])
    for answer in (raw, in_form):
        assert answer.status_code == 200, answer.text
        assert answer.json()["result"] == wanted["result"]
    success = operation.path.replace("/", "~1") + "/post/responses/200/content/application~1json/schema"
    described = document | {"$ref": f"#/paths/{success}"}
    jsonschema.validate(raw.json(), described, jsonschema.Draft202012Validator)


def check_refused(status, answer, message=""):
    assert (status, answer["errorCode"]) == (422, 422), answer
    assert "result" not in answer and answer["logId"] and message in answer["errorMsg"]


@pytest.mark.parametrize(("module", "operation", "form"), files())
def test_a_broken_file_is_refused(server, canaries, module, operation, form):
    whole = base64.b64decode(canaries[module])
    broken = dict(BROKEN_FILES)
    if operation.input != "csv":
        broken["half"] = base64.b64encode(whole[: len(whole) // 2]).decode()
    for name, file in broken.items():
        status, answer = post(server, operation, body_of(module, operation, form, file))
        assert (name, status) == (name, 422), answer
        check_refused(status, answer)


@pytest.mark.parametrize(("module", "operation", "form"), files())
def test_a_broken_body_is_refused(server, module, operation, form):
    where = field_of(module, operation, form)
    cut, nan = b'{"%s":' % where.encode(), b'{"%s":NaN}' % where.encode()
    for content in (b"", b"no json", b"[]", b'"text"', cut, nan):
        check_refused(*server.post(content, path=operation.path))
    for value in (None, 1, ["QUJD"], {}):
        check_refused(*post(server, operation, body_of(module, operation, form, value)), where)
    missing = body_of(module, operation, form, "")
    del missing[where]
    check_refused(*post(server, operation, missing), "Field required")


@pytest.mark.parametrize(("module", "operation", "form"), files())
def test_a_parameter_of_another_kind_is_refused_by_name(server, canaries, module, operation, form):
    described = schema(module, operation, form)["request"]
    for name, kind in described["properties"].items():
        if name in described["required"]:
            continue
        validator = jsonschema.Draft202012Validator(kind | {"$defs": described.get("$defs", {})})
        odd = [value for value in ODD_VALUES if not validator.is_valid(value)]
        for value in [*odd, *(FAR_VALUES if validator.is_valid(1.5) else ())]:
            body = body_of(module, operation, form, canaries[module], **{name: value})
            status, answer = post(server, operation, body)
            assert (name, value, status) == (name, value, 422), answer
            check_refused(status, answer, name)


def test_schemathesis_finds_nothing(server, canaries, tmp_path):
    """Every operation, with all checks of schemathesis.toml. ``SCHEMATHESIS_EXAMPLES`` asks for more."""
    served, found = endpoints(server.config), tmp_path / "files.json"
    small = base64.b64encode(cv2.imencode(".png", np.full((48, 64, 3), 200, np.uint8))[1]).decode()
    files = {
        path: canaries[endpoint.config.name] if endpoint.operation.input == "csv" else small
        for path, endpoint in served.items()
        if endpoint.operation.input != "none"
    }
    found.write_text(json.dumps(files))
    config = Path(__file__).with_name("schemathesis.toml")
    examples = os.environ.get("SCHEMATHESIS_EXAMPLES", "3")
    phases = os.environ.get("SCHEMATHESIS_PHASES", "fuzzing")
    report = tmp_path / "report.txt"
    with report.open("wb") as output:
        run = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run",
             f"http://127.0.0.1:{server.port}/openapi.json", "--max-examples", examples, "--phases", phases],
            cwd=tmp_path,
            env=os.environ
            | {"SERVED_FILES": str(found), "NO_COLOR": "1", "PYTHONPATH": str(config.parents[2])},
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )  # fmt: skip
    assert run.returncode == 0, report.read_text()[-20_000:]
    assert f"{len(served) + len(PROBES)} selected" in report.read_text()
    assert "a request failed" not in server.log()


def test_a_kill_of_the_device_loses_no_request(server, canaries):
    """The last test of the module: every route is asked while the one device dies."""
    answers, cases = {}, [case.values for case in files()]

    def ask(number, module, operation, form):
        answers[number] = post(server, operation, body_of(module, operation, form, canaries[module]))

    threads = [threading.Thread(target=ask, args=(i, *case)) for i, case in enumerate(cases)]
    victim = server.pids("device")[0]
    for thread in threads:
        thread.start()
    wait_for(lambda: server.slots.count(FREE) < server.segment.slots or answers, what="work is there")
    os.kill(victim, signal.SIGKILL)
    for thread in threads:
        thread.join(120)
    assert {number: answer[0] for number, answer in answers.items()} == dict.fromkeys(range(len(cases)), 200)
    wait_for(lambda: server.pids("device") not in ([], [victim]), 120, "another device serves")

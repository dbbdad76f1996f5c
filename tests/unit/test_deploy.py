"""What deploy/ and docs/operations.md say, against what the server has."""

import json
import os
import re
import shlex
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from kernels.segment import READY, Segment
from kernels.slots import Slots
from pipelines.core.config import ModelFiles, PipelineConfig
from server.config import Config
from server.metrics import Metrics, Table, exposition
from server.options import parse

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
SCHEMAS = "1.31"
#: What prometheus_client adds to the name of a histogram or counter.
SUFFIX = re.compile(r"_(bucket|sum|count|created)$")

pytestmark = pytest.mark.usefixtures("no_leaks")


def manifest(name):
    return yaml.safe_load((KUBERNETES / name).read_text())


def merged(base, patch):
    """Strategic merge, as far as the patch needs it: lists of named things by name, other lists replaced."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return base | {key: merged(base.get(key), value) for key, value in patch.items()}
    if isinstance(base, list) and all(isinstance(one, dict) and "name" in one for one in (*base, *patch)):
        named = {one["name"]: one for one in base}
        return [merged(named.get(one["name"]), one) for one in patch]
    return patch


def variants():
    base = manifest("deployment.yaml")
    return {"cpu": base, "gpu": merged(base, manifest("gpu/deployment.yaml"))}


def exposed():
    """Names of all metrics that a server of one pipeline shows."""
    segment = Segment.create(1, 1, [(4096, 1)])
    for lane in (segment.worker(0), segment.device(0)):
        lane.incarnate(os.getpid(), 1)
        lane.state = READY
    table = Table(["/ocr"])
    Metrics(table, segment.device(0).counters).stage("det", 1, 0.1)
    models = {"text_detection": ModelFiles("det", "/models/det", {})}
    pipeline = PipelineConfig("ocr", "OCR", "v3", {}, models, {"text_detection": "fake"})
    page = exposition(
        table, segment, Slots(segment), Config((pipeline,), (), plans={"ocr": "missing"})
    ).decode()
    segment.close()
    return {SUFFIX.sub("", line.split("{")[0].split()[0]) for line in page.splitlines() if line[0] != "#"}


def test_the_page_on_operations_names_every_metric_and_no_other():
    rows = re.findall(r"^\| `(pps_\w+)` \|", (ROOT / "docs/operations.md").read_text(), re.M)
    assert len(rows) == len(set(rows))
    assert set(rows) == exposed()


def test_the_dashboard_shows_every_metric_and_asks_for_no_other():
    dashboard = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
    asked = re.findall(r"pps_\w+", json.dumps(dashboard["panels"]))
    assert asked
    assert {SUFFIX.sub("", name) for name in asked} == exposed()
    places = [tuple(panel["gridPos"].values())[:2] for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("name", ["deployment.yaml", "service.yaml", "autoscaler.yaml", "disruption.yaml"])
def test_manifests_keep_to_the_schemas(name):
    kubernetes_validate.validate(manifest(name), SCHEMAS, strict=True)


def test_the_gpu_variant_keeps_to_the_schemas_and_keeps_what_it_does_not_name():
    found = variants()["gpu"]
    kubernetes_validate.validate(found, SCHEMAS, strict=True)
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_a_planted_mistake_is_found():
    broken = manifest("deployment.yaml")
    broken["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, SCHEMAS, strict=True)


def test_every_file_of_a_kustomization_is_there():
    for file in KUBERNETES.rglob("kustomization.yaml"):
        listed = yaml.safe_load(file.read_text())
        names = [*listed["resources"], *(patch["path"] for patch in listed.get("patches", []))]
        assert all((file.parent / name).exists() for name in names)


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_a_pod_gets_the_time_that_its_drain_may_take(variant):
    pod = variants()[variant]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    options = parse(["--pipeline", "OCR", *container["args"]])
    drain_s = (options.drain_grace_ms + options.drain_timeout_ms) / 1000
    assert pod["terminationGracePeriodSeconds"] >= drain_s
    assert container["ports"][0]["containerPort"] == options.port


def test_selectors_find_the_pods_and_ports():
    labels = manifest("deployment.yaml")["spec"]["template"]["metadata"]["labels"]
    service, budget = manifest("service.yaml"), manifest("disruption.yaml")
    assert service["spec"]["selector"].items() <= labels.items()
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (container,) = manifest("deployment.yaml")["spec"]["template"]["spec"]["containers"]
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    probes = [container[name]["httpGet"]["port"] for name in container if name.endswith("Probe")]
    assert set(probes) == {"http"}
    assert manifest("autoscaler.yaml")["spec"]["metrics"][0]["pods"]["metric"]["name"] in exposed()


def unit():
    text = (DEPLOY / "systemd/paddle-pipeline-server.service").read_text()
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and line[0] != "#")


def test_the_unit_starts_the_server_and_gives_it_time_to_drain():
    found = unit()
    words = shlex.split(found["ExecStart"].replace("${PIPELINE}", "OCR").replace("$OPTIONS", "--use_hpip"))
    assert words[1:3] == ["-m", "server"]
    options = parse(words[3:])
    assert 1000 * int(found["TimeoutStopSec"]) >= options.drain_grace_ms + options.drain_timeout_ms
    assert found["KillMode"] == "mixed"


def test_the_image_has_what_it_is_built_from_and_runs_what_exists():
    kept = (DEPLOY / "docker/Dockerfile.dockerignore").read_text().splitlines()
    assert all((ROOT / line[1:]).exists() for line in kept if line[0] == "!")
    text = (DEPLOY / "docker/Dockerfile").read_text()
    command = re.search(r"exec python -m server (.*) \\\"\$@", text)[1]
    options = parse(shlex.split(command.replace('\\"$PIPELINE\\"', "OCR")))
    assert f"EXPOSE {options.port}" in text
    assert f"http://127.0.0.1:{options.port}/health/live" in text

"""``deploy/kserve``: pods that Kubernetes takes and this server understands.

The KServe kinds themselves are held to KServe's own models by ``make kserve``: its package is heavier than
this one.
"""

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from server.options import parse

KSERVE = Path(__file__).parents[2] / "deploy" / "kserve"
SCHEMAS = "1.31"


@pytest.fixture(params=["", "gpu"], ids=["cpu", "gpu"])
def manifests(request):
    """(runtime, service) of one variant."""
    folder = KSERVE / request.param
    return tuple(yaml.safe_load((folder / name).read_text()) for name in ("runtime.yaml", "service.yaml"))


def test_its_pod_keeps_to_the_schemas_of_kubernetes(manifests):
    runtime, service = manifests
    spec = {key: runtime["spec"][key] for key in ("containers", "tolerations") if key in runtime["spec"]}
    (container,) = spec["containers"]
    container = container | {"env": service["spec"]["predictor"]["model"]["env"]}
    kubernetes_validate.validate(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "predictor", "annotations": runtime["spec"]["annotations"]},
            "spec": spec | {"containers": [container]},
        },
        SCHEMAS,
        strict=True,
    )


def test_the_service_finds_its_runtime_and_speaks_its_protocol(manifests):
    runtime, service = manifests
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    formats = [(each["name"], each["version"]) for each in runtime["spec"]["supportedModelFormats"]]
    assert (model["modelFormat"]["name"], model["modelFormat"]["version"]) in formats


def test_the_server_understands_its_arguments_and_has_the_time_to_drain(manifests):
    runtime, service = manifests
    (container,) = runtime["spec"]["containers"]
    (pipeline,) = [each["value"] for each in container["env"] if each["name"] == "PIPELINE"]
    options = parse(["--pipeline", pipeline, *container["args"]])
    assert container["ports"][0]["containerPort"] == options.port
    assert runtime["spec"]["annotations"]["prometheus.kserve.io/port"] == str(options.port)
    drain_s = (options.drain_grace_ms + options.drain_timeout_ms) / 1000
    assert service["spec"]["predictor"]["terminationGracePeriodSeconds"] >= drain_s
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "RawDeployment"
    probed = {container[name]["httpGet"]["port"] for name in container if name.endswith("Probe")}
    assert probed == {options.port}


def test_every_file_of_a_kustomization_is_there():
    for file in KSERVE.rglob("kustomization.yaml"):
        assert all((file.parent / name).exists() for name in yaml.safe_load(file.read_text())["resources"])

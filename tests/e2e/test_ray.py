"""``deploy/ray`` on a real cluster of two nodes, one of which is lost. ``make ray``; skipped without Ray."""

import base64
import io
import os
import socket
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import sub
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image

from pipelines.core.base import Item
from pipelines.core.registry import load_pipeline
from tests.conditions import wait_for
from tests.driver import Driver, config_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    ray = pytest.importorskip("ray", reason="Ray is not installed (extra `ray`)")
    from ray import serve
    from ray.cluster_utils import Cluster

    from deploy.ray.app import app

ROOT = Path(__file__).resolve().parents[2]
#: A node, with what it needs to start, on a machine with other work.
START_S = 240.0
#: Room for one device.
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}

pytestmark = pytest.mark.filterwarnings("ignore")


def png(words):
    image = np.full((96, 480, 3), 255, np.uint8)
    cv2.putText(image, words, (20, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 2, cv2.LINE_AA)
    return image, cv2.imencode(".png", image)[1].tobytes()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def cluster():
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)  # every process of the cluster finds the package
    made = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    try:
        made.other = made.add_node(**NODE)
        ray.init(address=made.address, log_to_driver=False)
        yield made
        serve.shutdown()
    finally:
        ray.shutdown()
        made.shutdown()
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def client(cluster):
    port = free_port()
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    serve.run(app({"pipeline": "OCR", "devices": "2", "cpus": "1", "ingress_cpus": "0"}), route_prefix="/")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as made:
        yield made


@pytest.fixture(scope="module")
def right():
    """Texts of an image, with no server at all."""
    with Driver(config_of("OCR")) as driver:
        (operation,) = load_pipeline("ocr").operations
        form = operation.forms[0]
        params = form.params(form.request(file=""), driver.config)

        def texts(image):
            (result,) = driver(Item(params=params, image=image))
            return list(result.texts)

        yield texts


def devices():
    (application,) = serve.status().applications.values()
    return application.deployments["Device"].replica_states.get("RUNNING", 0)


def texts_of(answer):
    return [page["prunedResult"]["rec_texts"] for page in answer["result"]["ocrResults"]]


def ask(client, content, **fields):
    body = {"file": base64.b64encode(content).decode(), "fileType": 1, "visualize": False} | fields
    return client.post("/ocr", json=body)


def test_options_that_would_not_be_kept_are_refused():
    with pytest.raises(ValueError, match="there is no api_keys"):
        app({"pipeline": "OCR", "api_keys": "keys.toml"})


def test_every_door_gives_the_answers_of_the_server(client, right):
    image, content = png("Ray 2468")
    wanted = [right(image)]
    assert wanted != [[]]
    answer = ask(client, content, logId="mine")
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["logId", "result", "errorCode", "errorMsg"]
    assert (answer.json()["logId"], texts_of(answer.json())) == ("mine", wanted)
    raw = client.post("/ocr?visualize=false", content=content, headers={"Content-Type": "image/png"})
    form = client.post("/ocr", files={"file": ("a.png", content)}, data={"visualize": "false"})
    assert texts_of(raw.json()) == texts_of(form.json()) == wanted
    old = client.post("/ocr", json={"image": base64.b64encode(content).decode()}).json()
    assert [each["text"] for each in old["result"]["texts"]] == wanted[0]
    for path in ("/health", "/health/live", "/health/ready"):
        health = client.get(path)
        assert (health.status_code, health.json()["errorMsg"]) == (200, "Healthy")


def test_a_document(client):
    file = io.BytesIO()
    pages = [Image.fromarray(png(words)[0]) for words in ("First 135", "Second 246")]
    pages[0].save(file, "PDF", save_all=True, append_images=pages[1:])
    answer = ask(client, file.getvalue(), fileType=0).json()
    assert answer["result"]["dataInfo"]["numPages"] == 2
    for word, texts in zip(("135", "246"), texts_of(answer), strict=True):
        assert word in " ".join(texts)


def test_faults_are_those_of_the_server(client):
    for content, status, words in (
        (b"no image", 422, "Invalid input file"),
        (png("x")[1][:100], 422, "Invalid input file"),
    ):
        answer = ask(client, content)
        assert (answer.status_code, answer.json()["errorCode"]) == (status, status)
        assert words in answer.json()["errorMsg"]
    assert ask(client, png("x")[1], textDetThresh="high").status_code == 422
    assert ask(client, png("x")[1], useDocUnwarping=True).status_code == 500
    assert client.post("/nothing").status_code == 404
    assert client.get("/ocr").status_code == client.post("/health").status_code == 405


def together(tasks):
    """Results of ``tasks``, each run by a client of its own."""
    with ThreadPoolExecutor(len(tasks)) as clients:
        return [each.result() for each in [clients.submit(task) for task in tasks]]


def test_requests_of_several_clients_meet_in_one_batch(cluster, client, right):
    images = [png(f"Page {number * 111}") for number in range(12)]
    answers = together([partial(ask, client, content) for _, content in images])
    assert [texts_of(each.json()) for each in answers] == [[right(image)] for image, _ in images]
    (name,) = serve.status().applications
    handle = serve.get_deployment_handle("Device", name)

    def met():
        items, batches = handle.counts.remote().result()  # of some replica
        return items > batches

    wait_for(met, START_S, "a device that took two items at once")


def test_a_node_is_lost_and_comes_back(cluster, client, right):
    """Clients that ask again get all their answers, and there are two devices once there are two nodes."""
    wait_for(lambda: devices() == 2, START_S, "two devices")
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    images = [png(f"Still {number * 111}") for number in range(1, 4)]
    wanted = [[right(image)] for image, _ in images]
    answered, refused, stop = [0] * len(images), [], threading.Event()

    def load(number):
        while not stop.is_set():
            try:
                answer = ask(client, images[number][1])
            except httpx.TransportError as error:
                refused.append(repr(error))
                continue
            if answer.status_code >= 500:
                refused.append(answer.text)
                continue
            assert (answer.status_code, texts_of(answer.json())) == (200, wanted[number])
            answered[number] += 1

    def further(count):
        """Every client has had ``count`` answers more than now."""
        before = list(answered)
        wait_for(lambda: min(map(sub, answered, before)) >= count, START_S, f"answers, {refused[-1:]}")

    with ThreadPoolExecutor(len(images)) as clients:
        loads = [clients.submit(load, number) for number in range(len(images))]
        try:
            further(2)
            cluster.remove_node(cluster.other, allow_graceful=False)  # SIGKILL to all that runs there
            wait_for(lambda: devices() == 1, START_S, "the loss is seen")
            further(3)
            cluster.other = cluster.add_node(**NODE)
            wait_for(lambda: devices() == 2, START_S, "two devices again")
            further(1)
        finally:
            stop.set()
        for each in loads:
            each.result()
    assert {node["NodeID"] for node in ray.nodes() if node["Alive"]} != alive

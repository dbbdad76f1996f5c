"""``deploy/ray`` on a real cluster of two nodes, one of which is lost. ``make ray``; skipped without Ray."""

import base64
import io
import os
import socket
import threading
import warnings
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
START_S = 120.0

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
    """Each node has room for one device."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)  # every process of the cluster finds the package
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        made.other = made.add_node(num_cpus=1)
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
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as made:
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
    assert client.get("/health").json()["errorMsg"] == "Healthy"


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
    assert client.get("/ocr").status_code == 405


def test_requests_that_wait_together_are_all_answered_rightly(client, right):
    images = [png(f"Page {number * 111}") for number in range(12)]
    found = {}

    def one(number):
        found[number] = ask(client, images[number][1])

    threads = [threading.Thread(target=one, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [texts_of(found[n].json()) for n in range(12)] == [[right(image)] for image, _ in images]


def test_a_node_is_lost_and_comes_back(cluster, client, right):
    """Requests go on: nobody gets a wrong answer, and there are two devices again once there is a node."""
    wait_for(lambda: devices() == 2, START_S, "two devices")
    image, content = png("Still 97531")
    wanted, statuses, stop = [right(image)], [], threading.Event()

    def load():
        while not stop.is_set():
            try:
                answer = ask(client, content)
            except httpx.TransportError as error:
                statuses.append(type(error).__name__)
                continue
            statuses.append(answer.status_code)
            if answer.status_code == 200 and texts_of(answer.json()) != wanted:
                statuses.append("wrong")

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: statuses.count(200) >= 6, START_S, "load")
        cluster.remove_node(cluster.other, allow_graceful=False)
        wait_for(lambda: devices() == 1, START_S, "the loss is seen")
        good = statuses.count(200)
        wait_for(lambda: statuses.count(200) >= good + 20, START_S, "answers after the loss")
        cluster.other = cluster.add_node(num_cpus=1)
        wait_for(lambda: devices() == 2, START_S, "two devices again")
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)
    assert "wrong" not in statuses
    assert statuses[-1] == 200
    lost = [status for status in statuses if status != 200]
    assert len(lost) <= 2 * len(threads), lost

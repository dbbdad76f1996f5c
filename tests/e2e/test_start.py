"""Starting as a user does: real command line, real models, real engines, from anywhere; and leaving."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from server.launch import child_command
from tests.conditions import wait_for

ROOT = Path(__file__).parents[2]
#: A ready server takes 2 to 3 s on two free cores; fetching models and a busy machine come on top.
READY_S = 300


class Started:
    """``python -m server`` with ``argv``; ``lines`` is its output up to the ready line."""

    def __init__(self, argv, cwd, tmp_path):
        self.log = tmp_path / "stderr"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(argv, cwd=cwd, stdout=subprocess.PIPE, stderr=log, text=True)
        self.lines = []
        timer = threading.Timer(READY_S, self.process.kill)
        timer.start()
        try:
            for line in self.process.stdout:
                self.lines.append(line.rstrip("\n"))
                if line.startswith("server ready: "):
                    break
            else:
                raise AssertionError(f"it ended: {self.process.wait()}\n{self.log.read_text()[-4000:]}")
        finally:
            timer.cancel()
        self.port = int(self.lines[-1].rpartition(":")[2])

    def post(self, path, body):
        """The result; raises unless the request is answered with 200."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            json.dumps(body | {"visualize": False}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["result"]

    def ocr(self, image, **more):
        found = self.post("/ocr", {"file": base64_png(image), "fileType": 1} | more)
        return found["ocrResults"][0]["prunedResult"]

    def info(self, name):
        """Labels of the lines of metric ``name``."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60) as answer:
            page = answer.read().decode()
        families = text_string_to_metric_families(page)
        return [sample.labels for family in families for sample in family.samples if sample.name == name]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.stdout.close()
        return self.process.wait(60)


def base64_png(image):
    return base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode()


@pytest.fixture
def start(tmp_path):
    servers = []

    def run(*options, cwd=ROOT, command=(sys.executable, "-m", "server")):
        argv = [*command, "--host", "127.0.0.1", "--port", "0", "--drain_grace_ms", "0", *options]
        servers.append(Started(argv, cwd, tmp_path))
        return servers[-1]

    yield run
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
            server.process.stdout.close()


def page():
    image = np.full((220, 640, 3), 255, np.uint8)
    for line, text in enumerate(("Invoice 20417", "Total 1,250.00 EUR", "Thank you")):
        cv2.putText(
            image, text, (20, 60 + 60 * line), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 2, cv2.LINE_AA
        )
    return image


def texts(result):
    return [text.replace(" ", "") for text in result["rec_texts"]]


EXPECTED = ["Invoice20417", "Total1,250.00EUR", "Thankyou"]


def test_the_defaults_serve_ocr(start):
    server = start("--pipeline", "OCR")
    plan = "\n".join(server.lines)
    for word in ("PP-OCRv6_small_det", "PP-OCRv6_small_rec", "onnxruntime", "rapidocr 3.10.0", "/ocr"):
        assert word in plan
    result = server.ocr(page(), useTextlineOrientation=True)
    assert texts(result) == EXPECTED
    assert result["textline_orientation_angles"] == [0, 0, 0]
    assert texts(server.ocr(np.rot90(page(), 2), useDocOrientationClassify=True)) == EXPECTED
    assert server.stop() == 0


def test_from_another_folder_with_openvino(start, tmp_path):
    """The second start of a model takes what the first has compiled."""
    options = ("--pipeline", "OCR", "--use_hpip", "--plan", "existing", "--device", "cpu:1")
    server = start(*options, cwd=tmp_path, command=child_command("server"))
    assert "openvino" in "\n".join(server.lines)
    assert texts(server.ocr(page())) == EXPECTED
    assert server.stop() == 0


def test_the_paddle_models_on_paddles_own_engine(start, tmp_path):
    names = {"TextDetection": "PP-OCRv4_mobile_det", "TextRecognition": "PP-OCRv4_mobile_rec"}
    tasks = {"TextDetection": "text_detection", "TextRecognition": "text_recognition"}
    modules = {key: {"module_name": tasks[key], "model_name": names[key], "model_dir": None} for key in names}
    flags = {"use_doc_preprocessor": False, "use_textline_orientation": False}
    path = tmp_path / "ocr.yaml"
    path.write_text(yaml.safe_dump({"pipeline_name": "OCR", "SubModules": modules} | flags))
    server = start("--pipeline", str(path), "--device", "cpu:1")
    plan = "\n".join(server.lines)
    assert plan.count("paddle, inference.pdmodel sha256") == 2
    assert texts(server.ocr(page())) == EXPECTED
    assert server.stop() == 0


def test_a_taken_port_is_one_line_and_a_freed_one_is_free_at_once(start):
    server = start("--pipeline", "OCR", "--device", "cpu:1")
    port = str(server.port)
    taken = [sys.executable, "-m", "server", "--pipeline", "OCR", "--host", "127.0.0.1", "--port", port]
    done = subprocess.run(taken, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"python -m server: cannot listen on 127.0.0.1:{port}: the port is taken\n"
    server.ocr(page())
    assert server.stop() == 0
    again = start("--pipeline", "OCR", "--device", "cpu:1", "--port", port)
    assert again.port == int(port)
    assert again.stop() == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: --pipeline"),
        (["--pipeline", "OCR", "--engine", "tensorflow"], "unknown engine 'tensorflow'"),
        (["--pipeline", "/nowhere/x.yaml"], "cannot read /nowhere/x.yaml"),
    ],
)
def test_refusals(argv, message):
    done = subprocess.run(
        [sys.executable, "-m", "server", *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_help_into_a_closed_pipe(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "server", "list"], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, timeout=60,
        check=False,
    )  # fmt: skip
    os.close(writer)
    assert b"Traceback" not in done.stderr


def fast_in_bf16(folder):
    """A pipeline YAML with one fake model, which is much faster in bf16."""
    folder.mkdir()
    fake = {"kind": "classification", "classes": 8, "delay_ms": 60, "forms": {"bf16": {"delay_ms": 1}}}
    (folder / "fake.json").write_text(json.dumps(fake))
    steps = [{"ResizeImage": {"size": [32, 32]}}, {"NormalizeImage": {"order": ""}}, {"ToCHWImage": None}]
    description = {
        "Global": {"model_name": "fake"},
        "PreProcess": {"transform_ops": steps},
        "PostProcess": {"Topk": {"topk": 1, "label_list": list("abcdefgh")}},
    }
    (folder / "inference.yml").write_text(yaml.safe_dump(description))
    module = {"module_name": "image_classification", "model_name": "fake", "model_dir": str(folder)}
    document = {"pipeline_name": "image_classification", "engine": "fake"}
    path = folder / "pipeline.yml"
    path.write_text(yaml.safe_dump(document | {"SubModules": {"ImageClassification": module}}))
    return str(path)


class Asking(threading.Thread):
    """Sends one picture again and again; what is no answer is in ``error``."""

    def __init__(self, server, seed):
        super().__init__()
        self.answers, self.error, self.enough = [], None, threading.Event()
        self._server = server
        self._picture = base64_png(np.random.default_rng(seed).integers(0, 255, (40, 40, 3), np.uint8))

    def run(self):
        try:
            while not self.enough.is_set():
                found = self._server.post("/image-classification", {"image": self._picture})
                self.answers.append(found["categories"])
        except Exception as error:
            self.error = error


def test_a_server_changes_over_to_its_plan_without_losing_a_request(start, tmp_path):
    options = ("--pipeline", fast_in_bf16(tmp_path / "model"), "--precision", "bf16", "--device", "cpu:1")
    options += ("--cache_dir", str(tmp_path / "cache"))
    server = start(*options)
    assert server.info("pps_plan_info") == [{"pipeline": "image_classification", "plan": "missing"}]
    assert [line["precision"] for line in server.info("pps_engine_info")] == ["f32"]
    assert "no plan for these models here yet: fake in f32" in server.log.read_text()

    clients = [Asking(server, seed) for seed in range(3)]
    for client in clients:
        client.start()
    wait_for(lambda: "the new configuration serves" in server.log.read_text(), 100, "the plan is served")
    wait_for(lambda: server.log.read_text().count(" ended (") == 2, 30, "the old processes have left")
    served = [len(client.answers) for client in clients]
    wait_for(lambda: all(len(c.answers) > n for c, n in zip(clients, served, strict=True)), 30, "answers")
    for client in clients:
        client.enough.set()
        client.join()
        assert client.error is None
        assert all(answer == client.answers[0] for answer in client.answers)
    (line,), (plan,) = server.info("pps_engine_info"), server.info("pps_plan_info")
    assert (line["engine"], line["precision"]) == ("fake", "bf16")
    (file,) = (tmp_path / "cache" / "plans").glob("*.json")
    assert file.stem == f"image_classification-{plan['plan']}"
    assert server.stop() == 0

    file.write_bytes(file.read_bytes()[:-9])
    again = start(*options, "--plan", "existing")
    assert again.log.read_text().count(f"the plan {file} is not used") == 1
    assert again.info("pps_plan_info") == [{"pipeline": "image_classification", "plan": "missing"}]
    assert again.stop() == 0

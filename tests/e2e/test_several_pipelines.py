"""Two pipelines of one command line, a name and a YAML: real models, each of them loaded once."""

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
import yaml

from tests.conditions import wait_for

ROOT = Path(__file__).parents[2]
READY_S = 300
READERS = {"TextDetection": "PP-OCRv6_small_det", "TextRecognition": "PP-OCRv6_small_rec"}


def table_yaml():
    """Table recognition that takes the whole page for a table."""
    tasks = {"TextDetection": "text_detection", "TextRecognition": "text_recognition"}
    reading = {
        key: {"module_name": tasks[key], "model_name": name, "model_dir": None}
        for key, name in READERS.items()
    }
    structure = {"module_name": "table_structure_recognition", "model_name": "SLANet_plus", "model_dir": None}
    flags = {"use_doc_preprocessor": False, "use_textline_orientation": False}
    return {
        "pipeline_name": "table_recognition",
        "use_layout_detection": False,
        "use_doc_preprocessor": False,
        "SubModules": {"TableStructureRecognition": structure},
        "SubPipelines": {"GeneralOCR": {"pipeline_name": "OCR", "SubModules": reading} | flags},
    }


class Started:
    """The server; ``plan`` is what it printed until it was ready."""

    def __init__(self, folder):
        self.yaml, self.log_path = folder / "table.yaml", folder / "stderr"
        self.yaml.write_text(yaml.safe_dump(table_yaml()))
        options = ["--device", "cpu:1", "--host", "127.0.0.1", "--port", "0", "--drain_grace_ms", "0"]
        argv = [sys.executable, "-m", "server", "--pipeline", f"OCR,{self.yaml}", *options]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        self.plan = ""
        timer = threading.Timer(READY_S, self.process.kill)
        timer.start()
        try:
            while "server ready: " not in self.plan:
                line = self.process.stdout.readline()
                assert line, f"it ended: {self.process.wait()}\n{self.log()[-4000:]}"
                self.plan += line
        finally:
            timer.cancel()
        self.http = httpx.Client(base_url=self.plan.split()[-1], timeout=60, trust_env=False)

    def log(self):
        return self.log_path.read_text()

    def loads(self):
        """How often each model has been loaded."""
        found = re.findall(r"(\S+): onnxruntime loaded in", self.log())
        return {name: found.count(name) for name in found}

    def stop(self):
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Started(tmp_path_factory.mktemp("several"))
    try:
        yield running
        assert running.stop() == 0, running.log()[-4000:]
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def png():
    """A table of two rows and two columns."""
    page = np.full((220, 640, 3), 255, np.uint8)
    for x in (20, 320, 620):
        cv2.line(page, (x, 20), (x, 200), (0, 0, 0), 2)
    for y in (20, 110, 200):
        cv2.line(page, (20, y), (620, y), (0, 0, 0), 2)
    for text, at in {"Invoice": (40, 80), "20417": (340, 80), "Total": (40, 170), "1250": (340, 170)}.items():
        cv2.putText(page, text, at, cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 2, cv2.LINE_AA)
    return cv2.imencode(".png", page)[1].tobytes()


def result(server, path):
    head = {"Content-Type": "image/png"}
    answer = server.http.post(f"{path}?visualize=false", content=png(), headers=head)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def check_both_routes(server):
    words = ["Invoice", "20417", "Total", "1250"]
    (page,) = result(server, "/ocr")["ocrResults"]
    assert page["prunedResult"]["rec_texts"] == words
    (page,) = result(server, "/table-recognition")["tableRecResults"]
    assert page["prunedResult"]["overall_ocr_res"]["rec_texts"] == words
    (table,) = page["prunedResult"]["table_res_list"]
    assert table["pred_html"].count("<td") == 4 and "<td>20417</td>" in table["pred_html"]


def test_models_that_both_have_are_loaded_once_and_both_routes_answer(server):
    loads = server.loads()
    assert set(loads) >= {*READERS.values(), "SLANet_plus"}
    assert set(loads.values()) == {1}, loads
    for name in READERS.values():
        assert server.plan.count(f"{name} ") == 2
    assert server.plan.count("shared with ") == 4
    check_both_routes(server)


def test_the_other_routes_speak_of_both_pipelines(server):
    assert server.http.get("/health").json()["errorMsg"] == "Healthy"
    assert server.http.get("/health/ready").status_code == 200
    metrics = server.http.get("/metrics").text
    document = server.http.get("/openapi.json").json()
    page = server.http.get("/docs").text
    for path in ("/ocr", "/table-recognition"):
        assert f'path="{path}"' in metrics
        assert path in document["paths"] and f"POST {path}" in page
        about = server.http.get(f"/v2/models{path}").json()
        assert about["name"] == path.strip("/")
    assert document["info"]["title"] == "PaddleX pipelines: OCR, table_recognition"


def test_a_new_configuration_of_one_pipeline_takes_over_with_the_other(server):
    document = table_yaml() | {"Serving": {"visualize": False}}
    server.yaml.write_text(yaml.safe_dump(document))
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "the new configuration serves" in server.log(), 60, "the new configuration serves")
    assert set(server.loads().values()) == {2}, server.loads()
    check_both_routes(server)
    server.yaml.write_text(yaml.safe_dump(document["SubPipelines"]["GeneralOCR"]))
    server.process.send_signal(signal.SIGHUP)
    refused = f"is refused, the old one stays: --pipeline: OCR and {server.yaml} both answer /ocr"
    wait_for(lambda: refused in server.log(), 30, "the clash is refused")
    check_both_routes(server)

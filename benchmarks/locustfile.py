"""Locust users that post the benchmark's image set to ``/ocr``.

    locust -f benchmarks/locustfile.py --host http://127.0.0.1:8080
    locust -f benchmarks/locustfile.py --host http://127.0.0.1:8080 --headless -u 8 -r 8 -t 60s

Users never pause: so many users are so many requests in flight. An answer is a failure when it is
not 200 or found no text.
"""

from __future__ import annotations

import sys
from pathlib import Path

from locust import HttpUser, constant, events, task

# Locust puts this file's folder on the path, not the repository.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import load, pages, peers


@events.test_start.add_listener
def render(environment, **_):
    """Make the bodies once per locust process, before the first user."""
    images = pages.render_all(peers.font())
    names = [sheet.name for sheet in pages.SHEETS]
    environment.bodies = list(zip(names, map(load.ocr_body, images), strict=True))


class Reader(HttpUser):
    """Posts one image after the other; the statistics name each image."""

    wait_time = constant(0)

    def on_start(self):
        self.turn = id(self) % len(pages.SHEETS)

    @task
    def ocr(self):
        name, body = self.environment.bodies[self.turn % len(self.environment.bodies)]
        self.turn += 1
        headers = {"Content-Type": "application/json"}
        with self.client.post("/ocr", body, headers=headers, name=name, catch_response=True) as answer:
            if answer.status_code == 200 and not load.texts(answer.content):
                answer.failure("no text found")

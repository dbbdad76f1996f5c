"""Requests of every kind, also such as end badly: what a server must have forgotten when they are over."""

import contextlib

from tests.fakes import body, page
from tests.harness import Load

ROUNDS, ANSWERS = 14, 10


def send_mixed_load(server):
    """Some hundred good requests, and between them broken ones and clients that hang up."""
    whole = body(page(1))
    with Load(server, clients=4, lines=2) as load:
        for number in range(ROUNDS):
            load.wait_more(ANSWERS)
            hang_up(server, body(page(100 + number)))
            assert server.post(b"{}")[0] == 422
            assert server.post(whole[: len(whole) // 2])[0] == 422
    assert load.wrong == []


def hang_up(server, content):
    """Send a whole request and leave."""
    with contextlib.closing(server.connect()) as connection:
        connection.request("POST", "/ocr", content, {"Content-Type": "application/json"})

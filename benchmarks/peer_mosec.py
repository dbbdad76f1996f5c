"""``classification_loop`` served by mosec: ``MODEL=FILE python benchmarks/peer_mosec.py --port PORT``."""

import base64
import os

from classification_loop import Classifier
from mosec import Server, Worker

PROCESSES = 2


class Classify(Worker):
    """JSON with base64 in (mosec's own decoder), class and score out."""

    def __init__(self):
        super().__init__()
        self._classifier = Classifier(os.environ["MODEL"])

    def forward(self, data):
        index, score = self._classifier(base64.b64decode(data["image"]))
        return {"categories": [{"id": index, "score": score}]}


if __name__ == "__main__":
    server = Server()
    server.append_worker(Classify, num=PROCESSES)
    server.run()

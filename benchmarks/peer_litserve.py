"""``classification_loop`` served by LitServe: ``MODEL=FILE python benchmarks/peer_litserve.py PORT``."""

import base64
import os
import sys

import litserve
from classification_loop import Classifier

PROCESSES = 2


class Classify(litserve.LitAPI):
    """JSON with base64 in, class and score out."""

    def setup(self, device):
        self._classifier = Classifier(os.environ["MODEL"])

    def decode_request(self, request):
        return base64.b64decode(request["image"])

    def predict(self, data):
        index, score = self._classifier(data)
        return {"categories": [{"id": index, "score": score}]}

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        Classify(api_path="/image-classification"),
        accelerator="cpu",
        workers_per_device=PROCESSES,
        fast_queue=True,
    )
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)

"""An OpenAI-compatible server with known answers: ``python -m tests.llm_server`` prints its port.

It answers with the values of lines ``key: value`` in the document it is shown, as a good model would. Faults
are asked for by the model's name: ``status-429``, ``status-503-once``, ``slow``, ``hang``, ``nonsense``,
``no-json``, ``error-in-200``, ``cut``, ``gossip`` (JSON inside of talk), ``echo`` (answers with the prompt).
``GET /seen`` gives what it was asked, headers included.
"""

import contextlib
import hashlib
import json
import re
import subprocess
import sys
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SEEN, TRIED = [], set()
_DOCUMENT = re.compile(r"<(document-\w+)>\n(.*)\n</\1>", re.DOTALL)


def extracted(messages):
    """What is written in the document behind each key."""
    user = messages[-1]["content"]
    document = re.sub("<[^>]+>", "\n", _DOCUMENT.search(user)[2])
    keys = json.loads(user.rpartition(": ")[2])
    found = {key: re.search(re.escape(key) + r"\s*[:：]?\s*([^\n]+)", document) for key in keys}
    return {key: match[1].strip() if match else "unknown" for key, match in found.items()}


def embedding(text):
    """64 numbers that are alike where texts share words."""
    numbers = [0.01] * 64
    for word in re.findall(r"\w+", text.lower()):
        numbers[hashlib.blake2b(word.encode()).digest()[0] % 64] += 1.0
    return numbers


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send(200, SEEN)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        SEEN.append({"path": self.path, "body": body, "headers": dict(self.headers)})
        if self.path.endswith("/embeddings"):
            rows = [{"index": i, "embedding": embedding(t)} for i, t in enumerate(body["input"])]
            self.send(200, {"data": rows[::-1]})
        else:
            self.chat(body["model"], body["messages"])

    def chat(self, model, messages):
        fault = re.fullmatch(r"status-(\d+)(-once)?", model)
        if fault and not (fault[2] and model in TRIED):
            TRIED.add(model)
            self.send(
                int(fault[1]),
                {"error": {"message": "key sk-secret is over its limit"}},
                {"Retry-After": "7", "Location": "/v1/elsewhere"},
            )
        elif model == "hang":
            self.rfile.read(1)  # until the client has gone
            SEEN.append("client gone")
            self.close_connection = True
        elif model == "no-json":
            self.send(200, "<html>", raw=True)
        elif model == "error-in-200":
            self.send(200, {"error": {"message": "broken stream"}})
        elif model == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices":')
            self.close_connection = True
        else:
            self.say(self.words(model, messages))

    def words(self, model, messages):
        answer = json.dumps(extracted(messages), ensure_ascii=False)
        if model == "nonsense":
            return "The weather is fine today."
        if model == "echo":
            return json.dumps(messages)
        return f"Sure, here it is:\n```json\n{answer}\n```\nAnything else?" if model == "gossip" else answer

    def say(self, words):
        self.send(200, {"choices": [{"message": {"role": "assistant", "content": words}}]})

    def send(self, status, content, headers=(), raw=False):
        data = content.encode() if raw else json.dumps(content).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class LlmServer(contextlib.AbstractContextManager):
    """The server as a process of its own. ``url`` is its base URL."""

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.llm_server"],
            stdout=subprocess.PIPE, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        self.port = int(self._process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}/v1"
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait(10)
        self._process.stdout.close()

    def seen(self):
        """Everything that it was asked so far."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/seen")
        answer = json.load(connection.getresponse())
        connection.close()
        return answer


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

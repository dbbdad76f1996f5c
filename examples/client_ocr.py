"""Prints the lines of text of images and PDFs, with the client of this package: retries, a deadline.

    python examples/client_ocr.py page.png scan.pdf

The server: ``python -m server --pipeline OCR``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from server.client import Client, Policy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="images or PDFs")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the server")
    parser.add_argument("--api_key", default="", help="where the server asks for one")
    parser.add_argument("--deadline_s", type=float, default=60.0, help="for each file, with all retries")
    options = parser.parse_args()
    policy = Policy(deadline_s=options.deadline_s)
    with Client(options.url, api_key=options.api_key, policy=policy) as client:
        for file in options.files:
            result = client.infer("/ocr", file, visualize=False)
            for number, page in enumerate(result["ocrResults"], 1):
                found = page["prunedResult"]
                print(f"# {file}, page {number}: {len(found['rec_texts'])} lines")
                for text, score in zip(found["rec_texts"], found["rec_scores"], strict=True):
                    print(f"{score:.2f} {text}")


if __name__ == "__main__":
    main()

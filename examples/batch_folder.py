"""Reads every image and PDF of a folder, several at once, and writes ``NAME.json`` beside each.

    python examples/batch_folder.py scans --at_once 8

What already has its JSON is left out: after an interruption it goes on where it was. A file that the server
refuses is named and does not stop the others; exit code 1 says that there were some.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from server.client import AsyncClient, DeadlineExceeded, ServerFault

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pdf"}


def target(file: Path) -> Path:
    return file.with_name(file.name + ".json")


async def read(client: AsyncClient, route: str, file: Path) -> bool:
    try:
        result = await client.infer(route, file, visualize=False)
    except (ServerFault, DeadlineExceeded) as fault:
        print(f"{file.name}: {fault}", file=sys.stderr)
        return False
    part = target(file).with_suffix(".part")
    part.write_text(json.dumps(result, ensure_ascii=False), encoding="utf-8")
    part.replace(target(file))  # a JSON that is there is whole
    return True


async def run(options: argparse.Namespace) -> int:
    left = iter(sorted(file for file in options.folder.iterdir() if file.suffix.lower() in SUFFIXES))
    outcomes: list[bool] = []

    async def work(client: AsyncClient) -> None:
        for file in left:
            if not target(file).exists():
                outcomes.append(await read(client, options.route, file))

    async with AsyncClient(options.url, api_key=options.api_key) as client:
        await asyncio.gather(*(work(client) for _ in range(options.at_once)))
    print(f"{sum(outcomes)} of {len(outcomes)} files read")
    return 0 if all(outcomes) else 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--at_once", type=int, default=8, help="the server batches what it has together")
    parser.add_argument("--route", default="/ocr", help="any route that takes documents or images")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the server")
    parser.add_argument("--api_key", default="", help="where the server asks for one")
    raise SystemExit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()

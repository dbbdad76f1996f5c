"""Stands in for ``pip download``: ``fake_pip.py FOLDER download PIN … --dest DIR``.

Copies the wheel of FOLDER. ``FOLDER/script.json`` may say otherwise: ``fail`` (text for stderr, exit 1),
``hang`` (waits to be killed), ``drip`` (seconds per byte), ``late`` (seconds before the end).
``FOLDER/calls`` gets one line per call.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path


def main():
    folder, arguments = Path(sys.argv[1]), sys.argv[2:]
    with (folder / "calls").open("a") as file:
        file.write(f"{os.getpid()} {' '.join(arguments)}\n")
    script = json.loads((folder / "script.json").read_text())
    if "fail" in script:
        sys.stderr.write(script["fail"])
        return 1
    if "hang" in script:
        time.sleep(600)
    target = Path(arguments[arguments.index("--dest") + 1])
    target.mkdir(parents=True)
    package, _, version = arguments[1].partition("==")
    wheel = f"{package}-{version}-py3-none-any.whl"
    if "drip" in script:
        part = Path(os.environ["TMPDIR"]) / "part"
        with part.open("wb") as file:
            for byte in (folder / wheel).read_bytes():
                file.write(bytes([byte]))
                file.flush()
                time.sleep(script["drip"])
    if "late" in script:
        time.sleep(script["late"])
    shutil.copyfile(folder / wheel, target / wheel)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

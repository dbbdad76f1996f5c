"""``python -m tests.fuzz TARGET [libFuzzer options]``: one target under atheris, guided by coverage.

Without a target: their names.
"""

import shlex
import sys

import atheris

with atheris.instrument_imports(include=["server", "pipelines", "sanic.http"]):
    from tests.fuzz.targets import TARGETS


def main():
    if len(sys.argv) < 2:
        print(*TARGETS, sep="\n")
        return
    name, *options = sys.argv[1:]
    # libFuzzer starts its first argument again, by a shell, to merge a corpus.
    itself = shlex.join([sys.executable, "-m", "tests.fuzz", name])
    atheris.Setup([itself, *options], TARGETS[name])
    atheris.Fuzz()


main()

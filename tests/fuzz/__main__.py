"""``python -m tests.fuzz TARGET [libFuzzer options]``: one target under atheris, guided by coverage."""

import sys

import atheris

with atheris.instrument_imports(include=["server", "pipelines"]):
    from tests.fuzz.targets import TARGETS


def main():
    name, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


main()

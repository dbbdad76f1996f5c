"""``python -m server``: see ``cli.py``."""

import sys

from server.launch import ensure_built


def _run() -> int:
    ensure_built("server", sys.argv[1:])
    try:
        from server.cli import main  # noqa: PLC0415 - must not be imported before the check above
    except ModuleNotFoundError as error:
        sys.stderr.write(f"not installed: {error.name} is missing; run python -m pip install -e .\n")
        return 2
    return main(sys.argv[1:])


if __name__ == "__main__":
    raise SystemExit(_run())

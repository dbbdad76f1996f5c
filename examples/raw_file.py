"""Sends a file as it is, parameters in the query string, with nothing but Python's standard library.

    python examples/raw_file.py /ocr page.png visualize=false textDetThresh=0.4
    python examples/raw_file.py /time-series-forecasting series.csv

It prints ``result`` as JSON. docs/doors.md has what can be sent this way.
"""

from __future__ import annotations

import json
import mimetypes
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

URL = "http://127.0.0.1:8080"


def main(route: str, file: str, *parameters: str) -> None:
    fields = dict(parameter.split("=", 1) for parameter in parameters)
    server = fields.pop("url", URL)
    media = mimetypes.guess_type(file)[0] or "image/*"
    request = urllib.request.Request(
        f"{server}{route}?{urlencode(fields)}", Path(file).read_bytes(), {"Content-Type": media}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            print(json.dumps(json.load(answer)["result"], ensure_ascii=False, indent=1))
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{error.code}: {json.load(error)['errorMsg']}") from None
    except urllib.error.URLError as error:
        raise SystemExit(f"{server}: {error.reason}") from None


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])

"""What schemathesis cannot know of this API: files that pass, and which 500 is an answer.

``SERVED_FILES`` names a JSON file: path of an operation to a file that it takes, in base64.
"""

import base64
import json
import os
from pathlib import Path

import schemathesis
from hypothesis import strategies as st

from pipelines.core.errors import EngineError, ServeError

FILES = json.loads(Path(os.environ["SERVED_FILES"]).read_text())
#: Fields with the file, in all forms.
FILE_FIELDS = ("file", "image", "csv")
#: Positive requests so far: every second one keeps the text that was drawn, and is refused.
_SEEN = {"positive": 0}


def _content(kind):
    return (
        st.sampled_from([base64.b64decode(text) for path, text in FILES.items() if kind(path)]) | st.binary()
    )


schemathesis.openapi.media_type("image/*", _content(lambda path: "time-series" not in path))
schemathesis.openapi.media_type("application/pdf", st.just(b"%PDF-1.4\n%%EOF") | st.binary())
schemathesis.openapi.media_type("text/csv", _content(lambda path: "time-series" in path))


@schemathesis.hook
def before_call(context, case, kwargs):
    """Put a real file where a text was drawn: no schema can say what a picture is.

    Negative requests keep what was drawn.
    """
    file = FILES.get(case.operation.path)
    drawn = case.meta is not None and case.meta.phase.name.value == "fuzzing"
    if file is None or not drawn or case.meta.generation.mode.value != "positive":
        return
    _SEEN["positive"] += 1
    if _SEEN["positive"] % 2 or not isinstance(case.body, dict):
        return
    for name in FILE_FIELDS:
        if name in case.body:
            in_form = case.media_type == "multipart/form-data"
            case.body[name] = base64.b64decode(file) if in_form else file
            if "fileType" in case.body:
                case.body["fileType"] = 1


@schemathesis.check
def a_fault_is_meant(ctx, response, case):
    """500 is PaddleX's answer to what a pipeline is not set up for; a bug has a text of its own."""
    if response.status_code >= 500:
        assert response.json()["errorMsg"] not in {ServeError.default, EngineError.default}, "a bug"

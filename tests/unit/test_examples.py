"""The YAML of ``examples/``: what it says is what is served."""

from pathlib import Path

from pipelines.core.yaml_config import load

FILE = Path(__file__).parents[2] / "examples" / "ocr_own_settings.yaml"


def test_its_settings_are_the_defaults_of_requests():
    found = load(str(FILE))
    assert (found.title, found.ignored) == ("OCR", ())
    wanted = {"use_doc_preprocessor": False, "use_textline_orientation": False, "limit_side_len": 1280,
              "thresh": 0.2, "box_thresh": 0.5, "unclip_ratio": 1.6, "rec_score_thresh": 0.5}  # fmt: skip
    assert {key: found.options[key] for key in wanted} == wanted
    assert {role: model.name for role, model in found.models.items()} == {
        "text_detection": "PP-OCRv4_mobile_det",
        "text_recognition": "PP-OCRv4_mobile_rec",
    }
    assert (found.serving.visualize, found.serving.max_num_input_imgs) == (False, 20)

"""A plan comes back as it was written, or not at all."""

import hashlib
import json

import msgspec
import pytest

from server.plan_file import Choice, Plan, plan_path, read_plan, write_plan
from tests.plans import MODELS, facts, plan


@pytest.fixture
def said():
    return []


def sealed(text):
    """A file whose checksum is right."""
    return json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "plan": text}).encode()


def test_there_and_back(tmp_path, said):
    path = write_plan(tmp_path, plan())
    assert read_plan(tmp_path, facts(), said.append) == plan()
    assert said == []
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    write_plan(tmp_path, plan())
    assert read_plan(tmp_path, facts()) == plan()


def test_none_is_no_news(tmp_path, said):
    assert read_plan(tmp_path, facts(), said.append) is None
    assert said == []


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2}, {"package": "1.1"}, {"pipeline": "table_recognition"}, {"settings": "f" * 64},
        {"examples": "f" * 64}, {"device": "gpu:0"}, {"threads": 2}, {"all_threads": 4}, {"precision": "f32"},
        {"machine": ("another", "flags 0")}, {"libraries": {"openvino": "openvino 2026.5"}},
        {"models": {"text_detection": MODELS["text_detection"]}},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_fact_counts(tmp_path, change):
    write_plan(tmp_path, plan())
    assert read_plan(tmp_path, facts(**change)) is None


def changed(old, new):
    """The text of the plan with something else in it."""

    def change(raw):
        text = json.loads(raw)["plan"]
        assert text.count(old) >= 1
        return sealed(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda raw: b"", "truncated", id="empty"),
        pytest.param(lambda raw: raw[: len(raw) // 2], "truncated", id="cut-short"),
        pytest.param(lambda raw: raw.replace(b"openvino", b"openvina"), "checksum", id="changed"),
        pytest.param(lambda raw: b"\xff\xfe" + raw, "malformed", id="no-text"),
        pytest.param(lambda raw: b"{}", "missing required field", id="another-file"),
        pytest.param(lambda raw: sealed("{}"), "missing required field", id="another-version"),
        pytest.param(changed('"threads":1', '"threads":3'), "made for something else", id="foreign"),
        pytest.param(
            changed('"choices":{"text_detection":{"engine":"openvino"',
                    '"choices":{"text_detection":{"engine":"x"'),
            "not the fastest", id="unknown-engine",
        ),
        pytest.param(
            changed('"choices":{"text_detection":{"engine":"openvino","precision":"f32"',
                    '"choices":{"text_detection":{"engine":"openvino","precision":"bf16"'),
            "not the fastest", id="what-was-wrong",
        ),
        pytest.param(
            changed('"choices":{"text_detection"', '"choices":{"other"'), "not the fastest", id="role"
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_trusted_is_not_used(tmp_path, said, damage, words):
    path = write_plan(tmp_path, plan())
    path.write_bytes(damage(path.read_bytes()))
    assert read_plan(tmp_path, facts(), said.append) is None
    (line,) = said
    assert str(path) in line and words in line


def test_a_precision_that_is_not_permitted_is_not_used(tmp_path, said):
    strict = facts(precision="f32")
    write_plan(tmp_path, plan(strict))
    assert read_plan(tmp_path, strict, said.append) is None
    assert "not the fastest" in said[0]


def test_roles_with_one_model_share_a_row(tmp_path):
    models = MODELS | {"again": MODELS["text_detection"]}
    found = plan(facts(models=models))
    found = msgspec.structs.replace(found, choices=found.choices | {"again": Choice("openvino", "f32")})
    write_plan(tmp_path, found)
    assert read_plan(tmp_path, found.facts) == found


def test_a_folder_in_its_place_is_said(tmp_path, said):
    plan_path(tmp_path, facts()).mkdir(parents=True)
    assert read_plan(tmp_path, facts(), said.append) is None
    assert len(said) == 1


def test_an_unfinished_write_leaves_the_old_plan(tmp_path, monkeypatch):
    path = write_plan(tmp_path, plan())

    def fail(where):
        raise OSError("no space left")

    monkeypatch.setattr("server.plan_file.fsync_file", fail)
    with pytest.raises(OSError, match=r"no space left"):
        write_plan(tmp_path, Plan(facts(), {}, (), {}))
    assert read_plan(tmp_path, facts()) == plan()
    assert [found.name for found in path.parent.iterdir()] == [path.name]

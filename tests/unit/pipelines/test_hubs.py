"""Models without a card: hubs on loopback, digests on first use, PaddleX's cache."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from pipelines.core import hubs as module
from pipelines.core.errors import ConfigError
from pipelines.core.hubs import Hubs
from pipelines.core.models import ModelStore
from tests.model_server import Hub
from tests.shelf import sha256

NAME = "PP-Test_det"
FILES = {
    "inference.yml": b"Global: {model_name: PP-Test_det}\n",
    "inference.json": b'{"program": 1}',
    "inference.pdiparams": b"weights" * 1000,
}


@pytest.fixture
def hub():
    opened = Hub()
    yield opened
    opened.close()


@pytest.fixture
def said():
    return io.StringIO()


@pytest.fixture
def store(shelf, tmp_path, hub, said, monkeypatch):
    monkeypatch.setenv("PADDLE_PDX_CACHE_HOME", str(tmp_path / "paddlex"))
    hubs = Hubs(huggingface=hub.url + "/hf", bos=hub.url + "/bos")
    return ModelStore(tmp_path / "cache", said, pip=shelf.pip, hubs=hubs)


def on_huggingface(hub, files, revision="abc123", name=NAME):
    listing = {
        "sha": revision,
        "siblings": [{"rfilename": file} for file in [*files, "README.md", "scaler.pkl"]],
    }
    hub.files[f"/hf/api/models/PaddlePaddle/{name}"] = json.dumps(listing).encode()
    for file, data in files.items():
        hub.files[f"/hf/PaddlePaddle/{name}/resolve/{revision}/{file}"] = data


def tar_of(files, top=NAME + "_infer"):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{top}/{name}" if not name.startswith(("/", "..")) else name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return raw.getvalue()


def check(model, files=FILES):
    for file, data in files.items():
        assert Path(model.directory, file).read_bytes() == data
        assert model.sha256[file] == sha256(data)
    assert set(model.files) == {"pir", "params"}


def test_huggingface(store, hub, said):
    on_huggingface(hub, FILES)
    model = store.resolve(NAME)
    check(model)
    assert model.source == hub.url + "/hf/PaddlePaddle/PP-Test_det at abc123"
    asked = [path for path, _ in hub.asked]
    assert not any("pkl" in path or "README" in path for path in asked)
    assert (
        f"{NAME}/inference.json sha256 {sha256(FILES['inference.json'])} (recorded on first use)"
        in said.getvalue()
    )
    hub.asked.clear()
    assert store.resolve(NAME) == model
    assert hub.asked == []


def test_bos_when_huggingface_has_it_not(store, hub):
    hub.files[f"/bos/{NAME}_infer.tar"] = tar_of(FILES)
    model = store.resolve(NAME)
    check(model)
    assert model.source.endswith(f"/bos/{NAME}_infer.tar")


def test_the_environment_chooses_the_first_hub(store, hub, shelf, tmp_path, monkeypatch):
    on_huggingface(hub, FILES)
    hub.files[f"/bos/{NAME}_infer.tar"] = tar_of(FILES)
    monkeypatch.setenv("PADDLE_PDX_MODEL_SOURCE", "BOS")
    monkeypatch.setenv("PADDLE_PDX_HUGGING_FACE_ENDPOINT", hub.url + "/hf/")
    found = Hubs.from_environment()
    assert (found.order, found.huggingface) == (("bos", "huggingface"), hub.url + "/hf")
    monkeypatch.setenv("PADDLE_PDX_MODEL_SOURCE", "aistudio")
    with pytest.raises(
        ConfigError, match=r"PADDLE_PDX_MODEL_SOURCE=aistudio: known sources are huggingface, bos"
    ):
        Hubs.from_environment()


def test_a_broken_off_fetch_is_continued(store, hub):
    on_huggingface(hub, FILES)
    weights = f"/hf/PaddlePaddle/{NAME}/resolve/abc123/inference.pdiparams"
    hub.faults[weights] = [("cut", 1000)] * 3
    with pytest.raises(ConfigError, match=r"broken off after 3000 of 7000"):
        store.resolve(NAME)
    hub.asked.clear()
    check(store.resolve(NAME))
    assert (weights, "bytes=3000-") in hub.asked
    assert not any(path.endswith("inference.yml") for path, _ in hub.asked)  # it was whole already


def test_files_of_two_revisions_are_not_mixed(store, hub):
    on_huggingface(hub, FILES, "one")
    hub.faults[f"/hf/PaddlePaddle/{NAME}/resolve/one/inference.pdiparams"] = [500] * 3
    with pytest.raises(ConfigError, match=r"HTTP 500"):
        store.resolve(NAME)
    newer = FILES | {"inference.json": b"{}", "inference.pdiparams": b"w2"}
    on_huggingface(hub, newer, "two")
    check(store.resolve(NAME), newer)


@pytest.mark.parametrize(
    ("listing", "reason"),
    [(b"<html>", "something else than a model"), (b"{}", "something else"), (b"[]", "something else")],
)
def test_an_answer_that_is_no_listing(store, hub, listing, reason):
    hub.files[f"/hf/api/models/PaddlePaddle/{NAME}"] = listing
    with pytest.raises(ConfigError, match=reason):
        store.resolve(NAME)


def test_a_revision_cannot_be_a_path(store, hub):
    on_huggingface(hub, FILES, "../../x")
    with pytest.raises(ConfigError, match=r"something else than a model"):
        store.resolve(NAME)


def test_unknown_everywhere(store, hub):
    with pytest.raises(ConfigError, match=r"unknown model 'model_aa'; did you mean model_a\? \(no hub has"):
        store.resolve("model_aa")
    assert list((store.root / "models").iterdir()) == []


def test_unreachable_is_one_line_with_a_guess(shelf, tmp_path):
    nowhere = Hubs(huggingface="http://127.0.0.1:9", bos="http://127.0.0.1:9")
    with pytest.raises(ConfigError) as caught:
        ModelStore(tmp_path / "cache", pip=shelf.pip, hubs=nowhere).resolve("model_aa")
    assert str(caught.value).startswith(
        "no card for model 'model_aa'; did you mean model_a?; cannot fetch http"
    )
    assert "\n" not in str(caught.value)


def test_one_hub_down_is_not_unknown(store, hub):
    hub.faults[f"/hf/api/models/PaddlePaddle/{NAME}"] = [500] * 3
    with pytest.raises(ConfigError, match=r"HTTP 500"):
        store.resolve(NAME)


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(b"not a tar", id="no-tar"),
        pytest.param(tar_of(FILES)[:3000], id="cut"),
        pytest.param(tar_of({"scaler.pkl": b"x"}), id="nothing-wanted"),
        pytest.param(tar_of({"inference.yml": FILES["inference.yml"]}), id="no-program"),
    ],
)
def test_archives_that_are_no_models(store, hub, archive):
    hub.files[f"/bos/{NAME}_infer.tar"] = archive
    with pytest.raises(ConfigError):
        store.resolve(NAME)
    assert not (store.root / "models" / NAME).exists()


def test_an_archive_writes_only_what_is_wanted(store, hub, tmp_path):
    evil = {
        "../../evil": b"x",
        "/tmp/evil": b"x",
        "sub/dir/inference.pdmodel": b"old",
        "scaler.pkl": b"pickle",
    }
    hub.files[f"/bos/{NAME}_infer.tar"] = tar_of(FILES | evil)
    model = store.resolve(NAME)
    names = sorted(path.name for path in Path(model.directory).iterdir())
    assert names == [".stamp.json", *sorted([*FILES, "inference.pdmodel"])]
    assert not list(tmp_path.rglob("evil"))


def test_links_in_an_archive_are_not_followed(store, hub):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        link = tarfile.TarInfo("m/inference.pdiparams")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        for name in ("inference.yml", "inference.json"):
            entry = tarfile.TarInfo(f"m/{name}")
            entry.size = len(FILES[name])
            tar.addfile(entry, io.BytesIO(FILES[name]))
    hub.files[f"/bos/{NAME}_infer.tar"] = raw.getvalue()
    with pytest.raises(ConfigError, match=r"holds no model"):
        store.resolve(NAME)


def test_an_archive_has_a_largest_size(store, hub, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 5000)
    hub.files[f"/bos/{NAME}_infer.tar"] = tar_of(FILES)
    with pytest.raises(ConfigError, match=r"more than 5000 bytes"):
        store.resolve(NAME)


def test_a_changed_file_is_refused_not_replaced(store, hub):
    on_huggingface(hub, FILES)
    model = store.resolve(NAME)
    Path(model.files["params"]).write_bytes(b"other")
    with pytest.raises(ConfigError, match=r"inference.pdiparams differs from what was fetched; delete"):
        store.resolve(NAME)


def test_the_digest_of_the_first_use_holds_for_later_fetches(store, hub):
    import shutil

    on_huggingface(hub, FILES)
    model = store.resolve(NAME)
    shutil.rmtree(model.directory)
    on_huggingface(hub, FILES | {"inference.pdiparams": b"replaced"})
    with pytest.raises(
        ConfigError, match=r"sent another inference\.pdiparams than on first use; delete .*digests"
    ):
        store.resolve(NAME)
    assert not Path(model.directory).exists()
    (store.root / "digests" / f"{NAME}.json").unlink()
    check(store.resolve(NAME), FILES | {"inference.pdiparams": b"replaced"})


def test_paddlexs_cache_is_used_before_a_hub(store, hub, tmp_path):
    folder = tmp_path / "paddlex" / "official_models" / NAME
    folder.mkdir(parents=True)
    for file, data in FILES.items():
        (folder / file).write_bytes(data)
    model = store.resolve(NAME)
    assert (model.directory, model.source) == (str(folder), str(folder))
    assert hub.asked == []


def test_list_and_verify_show_hub_models(store, hub):
    on_huggingface(hub, FILES)
    model = store.resolve(NAME)
    assert [(each.name, each.state) for each in store.list()][-1] == (NAME, "ready")
    Path(model.files["params"]).write_bytes(b"other")
    assert [each.state for each in store.verify()] == ["changed: inference.pdiparams"]

"""Official names: every hub on loopback, what can go wrong with each, digests, PaddleX's cache."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from pipelines.core import download, official
from pipelines.core import hubs as module
from pipelines.core.errors import ConfigError
from pipelines.core.hubs import BOS, Hubs
from pipelines.core.models import ModelStore
from pipelines.core.registry import load_pipeline, pipeline_modules
from pipelines.core.repositories import REPOSITORIES
from tests.model_server import Hub
from tests.shelf import sha256

#: On all hubs, with a package in ONNX; and one that is on BOS only.
NAME, BOS_ONLY = "PP-OCRv6_medium_det", "PicoDet-S"
FILES = {
    "inference.yml": b"Global: {model_name: PP-OCRv6_medium_det}\n",
    "inference.json": b'{"program": 1}',
    "inference.pdiparams": b"weights" * 1000,
}
ONNX_FILES = {"inference.yml": FILES["inference.yml"], "inference.onnx": b"onnx"}
#: Also in every repository; nobody asks for them.
UNWANTED = ["README.md", ".gitattributes", "config.json"]
ORDER = ("huggingface", "aistudio", "modelscope", "bos")


@pytest.fixture
def hub():
    opened = Hub()
    yield opened
    opened.close()


@pytest.fixture
def said():
    return io.StringIO()


def hubs_at(hub, order=ORDER):
    return Hubs(order, {name: f"{hub.url}/{name}" for name in ORDER})


@pytest.fixture
def make_store(shelf, tmp_path, hub, said, monkeypatch):
    monkeypatch.setenv("PADDLE_PDX_CACHE_HOME", str(tmp_path / "paddlex"))

    def make(*order):
        hubs = hubs_at(hub, order or ORDER)
        return ModelStore(tmp_path / "cache", said, pip=shelf.pip, hubs=hubs)

    return make


@pytest.fixture
def store(make_store):
    return make_store()


def tar_of(files, top="model_infer"):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{top}/{name}" if not name.startswith(("/", "..")) else name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return raw.getvalue()


class Shop:
    """Puts a package on a hub of a kind, in that hub's own words."""

    def __init__(self, hub, kind):
        self.hub, self.kind = hub, kind

    def listing(self, name=NAME):
        return (
            f"/{self.kind}"
            + {
                "huggingface": f"/api/models/PaddlePaddle/{name}?blobs=true",
                "aistudio": f"/api/v1/repos/PaddleX/{name}/git/trees/master?recursive=true&per_page=1000",
                "modelscope": f"/api/v1/models/PaddlePaddle/{name}/repo/files?Revision=master&Recursive=True",
                "bos": f"/{name}_infer.tar",
            }[self.kind]
        )

    def file(self, file, name=NAME, revision="abc123"):
        return (
            f"/{self.kind}"
            + {
                "huggingface": f"/PaddlePaddle/{name}/resolve/{revision}/{file}",
                "aistudio": f"/api/v1/repos/PaddleX/{name}/media/{file}",
                "modelscope": f"/api/v1/models/PaddlePaddle/{name}/repo?Revision=master&FilePath={file}",
                "bos": f"/{name}_infer.tar",
            }[self.kind]
        )

    def put(self, files, name=NAME, revision="abc123"):
        if self.kind == "bos":
            self.hub.files[self.listing(name)] = tar_of(files)
            return
        everything = files | dict.fromkeys(UNWANTED, b"unwanted")
        answer = {
            "huggingface": {
                "sha": revision,
                "siblings": [
                    {"rfilename": file, "lfs": {"sha256": sha256(data)}} if "param" in file
                    else {"rfilename": file, "lfs": None}
                    for file, data in everything.items()
                ],
            },
            "aistudio": {
                "sha": revision,
                "tree": [{"path": "sub", "type": "tree"}]
                + [{"path": file, "type": "blob"} for file in everything],
            },
            "modelscope": {
                "Code": 200,
                "Data": {
                    "Files": [{"Path": "sub", "Type": "tree"}]
                    + [
                        {"Path": file, "Type": "blob", "Sha256": sha256(data)}
                        for file, data in everything.items()
                    ]
                },
            },
        }[self.kind]  # fmt: skip
        self.hub.files[self.listing(name)] = json.dumps(answer).encode()
        for file, data in files.items():
            self.hub.files[self.file(file, name, revision)] = data


@pytest.fixture(params=ORDER)
def shop(request, hub):
    return Shop(hub, request.param)


@pytest.fixture(params=ORDER[:-1])
def repository(request, hub):
    return Shop(hub, request.param)


@pytest.fixture
def bos(hub):
    return Shop(hub, "bos")


def check(model, files=FILES, formats=("params", "pir")):
    assert model.name == NAME
    for file, data in files.items():
        assert Path(model.directory, file).read_bytes() == data
        assert model.sha256[file] == sha256(data)
    assert sorted(model.files) == sorted(formats)


class TestEachHub:
    def test_gives_a_model_once(self, make_store, hub, shop, said):
        shop.put(FILES)
        store = make_store(shop.kind)
        model = store.resolve(NAME)
        check(model)
        assert hub.url in model.source
        asked = [path for path, _ in hub.asked]
        assert not any(unwanted in path for path in asked for unwanted in UNWANTED)
        assert (
            f"{NAME}/inference.json sha256 {sha256(FILES['inference.json'])} (recorded on first use)"
            in said.getvalue()
        )
        hub.asked.clear()
        assert store.resolve(NAME) == model
        assert hub.asked == []

    def test_that_breaks_off_is_continued_by_the_next_call(self, make_store, hub, shop):
        shop.put(FILES)
        big = shop.file("inference.pdiparams")
        hub.faults[big] = [("cut", 1000)] * 3
        with pytest.raises(ConfigError, match=r"broken off after 3000 of \d+"):
            make_store(shop.kind).resolve(NAME)
        hub.asked.clear()
        check(make_store(shop.kind).resolve(NAME))
        assert (big, "bytes=3000-") in hub.asked
        assert not any(path.endswith("inference.yml") for path, _ in hub.asked)  # it was whole already

    def test_that_stalls_is_given_up(self, make_store, hub, shop, monkeypatch):
        monkeypatch.setattr(download, "STALL_S", 0.2)
        shop.put(FILES)
        hub.faults[shop.file("inference.pdiparams")] = [("stall", 1000)] * 3
        with pytest.raises(ConfigError, match=r"cannot fetch \S+: (TimeoutError|timeout)"):
            make_store(shop.kind).resolve(NAME)

    def test_that_stalls_once_is_asked_for_the_rest(self, make_store, hub, shop, monkeypatch):
        monkeypatch.setattr(download, "STALL_S", 0.2)
        shop.put(FILES)
        hub.faults[shop.file("inference.pdiparams")] = [("stall", 1000)]
        check(make_store(shop.kind).resolve(NAME))

    @pytest.mark.parametrize("status", [500, 503])
    def test_in_trouble_is_not_one_without_the_model(self, make_store, hub, shop, status):
        shop.put(FILES)
        hub.faults[shop.listing()] = [status] * 3
        with pytest.raises(ConfigError, match=rf"cannot fetch http\S+: HTTP {status}$"):
            make_store(shop.kind).resolve(NAME)

    def test_in_trouble_once_is_asked_again(self, make_store, hub, shop):
        shop.put(FILES)
        hub.faults[shop.listing()] = [500]
        check(make_store(shop.kind).resolve(NAME))

    def test_without_the_model(self, make_store, shop):
        store = make_store(shop.kind)
        with pytest.raises(ConfigError, match=f"no hub has {NAME}"):
            store.resolve(NAME)

    def test_with_another_model_under_the_name(self, make_store, shop):
        shop.put(FILES | {"inference.yml": b"Global: {model_name: PP-Other}\n"})
        store = make_store(shop.kind)
        with pytest.raises(ConfigError, match=r"cannot be used: it holds model 'PP-Other'"):
            store.resolve(NAME)
        assert list((store.root / "models").iterdir()) == []

    def test_keeps_the_digest_of_the_first_use(self, make_store, shop):
        shop.put(FILES)
        store = make_store(shop.kind)
        folder = Path(store.resolve(NAME).directory)
        shutil.rmtree(folder)
        newer = FILES | {"inference.pdiparams": b"replaced"}
        shop.put(newer, revision="def456")
        with pytest.raises(
            ConfigError,
            match=r"other inference\.pdiparams than on first use; delete \S+digests\S+ to accept it",
        ):
            store.resolve(NAME)
        assert not folder.exists()
        (store.root / "digests" / f"{NAME}.json").unlink()
        check(store.resolve(NAME), newer)


class TestRepositories:
    def test_files_of_two_revisions_are_not_mixed(self, make_store, hub, repository):
        repository.put(FILES, revision="one")
        hub.faults[repository.file("inference.pdiparams", revision="one")] = [500] * 3
        with pytest.raises(ConfigError, match=r"HTTP 500"):
            make_store(repository.kind).resolve(NAME)
        newer = FILES | {"inference.json": b"{}", "inference.pdiparams": b"w2"}
        repository.put(newer, revision="two")
        check(make_store(repository.kind).resolve(NAME), newer)

    @pytest.mark.parametrize("kind", ["huggingface", "modelscope"])
    def test_wrong_bytes_are_refused_and_asked_for_again(self, make_store, hub, kind):
        shop = Shop(hub, kind)
        shop.put(FILES)
        hub.files[shop.file("inference.pdiparams")] = b"wrong"
        with pytest.raises(ConfigError, match=r"sent other bytes than it lists for \S+/inference\.pdiparams"):
            make_store(kind).resolve(NAME)
        hub.files[shop.file("inference.pdiparams")] = FILES["inference.pdiparams"]
        check(make_store(kind).resolve(NAME))

    @pytest.mark.parametrize("answer", [b"<html>", b"{}", b"[]", b'{"Code": 200, "Data": null}', b"\xff\xfe"])
    def test_an_answer_that_is_no_listing(self, make_store, hub, repository, answer):
        hub.files[repository.listing()] = answer
        with pytest.raises(ConfigError, match=r"answered something else than a model"):
            make_store(repository.kind).resolve(NAME)

    @pytest.mark.parametrize("kind", ["huggingface", "aistudio"])
    def test_a_revision_cannot_be_a_path(self, make_store, hub, kind):
        Shop(hub, kind).put(FILES, revision="../../x")
        with pytest.raises(ConfigError, match=r"something else than a model"):
            make_store(kind).resolve(NAME)


class TestOrder:
    def test_the_next_hub_is_asked(self, store, hub):
        for kind in ORDER[1:]:
            Shop(hub, kind).put(FILES)
        hub.faults[Shop(hub, "aistudio").listing()] = [500] * 3
        model = store.resolve(NAME)
        check(model)
        assert model.source.startswith("modelscope (")

    def test_what_one_hub_left_is_not_mixed_with_another_s(self, store, hub):
        first, last = Shop(hub, "huggingface"), Shop(hub, "bos")
        first.put(FILES)
        hub.faults[first.file("inference.pdiparams")] = [("cut", 1000)] * 3
        last.put({"inference.yml": FILES["inference.yml"], "inference.onnx": b"onnx"})
        model = store.resolve(NAME)
        check(model, ONNX_FILES, ("onnx",))
        kept = {path.name for path in Path(model.directory).iterdir() if not path.name.startswith(".")}
        assert kept == {*ONNX_FILES}

    def test_models_without_a_repository_are_asked_for_at_bos_only(self, store, hub, bos):
        bos.put(FILES | {"inference.yml": b"Global: {model_name: PicoDet-S}\n"}, BOS_ONLY)
        assert store.resolve(BOS_ONLY).name == BOS_ONLY
        assert [path for path, _ in hub.asked] == ["/bos/PicoDet-S_infer.tar"]

    def test_the_environment(self, monkeypatch):
        for variable in ("PADDLE_PDX_MODEL_SOURCE", "PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK"):
            monkeypatch.delenv(variable, raising=False)
        for repository in REPOSITORIES.values():
            monkeypatch.delenv(repository.variable, raising=False)
        found = Hubs.from_environment()
        assert (found.order, found.check) == (ORDER, True)
        assert found.endpoints["huggingface"] == "https://huggingface.co"
        assert found.endpoints["bos"] == BOS
        monkeypatch.setenv("PADDLE_PDX_MODEL_SOURCE", "BOS")
        monkeypatch.setenv("PADDLE_PDX_HUGGING_FACE_ENDPOINT", "https://mirror/hf/")
        monkeypatch.setenv("PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK", "True")
        found = Hubs.from_environment()
        assert found.order == ("bos", "huggingface", "aistudio", "modelscope")
        assert found.endpoints["huggingface"] == "https://mirror/hf"
        assert not found.check
        monkeypatch.setenv("PADDLE_PDX_MODEL_SOURCE", "ftp")
        with pytest.raises(
            ConfigError,
            match=r"PADDLE_PDX_MODEL_SOURCE=ftp: known sources are huggingface, aistudio, modelscope, bos",
        ):
            Hubs.from_environment()

    def test_a_hub_that_does_not_answer_costs_little(self, shelf, tmp_path, hub, bos):
        bos.put(FILES)
        ends = dict.fromkeys(ORDER[:-1], "http://127.0.0.1:9") | {"bos": hub.url + "/bos"}
        check(ModelStore(tmp_path / "cache", pip=shelf.pip, hubs=Hubs(ORDER, ends)).resolve(NAME))
        assert [path for path, _ in hub.asked] == [f"/bos/{NAME}_infer.tar"]

    @pytest.mark.parametrize("checked", [True, False])
    def test_unreachable_is_one_line(self, shelf, tmp_path, checked):
        nowhere = Hubs(("huggingface",), {"huggingface": "http://127.0.0.1:9"}, check=checked)
        with pytest.raises(ConfigError) as caught:
            ModelStore(tmp_path / "cache", pip=shelf.pip, hubs=nowhere).resolve(NAME)
        assert "http://127.0.0.1:9" in str(caught.value)
        assert "refused" in str(caught.value)
        assert "\n" not in str(caught.value)


class TestNames:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("model_aa", r"unknown model 'model_aa'; did you mean model_a\?"),
            ("pp-lcnet_X1_0", r"did you mean PP-LCNet_x1_0\?"),
            ("PicoDet_S", r"did you mean PicoDet-S\?"),
            ("zzzz", r"unknown model 'zzzz'; python -m server models names lists"),
            ("whisper_large", r"whisper_large is a model of PaddleX that no pipeline here can use"),
            (NAME + "_onnx", rf"did you mean {NAME}\?"),
        ],
    )
    def test_unknown_ones_are_not_asked_for(self, store, hub, name, message):
        with pytest.raises(ConfigError, match=message):
            store.resolve(name)
        assert hub.asked == []

    def test_the_table_is_that_of_paddlex(self):
        known = official.official()
        names = [name for task in known.tasks.values() for name in task]
        assert len(names) == len(set(names))
        assert len({*names, *known.others}) == 300
        assert (
            sum(len(known.tasks[task]) for task in known.repositories) == 85 - 15
        )  # 15 are among the others
        assert len(known.onnx) == 36
        assert known.onnx <= {*names, *known.others}

    @pytest.mark.parametrize(
        ("name", "task"),
        [
            ("PP-LCNet_x1_0", "image_classification"),
            ("PP-HGNetV2-B6_ML", "image_multilabel_classification"),
            ("PicoDet-S", "object_detection"),
            ("PP-YOLOE_plus_SOD-L", "small_object_detection"),
            ("PP-LiteSeg-T", "semantic_segmentation"),
            ("Mask-RT-DETR-S", "instance_segmentation"),
            ("STFPM", "anomaly_detection"),
            ("SLANet_plus", "table_structure_recognition"),
            ("DLinear_ad", "ts_anomaly_detection"),
            ("TimesNet_cls", "ts_classification"),
        ],
    )
    def test_families(self, name, task):
        assert official.task_of(name) == task
        assert official.in_repositories(name) == (name == "SLANet_plus")

    def test_defaults_of_paddlex_are_of_the_task_of_their_role(self):
        found = []
        for name in pipeline_modules():
            for role in load_pipeline(name).roles.values():
                if role.official:
                    found.append(role.official)
                    assert official.task_of(role.official) == role.task
        assert "PP-OCRv6_medium_det" in found


class TestOnnx:
    def test_the_package_in_onnx_where_it_is_wanted(self, store, hub):
        shop = Shop(hub, "huggingface")
        shop.put(ONNX_FILES, NAME + "_onnx")
        shop.put(FILES)
        check(store.resolve(NAME, onnx=True), ONNX_FILES, ("onnx",))
        check(store.resolve(NAME), FILES)
        assert {path.name for path in (store.root / "models").iterdir()} == {NAME, NAME + "_onnx"}

    def test_models_without_one(self, store, bos):
        bos.put(FILES | {"inference.yml": b"Global: {model_name: PicoDet-S}\n"}, BOS_ONLY)
        assert set(store.resolve(BOS_ONLY, onnx=True).files) == {"pir", "params"}


class TestArchives:
    @pytest.fixture
    def store(self, make_store):
        return make_store("bos")

    @pytest.mark.parametrize(
        "archive",
        [
            pytest.param(b"not a tar", id="no-tar"),
            pytest.param(tar_of(FILES)[:3000], id="cut"),
            pytest.param(tar_of({"README.md": b"x"}), id="nothing-wanted"),
            pytest.param(tar_of({"inference.yml": FILES["inference.yml"]}), id="no-program"),
        ],
    )
    def test_that_are_no_models(self, store, bos, archive):
        bos.hub.files[bos.listing()] = archive
        with pytest.raises(ConfigError):
            store.resolve(NAME)
        assert not (store.root / "models" / NAME).exists()
        bos.put(FILES)
        check(store.resolve(NAME))

    def test_only_what_is_wanted_is_written(self, store, bos, tmp_path):
        evil = {
            "../../evil": b"x",
            "/tmp/evil": b"x",
            "sub/dir/inference.pdmodel": b"old",
            "train.py": b"x",
        }
        bos.hub.files[bos.listing()] = tar_of(FILES | evil)
        model = store.resolve(NAME)
        names = {path.name for path in Path(model.directory).iterdir() if not path.name.startswith(".")}
        assert names == {*FILES, "inference.pdmodel"}
        assert not list(tmp_path.rglob("evil"))

    def test_a_scaler_is_kept_and_not_opened(self, store, bos):
        bos.put(FILES | {"scaler.pkl": b"no pickle"})
        assert Path(store.resolve(NAME).directory, "scaler.pkl").read_bytes() == b"no pickle"

    def test_links_are_not_followed(self, store, bos):
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as tar:
            link = tarfile.TarInfo("m/inference.pdiparams")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
            for name in ("inference.yml", "inference.json"):
                entry = tarfile.TarInfo(f"m/{name}")
                entry.size = len(FILES[name])
                tar.addfile(entry, io.BytesIO(FILES[name]))
        bos.hub.files[bos.listing()] = raw.getvalue()
        with pytest.raises(ConfigError, match=r"holds no model"):
            store.resolve(NAME)

    def test_an_archive_has_a_largest_size(self, store, bos, monkeypatch):
        monkeypatch.setattr(module, "MAX_BYTES", 5000)
        bos.put(FILES)
        with pytest.raises(ConfigError, match=r"more than 5000 bytes"):
            store.resolve(NAME)


class TestCache:
    def test_a_changed_file_is_refused_not_replaced(self, store, shop):
        shop.put(FILES)
        model = store.resolve(NAME)
        Path(model.files["params"]).write_bytes(b"other")
        with pytest.raises(ConfigError, match=r"inference.pdiparams differs from what was fetched; delete"):
            store.resolve(NAME)

    @pytest.mark.parametrize("onnx", [False, True])
    def test_paddlexs_own_is_used_before_a_hub(self, store, hub, tmp_path, onnx):
        files = ONNX_FILES if onnx else FILES
        folder = tmp_path / "paddlex" / "official_models" / (NAME + "_onnx" * onnx)
        folder.mkdir(parents=True)
        for file, data in files.items():
            (folder / file).write_bytes(data)
        model = store.resolve(NAME, onnx=onnx)
        assert (model.name, model.directory, model.source) == (NAME, str(folder), str(folder))
        assert hub.asked == []

    def test_list_and_verify_show_hub_models(self, store, hub, bos):
        bos.put(FILES)
        model = store.resolve(NAME)
        assert [(each.name, each.state) for each in store.list()][-1] == (NAME, "ready")
        Path(model.files["params"]).write_bytes(b"other")
        assert [each.state for each in store.verify()] == ["changed: inference.pdiparams"]

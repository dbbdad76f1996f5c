"""The command line end to end in this process, up to the supervisor, which is replaced."""

import socket
import sys

import pytest
import yaml

import server.supervisor
from pipelines.core.errors import ConfigError
from server.cli import bind, main, url
from tests.fakes import fake_models


@pytest.fixture
def pipeline(tmp_path):
    """Path of a pipeline YAML on fake models."""
    models = fake_models(tmp_path / "models")
    modules = {
        key: {"module_name": role, "model_name": models[role].name, "model_dir": models[role].directory}
        for key, role in (("TextDetection", "text_detection"), ("TextRecognition", "text_recognition"))
    }
    path = tmp_path / "ocr.yml"
    flags = {"use_doc_preprocessor": False, "use_textline_orientation": False, "engine": "fake"}
    path.write_text(yaml.safe_dump({"pipeline_name": "OCR", "SubModules": modules} | flags))
    return str(path)


class Calls(list):
    read_again = memfd = None


@pytest.fixture
def served(monkeypatch):
    """What the supervisor was started with: (configuration, port, whether the socket listens)."""
    calls = Calls()

    def serve(config, listen, read_config, plan_command, memfd):
        if memfd:
            calls.memfd = memfd.type, memfd.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        with listen:
            listening = listen.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
            calls.append((config, listen.getsockname()[1], listening))
        calls.read_again = read_config
        return 17

    monkeypatch.setattr(server.supervisor, "serve", serve)
    return calls


def test_a_start(pipeline, served, tmp_path, capsys):
    argv = ["--pipeline", pipeline, "--host", "127.0.0.1", "--port", "0", "--cache_dir", str(tmp_path)]
    assert main(argv) == 17
    ((config, port, listening),) = served
    assert listening
    assert config.pipelines[0].title == "OCR"
    out, err = capsys.readouterr()
    assert f"url       http://127.0.0.1:{port}/ocr" in out
    assert err == ""
    assert served.memfd is None


def test_a_socket_for_memfds(pipeline, served, tmp_path):
    path = tmp_path / "s"
    argv = ["--pipeline", pipeline, "--port", "0", "--cache_dir", str(tmp_path), "--memfd_socket", str(path)]
    assert main([*argv, "--memfd_uids", "1000, 1001"]) == 17
    ((config, *_),) = served
    assert (config.access.memfd_socket, config.access.memfd_uids) == (str(path), (1000, 1001))
    assert served.memfd == (socket.SOCK_SEQPACKET, 1)
    assert not path.exists(), "it is removed at the end"


def test_the_file_is_read_again_at_a_reload(pipeline, served, tmp_path, monkeypatch):
    file = tmp_path / "server.toml"
    monkeypatch.setenv("PPS_CACHE_DIR", str(tmp_path))
    file.write_text(f"pipeline = '{pipeline}'\nport = 0\nmax_pages = 5\n")
    assert main(["--config", str(file)]) == 17
    assert served[0][0].limits.max_pages == 5
    file.write_text(f"pipeline = '{pipeline}'\nport = 0\nmax_pages = 6\n")
    assert served.read_again().limits.max_pages == 6
    file.write_text("max_pages = 'x'")
    with pytest.raises(ConfigError, match=r"server.toml: max_pages must be a whole number"):
        served.read_again()


def test_notices_go_to_stderr(pipeline, served, tmp_path, capsys):
    argv = ["--pipeline", pipeline, "--port", "0", "--cache_dir", str(tmp_path), "--serial_number", "1"]
    assert main(argv) == 17
    assert "no licence is needed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--device", "npu"], "unknown device 'npu'"),
        (["--engine", "onnxruntime"], "cannot run on engine onnxruntime"),
        (["--pipeline", "missing.yaml"], "cannot read missing.yaml: No such file or directory"),
        (["--pipeline", "ocr"], "unknown pipeline 'ocr'; known: OCR"),
        (["--host", "no.such.host.invalid"], "no such address"),
        (["--host", "192.0.2.1"], "Cannot assign requested address"),
        (["--hpi_config", "1"], "--hpi_config must be a Python dictionary"),
        (["--memfd_uids", "1000"], "--memfd_uids needs --memfd_socket"),
        (["--memfd_socket", "s", "--memfd_uids", "root"], "--memfd_uids are numbers of users"),
        (["--memfd_socket", "s", "--unix_socket", "s"], "two sockets with two paths"),
    ],
)
def test_refusals_are_one_line_and_exit_code_2(pipeline, served, tmp_path, capsys, more, message):
    argv = ["--pipeline", pipeline, "--port", "0", "--cache_dir", str(tmp_path), *more]
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("python -m server: ")
    assert message in err
    assert served == []


def test_a_taken_port(pipeline, served, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert main(["--pipeline", pipeline, "--host", "127.0.0.1", "--port", port]) == 2
    assert (
        capsys.readouterr().err == f"python -m server: cannot listen on 127.0.0.1:{port}: the port is taken\n"
    )


def test_a_cache_that_cannot_be_written_is_one_line(served, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["--pipeline", "OCR", "--port", "0", "--cache_dir", str(tmp_path / "file" / "x")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "Not a directory" in err


def test_two_servers_cannot_listen_on_one_port():
    with bind("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(ConfigError, match=r"the port is taken"):
            bind("127.0.0.1", first.getsockname()[1])


def test_urls():
    with bind("127.0.0.1", 0) as listen:
        assert url(listen, "127.0.0.1") == f"http://127.0.0.1:{listen.getsockname()[1]}"
    with bind("::1", 0) as listen:
        assert url(listen, "::1") == f"http://[::1]:{listen.getsockname()[1]}"


def test_list(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "OCR  /ocr\n" in out
    (detection,) = [line.split() for line in out.splitlines() if line.startswith("  text_detection ")][:1]
    assert detection[1:] == ["PP-OCRv6_small_det", "--models", "paddlex:", "PP-OCRv6_medium_det"]
    assert "engine onnxruntime" in out
    assert "fake" not in out


def test_models_list_fetch_verify(tmp_path, capsys, monkeypatch):
    cache = ["--cache_dir", str(tmp_path)]
    assert main(["models", *cache]) == 0
    assert "not fetched" in capsys.readouterr().out
    monkeypatch.setattr("pipelines.core.wheels.WheelStore._command", lambda self: ["/bin/false"])
    assert main(["models", "fetch", "PP-OCRv6_small_det", *cache]) == 2
    assert "pip could not fetch rapidocr==3.10.0" in capsys.readouterr().err
    assert main(["models", "verify", "x", *cache]) == 2
    assert main(["models", "verify", *cache]) == 0
    capsys.readouterr()
    assert main(["models", "names", *cache]) == 0
    assert "small_object_detection             PP-YOLOE_plus_SOD-L\n" in capsys.readouterr().out


def test_models_verify_finds_what_changed(tmp_path, capsys, monkeypatch):
    from pipelines.core.models import Listed, ModelStore

    listed = Listed("m", "t", "changed: inference.onnx", "here")
    monkeypatch.setattr(ModelStore, "verify", lambda self: iter([listed]))
    assert main(["models", "verify", "--cache_dir", str(tmp_path)]) == 2
    assert "changed: inference.onnx" in capsys.readouterr().out


def test_interrupted_while_preparing(pipeline, served, tmp_path, monkeypatch):
    def interrupt(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("server.cli.build_config", interrupt)
    assert main(["--pipeline", pipeline, "--port", "0"]) == 130


def test_nothing_heavy_is_loaded_for_the_plan():
    """The supervisor never loads a framework; children do."""
    import subprocess

    code = (
        "import sys, server.cli, server.supervisor\n"
        "print([m for m in ('onnxruntime', 'openvino', 'paddle', 'sanic') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"

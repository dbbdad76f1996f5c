"""Options from the command line, the environment and a file: who goes first, and what is refused."""

import pytest

from pipelines.core.errors import ConfigError
from server.cli import main
from server.config import Config
from server.options import make_parser, parse
from server.reload import Reload
from server.settings import read, settable, show
from tests.conditions import wait_for


@pytest.fixture
def file(tmp_path):
    """Writes a configuration file; gives its path."""

    def write(text):
        path = tmp_path / "server.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_an_option_goes_before_a_variable_before_the_file_before_a_default(file):
    path = file(
        'pipeline = "OCR"\nport = 1\nworkers = 1\nmax_pages = 1\nmax_body_bytes = "64M"\nuse_hpip = true\n'
    )
    environment = {"PPS_PORT": "2", "PPS_WORKERS": "2", "OTHER": "x", "PPS_LOG_LEVEL": ""}
    found = read(make_parser, ["--config", path, "--port", "3"], environment)
    options = found.options
    assert (options.port, options.workers, options.max_pages, options.max_json_depth) == (3, 2, 1, 64)
    assert (options.pipeline, options.max_body_bytes, options.use_hpip) == ("OCR", 64 << 20, True)
    assert found.sources["port"] == "option"
    assert found.sources["workers"] == "environment PPS_WORKERS"
    assert found.sources["max_pages"] == f"file {path}"
    assert found.sources["max_json_depth"] == found.sources["log_level"] == "default"


def test_a_variable_may_name_the_file_and_be_false(file):
    path = file('pipeline = "OCR"\nuse_hpip = true')
    options = parse([], {"PPS_CONFIG": path, "PPS_USE_HPIP": "no", "PPS_MAX_BODY_BYTES": "2k"})
    assert (options.pipeline, options.use_hpip, options.max_body_bytes) == ("OCR", False, 2048)


def test_every_option_of_the_help_but_the_file_itself_is_a_key(file):
    parser = make_parser()
    named = {line.split()[0] for line in parser.format_help().splitlines() if line.startswith("  --")}
    assert {"--" + key for key in settable(parser)} == named
    assert "serve" not in settable(parser)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "unknown key 'prot'; is it port?"),
        ("config = 'x'", "unknown key 'config'"),
        ("serve = true", "unknown key 'serve'"),
        ("[limits]\nmax_pages = 3", "unknown key 'limits'"),
        ("port = '9'", "port must be a whole number"),
        ("port = true", "port must be a whole number"),
        ("port = 9.0", "port must be a whole number"),
        ("port = 70000", "port: 70000 is out of range, 0 to 65535"),
        ("use_hpip = 1", "use_hpip must be true or false"),
        ("max_body_bytes = '1Q'", "max_body_bytes: '1Q' is no size"),
        ("max_body_bytes = -1", "max_body_bytes: '-1' is no size"),
        ("host = 5", "host must be text"),
        ("host = ['a']", "host must be text"),
        ("log_format = 'xml'", "log_format must be one of text, json"),
        ("port = ", "no valid TOML: "),
        ("port = 1\nport = 2", "no valid TOML: "),
        ("a = " + "[" * 5000, "no valid TOML: "),
    ],
)
def test_what_a_file_cannot_say_is_one_line_with_file_and_key(file, text, message, capsys):
    path = file(text)
    assert main(["config", "--pipeline", "OCR", "--config", path]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"python -m server: {path}: {message}")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PPS_PROT", "1", "unknown variable PPS_PROT; is it PPS_PORT?"),
        ("PPS_PORT", "x", "PPS_PORT: 'x' is not a whole number"),
        ("PPS_USE_HPIP", "maybe", "PPS_USE_HPIP must be true or false"),
        ("PPS_LOG_FORMAT", "xml", "PPS_LOG_FORMAT must be one of text, json"),
    ],
)
def test_what_a_variable_cannot_say(name, value, message):
    with pytest.raises(ConfigError, match=f"^environment: {message}"):
        parse(["--pipeline", "OCR"], {name: value})


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(ConfigError, match=r"^cannot read .*: No such file or directory"):
        parse(["--config", str(tmp_path / "x")], {})
    (tmp_path / "x").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"x: not UTF-8"):
        parse(["--config", str(tmp_path / "x")], {})


def test_what_is_shown_is_a_file_that_says_the_same(file):
    given = {
        "PPS_HPI_CONFIG": "{'a': \"b\\c\"}\x7f",
        "PPS_MAX_BODY_BYTES": "1000",
        "PPS_CORS_ORIGINS": "https://表",
    }
    found = read(make_parser, ["--pipeline", "./a b.yaml", "--use_hpip"], given)
    path = file("\n".join(show(make_parser(), found)))
    again = parse(["--config", path], {})
    assert vars(again) == vars(found.options) | {"config": path}


def test_secrets_are_not_shown(capsys, monkeypatch):
    monkeypatch.setenv("PPS_SERIAL_NUMBER", "open sesame")
    monkeypatch.setenv("PPS_HOST", "http://me:open%20sesame@host/x?a@b")
    assert main(["config", "--pipeline", "OCR"]) == 0
    out = capsys.readouterr().out
    assert "# serial_number is set, and not shown     # environment PPS_SERIAL_NUMBER" in out
    assert 'host = "http://***@host/x?a@b"' in out
    assert "sesame" not in out


def test_a_reload_of_a_file_that_names_no_pipeline_any_more_is_refused(file, caplog):
    path = file('pipeline = "OCR"')
    argv = ["--config", path]
    assert parse(argv, {}).pipeline == "OCR"
    file("port = 1")

    def read_again():
        return parse(argv, {})

    attempt = Reload(read_again, Config(pipelines=(), devices=()))
    wait_for(lambda: attempt.done, what="the attempt is over")
    assert attempt.config is None
    assert f"{path}: pipeline is missing, and no --pipeline is given" in caplog.text

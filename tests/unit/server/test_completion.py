"""Completion of the command line: what a real bash offers, and what the scripts of other shells name."""

import shutil
import subprocess

import pytest

from server.cli import main
from server.options import LIMIT_HELP


@pytest.fixture
def script(capsys):
    """Gives the script of a shell."""

    def make(shell):
        assert main(["completion", shell]) == 0
        return capsys.readouterr().out

    return make


@pytest.fixture
def offered(script, tmp_path):
    """Gives what bash offers behind a line."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is missing")
    text = script("bash")
    (tmp_path / "keys.txt").touch()
    (tmp_path / "folder").mkdir()

    def ask(line):
        words = " ".join(f"'{word}'" for word in line.split(" "))
        code = (
            f"other() {{ COMPREPLY=(from_before); }}; complete -F other python\n{text}\n"
            f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _paddle_pipeline_server\n"
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            [bash, "--norc", "-uc", code],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return set(done.stdout.split())

    return ask


def test_bash_offers_options_commands_values_and_files(offered):
    assert {"--port", "--api_keys", "--help", "plan", "models"} <= offered("python -m server ")
    assert offered("python -m server --max_p") == {"--max_pixels", "--max_pages"}
    assert "--serve" not in offered("python -m server --se")
    assert offered("python -m server --log_format ") == {"text", "json"}
    assert offered("python -m server --log_format = j") == {"json"}
    assert offered("python -m server --pipeline ts_f") == {"ts_forecast"}
    assert offered("python -m server --api_keys ke") == {"keys.txt"}
    assert offered("python -m server --cache_dir ") == {"folder"}
    assert offered("python -m server --port ") == set()


def test_bash_knows_what_each_command_takes(offered):
    assert "--replan" in offered("python -m server plan --")
    assert {"fetch", "verify", "--cache_dir"} <= offered("python -m server models ")
    assert "--port" not in offered("python -m server models --")
    assert offered("python -m server keys n") == {"new"}
    assert offered("python -m server completion ") >= {"bash", "zsh", "fish"}
    assert offered("python -m server list --") == set()


def test_bash_leaves_other_modules_to_who_was_there_before(offered):
    assert offered("python -m json.tool --") == {"from_before"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_name_every_option_and_are_valid_where_the_shell_is_there(script, shell, tmp_path):
    text = script(shell)
    for name in (*LIMIT_HELP, "pipeline", "config", "rate"):
        assert (f"--{name}[" if shell == "zsh" else f"-l {name} ") in text
    if found := shutil.which(shell):
        (tmp_path / "script").write_text(text)
        done = subprocess.run(
            [found, "-n", tmp_path / "script"], check=False, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_an_unknown_shell_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["completion", "tcsh"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1

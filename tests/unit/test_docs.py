"""The pages build as a site, and every path that they name exists."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hooks():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import mkdocs_hooks
    finally:
        sys.path.pop(0)
    return mkdocs_hooks


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site; it is built strictly: a dead link, anchor or path is no site. (``--quiet`` forgives them.)"""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_page_is_there_and_needs_nothing_from_elsewhere(site):
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / page.stem / "index.html").exists()
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.findall(r'<(?:script|img|iframe)[^>]* src="(?:https?:)?//', text), page
        assert not re.findall(r'<link[^>]* href="(?:https?:)?//', text), page


def test_home_is_the_readme_and_leads_to_the_pages(site):
    home = (site / "index.html").read_text()
    assert 'href="doors/"><code>docs/doors.md</code>' in home


def test_the_screenshot_of_the_readme_is_on_the_home_page(site):
    sources = re.findall(r'<img[^>]* src="([^"]*)"', (site / "index.html").read_text())
    assert sources and all((site / source).is_file() for source in sources)


def test_a_dead_path_is_no_site(tmp_path):
    """In a copy of what the build reads."""
    for name in ("docs", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("mkdocs.yml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("server", "pipelines", "kernels", "tests", "benchmarks", "deploy", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "Makefile", tmp_path)
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    assert subprocess.run(build, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    page = tmp_path / "docs" / "errors.md"
    page.write_text(page.read_text() + "\nSee `server/nowhere.py`.\n")
    assert subprocess.run(build, cwd=tmp_path, capture_output=True, check=False).returncode != 0


def test_paths_become_links_or_are_dead(hooks):
    text = "`docs/errors.md`, `server/routes.py`, `server/no.py` and `x.py`\n\n    `docs/errors.md`\n"
    plain, dead = hooks.linked(text, "doors.md", "")
    assert plain.startswith("[`docs/errors.md`](errors.md), `server/routes.py`, `server/no.py` and `x.py`")
    assert plain.endswith("    `docs/errors.md`\n")
    assert dead == ["server/no.py"]
    led, _ = hooks.linked(text, "doors.md", "https://example.org/tree/main/")
    assert "[`server/routes.py`](https://example.org/tree/main/server/routes.py)" in led


def test_a_link_or_a_fence_is_left_alone(hooks):
    text = "[`docs/errors.md`](errors.md)\n```\n`docs/nothing.md`\n```\n"
    assert hooks.linked(text, "doors.md", "") == (text, [])

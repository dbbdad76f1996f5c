"""The files of the playground: where they are, how long they may be kept, and that none reaches elsewhere."""

import re
from pathlib import Path

import pytest

import server
from server.playground_page import page_files

SOURCES = sorted((Path(server.__file__).parent / "playground").iterdir())
SECURITY = (Path(server.__file__).parents[1] / "docs" / "security.md").read_text()
INDEX = (Path(server.__file__).parent / "playground" / "index.html").read_text()


def test_every_source_is_served_and_its_path_changes_with_what_is_in_them():
    files = page_files()
    folders = {path.split("/")[2] for path in files if path != "/"}
    assert len(folders) == 1 and re.fullmatch("[0-9a-f]{16}", *folders)
    names = {path.split("/", 3)[-1] for path in files if path != "/"}
    assert {path.name for path in SOURCES} - {"index.html"} < names
    assert "examples/coffee.jpg" in names


def test_the_page_names_files_that_are_there():
    page = page_files()["/"].content.decode()
    named = re.findall(r'(?:src|href)="(playground/[^"]+)"', page)
    assert len(named) == 3 and {f"/{name}" for name in named} <= set(page_files())


def test_a_file_is_sent_once():
    file = page_files()["/"]
    body, status, headers = file.answer("")
    assert (body, status, headers["Cache-Control"]) == (file.content, 200, "no-cache")
    for known in (headers["ETag"], f'"other", W/{headers["ETag"]}'):
        assert file.answer(known)[:2] == (b"", 304)
    assert file.answer('"other"')[1] == 200
    kept = [file.caching for path, file in page_files().items() if path != "/"]
    assert set(kept) == {"public, max-age=31536000, immutable"}


def test_the_policy_allows_the_pages_own_files_and_no_markup_from_text():
    policy = page_files()["/"].answer("")[2]["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert {rules["script-src"], rules["style-src"], rules["connect-src"]} == {"'self'"}
    assert rules["img-src"] == "'self' data: blob:"
    assert rules["trusted-types"] == "'none'" and rules["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in policy and "http" not in policy
    said = re.findall(r"`([a-z]+-[a-z]+ '[a-z :']+)`", SECURITY)
    assert len(said) == 8 and {tuple(rule.split(" ", 1)) for rule in said} <= set(rules.items())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_source_makes_no_markup_and_asks_nobody_else(path):
    text = path.read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text
    )
    assert not re.search(r"location\b|URLSearchParams\((?!Object)|postMessage|onmessage", text), (
        "no link asks"
    )
    assert not re.search(r"localStorage\.setItem\((?!THEME)", text), "a key never goes to disk"
    assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z0-9-]+\.[a-z]", text)
    assert path.suffix != ".js" or len(text.splitlines()) <= 300


def test_the_index_has_no_script_and_no_style_of_its_own():
    assert not re.search(r"<style|\bstyle=|\bon[a-z]+=", INDEX)
    assert re.findall(r"<script[^>]*>(.*?)</script>", INDEX) == [""]

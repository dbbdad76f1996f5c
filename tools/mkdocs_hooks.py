"""Makes a site of files that are written to be read in the repository.

README, CONTRIBUTING and CHANGELOG become pages. Paths in backticks (`docs/errors.md`, `server/routes.py`)
become links; one that leads nowhere is a warning, which ``strict`` makes a failure.
"""

import logging
import os
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
FOLDERS = "docs|server|pipelines|kernels|tests|benchmarks|tools|deploy|examples"
#: Fenced and indented blocks, links, and spans with a path and nothing else.
_PARTS = re.compile(
    r"^(?P<fence>```|~~~).*?^(?P=fence)|^ {4}.*?$|\[[^\]\n]*\]\([^)\n]*\)|"
    rf"`(?P<path>(?:{FOLDERS})/[\w./-]*|[A-Z]{{6,}}\.md)`",
    re.M | re.S,
)

_log = logging.getLogger("mkdocs.hooks.paths")


def on_config(config):
    """A page that the navigation does not name stands at its end."""
    found = sorted(path.name for path in Path(config.docs_dir).glob("*.md"))
    if others := [name for name in found if f"'{name}'" not in str(config.nav)]:
        config.nav.append({"More": others})
    return config


def on_files(files, config):
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown, page, config, files):
    text, dead = linked(markdown, page.file.src_uri, config.repo_url or "")
    for path in dead:
        _log.warning("'%s' names `%s`, which does not exist", page.file.src_uri, path)
    return text


def linked(markdown, page, repository):
    """(text with links, paths that do not exist).

    Args:
        markdown: of a page.
        page: its own path on the site's source side.
        repository: URL in front of paths of code; "" leaves them text.
    """
    dead = []

    def replaced(found):
        path = found["path"]
        if path is None:  # README stands above docs/, its page inside
            return found[0].replace("](docs/", "](") if page in PAGES else found[0]
        if not (ROOT / path).exists():
            dead.append(path)
        target = _page_of(path)
        if target is not None:
            return f"[{found[0]}]({posixpath.relpath(target, posixpath.dirname(page) or '.')})"
        return f"[{found[0]}]({repository.rstrip('/')}/{path})" if repository else found[0]

    return _PARTS.sub(replaced, markdown), dead


def _page_of(path):
    """The page that a path is; None for code."""
    own = {source: page for page, source in PAGES.items()}
    if path in own:
        return own[path]
    if path.startswith("docs/") and path.endswith(".md"):
        return os.path.relpath(path, "docs")
    return None

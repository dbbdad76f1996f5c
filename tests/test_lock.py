"""The lock: every dependency, at one version that pyproject.toml allows, each file by its hash."""

import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parent.parent


def locked(text, python=None):
    """Name to (version, number of hashes) of each entry that is of this Python, or of another."""
    of = {"python_version": python, "python_full_version": f"{python}.0"} if python else {}
    found = {}
    for entry in re.sub(r"(?m)^#.*$", "", text).replace("\\\n", " ").splitlines():
        if not entry.strip():
            continue
        head, *hashes = entry.split("--hash=")
        name, _, rest = head.partition("==")
        number, _, marker = rest.partition(";")
        assert number, f"{entry} is not pinned"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each.strip()) for each in hashes), entry
        if not marker.strip() or Marker(marker.strip()).evaluate(of):
            assert canonicalize_name(name) not in found, f"{name} twice"
            found[canonicalize_name(name)] = number.strip(), len(hashes)
    return found


LOCK = locked((ROOT / "requirements.lock").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_entry_has_hashes():
    assert len(LOCK) > 20
    assert not [name for name, (_, hashes) in LOCK.items() if not hashes]


THIS = f"{sys.version_info[0]}.{sys.version_info[1]}"


def wanted(python):
    """Dependencies of a Python."""
    every = map(Requirement, PROJECT["dependencies"])
    return [one for one in every if not one.marker or one.marker.evaluate({"python_version": python})]


@pytest.mark.parametrize("line", [str(one) for one in wanted(THIS)])
def test_every_dependency_is_locked_at_a_version_that_fits(line):
    wanted = Requirement(line)
    number, _ = LOCK[canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(number)


@pytest.mark.parametrize("name", LOCK)
def test_what_the_tests_run_with_is_what_is_locked(name):
    """Only the major and minor version: who tests with newer patches should not be held up."""
    try:
        found = version(name)
    except PackageNotFoundError:
        pytest.skip("not installed here")
    assert found.split(".")[:1] == LOCK[name][0].split(".")[:1]


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_the_lock_is_one_for_every_python(python):
    """numpy 2.2 is the last for 3.10, for example: one version for all would not install there."""
    lock = locked((ROOT / "requirements.lock").read_text(), python)
    assert {canonicalize_name(one.name) for one in wanted(python)} <= lock.keys()
    assert (lock["numpy"][0] < "2.3") == (python == "3.10")


def test_the_lock_names_no_place():
    assert "://" not in (ROOT / "requirements.lock").read_text()


def test_an_entry_without_a_hash_or_a_version_is_found():
    with pytest.raises(AssertionError, match="is not pinned"):
        locked("numpy>=2\n")
    with pytest.raises(AssertionError):
        locked("numpy==2.0 \\\n    --hash=md5:0\n")

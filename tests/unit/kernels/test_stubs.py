"""Each .pyi says what its extension module really has: names, parameters, defaults."""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

KERNELS = Path(__file__).resolve().parents[3] / "kernels"
#: Python gives these to every extension class; their written signature is for readers only.
SPECIAL = {"__init__", "__len__", "__enter__", "__exit__"}


def members(body):
    """(name, node) of what a stub declares, without private names."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node


def parameters(function):
    """(name, has a default, keyword only) of a stub's function, without self."""
    spec = function.args
    plain = [*spec.posonlyargs, *spec.args]
    defaults = [False] * (len(plain) - len(spec.defaults)) + [True] * len(spec.defaults)
    found = [(a.arg, d, False) for a, d in zip(plain, defaults, strict=True) if a.arg != "self"]
    return found + [
        (a.arg, d is not None, True) for a, d in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    ]


def real_parameters(function):
    return [
        (p.name, p.default is not p.empty, p.kind is p.KEYWORD_ONLY)
        for p in inspect.signature(function).parameters.values()
        if p.name != "self"
    ]


@pytest.mark.parametrize("stub", sorted(KERNELS.glob("*.pyi")), ids=lambda path: path.stem)
def test_stub_tells_the_truth(stub):
    module = importlib.import_module(f"kernels.{stub.stem}")
    tree = ast.parse(stub.read_text())
    checked = 0
    for name, node in members(tree.body):
        assert hasattr(module, name), name
        inner = list(members(node.body)) if isinstance(node, ast.ClassDef) else []
        for member, declared in [(name, node), *((f"{name}.{m}", n) for m, n in inner)]:
            found = module
            for part in member.split("."):
                assert hasattr(found, part), f"{member} is missing"
                found = getattr(found, part)
            if isinstance(declared, ast.FunctionDef) and callable(found) and declared.name not in SPECIAL:
                assert parameters(declared) == real_parameters(found), member
                checked += 1
    assert checked

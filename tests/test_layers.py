"""The import rules of docs/data-path.md, checked on the source as text."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = {"onnxruntime", "openvino", "paddle", "tensorrt", "fastdeploy", "ultra_infer"}


def sources(*folders):
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))
        yield from sorted((ROOT / folder).rglob("*.pyi"))


def imports(path, top_level_only=False):
    """Module names that a file imports (``from a.b import c`` gives a.b.c)."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parts, base]).strip(".")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def roots(path, **options):
    return {name.split(".")[0] for name in imports(path, **options)}


def test_the_rules_see_files():
    assert len(list(sources("server"))) > 8
    assert len(list(sources("pipelines"))) > 8


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [("kernels", {"server", "pipelines"}), ("pipelines", {"server", "sanic"})],
)
def test_lower_layers_never_import_higher_ones(folder, forbidden):
    assert {str(p): roots(p) & forbidden for p in sources(folder) if roots(p) & forbidden} == {}


def test_engines_import_only_core():
    for path in sources("pipelines/engines"):
        ours = {n for n in imports(path) if n.startswith(("pipelines.", "kernels", "server"))}
        assert all(n.startswith(("pipelines.core", "pipelines.engines")) for n in ours), path


def test_a_stage_imports_no_other_stage_and_no_engine():
    for path in sources("pipelines/stages"):
        for name in imports(path):
            assert not name.startswith("pipelines.engines") or name.startswith("pipelines.engines.base"), path
            if name.startswith("pipelines.stages."):
                pytest.fail(f"{path} imports {name}")


def test_only_engines_import_frameworks():
    for path in sources("server", "pipelines", "kernels"):
        if path.parent.name != "engines":
            assert not roots(path) & FRAMEWORKS, path


def test_only_the_socket_side_imports_sanic():
    users = {p.name for p in sources("server") if "sanic" in roots(p)}
    assert users <= {"oip_routes.py", "protocol.py", "faults.py", "routes.py", "worker.py"}


def test_only_wire_packs_slot_records():
    """msgpack appears in one file of the server."""
    users = {p.name for p in sources("server") if "msgpack" in p.read_text()}
    assert users <= {"wire.py"}


def test_no_pickle():
    for path in sources("server", "pipelines", "kernels"):
        assert not roots(path) & {"pickle", "joblib", "cloudpickle", "dill", "shelve", "marshal"}, path


def test_the_worker_loads_no_framework():
    """Importing the worker process's module pulls in no inference framework."""
    import subprocess
    import sys

    code = (
        "import sys, server.worker\n"
        "from pipelines.core.registry import load_pipeline, pipeline_modules\n"
        "[load_pipeline(m) for m in pipeline_modules()]\n"
        f"print(sorted({FRAMEWORKS!r} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"

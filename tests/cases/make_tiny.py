"""Saves the net of ``tests/tiny.py`` as Paddle programs: ``python -m tests.cases.make_tiny``.

Needs PaddlePaddle 3.2.2.

The old format needs ``FLAGS_enable_pir_api=0`` before Paddle is loaded, so each format has its own process.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pipelines.core.protobuf import fields, text
from tests.tiny import CASES, field, weights


def save(target):
    import paddle

    class Tiny(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.conv = paddle.nn.Conv2D(3, 4, 3, padding=1)

        def forward(self, x):
            maps = paddle.nn.functional.relu(self.conv(x))
            return paddle.nn.functional.softmax(maps.mean(axis=[2, 3])), maps

    net = Tiny()
    kernel, bias = weights()
    net.conv.weight.set_value(kernel)
    net.conv.bias.set_value(bias)
    net.eval()
    spec = paddle.static.InputSpec([-1, 3, -1, -1], "float32", name="x")
    paddle.jit.save(paddle.jit.to_static(net, full_graph=True, input_spec=[spec]), target)


def without_traces(program):
    """A ProgramDesc whose operators do not tell on which machine they were made (``op_callstack``)."""

    def rewrite(raw, path):
        out = b""
        for number, value in fields(memoryview(raw)):
            if path == (1, 4) and number == 4 and text(value, 1) == "op_callstack":
                continue
            if (*path, number) in {(1,), (1, 4)}:
                out += field(number, rewrite(value, (*path, number)))
            else:
                out += field(number, value if isinstance(value, int) else bytes(value))
        return out

    return rewrite(program, ())


def main():
    for kind, flag, program in (("pdmodel", "0", "pdmodel"), ("pir", "1", "json")):
        (CASES / kind).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"FLAGS_enable_pir_api": flag}
            command = [sys.executable, "-m", "tests.cases.make_tiny", f"{folder}/inference"]
            subprocess.run(command, env=environment, check=True)
            for name in (f"inference.{program}", "inference.pdiparams"):
                shutil.copyfile(Path(folder) / name, CASES / kind / name)
            if kind == "pdmodel":
                whole = (CASES / kind / "inference.pdmodel").read_bytes()
                (CASES / kind / "inference.pdmodel").write_bytes(without_traces(whole))


if __name__ == "__main__":
    save(sys.argv[1]) if len(sys.argv) > 1 else main()

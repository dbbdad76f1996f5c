"""Builds every kernels/*.pyx; everything else is in pyproject.toml.

Switches (environment): DEBUG=1 turns Cython's bounds checks on and
optimisation off; SANITIZE=address|thread builds with that sanitizer.
"""

import os
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("DEBUG") == "1"
SANITIZE = os.environ.get("SANITIZE", "")

compile_args = ["-std=gnu11", "-Wall", "-Wno-unreachable-code", "-fno-strict-aliasing", "-ffp-contract=off"]
# No -ffast-math, and no fused multiply-add where a CPU has it: kernels equal their NumPy twins bit for bit.
compile_args += ["-O0", "-g"] if DEBUG else ["-O3"]
link_args = ["-pthread"]
if SANITIZE:
    compile_args += [f"-fsanitize={SANITIZE}", "-g", "-fno-omit-frame-pointer"]
    link_args += [f"-fsanitize={SANITIZE}"]

extensions = [
    Extension(
        f"kernels.{path.stem}",
        [str(path)],
        include_dirs=["kernels", numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        depends=[str(header) for header in sorted(Path("kernels").glob("*.h"))],
        extra_compile_args=compile_args,
        extra_link_args=link_args,
    )
    for path in sorted(Path("kernels").glob("*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
        build_dir="build/cython",
        include_path=["."],
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": DEBUG,
            "initializedcheck": DEBUG,
            "cdivision": True,
            "embedsignature": True,
            "freethreading_compatible": False,
        },
    )
)

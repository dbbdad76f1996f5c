"""Benchmarks: run as modules, ``python -m benchmarks.bench_<subject>``."""

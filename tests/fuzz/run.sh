#!/bin/sh
# All fuzz targets, SECONDS each (default 60), from the saved corpus; stops at the first finding.
# Needs clang with compiler-rt (Debian: apt install clang) and atheris (pip install atheris).
set -eu
cd "$(dirname "$0")/../.."
seconds=${SECONDS_EACH:-60} work=$(mktemp -d) python=${PY:-python}
trap 'rm -rf "$work"' EXIT
for source in tests/fuzz/*_fuzz.c; do
    name=$(basename "$source" _fuzz.c)
    mkdir -p "$work/$name" "tests/fuzz/corpus/$name"
    clang -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -ffp-contract=off \
        -Ikernels -o "$work/$name.out" "$source" -lm -pthread
    echo "== $name"
    "$work/$name.out" -max_total_time="$seconds" -max_len=4096 -verbosity=0 -print_final_stats=1 \
        -artifact_prefix="fuzz-$name-" "$work/$name" "tests/fuzz/corpus/$name"
done
for name in json_scan lax base64 image_header csv pipeline_yaml api_keys; do
    mkdir -p "$work/$name" "tests/fuzz/corpus/$name"
    echo "== $name"
    "$python" -m tests.fuzz "$name" -max_total_time="$seconds" -max_len=4096 -print_final_stats=1 \
        -artifact_prefix="fuzz-$name-" "$work/$name" "tests/fuzz/corpus/$name"
done

#!/bin/sh
# All fuzz targets from the saved corpus, or those that are named: SECONDS_EACH (60) seconds each, JOBS (all cores) at
# a time. Exits 1 when one has found something, and leaves the input in fuzz-TARGET-*. MERGE=1 keeps inputs that
# reach new code, as few as possible, in the corpus.
# Needs clang with compiler-rt (Debian: apt install clang) and atheris (pip install atheris).
set -eu
cd "$(dirname "$0")/../.."
python=${PY:-python} seconds=${SECONDS_EACH:-60}

if [ "${1:-}" = --one ]; then # one target, called by xargs below
    name=$2 corpus=tests/fuzz/corpus/$2 new=$FUZZ_WORK/$2
    mkdir -p "$corpus" "$new"
    if [ -f "tests/fuzz/${name}_fuzz.c" ]; then
        clang -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -ffp-contract=off \
            -Ikernels -o "$new.out" "tests/fuzz/${name}_fuzz.c" -lm -pthread
        set -- "$new.out"
    else
        set -- "$python" -m tests.fuzz "$name"
    fi
    if ! "$@" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=4096 -print_final_stats=1 \
        -artifact_prefix="fuzz-$name-" "$new" "$corpus" >"$new.log" 2>&1; then
        echo "== $name: FOUND SOMETHING"
        tail -n 40 "$new.log"
        exit 1
    fi
    echo "== $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$new.log") inputs"
    if [ -n "${MERGE:-}" ]; then
        "$@" -set_cover_merge=1 -max_len=4096 "$corpus" "$new" >"$new.merge.log" 2>&1 || tail -n 5 "$new.merge.log"
    fi
    exit 0
fi

command -v clang >/dev/null || { echo "make fuzz needs clang (Debian: apt install clang)" >&2; exit 2; }
"$python" -c 'import atheris' || { echo "make fuzz needs atheris (pip install atheris)" >&2; exit 2; }
FUZZ_WORK=$(mktemp -d)
export FUZZ_WORK PY="$python"
trap 'rm -rf "$FUZZ_WORK"' EXIT
if [ $# -eq 0 ]; then
    # shellcheck disable=SC2046 # names have no spaces
    set -- $(for each in tests/fuzz/*_fuzz.c; do basename "$each" _fuzz.c; done) $("$python" -m tests.fuzz)
fi
echo "$# targets, $seconds s each"
printf '%s\n' "$@" | xargs -P "${JOBS:-$(nproc)}" -n 1 tests/fuzz/run.sh --one || { echo "some failed" >&2; exit 1; }

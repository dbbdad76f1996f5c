#!/usr/bin/env bash
# Loads a running server with wrk: benchmarks/wrk/run.sh [URL] [CONNECTIONS] [DURATION]
#   benchmarks/wrk/run.sh http://127.0.0.1:8080 8 30s
# Renders the benchmark's image set on first use. PYTHON chooses the interpreter.
set -euo pipefail
url=${1:-http://127.0.0.1:8080} connections=${2:-8} duration=${3:-30s}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command -v wrk > /dev/null || { echo "wrk is missing: apt-get install wrk" >&2; exit 2; }

export BODIES="$here/../.peers/bodies"
if [ ! -d "$BODIES" ]; then
  (cd "$here/../.." && "${PYTHON:-python}" -m benchmarks.pages "$BODIES")
fi
# One thread is plenty: a server answers a few pages a second, and wrk needs a core of its own.
exec wrk --threads 1 --connections "$connections" --duration "$duration" --timeout 120s \
  --latency --script "$here/ocr.lua" "$url"

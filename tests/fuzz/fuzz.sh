#!/usr/bin/env bash
# Builds a fuzz target and runs it. Usage: tests/fuzz/fuzz.sh http|agent_wire SECONDS [canary]
# With "canary" a crash is planted, and it must be found.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$1 seconds=$2
build=build/fuzz canary=OFF
[ "${3:-}" = canary ] && build=build/fuzz-canary canary=ON
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_COMPILER=clang++-19 -DBAI_FUZZ=ON \
  -DBAI_FUZZ_CANARY=$canary -DBAI_TESTS=OFF -DBAI_EXAMPLES=OFF -DBAI_BENCHMARKS=OFF -DBAI_SERVER=OFF -DBAI_SQLITE=OFF
cmake --build "$build" --parallel "${BAI_JOBS:-$(nproc)}" --target "fuzz_$target"
work=$build/work-$target
mkdir -p "$work"
run() {
  "$build/bin/fuzz_$target" -max_total_time="$seconds" -max_len=2048 -artifact_prefix="$build/" \
    "$work" "tests/fuzz/corpus/$target"
}
if [ $canary = OFF ]; then
  run
elif run; then
  echo "The planted crash was not found within $seconds s." >&2
  exit 1
else
  echo "The planted crash was found."
fi

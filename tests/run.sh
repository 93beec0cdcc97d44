#!/usr/bin/env bash
# Builds and tests everything. Usage: tests/run.sh [unit|soak]
#   (nothing)  all checks and tests; what CI runs
#   unit       the fast subset: unit tests and checks of the sources
#   soak       the same tests, longer: more kills and seeds, all of clang-tidy, data races, fuzzing
# One closing line: "N passed, N failed". BAI_JOBS limits parallel compilations.
set -uo pipefail
cd "$(dirname "$0")/.."
mode=${1:-all}
case "$mode" in all|unit|soak) ;; *) echo "Usage: tests/run.sh [unit|soak]" >&2; exit 2 ;; esac
jobs=${BAI_JOBS:-$(nproc)}
log=build/test-logs
mkdir -p "$log"
passed=0 failed=0 skipped=0

# Runs one check; its output is shown only when it fails.
check() {
  local name=$1
  shift
  local began=$SECONDS
  if "$@" >"$log/$name.log" 2>&1; then
    passed=$((passed + 1))
    printf 'ok      %-28s %4d s\n' "$name" $((SECONDS - began))
  else
    failed=$((failed + 1))
    printf 'FAILED  %-28s %4d s  (%s)\n' "$name" $((SECONDS - began)) "$log/$name.log"
    tail -n 60 "$log/$name.log"
  fi
}

# Runs the tests of one build and adds them up. Arguments go to ctest.
run_ctest() {
  local name=$1 dir=$2
  shift 2
  ctest --test-dir "$dir" --output-on-failure --timeout "${BAI_TEST_TIMEOUT:-900}" "$@" >"$log/$name.log" 2>&1
  local status=$?
  grep -E '^ *[0-9]+/[0-9]+ Test' "$log/$name.log"
  local total bad
  total=$(sed -n 's/.*tests failed out of \([0-9]*\).*/\1/p' "$log/$name.log" | tail -1)
  bad=$(sed -n 's/.*, \([0-9]*\) tests failed out of.*/\1/p' "$log/$name.log" | tail -1)
  if [ -z "$total" ] || [ "$total" -eq 0 ]; then
    echo "FAILED  $name: no test ran"
    failed=$((failed + 1))
    return
  fi
  local unrun
  unrun=$(grep -cE '^ *[0-9]+/[0-9]+ Test .*\*\*\*Skipped' "$log/$name.log")
  skipped=$((skipped + unrun))
  passed=$((passed + total - bad - unrun))
  failed=$((failed + bad))
  if [ "$status" -ne 0 ]; then
    sed -n '/tests failed out of/,$p' "$log/$name.log"
    grep -n -B2 -A40 '\*\*\*Failed\|\*\*\*Timeout\|\*\*\*Exception' "$log/$name.log" | head -200
  fi
}

configure() { cmake --preset "$1" -DBAI_WERROR="${BAI_WERROR:-${CI:+ON}}" "${@:2}"; }
build() { cmake --build "build/$1" --parallel "$jobs" "${@:2}"; }

# Builds and runs tests under a sanitizer. $1: preset; $2: tests; then targets, where they differ.
run_sanitized() {
  local preset=$1 names=$2 targets
  shift 2
  read -ra targets <<<"$names"
  [ $# -gt 0 ] && targets=("$@")
  check "configure-$preset" configure "$preset" -DBAI_WERROR=OFF -DBAI_EXAMPLES=OFF -DBAI_BENCHMARKS=OFF
  check "build-$preset" build "$preset" --target "${targets[@]}"
  run_ctest "$preset" "build/$preset" -R "^(${names// /|})\$" --parallel "$jobs"
}

bash tests/install_packages.sh tests/packages.txt || { echo "0 passed, 1 failed"; exit 1; }

check sources python3 tests/tidy/check_sources.py
check formatting bash tests/tidy/check_format.sh

# Unoptimised: the fastest to build, and what the tests are timed for.
check configure configure dev
check build build dev
if [ "$failed" -gt 0 ]; then
  echo "$passed passed, $failed failed"
  exit 1
fi

# What changed last comes first; what was clean before is not looked at again (soak: everything).
tidy_seconds=240
[ "$mode" = soak ] && tidy_seconds=0
[ "$mode" = unit ] || check clang-tidy bash tests/tidy/check_tidy.sh build/dev --seconds "$tidy_seconds"

[ "$mode" = soak ] && export BAI_SOAK=1 BAI_TEST_TIMEOUT=3600
if [ "$mode" = unit ]; then
  run_ctest unit build/dev -L unit --parallel "$jobs"
else
  run_ctest tests build/dev -LE 'serial|soak' --parallel "$jobs"
  run_ctest serial build/dev -L serial
  [ "$mode" = soak ] && run_ctest soak build/dev -L soak
  # Memory errors and undefined behaviour; then data races. Virtual time where there is any: both
  # are several times slower than the plain build.
  export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
  export UBSAN_OPTIONS=print_stacktrace=1
  export TSAN_OPTIONS=halt_on_error=1:suppressions=$PWD/tests/tsan.supp
  [ "$mode" = soak ] || export BAI_SIM_SEEDS=${BAI_SIM_SANITIZED_SEEDS:-8} BAI_SIM_BRIEF=1
  asan_tests=(unit_base unit_model unit_storage unit_runtime conformance unit_server_http
    unit_server_auth unit_server_agent unit_server_local_agent sim)
  [ "$mode" = soak ] && asan_tests+=(unit_core unit_sched)  # minutes each
  run_sanitized asan "${asan_tests[*]}"
  if [ "$mode" = soak ]; then  # the last three drive a whole server over real sockets
    run_sanitized tsan "unit_runtime unit_server_http unit_server_local_agent e2e_api_test e2e_session_test e2e_scheduling_test" \
      unit_runtime unit_sched unit_server_http unit_server_local_agent bai-manager-server bai-local-agent baictl
    # Of the planner what runs in parallel: the rest has one thread.
    check tsan-plans build/tsan/bin/unit_sched --source-file="*parallel_test*"
    check fuzz-packages bash tests/install_packages.sh tests/fuzz/packages.txt
    for target in http agent_wire; do
      check "fuzz-$target" bash tests/fuzz/fuzz.sh "$target" 60
      check "fuzz-$target-canary" bash tests/fuzz/fuzz.sh "$target" 60 canary
    done
  fi
fi
[ "$skipped" -eq 0 ] || echo "$skipped skipped, and not counted as passed"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

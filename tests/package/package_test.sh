#!/usr/bin/env bash
# Installs the library and uses it from a stranger's project, by find_package and by
# add_subdirectory. Usage: package_test.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
source_dir=$1 build_dir=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build_dir" --prefix "$work/prefix" >/dev/null
test -f "$work/prefix/include/bai_manager/manager.hpp"

use() {
  cmake -S "$source_dir/tests/package/consumer" -B "$work/$1" -G Ninja -DCMAKE_BUILD_TYPE=Release "${@:2}" >/dev/null
  cmake --build "$work/$1" >/dev/null
  "$work/$1/consumer" "$work/$1.db"
}
use package -DCMAKE_PREFIX_PATH="$work/prefix"
if cmake -S "$source_dir/tests/package/consumer" -B "$work/missing" -G Ninja >/dev/null 2>&1; then
  echo "a project without the package was configured" >&2
  exit 1
fi
ccache=$(command -v ccache || true)
use subdirectory -DBAI_HOW=subdirectory -DBAI_SOURCES="$source_dir" ${ccache:+-DCMAKE_CXX_COMPILER_LAUNCHER="$ccache"}

#!/usr/bin/env bash
# Installs the library and uses it from a stranger's project, by find_package and by
# add_subdirectory (the latter is built whole where BAI_SOAK is set).
# Usage: package_test.sh SOURCE_DIR BUILD_DIR
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
# The program of the README, as it is printed there.
mkdir "$work/readme"
sed -n '/^```cpp$/,/^```$/p' "$source_dir/README.md" | sed '/^```/d' >"$work/readme/main.cpp"
cp "$source_dir/tests/package/consumer/CMakeLists.txt" "$work/readme/"
cmake -S "$work/readme" -B "$work/readme/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null
cmake --build "$work/readme/build" >/dev/null
said=$(cd "$work/readme" && timeout 60 ./build/consumer "$source_dir/examples/fixture.json")
[ "$said" = "train-1 RUNNING" ] || { echo "the program of the README says: $said" >&2; exit 1; }
subdirectory=(-DBAI_HOW=subdirectory -DBAI_SOURCES="$source_dir")
if [ -n "${BAI_SOAK:-}" ]; then
  use subdirectory "${subdirectory[@]}"
  exit
fi
# Without building the library a second time: it configures, its targets say where the headers are,
# and what the stranger links would be made.
cmake -S "$source_dir/tests/package/consumer" -B "$work/subdirectory" -G Ninja "${subdirectory[@]}" >/dev/null
ninja -C "$work/subdirectory" CMakeFiles/consumer.dir/main.cpp.o >/dev/null
plan=$(ninja -C "$work/subdirectory" -t commands consumer)
for archive in libbai_manager.a libbai_manager_sqlite.a; do
  grep -q "$archive" <<<"$plan" || { echo "the consumer does not link $archive" >&2; exit 1; }
done
if grep -qE "CMakeFiles/(bai_server|unit_|baictl|bai-)" <<<"$plan"; then
  echo "a stranger's project builds more than the library" >&2
  exit 1
fi

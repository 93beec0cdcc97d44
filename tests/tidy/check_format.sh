#!/usr/bin/env bash
# Every C++ file is as clang-format 19 writes it.
set -euo pipefail
cd "$(dirname "$0")/../.."
git ls-files -z '*.hpp' '*.cpp' | xargs -0 clang-format-19 --dry-run -Werror

#!/usr/bin/env bash
# clang-tidy 19 finds nothing in src/ and server/. Usage:
#   check_tidy.sh BUILD_DIR [--seconds N] [FILE...]
# Needs BUILD_DIR/compile_commands.json. With --seconds no further file is begun after so many; the
# most recently changed ones come first, and the rest is left for the next run. A file that was clean with the same contents, headers and
# checks is not looked at again: BUILD_DIR/tidy-cache remembers. BAI_JOBS limits parallel runs.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec python3 tests/tidy/check_tidy.py "$@"

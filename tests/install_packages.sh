#!/usr/bin/env bash
# Installs what a package list names and this machine lacks. Usage: install_packages.sh LIST...
set -euo pipefail
wanted=$(sed -e 's/#.*//' "$@" | tr -s ' \n' '\n' | grep . | sort -u)
missing=""
for package in $wanted; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -eq 0 ]; then sudo=""; else sudo="sudo"; fi
if [ -n "$sudo" ] && ! command -v sudo >/dev/null; then
  echo "These packages are missing:$missing. Run this as root, or install sudo." >&2
  exit 1
fi
echo "Installing:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null

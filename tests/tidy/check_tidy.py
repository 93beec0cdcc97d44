"""Runs clang-tidy 19 over the sources; see check_tidy.sh."""
import argparse
import concurrent.futures
import hashlib
import json
import math
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("src/", "server/")
INCLUDE = re.compile(rb'^\s*#\s*include\s*"([^"]+)"', re.M)
# Written by g++ and for g++: clang reads neither its precompiled headers nor these flags.
DROPPED = {"-Winvalid-pch", "-fpch-preprocess"}


def clang_arguments(command):
    """The compiler's command without launcher, output and precompiled header."""
    words = shlex.split(command)
    while not re.search(r"(\+\+|clang\+\+|cc|gcc)(-\d+)?$", words[0]):
        words.pop(0)
    kept, words = [words[0]], iter(words[1:])
    for word in words:
        if word == "-o" or (word == "-include"):
            value = next(words)
            if word == "-include" and "cmake_pch" not in value:
                kept += [word, value]
        elif word not in DROPPED:
            kept.append(word)
    return kept


class Sources:
    """Digests of files together with all project headers that they include."""

    def __init__(self):
        self.known = {}

    def reached(self, path, found):
        if path in found:
            return
        found.add(path)
        if path not in self.known:
            text = path.read_bytes()
            headers = []
            for name in INCLUDE.findall(text):
                for folder in (path.parent, ROOT / "src", ROOT / "server", ROOT / "include"):
                    header = folder / name.decode()
                    if header.is_file():
                        headers.append(header.resolve())
                        break
            self.known[path] = (hashlib.sha256(text).hexdigest(), headers)
        for header in self.known[path][1]:
            self.reached(header, found)

    def digest(self, path, arguments):
        found = set()
        self.reached(path, found)
        parts = [f"{p.relative_to(ROOT)} {self.known[p][0]}" for p in sorted(found)]
        parts += [(ROOT / ".clang-tidy").read_text(), " ".join(arguments)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def recently_changed():
    """Path -> rank: edited files first, then by the commit that touched them last."""
    listed = ""
    for command in (["git", "ls-files", "-mo", "--exclude-standard"],
                    ["git", "log", "-n", "300", "--name-only", "--format="]):
        listed += subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    ranks = {}
    for line in listed.splitlines():
        ranks.setdefault(str(ROOT / line), len(ranks))
    return ranks


def main():
    parser = argparse.ArgumentParser(prog="check_tidy.sh")
    parser.add_argument("build", metavar="BUILD_DIR")
    parser.add_argument("--seconds", type=float, default=0, help="0: no limit")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    build = Path(options.build).resolve()
    wanted = {str((ROOT / name).resolve()) for name in options.files}
    end = time.monotonic() + options.seconds if options.seconds > 0 else math.inf
    cache = build / "tidy-cache"
    cache.mkdir(exist_ok=True)
    database, todo, sources, clean = [], [], Sources(), 0
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = Path(entry["file"]).resolve()
        if not path.is_relative_to(ROOT):
            continue
        if not str(path.relative_to(ROOT)).startswith(FOLDERS) or (wanted and str(path) not in wanted):
            continue
        if not path.is_file():
            continue
        arguments = clang_arguments(entry["command"])
        database.append({"directory": entry["directory"], "file": str(path), "arguments": arguments})
        digest = sources.digest(path, arguments)
        if (cache / digest).exists():
            clean += 1
        else:
            todo.append((path, digest))
    ranks = recently_changed()
    todo.sort(key=lambda item: ranks.get(str(item[0]), len(ranks)))
    (cache / "compile_commands.json").write_text(json.dumps(database, indent=1))

    left = 0

    def check(item):
        nonlocal left
        path, digest = item
        if time.monotonic() > end:
            left += 1
            return ""
        result = subprocess.run(
            ["clang-tidy-19", "--quiet", "-p", str(cache), "--extra-arg=-w",
             str(path)], cwd=ROOT, capture_output=True, text=True)
        if result.returncode == 0:
            (cache / digest).touch()
            return ""
        return result.stdout + (result.stderr if not result.stdout else "")

    jobs = int(os.environ.get("BAI_JOBS", os.cpu_count() or 1))
    failed, reported = 0, set()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for output in pool.map(check, todo):
            if not output:
                continue
            failed += 1
            for block in re.split(r"(?m)^(?=/[^\n]*: (?:error|warning): )", output):
                if block.strip() and block not in reported:  # headers are found many times
                    reported.add(block)
                    print(block, end="", flush=True)
    print(f"clang-tidy: {len(todo) - left} files checked, {clean} unchanged, {left} left for the "
          f"next run, {failed} with findings")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

"""Checks what the compiler does not: who includes whom, where third-party headers and
nondeterminism are, file sizes, words that do not belong. Prints every violation; exit status 1."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINES_MAX = 600

# Rooms below src/ and the rooms that each may include besides itself; every room may include
# include/bai_manager. A path prefix stands for the whole folder.
ROOMS = {
    "base": [],
    "model": ["base"],
    "storage": ["base"],
    "repo": ["model", "base"],
    "sched": ["model", "base"],
    "core": ["sched", "model", "base"],
    "event": ["base"],
    "service": ["core", "repo", "event", "model", "base"],
    "action": ["service", "core", "model", "base"],
    "runtime": ["action", "service", "core", "sched", "repo", "storage", "event", "model", "base"],
}

# Third-party headers and the only places that may see them.
THIRD_PARTY = {
    r"rapidjson/": ["src/base/"],
    r"sqlite3\.h": ["src/storage/sqlite/"],
    r"libpq|postgresql/": ["src/storage/postgres/"],
    r"hiredis/": ["src/event/"],
    r"asio(/|\.hpp)": ["server/http/"],
    r"httplib\.h": ["server/http/", "server/ctl/"],
    r"zmq\.(h|hpp)|msgpack": ["server/agent/"],
    r"openssl/": ["server/auth/"],
    r"toml\+\+/": ["server/config/"],
    r"prometheus/": ["server/metrics/"],
    r"CLI/": ["server/cli/", "server/ctl/baictl_main.cpp", "server/local_agent/local_agent_main.cpp", "server/sim_agents/sim_agents_main.cpp"],
    r"spdlog/": ["server/cli/"],
    r"fmt/": ["src/", "server/"],
    r"pybind11/|numpy/|Python\.h|datetime\.h": ["bindings/"],
    r"doctest/": [],
    r"benchmark/": [],
}

# What not even tests and benchmarks include: it would bind them to a Python interpreter.
NEVER_IN_TESTS = "pybind11/"

NONDETERMINISM = re.compile(
    r"_clock::now|\bsleep_for\b|\bsleep_until\b|\bgetenv\b|random_device|\brand\(|\bstd::thread\b|\bgettimeofday\b|"
    r"\bclock_gettime\b")

# Marks of unfinished work, and words of people's workplaces.
WORDS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *patterns], cwd=ROOT,
                         capture_output=True, text=True, check=True)
    return sorted(p for p in set(out.stdout.split("\n")) if p and (ROOT / p).is_file())


def check_include(path, header, quoted):
    for pattern, places in THIRD_PARTY.items():
        if re.match(pattern, header):
            tests = () if pattern.startswith(NEVER_IN_TESTS) else ("tests/", "benchmarks/")
            if not path.startswith((*tests, *places)):
                yield f"includes <{header}>, which only {' and '.join(places) or 'tests'} may"
            return
    if header.startswith("bai_manager/"):
        return
    if not quoted:
        # In angle brackets it is ours all the same when it is a file of a room.
        if header.split("/")[0] not in ROOMS or not (ROOT / "src" / header).exists():
            return
    if path.startswith("include/"):
        yield f'a public header includes "{header}"'
    elif path.startswith("src/"):
        room, target = path.split("/")[1], header.split("/")[0]
        if target in ROOMS and target != room and target not in ROOMS[room]:
            yield f'room {room} includes "{header}" of room {target}'
    elif path.startswith("server/"):
        if header.split("/")[0] in ROOMS and (ROOT / "src" / header).exists():
            yield f'the server includes "{header}" of src/'
    elif path.startswith("bindings/"):
        if not (ROOT / path).parent.joinpath(header).is_file():
            yield f'the bindings include "{header}", which is none of their own'
    elif path.startswith("examples/"):
        yield f'an example includes "{header}"'


def check_file(path):
    lines = (ROOT / path).read_text(encoding="utf-8").split("\n")
    if len(lines) > LINES_MAX + 1:
        yield 0, f"has {len(lines)} lines; {LINES_MAX} are allowed"
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match:
            for wrong in check_include(path, match.group(2), match.group(1) == '"'):
                yield number, wrong
        code = line.split("//")[0]
        if path.startswith("src/") and not path.startswith("src/runtime/") and NONDETERMINISM.search(code):
            yield number, "clock, sleep, environment, thread or randomness outside src/runtime/"
        if WORDS.search(line):
            yield number, "says that something is unfinished"


def main():
    wrong = 0
    files = [p for p in tracked("*.hpp", "*.cpp", "*.py", "*.sh", "*.cmake", "CMakeLists.txt")
             if not p.startswith("tests/tidy/")]
    for path in files:
        for number, message in check_file(path):
            print(f"{path}:{number}: {message}")
            wrong += 1
    print(f"{len(files)} files, {wrong} violations")
    return 1 if wrong else 0


sys.exit(main())

"""What the measuring scripts share: the server, its fixture, its costs; standard library only.

Every script takes --bin DIR (build/release/bin) and prints one JSON object per line. Load comes
from wrk: a client in Python could not keep up with what it measures.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
os.environ.setdefault("BAI_SOURCE_DIR", ROOT)
os.environ.setdefault("BAI_BIN_DIR", os.path.join(ROOT, "build", "release", "bin"))
for _at, _word in enumerate(sys.argv[1:], 1):  # the harness reads BAI_BIN_DIR when it is imported
    if _word == "--bin" and _at + 1 < len(sys.argv):
        os.environ["BAI_BIN_DIR"] = os.path.abspath(sys.argv[_at + 1])
    elif _word.startswith("--bin="):
        os.environ["BAI_BIN_DIR"] = os.path.abspath(_word[6:])
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

import bai_client  # noqa: E402
from bai_client import ADMIN, USER, Client  # noqa: E402


def arguments(description):
    """A parser with what all scripts understand."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--bin", default=os.environ["BAI_BIN_DIR"],
                        help="folder of the programs (build/release/bin)")
    return parser


def parse(parser):
    options = parser.parse_args()
    if not os.access(program("bai-manager-server"), os.X_OK):
        raise SystemExit(f"There is no bai-manager-server in {options.bin}. Build it (cmake "
                         "--preset release; cmake --build build/release) or name another folder "
                         "with --bin.")
    return options


def program(name):
    return os.path.join(bai_client.BIN_DIR, name)


def emit(name, **figures):
    print(json.dumps({"bench": name, **figures}), flush=True)


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))] if values else None


def latencies(seconds):
    return {f"p{int(s * 100)}_ms": round(percentile(seconds, s) * 1e3, 2)
            for s in (0.5, 0.9, 0.99)} if seconds else {}


def write_fixture(folder):
    """The example's rows without a limit per keypair and with a queue that skips ahead."""
    with open(bai_client.FIXTURE, encoding="utf-8") as file:
        fixture = json.load(file)
    fixture["keypair_resource_policies"][0]["max_concurrent_sessions"] = 0
    fixture["resource_groups"][0]["queue_discipline"] = "skip-ahead"
    for image in fixture["images"]:
        image["min_slots"] = {"cpu": "0.001", "mem": "1m"}  # none would mean a whole core
    path = os.path.join(folder, "fixture.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(fixture, file)
    return path


# ---- what a process and the machine do ----

def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy_seconds():
    """Of all processors, by everything that runs on the machine."""
    with open("/proc/stat", encoding="utf-8") as file:
        fields = [int(f) for f in file.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


class Usage:
    """Cores used by a process, and by everything that is not part of the measurement."""

    def __init__(self, pid, *others):
        self.pids = [pid, *others]
        self.began = time.monotonic()
        self.cpu = [cpu_seconds(p) for p in self.pids]
        self.busy, self.own = busy_seconds(), self.own_seconds()

    @staticmethod
    def own_seconds():  # this script, and its children that have ended
        return sum(os.times()[:4])

    def figures(self):
        took = time.monotonic() - self.began
        cpu = [cpu_seconds(p) - was for p, was in zip(self.pids, self.cpu)]
        ours = sum(cpu) + self.own_seconds() - self.own
        noise = busy_seconds() - self.busy - ours
        return {"server_core_percent": round(100 * cpu[0] / took, 2),
                "noise_cores": round(max(noise, 0) / took, 2)}


def status_value(pid, key):
    """A number of /proc/PID/status: Threads, VmRSS (KiB) ..."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        for line in file:
            if line.startswith(key + ":"):
                return int(line.split()[1])
    return 0


def flush_ms(folder, count=100):
    """Median of appending 4 KiB and fdatasync, where the database lies."""
    path, times = os.path.join(folder, "flush"), []
    with open(path, "wb", buffering=0) as file:
        for _ in range(count):
            began = time.monotonic()
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            times.append(time.monotonic() - began)
    os.unlink(path)
    return round(percentile(times, 0.5) * 1e3, 3)


# ---- load ----

LUA = """
local path, method, prefix, suffix = %(path)s, %(method)s, %(prefix)s, %(suffix)s
local headers = {%(headers)s}
local threads = 0
function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end
function init(args)
  count = 0
  if not suffix then fixed = wrk.format(method, path, headers) end
end
function request()
  if fixed then return fixed end
  count = count + 1
  return wrk.format(method, path, headers, prefix .. id .. "-" .. count .. suffix)
end
function done(summary, latency, requests)
  local e = summary.errors
  local function ms(p) return latency:percentile(p) / 1000 end
  io.write(string.format(
    '\\nJSON {"requests":%%d,"seconds":%%.3f,"refused":%%d,"broken":%%d,"p50_ms":%%.2f,' ..
    '"p90_ms":%%.2f,"p99_ms":%%.2f,"max_ms":%%.2f}\\n',
    summary.requests, summary.duration / 1e6, e.status, e.connect + e.read + e.write + e.timeout,
    ms(50), ms(90), ms(99), latency.max / 1000))
end
"""


def lua_text(text):
    return "nil" if text is None else json.dumps(text)  # Lua reads what JSON escapes in ASCII


def wrk(port, method, path, connections, seconds, keys=USER, body=None):
    """Figures of a run; `body` is a text in which @@ stands for a number that never repeats.

    One signature serves all requests: the protocol's signature covers the date, which stays
    valid for minutes, and not the body."""
    binary = shutil.which("wrk")
    if not binary:
        raise SystemExit("The load program wrk is missing; right would be: apt-get install wrk")
    client = Client(port, keys)
    signed = client.headers(method, path, "application/json" if body else "text/plain")
    signed["Host"] = client.authority
    prefix, suffix = body.split("@@") if body else (None, None)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA % {
            "path": lua_text(path), "method": lua_text(method), "prefix": lua_text(prefix),
            "suffix": lua_text(suffix), "headers": ",".join(
                f"[{lua_text(k)}]={lua_text(v)}" for k, v in signed.items())})
        script.flush()
        run = subprocess.run(
            [binary, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s",
             script.name, f"http://{client.authority}"],
            capture_output=True, text=True, check=False, timeout=seconds + 60)
    found = re.search(r"^JSON (.*)$", run.stdout, re.M)
    if not found:
        raise SystemExit(f"wrk failed: {run.stdout}{run.stderr}")
    figures = json.loads(found[1])
    figures["per_s"] = round(figures["requests"] / figures["seconds"])
    return figures


@contextlib.contextmanager
def sim_agents(server, *words):
    """Running, once all of them have announced themselves."""
    process = subprocess.Popen(
        [program("bai-sim-agents"), "--manager", server.event_addr, *map(str, words)],
        stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if "ready" not in line:
            raise SystemExit(f"bai-sim-agents did not start: {line}")
        yield process
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


def wait_for_agents(server, count=1, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        agents = server.client(ADMIN)("GET", "/cluster/agents").json["items"]
        if sum(agent["status"] == "ALIVE" for agent in agents) >= count:
            return
        time.sleep(0.05)
    raise SystemExit(f"not {count} agents within {seconds} s: {agents}")


def all_sessions(client):
    found = {}
    while True:
        page = client("POST", "/compute-sessions/search", {
            "order": [{"field": "id", "direction": "asc"}], "limit": 100,
            "offset": len(found)}).json
        found.update((item["id"], item) for item in page["items"])
        if not page["items"] or len(found) >= page["pagination"]["total"]:
            return found

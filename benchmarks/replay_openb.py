"""Submits the pods of the openb trace to a server with simulated agents and checks what it made of
them. The folder of the trace: argument or BAI_TRACES (or its subfolder openb)."""

import collections
import contextlib
import csv
import json
import os
import re
import selectors
import socket
import sqlite3
import tempfile
import time
from fractions import Fraction

import bench_lib
from bai_client import ADMIN, USER, Client, Server, create_body

PODS, NODES = "openb_pod_list_default.csv", "openb_node_list_gpu_node.csv"
GPU_SLOT = "cuda.shares"  # pods ask for parts of a device
STORE = "manager.db"
WHERE = (f"The trace is not here: {{}} has no {PODS}.\nIt is published at "
         "https://github.com/alibaba/clusterdata, folder cluster-trace-gpu-v2023/csv; name the "
         "folder with its csv files as argument or in BAI_TRACES.")


def find_folder(named):
    named = named or os.environ.get("BAI_TRACES", ".")
    for folder in (named, os.path.join(named, "openb")):
        if os.path.exists(os.path.join(folder, PODS)):
            return folder
    raise SystemExit(WHERE.format(named))


def pod_slots(pod):
    """Amounts as a client writes them."""
    def thousandths(milli):
        return f"{milli // 1000}.{milli % 1000:03}".rstrip("0").rstrip(".")
    # 64 MiB of the memory are shared memory.
    slots = {"cpu": thousandths(int(pod["cpu_milli"])), "mem": f"{max(int(pod['memory_mib']), 65)}m"}
    devices, milli = int(pod["num_gpu"]), int(pod["gpu_milli"])
    if devices:
        slots[GPU_SLOT] = str(devices) if devices > 1 else thousandths(milli)
    return slots


def request_bytes(client, pod, headers):
    body = json.dumps(create_body(pod["name"], enqueueOnly=True,
                                  config={"resources": pod_slots(pod)})).encode()
    lines = ["POST /session HTTP/1.1", f"Host: {client.authority}", *headers,
             f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def answer_in(data):
    """(status, body) once the whole answer is there."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return None
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return (int(head.split()[1]), body) if len(body) >= int(length[1]) else None


class Lane:
    """A keep-alive connection with one request under way."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.data = b""

    def send(self, pod, request):
        self.pod, self.began, self.data = pod, time.monotonic(), b""
        self.socket.sendall(request)

    def receive(self):
        chunk = self.socket.recv(65536)
        if not chunk:
            raise SystemExit(f"the server closed the connection at pod {self.pod}")
        self.data += chunk
        return answer_in(self.data)


def submit(port, pods, connections, problems):
    """Seconds of every request. One loop over all connections: threads would wait for each other
    longer than for the server."""
    client, times = Client(port, USER), []
    signed = client.headers("POST", "/session", "application/json")
    headers = [f"{name}: {value}" for name, value in signed.items()]
    waiting = ((pod["name"], request_bytes(client, pod, headers)) for pod in pods)
    with selectors.DefaultSelector() as selector:
        for _ in range(min(connections, len(pods))):
            lane = Lane(port)
            selector.register(lane.socket, selectors.EVENT_READ, lane)
            lane.send(*next(waiting))
        while len(times) < len(pods):
            for key, _ in selector.select(60):
                lane = key.data
                if not (answer := lane.receive()):
                    continue
                times.append(time.monotonic() - lane.began)
                if answer[0] != 201:
                    problems.append(f"{lane.pod}: {answer[0]} {answer[1][:300]!r}")
                if following := next(waiting, None):
                    lane.send(*following)
                else:
                    selector.unregister(lane.socket)
                    lane.socket.close()
    return times


def wait_quiet(admin, seconds):
    end = time.monotonic() + seconds
    while True:
        sessions = bench_lib.all_sessions(admin)
        moving = [i for i in sessions.values() if i["status"] not in ("RUNNING", "PENDING")
                  or (i["status"] == "PENDING" and not i["pending"])]
        if not moving:
            return sessions
        if time.monotonic() > end:
            raise SystemExit(f"not quiet after {seconds} s: {len(moving)} sessions are on their "
                             f"way, such as {moving[0]}")
        time.sleep(0.5)


def devices_held(directory):
    """{agent: {index of the device: share granted}}, from what the server stored: agents tell
    clients their sums only."""
    held = collections.defaultdict(collections.Counter)
    uri = f"file:{os.path.join(directory, STORE)}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as store:
        for agent, devices in store.execute(
                "SELECT agent, devices FROM kernels WHERE status = 'RUNNING'"):
            for index, share in json.loads(devices).get(GPU_SLOT, {}).items():
                held[agent][int(index)] += Fraction(share)
    return held


def check(sessions, agents, pods, devices):
    """The problems: agents and devices over their capacity, wrong sums, waiting pods that would
    fit."""
    problems = []
    if {i["name"] for i in sessions.values()} != {p["name"] for p in pods}:
        problems.append("the sessions are not the pods")
    held = collections.defaultdict(collections.Counter)
    for item in sessions.values():
        for container in item["containers"]:
            if item["status"] == "RUNNING":
                for slot, amount in container["resource_usage"].items():
                    held[container["agent_id"]][slot] += Fraction(amount)
    free = []
    for agent in agents:
        capacity = {s: Fraction(a) for s, a in agent["available_slots"].items()}
        granted = {s: Fraction(a) for s, a in agent["occupied_slots"].items() if Fraction(a)}
        if granted != {s: a for s, a in held[agent["id"]].items() if a}:
            problems.append(f"{agent['id']}: granted {granted} but holds {held[agent['id']]}")
        free.append({s: a - granted.get(s, 0) for s, a in capacity.items()})
        if min(free[-1].values()) < 0 or set(granted) - set(capacity):
            problems.append(f"{agent['id']} holds more than it has: {granted} of {capacity}")
        used = devices[agent["id"]]
        if sum(used.values()) != granted.get(GPU_SLOT, 0) or max(used.values(), default=0) > 1:
            problems.append(f"{agent['id']}: its devices hold {dict(used)} of {granted}")
        whole = sum(used[i] == 0 for i in range(int(capacity.get(GPU_SLOT, 0))))
        # A part fits into what one device has left; several devices are given whole.
        part = 1 if whole else 1 - min(used.values(), default=1)
        free[-1][GPU_SLOT] = whole if whole > 1 else part
    for item in sessions.values():
        if item["status"] == "PENDING":
            need = {s: Fraction(a) for s, a in item["resource_slots"].items()}
            if any(all(f.get(s, 0) >= a for s, a in need.items()) for f in free):
                problems.append(f"{item['name']} waits but would fit: {need}")
            if not (item["pending"] or {}).get("message"):
                problems.append(f"{item['name']} waits without a reason")
    return problems


def placed_by_rule(pods, nodes):
    """How many run when every pod is placed before the next one comes: the selector `dispersed` as
    its rule says, over a plain list. Agents without idle devices first for pods that want none; then
    the most free cores, memory, devices; then the first. Parts go to the fullest device they fit."""
    agents = [[int(n["cpu_milli"]), int(n["memory_mib"]), [1000] * int(n["gpu"])] for n in nodes]
    placed, without_room = 0, set()  # nothing ends: who has no room once never has
    for pod in pods:
        cpu, mem = int(pod["cpu_milli"]), max(int(pod["memory_mib"]), 65)
        whole = int(pod["num_gpu"]) if int(pod["gpu_milli"]) == 1000 else 0
        part = int(pod["gpu_milli"]) if pod["num_gpu"] == "1" and not whole else 0
        best, wanted = None, (cpu, mem, whole, part)
        if wanted in without_room:
            continue
        for agent in agents:
            free = agent[2]
            if agent[0] < cpu or agent[1] < mem or free.count(1000) < whole:
                continue
            if part and max(free, default=0) < part:
                continue
            idles = not (whole or part) and any(free)
            key = (not idles, agent[0], agent[1], sum(free))
            if best is None or key > best[0]:
                best = (key, agent)
        if best is None:
            without_room.add(wanted)
            continue
        placed += 1
        _, agent = best
        agent[0] -= cpu
        agent[1] -= mem
        for _ in range(whole):
            agent[2][agent[2].index(1000)] = 0
        if part:
            fullest = min((f, i) for i, f in enumerate(agent[2]) if f >= part)[1]
            agent[2][fullest] -= part
    return placed


def main():
    parser = bench_lib.arguments(__doc__)
    parser.add_argument("folder", nargs="?", help="with the csv files (default: BAI_TRACES)")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--in-order", action="store_true",
                        help="over one connection; says how many would run by the selector's rule")
    parser.add_argument("--every", type=int, default=4, help="of the nodes, the K-th rows")
    parser.add_argument("--pods", type=int, help="only the first N of them")
    parser.add_argument("--wait", type=float, default=180, help="seconds to get quiet")
    options = bench_lib.parse(parser)
    if options.in_order:
        options.connections = 1
    folder = find_folder(options.folder)
    with open(os.path.join(folder, PODS), encoding="utf-8") as file:
        pods = list(csv.DictReader(file))[:options.pods]
    with open(os.path.join(folder, NODES), encoding="utf-8") as file:
        nodes = list(csv.DictReader(file))[::options.every]
    with tempfile.TemporaryDirectory(prefix="bai-bench-") as work:
        with Server(fixture=bench_lib.write_fixture(work)) as server, bench_lib.sim_agents(
                server, "--nodes", os.path.join(folder, NODES), "--every", options.every,
                "--gpu-slot", GPU_SLOT):
            # The first pods must find all agents that the last ones find.
            bench_lib.wait_for_agents(server, len(nodes))
            problems = replay(server, pods, nodes, options)
    for problem in problems[:20]:
        print(problem)
    raise SystemExit(1 if problems else 0)


def replay(server, pods, nodes, options):
    problems = []
    flush = bench_lib.flush_ms(server.directory)
    usage = bench_lib.Usage(server.process.pid)
    began = time.monotonic()
    times = submit(server.port, pods, options.connections, problems)
    submitted = time.monotonic() - began
    admin = server.client(ADMIN)
    sessions = wait_quiet(admin, options.wait)
    quiet = time.monotonic() - began
    agents = admin("GET", "/cluster/agents").json["items"]
    problems += check(sessions, agents, pods, devices_held(server.directory))
    counts = collections.Counter(i["status"] for i in sessions.values())
    if options.in_order:
        counts["by_rule"] = placed_by_rule(pods, nodes)
    bench_lib.emit("replay_openb", pods=len(pods), agents=len(agents), **counts,
                   connections=options.connections, submit_s=round(submitted, 2),
                   sessions_per_s=round(len(times) / submitted), quiet_after_s=round(quiet, 2),
                   problems=len(problems), **bench_lib.latencies(times), flush_ms=flush,
                   **usage.figures())
    return problems


if __name__ == "__main__":
    main()

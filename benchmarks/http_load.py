"""Signed GET /session/... at 64 keep-alive connections, and what 1,000 idle connections cost."""

import socket
import tempfile
import time

import bench_lib
from bai_client import Client, Server, create_body


def signed_get(server, options):
    answer = server.client()("POST", "/session", create_body("looked-at"))
    if answer.status != 201:
        raise SystemExit(f"no session to look at: {answer}")
    path = f"/session/{answer.json['sessionId']}"
    for _ in range(options.repeat):
        usage = bench_lib.Usage(server.process.pid)
        figures = bench_lib.wrk(server.port, "GET", path, options.connections, options.seconds)
        bench_lib.emit("signed_get", connections=options.connections, **figures,
                       **usage.figures())
        if figures["refused"] or figures["broken"]:
            raise SystemExit("some requests were not answered with 200")


def request_bytes(client):
    headers = client.headers("GET", "/auth", "text/plain")
    lines = ["GET /auth HTTP/1.1", f"Host: {client.authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines + ["", ""]).encode()


def read_answer(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n")
                  if line.lower().startswith(b"content-length"))
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split()[1])


def idle(server, options):
    pid = server.process.pid
    client = Client(server.port)
    before = {key: bench_lib.status_value(pid, key) for key in ("Threads", "VmRSS")}
    connections = [socket.create_connection(("127.0.0.1", server.port))
                   for _ in range(options.idle)]
    try:
        for connection in connections:  # keep-alive begins after a request
            connection.sendall(request_bytes(client))
            read_answer(connection)
        time.sleep(1)
        usage = bench_lib.Usage(pid)
        time.sleep(options.idle_seconds)
        figures = usage.figures()
        for connection in connections:  # and all of them are still good
            connection.sendall(request_bytes(client))
        good = sum(read_answer(connection) < 500 for connection in connections)
        bench_lib.emit(
            "idle_connections", connections=options.idle, still_good=good,
            seconds=options.idle_seconds,
            more_threads=bench_lib.status_value(pid, "Threads") - before["Threads"],
            more_kib=bench_lib.status_value(pid, "VmRSS") - before["VmRSS"], **figures)
    finally:
        for connection in connections:
            connection.close()


def main():
    parser = bench_lib.arguments(__doc__)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--idle", type=int, default=1000)
    parser.add_argument("--idle-seconds", type=int, default=10)
    options = bench_lib.parse(parser)
    with tempfile.TemporaryDirectory(prefix="bai-bench-") as work:
        with Server(fixture=bench_lib.write_fixture(work)) as server, bench_lib.sim_agents(
                server, "--count", 1):
            signed_get(server, options)
            idle(server, options)


if __name__ == "__main__":
    main()

"""POST /session until RUNNING on the local agent, one after the other: a real process each time.

The request waits for the status (enqueueOnly is false); the client's own signing and the
connection count too.
"""

import json
import http.client
import tempfile
import time

import bench_lib
from bai_client import USER, Client, Server, create_body


class Connection:
    def __init__(self, port):
        self.client = Client(port, USER)
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def __call__(self, method, path, body=None):
        headers = self.client.headers(method, path, "application/json")
        self.http.request(method, path, json.dumps(body) if body else None,
                          {**headers, "Host": self.client.authority})
        answer = self.http.getresponse()
        return answer.status, json.loads(answer.read() or b"null")


def run_one(connection, name, image):
    """Seconds to RUNNING, seconds of the removal until its end is visible."""
    began = time.monotonic()
    status, info = connection("POST", "/session", create_body(name, image=image))
    running = time.monotonic() - began
    if (status, info.get("status")) != (201, "RUNNING"):
        raise SystemExit(f"not RUNNING but {status} {info}")
    path = f"/session/{info['sessionId']}"
    began = time.monotonic()
    status, answer = connection("DELETE", path)
    if status != 200:
        raise SystemExit(f"not removed: {status} {answer}")
    while connection("GET", path)[1].get("status") not in ("TERMINATED", None):
        time.sleep(0.002)
    return running, time.monotonic() - began


def main():
    parser = bench_lib.arguments(__doc__)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--image", default="local/python:3")
    options = bench_lib.parse(parser)
    with tempfile.TemporaryDirectory(prefix="bai-bench-") as work:
        with Server("--with-local-agent", fixture=bench_lib.write_fixture(work)) as server:
            connection = Connection(server.port)
            bench_lib.wait_for_agents(server)
            for n in range(5):
                run_one(connection, f"warm-up-{n}", options.image)
            usage = bench_lib.Usage(server.process.pid)
            took = [run_one(connection, f"measured-{n}", options.image)
                    for n in range(options.sessions)]
            bench_lib.emit(
                "session_latency", sessions=len(took), image=options.image,
                **bench_lib.latencies([running for running, _ in took]),
                max_ms=round(max(running for running, _ in took) * 1e3, 2),
                remove_p50_ms=bench_lib.latencies([removed for _, removed in took])["p50_ms"],
                flush_ms=bench_lib.flush_ms(server.directory), **usage.figures())


if __name__ == "__main__":
    main()

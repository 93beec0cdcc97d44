"""Durable submission: concurrent signed POST /session (enqueueOnly) into SQLite, synchronous FULL.

Every accepted session must be in the database file afterwards, which is read behind the server's
back once it has been killed.
"""

import json
import os
import sqlite3
import tempfile

import bench_lib
from bai_client import Server, create_body


def stored_sessions(folder):
    with sqlite3.connect(os.path.join(folder, "manager.db")) as database:
        return database.execute("select count(*) from sessions").fetchone()[0]


def measure(connections, options):
    with tempfile.TemporaryDirectory(prefix="bai-bench-") as work:
        body = json.dumps(create_body("load-@@", enqueueOnly=True))
        # An agent with room for two sessions: all others wait, as on a full cluster.
        with Server(fixture=bench_lib.write_fixture(work)) as server, bench_lib.sim_agents(
                server, "--count", 1, "--cpu", 1):
            flush = bench_lib.flush_ms(server.directory)
            usage = bench_lib.Usage(server.process.pid)
            figures = bench_lib.wrk(server.port, "POST", "/session", connections, options.seconds,
                                    body=body)
            figures.update(usage.figures())
            rss = bench_lib.status_value(server.process.pid, "VmRSS")
            server.kill()
            stored = stored_sessions(server.directory)
            bench_lib.emit("submit", connections=connections, **figures, stored=stored,
                           flush_ms=flush, rss_mib=rss // 1024)
    if figures["refused"] or figures["broken"]:
        raise SystemExit("some sessions were not accepted")
    if stored < figures["requests"]:
        raise SystemExit(f"{figures['requests']} sessions were accepted but {stored} are stored")


def main():
    parser = bench_lib.arguments(__doc__)
    parser.add_argument("--connections", type=int, nargs="*", default=[256, 64])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=5)
    options = bench_lib.parse(parser)
    for connections in options.connections:
        for _ in range(options.repeat):
            measure(connections, options)


if __name__ == "__main__":
    main()

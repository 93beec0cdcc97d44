"""What simulated agents that only beat cost the server: real sockets, one process for all."""

import tempfile
import time

import bench_lib
from bai_client import ADMIN, Server


def main():
    parser = bench_lib.arguments(__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--interval", type=float, default=3, help="seconds between heartbeats")
    parser.add_argument("--seconds", type=int, default=30)
    options = bench_lib.parse(parser)
    with tempfile.TemporaryDirectory(prefix="bai-bench-") as work:
        with Server(fixture=bench_lib.write_fixture(work)) as server, bench_lib.sim_agents(
                server, "--count", options.count, "--heartbeat-interval",
                options.interval) as agents:
            time.sleep(5)
            usage = bench_lib.Usage(server.process.pid, agents.pid)
            time.sleep(options.seconds)
            figures = usage.figures()
            items = server.client(ADMIN)("GET", "/cluster/agents").json["items"]
            alive = sum(agent["status"] == "ALIVE" for agent in items)
            bench_lib.emit(
                "agents", count=options.count, alive=alive, interval_s=options.interval,
                seconds=options.seconds, **figures,
                rss_mib=bench_lib.status_value(server.process.pid, "VmRSS") // 1024,
                threads=bench_lib.status_value(server.process.pid, "Threads"))
    if alive != options.count:
        raise SystemExit(f"{alive} of {options.count} agents are alive")


if __name__ == "__main__":
    main()

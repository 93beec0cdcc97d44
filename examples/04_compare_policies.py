"""Compares scheduling policies on a trace: the same jobs, the same machines, another rule each time.

    PYTHONPATH=build/release/python python3 examples/04_compare_policies.py [TRACE] [--jobs N] [--cores N] [--plot FILE]

TRACE is a CSV with the columns submit, duration, cores (seconds; further columns are ignored), or a log in the
Standard Workload Format (*.swf). Without one, BAI_TRACES names it, or trace.csv beside this file is used. With
--plot the waiting times are drawn, if matplotlib is installed.
"""

import argparse
import csv
import math
import os
import pathlib
import sys
import time

from bai_manager import BandSorter, Cluster

CORES_PER_AGENT = 16
OWN_TRACE = str(pathlib.Path(__file__).with_name("trace.csv"))  # bursts of small jobs, now and then a large one


class LargestFirst(BandSorter):
    """A policy of one's own among the built-in ones."""

    def sort(self, view, band):
        return sorted(band, key=lambda session: -session.slots["cpu"])


POLICIES = {
    "fifo, head of line": {"scheduler": "fifo"},
    "fifo, skip ahead": {"scheduler": "fifo", "discipline": "skip-ahead"},
    "lifo, skip ahead": {"scheduler": "lifo", "discipline": "skip-ahead"},
    "largest first (ours)": {"scheduler": LargestFirst(), "discipline": "skip-ahead"},
}


def read_trace(path):
    with open(path, encoding="utf-8") as lines:
        if path.endswith(".swf"):
            for line in lines:
                fields = line.split()
                if fields and not line.startswith(";") and float(fields[3]) > 0 and int(fields[4]) > 0:
                    yield float(fields[1]), float(fields[3]), int(fields[4])
            return
        for number, row in enumerate(csv.DictReader(lines), 2):
            try:
                yield float(row["submit"]), float(row["duration"]), int(row["cores"])
            except (KeyError, TypeError, ValueError) as error:
                raise SystemExit(f"{path}:{number}: needs numbers in the columns submit, duration and cores ({error})")


def load_trace(path, jobs):
    trace = sorted(read_trace(path))[:jobs]
    if not trace:
        raise SystemExit(f"{path}: has no jobs")
    start = trace[0][0]
    return [(at - start, duration, cores) for at, duration, cores in trace]


def replay(trace, policy, agents):
    # Agents beat and are asked about their kernels rarely: it costs as much as a job and says nothing new here.
    with Cluster(agents=agents, slots={"cpu": CORES_PER_AGENT}, policy=policy,
                 behaviour={"heartbeat_interval": 3600}, options={"agent_timeout": 4 * 3600, "recheck_interval": 3600}) as cluster:
        at = 0
        while at < len(trace):
            moment = trace[at][0]
            cluster.advance_to(max(moment, cluster.elapsed))
            together = []
            while at < len(trace) and trace[at][0] == moment:
                together.append({"cpu": trace[at][2], "duration": trace[at][1]})
                at += 1
            cluster.submit_many(together)
        if not cluster.run_until_idle():
            raise SystemExit("the trace does not end")
        jobs = cluster.sessions_array(["created_at", "starts_at", "terminated_at", "result", "requested_slots"])
        cluster.check_invariants()
    return jobs


def figures(jobs, agents):
    import numpy as np

    second = np.timedelta64(1, "s")
    done = jobs[jobs["result"] == "success"]
    wait = np.sort((done["starts_at"] - done["created_at"]) / second)
    run = (done["terminated_at"] - done["starts_at"]) / second
    makespan = float((done["terminated_at"].max() - jobs["created_at"].min()) / second)
    busy = float((run * done["requested_slots.cpu"]).sum())
    slowdown = np.maximum(1, ((done["starts_at"] - done["created_at"]) / second + run) / np.maximum(run, 10))
    return {"done": len(done), "mean wait": float(wait.mean()), "p95 wait": float(np.percentile(wait, 95)),
            "slowdown": float(slowdown.mean()), "makespan": makespan,
            "used": busy / (makespan * agents * CORES_PER_AGENT), "waits": wait}


def plot(results, path):
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed; no plot was drawn", file=sys.stderr)
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    chart, axes = pyplot.subplots(figsize=(8, 5))
    for name, result in results.items():
        share = [100 * (i + 1) / len(result["waits"]) for i in range(len(result["waits"]))]
        axes.step(result["waits"] / 60, share, where="post", label=name)
    axes.set(xlabel="waiting time (minutes)", ylabel="jobs that waited no longer (%)", title="Waiting times by policy")
    axes.grid(alpha=0.3)
    axes.legend()
    chart.savefig(path, dpi=120, bbox_inches="tight")
    print(f"drawn: {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("trace", nargs="?", default=os.environ.get("BAI_TRACES") or OWN_TRACE)
    parser.add_argument("--jobs", type=int, default=400, help="how many of the trace are taken")
    parser.add_argument("--cores", type=int, default=64, help=f"of the cluster, in agents of {CORES_PER_AGENT}")
    parser.add_argument("--plot", metavar="FILE")
    arguments = parser.parse_args()
    if not os.path.isfile(arguments.trace):
        parser.error(f"{arguments.trace}: is no file")
    agents = max(1, math.ceil(arguments.cores / CORES_PER_AGENT))
    trace = load_trace(arguments.trace, arguments.jobs)
    too_large = [cores for _, _, cores in trace if cores > CORES_PER_AGENT]
    if too_large:
        print(f"{len(too_large)} jobs ask for more than the {CORES_PER_AGENT} cores of an agent; they get them all")
        trace = [(at, duration, min(cores, CORES_PER_AGENT)) for at, duration, cores in trace]
    print(f"{len(trace)} jobs on {agents} agents of {CORES_PER_AGENT} cores\n")
    print(f"{'policy':<22}{'done':>6}{'mean wait':>11}{'p95 wait':>10}{'slowdown':>10}{'makespan':>10}{'used':>7}{'took':>8}")
    results = {}
    for name, policy in POLICIES.items():
        began = time.perf_counter()
        result = results[name] = figures(replay(trace, policy, agents), agents)
        print(f"{name:<22}{result['done']:>6}{result['mean wait']:>9.0f} s{result['p95 wait']:>8.0f} s"
              f"{result['slowdown']:>10.1f}{result['makespan'] / 3600:>8.1f} h{result['used']:>7.0%}"
              f"{time.perf_counter() - began:>6.1f} s")
    if arguments.plot:
        plot(results, arguments.plot)
    return 0 if all(result["done"] == len(trace) for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

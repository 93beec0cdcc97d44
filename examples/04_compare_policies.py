# %% [markdown]
# # Scheduling policies on a trace
# The same jobs on the same machines, another rule each time: who waits how long, and how well the machines are used.
#
#     cmake --preset dev && cmake --build build/dev --target bai_python
#     PYTHONPATH=build/dev/python python3 examples/04_compare_policies.py [TRACE] [--jobs N] [--cores N] [--plot FILE]
#
# Runs as a script, and opens as a notebook where the format of its cells is known (Jupytext, VS Code, Spyder).

# %%
import argparse
import csv
import glob
import gzip
import math
import os
import pathlib
import sys
import time

import numpy as np

from bai_manager import BandSorter, Cluster

# %% [markdown]
# ## The trace
# TRACE is a CSV file with the columns submit, duration and cores (seconds; "limit" where there is one), or a log in
# the Standard Workload Format; either may be packed (.gz). Without it a log is looked for in the folder that
# BAI_TRACES names, and `trace.csv` beside this file is taken where there is none: bursts of small jobs, now and then
# a large one.

# %%
CORES_PER_AGENT = 16
IN_NOTEBOOK = "ipykernel" in sys.modules
HERE = pathlib.Path(__file__).parent if "__file__" in globals() else pathlib.Path()


def recorded_log(folder):
    logs = sorted(glob.glob(os.path.join(folder, "**", "*.swf*"), recursive=True)) if folder else []
    return logs[0] if logs else None


def count(text):
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


parser = argparse.ArgumentParser(description="Compares scheduling policies on a trace.")
parser.add_argument("trace", nargs="?", default=recorded_log(os.environ.get("BAI_TRACES")) or str(HERE / "trace.csv"))
parser.add_argument("--jobs", type=count, default=400, help="how many of the trace are taken")
parser.add_argument("--cores", type=count, default=64,
                    help=f"of the cluster, in agents of {CORES_PER_AGENT}; at least what the largest job asks for")
parser.add_argument("--plot", metavar="FILE", help="draw the waiting times, if matplotlib is installed")
arguments = parser.parse_args([] if IN_NOTEBOOK else None)
if not os.path.isfile(arguments.trace):
    parser.error(f"{arguments.trace}: is no file")


def read_trace(path):
    """(submit, duration, cores, limit) of each job; the limit is what its user said that it would take at most."""
    unpack = gzip.open if path.endswith(".gz") else open
    with unpack(path, "rt", encoding="utf-8") as lines:
        if ".swf" in os.path.basename(path):
            for line in lines:
                fields = line.split()
                if not fields or line.startswith(";"):
                    continue
                submit, duration, used, asked, limit = (float(fields[at]) for at in (1, 3, 4, 7, 8))
                cores = int(used if used > 0 else asked)
                if duration > 0 and cores > 0:
                    yield submit, duration, cores, max(duration, limit)
            return
        for number, row in enumerate(csv.DictReader(lines), 2):
            try:
                duration = float(row["duration"])
                yield float(row["submit"]), duration, int(row["cores"]), max(duration, float(row.get("limit") or 0))
            except (KeyError, TypeError, ValueError) as error:
                raise SystemExit(f"{path}:{number}: needs numbers in the columns submit, duration and cores ({error})")


trace = sorted(read_trace(arguments.trace))[:arguments.jobs]
if not trace:
    raise SystemExit(f"{arguments.trace}: has no jobs")
trace = [(submit - trace[0][0], *job) for submit, *job in trace]
agents = math.ceil(max(arguments.cores, *(cores for _, _, cores, _ in trace)) / CORES_PER_AGENT)
print(f"{len(trace)} jobs of {os.path.basename(arguments.trace)} on {agents} agents of {CORES_PER_AGENT} cores")

# %% [markdown]
# ## The policies
# A policy says who is next (`scheduler`) and what becomes of the rest while the first one waits (`discipline`):
# everybody waits with it, everybody may pass, or those may pass that do not delay it (`easy`) or anybody
# (`conservative`). One of them is our own.


# %%
class LargestFirst(BandSorter):
    """A policy of one's own among the built-in ones."""

    def sort(self, view, band):
        return sorted(band, key=lambda session: -session.slots["cpu"])


POLICIES = {
    "FCFS": {"scheduler": "fifo"},
    "skip ahead": {"scheduler": "fifo", "discipline": "skip-ahead"},
    "EASY backfill": {"scheduler": "fifo", "discipline": "easy"},
    "conservative": {"scheduler": "fifo", "discipline": "conservative"},
    "SJF": {"scheduler": "sjf"},
    "SJF with EASY": {"scheduler": "sjf", "discipline": "easy"},
    "largest first (ours)": {"scheduler": LargestFirst(), "discipline": "skip-ahead"},
}

# %% [markdown]
# ## The replay
# Each job is submitted at its time, on virtual time: weeks take seconds. A job that is larger than an agent is a gang:
# all of its kernels start together or none.


# %%
def request(duration, cores, limit):
    full, rest = divmod(cores, CORES_PER_AGENT)
    kernels = full * [{"cpu": CORES_PER_AGENT}] + ([{"cpu": rest}] if rest else [])
    return {"kernel_slots": kernels, "duration": duration, "timeout": limit + 60}  # 60: to start and to end


def replay(policy):
    # Agents beat and are asked about their kernels rarely: it costs as much as a job and says nothing new here.
    with Cluster(agents=agents, slots={"cpu": CORES_PER_AGENT}, policy=policy,
                 behaviour={"heartbeat_interval": 3600},
                 options={"agent_timeout": 4 * 3600, "recheck_interval": 3600}) as cluster:
        at = 0
        while at < len(trace):
            moment = trace[at][0]
            cluster.advance_to(max(moment, cluster.elapsed))
            together = []
            while at < len(trace) and trace[at][0] == moment:
                together.append(request(*trace[at][1:]))
                at += 1
            cluster.submit_many(together)
        if not cluster.run_until_idle(within=400 * 86400):
            raise SystemExit("the trace does not end")
        jobs = cluster.sessions_array(["created_at", "starts_at", "terminated_at", "result", "requested_slots"])
        cluster.check_invariants()
    return jobs


def figures(jobs):
    second = np.timedelta64(1, "s")
    done = jobs[jobs["result"] == "success"]
    wait = (done["starts_at"] - done["created_at"]) / second
    run = (done["terminated_at"] - done["starts_at"]) / second
    makespan = float((done["terminated_at"].max() - jobs["created_at"].min()) / second)
    busy = float((run * done["requested_slots.cpu"]).sum())
    slowdown = np.maximum(1, (wait + run) / np.maximum(run, 10))
    return {"done": len(done), "mean wait": float(wait.mean()), "p95 wait": float(np.percentile(wait, 95)),
            "slowdown": float(slowdown.mean()), "makespan": makespan,
            "used": busy / (makespan * agents * CORES_PER_AGENT), "waits": np.sort(wait)}


# %% [markdown]
# ## The comparison
# "Slowdown" is how much longer a job took than it ran, jobs of less than ten seconds counted as ten.

# %%
print(f"\n{'policy':<22}{'done':>6}{'mean wait':>11}{'p95 wait':>10}{'slowdown':>10}{'makespan':>10}{'used':>7}{'took':>8}")
results = {}
for name, policy in POLICIES.items():
    began = time.perf_counter()
    result = results[name] = figures(replay(policy))
    print(f"{name:<22}{result['done']:>6}{result['mean wait']:>9.0f} s{result['p95 wait']:>8.0f} s"
          f"{result['slowdown']:>10.1f}{result['makespan'] / 3600:>8.1f} h{result['used']:>7.0%}"
          f"{time.perf_counter() - began:>6.1f} s")
assert all(result["done"] == len(trace) for result in results.values()), "not every job has succeeded"

# %% [markdown]
# ## The waiting times
# The higher a curve, the sooner jobs start.


# %%
def plot(path=None):
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed; no plot was drawn", file=sys.stderr)
        return
    if path:
        matplotlib.use("Agg")
    from matplotlib import pyplot

    chart, axes = pyplot.subplots(figsize=(8, 5))
    for name, result in results.items():
        share = 100 * np.arange(1, len(result["waits"]) + 1) / len(result["waits"])
        axes.step(np.maximum(result["waits"] / 60, 0.1), share, where="post", label=name)
    axes.set(xlabel="waiting time (minutes)", ylabel="jobs that waited no longer (%)", title="Waiting times by policy",
             xscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    if path:
        chart.savefig(path, dpi=120, bbox_inches="tight")
        print(f"drawn: {path}")


if arguments.plot or IN_NOTEBOOK:
    plot(arguments.plot)

#!/usr/bin/env python3
"""Makes the traces in this folder and works out what every policy must do with them, in the most
literal way: no indexes, nothing kept from one decision to the next, no code of the project.

    python3 oracle.py     # writes swf/, openb/, swf_expected.jsonl and openb_expected.csv anew
"""

import csv
import gzip
import json
import pathlib
import random
import struct

HERE = pathlib.Path(__file__).resolve().parent
PROCS, SEED = 16, 7
PERCENTS = (80, 90, 95, 100, 105, 110, 120, 130)


def fnv64(words):
    value = 0xCBF29CE484222325
    for byte in b"".join(struct.pack("<I", word) for word in words):
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


# ---- rigid jobs on equal processors --------------------------------------------------------------

def make_log(draw):
    """Lines of 18 fields; some cannot run, some ran longer than they said or said nothing."""
    lines, submit = ["; Made by oracle.py"], 1000
    for number in range(1, 81):
        submit += draw.choice((0, 0, 1, 3, 10))
        run = draw.choice((-1, 0, 1, 5, 20, 60, 150))
        used = draw.choice((-1, 1, 1, 2, 3, 4, 8, 12, 16, 20))
        asked = draw.choice((-1, 2, 4))
        limit = draw.choice((-1, max(run - 3, 1), max(run, 1), run + 10, 5 * max(run, 1)))
        lines.append(f"{number} {submit} -1 {run} {used} -1 -1 {asked} {limit} -1 1 {number % 5} 1 -1 -1 -1 -1 -1")
    return "\n".join(lines) + "\n"


def read_log(text):
    drop = dict.fromkeys(("noprocs", "norun", "toobig", "run0", "over", "noest"), 0)
    jobs = []
    for line in text.splitlines():
        if line.startswith(";"):
            continue
        field = [0, *map(int, line.split())]
        submit, run, procs, limit = field[2], field[4], field[5] if field[5] > 0 else field[8], field[9]
        wrong = "noprocs" if procs <= 0 else "norun" if run < 0 else "toobig" if procs > PROCS else None
        if wrong:
            drop[wrong] += 1
            continue
        drop["run0"] += run == 0
        run = max(run, 1)
        drop["noest"] += limit <= 0
        drop["over"] += 0 < limit < run
        jobs.append((submit, run, procs, max(limit, run)))
    return sorted(jobs, key=lambda job: job[0]), drop


def simulate(jobs, queue_by_estimate, backfill, scan_by_estimate, clairvoyant):
    begin = jobs[0][0]
    submit, run, procs = ([job[at] for job in jobs] for at in range(3))
    estimate = run if clairvoyant else [job[3] for job in jobs]
    shortest = lambda j: (estimate[j], submit[j], j)
    starts, waiting, backfilled, now = {}, set(), 0, -1
    while len(starts) < len(jobs) or any(starts[j] + run[j] > now for j in starts):
        now = min([submit[j] - begin for j in range(len(jobs)) if submit[j] - begin > now]
                  + [starts[j] + run[j] for j in starts if starts[j] + run[j] > now])
        waiting |= {j for j in range(len(jobs)) if submit[j] - begin == now}
        running = [j for j in starts if starts[j] + run[j] > now]
        free = PROCS - sum(procs[j] for j in running)
        queue = sorted(waiting, key=shortest if queue_by_estimate else None)

        def start(j):
            nonlocal free
            starts[j] = now
            running.append(j)
            queue.remove(j)
            waiting.remove(j)
            free -= procs[j]

        while queue and procs[queue[0]] <= free:
            start(queue[0])
        if backfill and queue:
            head = queue[0]
            ends = sorted({starts[j] + estimate[j] for j in running})
            at = lambda end: free + sum(procs[j] for j in running if starts[j] + estimate[j] <= end)
            shadow = next(end for end in ends if at(end) >= procs[head])
            extra = at(shadow) - procs[head]
            for j in sorted(queue[1:], key=shortest) if scan_by_estimate else queue[1:]:
                if procs[j] > free:
                    continue
                if now + estimate[j] > shadow:
                    if procs[j] > extra:
                        continue
                    extra -= procs[j]
                start(j)
                backfilled += 1
    return [starts[j] for j in range(len(jobs))], backfilled


BATCH = {  # queue by estimate, backfill, scan by estimate, clairvoyant
    "FCFS": (0, 0, 0, 0), "EASY": (0, 1, 0, 0), "EASY-clair": (0, 1, 0, 1), "EASY-SJBF": (0, 1, 1, 0),
    "EASY-SJBF-clair": (0, 1, 1, 1), "SJF": (1, 0, 0, 0), "SJF-EASY": (1, 1, 1, 0), "SJF-EASY-clair": (1, 1, 1, 1),
}


def batch_rows(text):
    jobs, drop = read_log(text)
    for policy, how in BATCH.items():
        starts, backfilled = simulate(jobs, *how)
        waits = [at - (job[0] - jobs[0][0]) for at, job in zip(starts, jobs)]
        slowdown = [max(1, (wait + job[1]) / max(job[1], 10)) for wait, job in zip(waits, jobs)]
        makespan = max(at + job[1] for at, job in zip(starts, jobs))
        n, ordered = len(jobs), sorted(waits)
        yield {"log": "small", "jobs": n, "P": PROCS, "policy": policy, "mean_wait": round(sum(waits) / n, 3),
               "sum_wait": sum(waits), "mean_bsld": round(sum(slowdown) / n, 4), "max_wait": max(waits),
               "p50_wait": ordered[n // 2], "p95_wait": ordered[n * 95 // 100], "makespan": makespan,
               "util": round(sum(job[1] * job[2] for job in jobs) / (PROCS * makespan), 6), "backfilled": backfilled,
               "fnv64": fnv64(starts), "drop": drop}


# ---- pods that share devices ---------------------------------------------------------------------

def make_openb(draw):
    nodes = [(draw.choice((32000, 64000)), draw.choice((65536, 131072)), draw.choice((2, 4, 8)), draw.choice("AABC"))
             for _ in range(6)]
    pods = []
    for _ in range(60):
        gpus = draw.choice((0, 1, 1, 1, 1, 2, 4))
        milli = 0 if gpus == 0 else 1000 if gpus > 1 else draw.choice((200, 350, 500, 1000))
        pods.append((draw.choice((1000, 2000, 6000)), draw.choice((2048, 4096)), gpus, milli,
                     draw.choice(("", "", "", "A", "A|C"))))
    order, arrivals = list(range(6)), list(range(60))
    draw.shuffle(order)
    draw.shuffle(arrivals)
    return nodes, pods, order, arrivals


def workload(pods):
    counts = {}
    for cpu, _, gpus, milli, spec in pods:
        counts[cpu, milli, gpus, spec] = counts.get((cpu, milli, gpus, spec), 0) + 1
    taken, so_far = [], 0
    for kind in sorted(counts, key=lambda kind: (counts[kind], *kind), reverse=True):
        if so_far * 100 >= 95 * len(pods):
            break
        taken.append((counts[kind], *kind))
        so_far += counts[kind]
    return taken


def fragments(kinds, model, cpu_left, devices):
    total = 0
    for count, cpu, milli, gpus, spec in kinds:
        fits = (gpus > 0 and (not spec or model in spec.split("|")) and cpu_left >= cpu
                and sum(left >= milli for left in devices) >= gpus)
        total += count * sum(left for left in devices if not fits or left < milli)
    return total


def place(policy, kinds, pod, node_of, state, order):
    """(node, devices) or None. The most of `score` wins, the first in `order` among equals."""
    cpu, memory, gpus, milli, spec = pod
    best = None
    for node in order:
        (cpu_left, memory_left, devices), model = state[node], node_of[node][3]
        fitting = [d for d, left in enumerate(devices) if left >= milli]
        if cpu_left < cpu or memory_left < memory or (gpus and (len(fitting) < gpus or spec and model not in spec.split("|"))):
            continue
        after = cpu_left - cpu + 16 * (sum(devices) - gpus * milli)
        use = lambda chosen: [left - milli * (d in chosen) for d, left in enumerate(devices)]
        lost = lambda chosen: fragments(kinds, model, cpu_left - cpu, use(chosen))
        if gpus == 0:
            chosen = []
        elif milli == 1000:
            chosen = fitting[:gpus]
        elif policy == "FGDx":
            chosen = [min(fitting, key=lambda d: lost([d]))]
        else:
            chosen = [(max if policy == "WorstFitX" else min)(fitting, key=lambda d: devices[d])]
        score = {"FirstFit": 0, "BestFitX": -after, "WorstFitX": after,
                 "FGDx": fragments(kinds, model, cpu_left, devices) - lost(chosen)}[policy]
        if best is None or score > best[0]:
            best = score, node, chosen
    return best and best[1:]


def openb_rows(nodes, pods, order, arrivals):
    kinds = workload(pods)
    capacity = 1000 * sum(node[2] for node in nodes)
    for policy in ("FirstFit", "BestFitX", "WorstFitX", "FGDx"):
        state = [[cpu, memory, [1000] * gpus] for cpu, memory, gpus, _ in nodes]
        arrived = used = placed = failed_gpu = 0
        curve, words = [], []
        for number, row in enumerate(arrivals):
            cpu, memory, gpus, milli, _ = pod = pods[row]
            arrived += gpus * milli
            found = place(policy, kinds, pod, nodes, state, order)
            mask = 0
            if found:
                node, chosen = found
                state[node][0] -= cpu
                state[node][1] -= memory
                for device in chosen:
                    state[node][2][device] -= milli
                    mask |= 1 << device
                placed += 1
                used += gpus * milli
            else:
                failed_gpu += gpus > 0
            words += [number, found[0] if found else 0xFFFFFFFF, mask]
            curve.append((arrived, used))
        idle = capacity - used
        lost = sum(fragments(kinds, nodes[n][3], state[n][0], state[n][2]) for n in range(len(nodes)))
        row = {"podlist": "openb_pod_list_small", "policy": policy, "seed": SEED, "arrivals": len(arrivals),
               "placed": placed, "failed": len(arrivals) - placed, "failed_gpu": failed_gpu, "used_milli": used}
        for percent in PERCENTS:
            row[f"alloc{percent}"] = round(100 * next(
                used for arrived, used in reversed(curve) if arrived * 100 <= percent * capacity) / capacity, 4)
        row["frag_pct_of_idle"] = round(100 * lost / sum(kind[0] for kind in kinds) / idle, 3) if idle else 0.0
        row["fnv64"] = fnv64(words)
        yield row


def main():
    draw = random.Random(2026)
    log = make_log(draw)
    nodes, pods, order, arrivals = make_openb(draw)
    for folder in ("swf", "openb/streams"):
        (HERE / folder).mkdir(parents=True, exist_ok=True)
    (HERE / "swf/small.swf").write_text(log)
    (HERE / "swf_expected.jsonl").write_text("".join(json.dumps(row) + "\n" for row in batch_rows(log)))
    for name, header, rows in (
            ("openb_node_list_gpu_node", "sn,cpu_milli,memory_mib,gpu,model", nodes),
            ("openb_pod_list_small", "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec", pods)):
        lines = [",".join(map(str, (f"x{number}", *row))) for number, row in enumerate(rows)]
        (HERE / f"openb/{name}.csv").write_text("\n".join([header, *lines]) + "\n")
    stream = "\n".join(["# nodes", " ".join(map(str, order)), "# pods", " ".join(map(str, arrivals))]) + "\n"
    (HERE / f"openb/streams/openb_pod_list_small.seed{SEED}.txt.gz").write_bytes(gzip.compress(stream.encode(), mtime=0))
    expected = list(openb_rows(nodes, pods, order, arrivals))
    with open(HERE / "openb_expected.csv", "w", newline="") as out:
        writer = csv.DictWriter(out, expected[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(expected)


if __name__ == "__main__":
    main()

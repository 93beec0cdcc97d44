#!/usr/bin/env python3
"""Runs bai-sim on every trace for which there are expected results and compares every value.

    BAI_TRACES=DIR python3 benchmarks/check_traces.py [--bin build/release/bin] [--only TEXT]

DIR (or --traces DIR) holds openb_expected.csv, swf_expected.jsonl and the folders openb, swf and
philly. Exit status 1 when a value differs, a run fails or nothing is compared, 2 when there is
nothing to compare with."""

import argparse
import csv
import json
import os
import pathlib
import subprocess
import sys
import time

# Logs of swf_expected.jsonl and the files that they are in; others are in swf/<log>.swf.
LOGS = {
    "KTH-SP2": "swf/KTH-SP2-1996-2.1-cln.swf.gz",
    "NASA-iPSC": "swf/NASA-iPSC-1993-3.1-cln.swf.gz",
    "lublin_256": "swf/lublin_256.swf.gz",
    "Theta-2023": "swf/theta_walltime.swf.gz",
    "Philly-512": "philly/philly.csv.gz",
}


def simulate(command):
    start = time.monotonic()
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    took = time.monotonic() - start
    if done.returncode != 0:
        return None, took
    return json.loads(done.stdout), took


def number(text):
    try:
        return float(text)
    except ValueError:
        return text


def differences(expected, got):
    if got is None:
        return ["the run failed"]
    wrong = [f"{key}: expected {value}, got {got.get(key)}" for key, value in expected.items()
             if got.get(key) != value]
    return wrong + [f"{key}: not expected" for key in got if key not in expected]


def batch_cases(traces):
    for line in (traces / "swf_expected.jsonl").read_text().splitlines():
        expected = json.loads(line)
        log = expected["log"]
        command = ["philly"] if log.startswith("Philly") else ["swf", "--name", log]
        command += ["--log", traces / LOGS.get(log, f"swf/{log}.swf"), "--gpus" if command == ["philly"] else "--procs",
                    expected["P"], "--policy", expected["policy"]]
        yield f"{log} {expected['policy']}", command, expected


def openb_cases(traces):
    folder = traces / "openb"
    with open(traces / "openb_expected.csv", newline="") as file:
        for row in csv.DictReader(file):
            pods = row["podlist"]
            expected = {key: value if key in ("podlist", "policy", "fnv64") else number(value)
                        for key, value in row.items()}
            command = ["openb", "--nodes", folder / "openb_node_list_gpu_node.csv", "--pods",
                       folder / f"{pods}.csv", "--stream",
                       folder / "streams" / f"{pods}.seed{row['seed']}.txt.gz", "--policy",
                       row["policy"]]
            yield f"{pods} {row['policy']} {row['seed']}", command, expected


def main():
    root = pathlib.Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=pathlib.Path, default=os.environ.get("BAI_TRACES") or None,
                        help="folder of the traces (default: BAI_TRACES)")
    parser.add_argument("--bin", type=pathlib.Path, default=root / "build/release/bin",
                        help="bai-sim, or the folder that it is in")
    parser.add_argument("--only", default="", help="cases whose name has this text")
    options = parser.parse_args()
    if options.traces is None:
        parser.error("which folder has the traces? Give --traces DIR or set BAI_TRACES")
    for name in ("swf_expected.jsonl", "openb_expected.csv"):
        if not (options.traces / name).is_file():
            parser.error(f"{options.traces}: has no {name}")
    program = options.bin / "bai-sim" if options.bin.is_dir() else options.bin
    if not program.is_file():
        parser.error(f"{program}: is not there; --bin names it or its folder")
    matches = mismatches = 0
    for name, command, expected in [*batch_cases(options.traces), *openb_cases(options.traces)]:
        if options.only not in name:
            continue
        got, took = simulate([program, *command, "--json"])
        wrong = differences(expected, got)
        matches, mismatches = matches + (not wrong), mismatches + bool(wrong)
        print(f"{'DIFFERS' if wrong else 'equal  '} {took:7.2f} s  {name}", flush=True)
        for line in wrong:
            print(f"                   {line}")
    print(f"{matches} equal, {mismatches} different")
    return 1 if mismatches or not matches else 0


if __name__ == "__main__":
    sys.exit(main())

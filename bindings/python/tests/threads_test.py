"""The GIL is given up while the world moves, threads take turns, signals are seen."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from bai_manager import Cluster, Selector


class First(Selector):
    def select(self, view, demand, candidates):
        return candidates[0]


def test_other_threads_run_meanwhile(make_cluster):
    cluster = make_cluster(agents=20)
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    began = time.perf_counter()
    while time.perf_counter() - began < 0.5:
        cluster.advance(600)
    ended = time.perf_counter()
    stop.set()
    thread.join()
    inside = [at for at in ticks if began < at < ended]
    gaps = [b - a for a, b in zip([began, *inside], [*inside, ended])]
    assert len(inside) > 20 and max(gaps) < 0.45, (len(inside), max(gaps))


def test_threads_take_turns(make_cluster):
    cluster = make_cluster(agents=4, slots={"cpu": 100}, policy={"selector": First()})
    failures, ids = [], []

    def work(user):
        try:
            for i in range(15):
                ids.append(user.submit(cpu=1, duration=5))
                cluster.advance(1)
                cluster.sessions_array(["id", "status"])
                cluster.why(ids[-1])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(cluster.user(f"user-{i}"),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == [] and len(set(ids)) == 60 and cluster.elapsed == 60
    assert cluster.run_until_idle() and {cluster.session(id).status for id in ids} == {"TERMINATED"}


def test_a_reader_never_waits_for_the_driver(make_cluster):
    cluster = make_cluster(agents=2)
    inside, seen = threading.Event(), []
    go_on = threading.Event()

    def predicate():
        inside.set()
        go_on.wait(20)
        return True

    driver = threading.Thread(target=lambda: cluster.run_until(predicate))
    driver.start()
    assert inside.wait(20)
    seen.append(cluster.snapshot().count("agent"))
    seen.append(cluster.elapsed)
    go_on.set()
    driver.join(20)
    assert seen == [2, 0]


def test_clusters_on_threads_of_their_own():
    results = {}

    def life(seed):
        with Cluster(agents=2, seed=seed % 2, policy={"selector": First()}) as cluster:
            for _ in range(20):
                cluster.submit(cpu=2, duration=50)
            cluster.run_until_idle()
            results[seed] = [session.to_dict() for session in cluster.sessions()]

    threads = [threading.Thread(target=life, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results[0] == results[2] and results[1] == results[3] and results[0] != results[1]


def test_a_predicate_that_raises_or_drives(cluster):
    with pytest.raises(ZeroDivisionError):
        cluster.run_until(lambda: 1 / 0)
    with pytest.raises(Exception, match="driven"):
        cluster.run_until(lambda: cluster.advance(1))
    cluster.advance(1)


def test_an_interrupt_ends_a_long_run():
    program = """
import sys, threading, os, signal, time
from bai_manager import Cluster
cluster = Cluster(agents=50)
threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    cluster.advance(20 * 365 * 86400)
except KeyboardInterrupt:
    before = cluster.elapsed
    cluster.advance(1)
    sys.exit(7 if cluster.elapsed == before + 1 else 8)
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 7, done.stderr


def test_the_interpreter_ends_with_open_clusters():
    program = """
from bai_manager import Cluster, Selector
class First(Selector):
    def select(self, view, demand, candidates):
        return candidates[0]
cluster = Cluster(policy={"selector": First()})
cluster.submit(cpu=1)
cycle = [cluster]; cycle.append(cycle)
print(cluster.sessions()[0].status in ("PENDING", "RUNNING"))
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, env=dict(os.environ), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")

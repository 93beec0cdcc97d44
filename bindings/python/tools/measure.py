"""What the Python layer costs, in processor time. Usage:

    cmake --preset release -DBAI_PYTHON=ON && cmake --build build/release --target bai_python
    PYTHONPATH=build/release/python python3 bindings/python/tools/measure.py
"""

import time

from bai_manager import Cluster, Selector


class First(Selector):
    def select(self, view, demand, candidates):
        return candidates[0]


def per_second(name, count, body):
    began = time.process_time()
    body()
    took = time.process_time() - began
    print(f"{name:<58}{count / took:>12,.0f} /s   {1e6 * took / count:>9.2f} us")


def submit_one_by_one(cluster, count):
    for _ in range(count):
        cluster.submit(cpu=1)
    cluster.advance(1)
    assert len(cluster.sessions("RUNNING")) == count


def submit_together(cluster, count, at_once=500):
    for _ in range(count // at_once):
        cluster.submit_many([{"cpu": 1}] * at_once)
    cluster.advance(1)
    assert len(cluster.sessions("RUNNING")) == count


def attributes(cluster):
    session = cluster.sessions("RUNNING")[0]
    for name in ("name", "priority", "status", "created_at", "requested_slots", "status_history", "environ"):
        count = 200_000
        began = time.process_time()
        for _ in range(count):
            getattr(session, name)
        print(f"  session.{name:<48}{1e9 * (time.process_time() - began) / count:>12,.0f} ns")


def main():
    big = {"agents": 100, "slots": {"cpu": 1000}, "behaviour": {"heartbeat_interval": 3600},
           "options": {"agent_timeout": 9000, "recheck_interval": 3600}}
    with Cluster(**big) as cluster:
        per_second("submit, schedule, start, one by one", 4000, lambda: submit_one_by_one(cluster, 4000))
        print("reading an attribute of a view:")
        attributes(cluster)
    with Cluster(**big) as cluster:
        per_second("submit, schedule, start, 500 together", 20_000, lambda: submit_together(cluster, 20_000))
        per_second("sessions_array, all columns, rows", 20_000, lambda: cluster.sessions_array())
        per_second("sessions, views", 20_000, lambda: cluster.sessions())
        per_second("snapshot and session(id)", 10_000,
                   lambda ids=[s.id for s in cluster.sessions()[:10_000]]: [cluster.session(id) for id in ids])
    with Cluster(**big, policy={"selector": First()}) as cluster:
        per_second("the same with a selector in Python, 500 together", 20_000, lambda: submit_together(cluster, 20_000))


main()

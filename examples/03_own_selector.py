"""A scheduling policy of one's own, in Python: the twin of 03_own_selector.cpp.

Four simulated agents, one of them far bigger than the others; the built-in "dispersed" selector would send everything
there, ours spreads by the number of containers.
"""

import sys
from collections import Counter

from bai_manager import Cluster, Selector


class QuietestAgent(Selector):
    """The candidates all have room: architecture, amounts, designated agents are settled before."""

    def select(self, view, demand, candidates):
        return min(candidates, key=view.containers)


def run(selector):
    agents = [{"cpu": 64, "mem": "256g"}] + 3 * [{"cpu": 4, "mem": "256g"}]
    with Cluster(agents=agents, policy={"selector": selector}) as cluster:
        for _ in range(8):
            cluster.submit(cpu=1, mem="2g")
        cluster.advance(10)
        cluster.check_invariants()
        return Counter(kernel.agent for session in cluster.sessions("RUNNING") for kernel in session.kernels)


def main():
    ours, built_in = run(QuietestAgent()), run("dispersed")
    print(f"{'agent':<10}{'quietest':>10}{'dispersed':>11}")
    for agent in sorted(ours | built_in):
        print(f"{agent:<10}{ours[agent]:>10}{built_in[agent]:>11}")
    return 0 if set(ours.values()) == {2} and built_in["agent-1"] == 8 else 1


if __name__ == "__main__":
    sys.exit(main())

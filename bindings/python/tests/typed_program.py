"""A program as users with type checkers write it; types_test.py has it checked."""

from __future__ import annotations

import datetime
from typing import Dict, List, Mapping

from bai_manager import (AgentSpec, BaiError, BandSorter, Candidates, Cluster, Demand, InvalidArgument, PendingSession,
                         Policy, Refusal, ScoreSelector, Selector, Session, User, Validator, View)


class Quietest(Selector):
    def select(self, view: View, demand: Demand, candidates: Candidates) -> int | None:
        return min(candidates, key=view.containers) if demand.containers < 5 else candidates.best([("least-free", "cpu")])


class Emptiest(ScoreSelector):
    def score(self, view: View, slots: Mapping[str, int], agent: int) -> int:
        return view.free(agent, "cpu") - slots["cpu"]


class SmallestFirst(BandSorter):
    def sort(self, view: View, band: List[PendingSession]) -> List[PendingSession]:
        return sorted(band, key=lambda session: session.slots.get("cpu", 0))


class Never(Validator):
    def check(self, view: View, session: PendingSession) -> Refusal | None:
        return Refusal("No.", due=view.now + datetime.timedelta(hours=1)) if session.priority > 50 else None


def cores_by_agent(cluster: Cluster) -> Dict[str, float]:
    cores: Dict[str, float] = {}
    for session in cluster.sessions("RUNNING"):
        for kernel in session.kernels:
            cores[kernel.agent] = cores.get(kernel.agent, 0) + kernel.occupied_slots["cpu"]
    return cores


def waited(session: Session) -> datetime.timedelta | None:
    if session.starts_at is None or session.created_at is None:
        return None
    return session.starts_at - session.created_at


def main() -> None:
    policy = Policy(scheduler=SmallestFirst(), selector=Quietest(), validators=[Never()], discipline="skip-ahead")
    with Cluster(agents=[AgentSpec("a1", {"cpu": 8}), {"cpu": 4}, "a3"], policy=policy,
                 policies={"emptiest": Emptiest()}) as cluster:
        ada: User = cluster.user("ada", limits={"max_concurrent_sessions": 5})
        group: str = cluster.session_group("g", strict=True, user=ada)
        job: str = ada.submit(cpu=2, duration=60, session_group=group)
        gang = cluster.submit(kernel_slots=[{"cpu": 1}, {"cpu": 0.5, "mem": "1g"}])
        cluster.advance(datetime.timedelta(seconds=5))
        print(cores_by_agent(cluster), waited(cluster.session(job)), cluster.why(gang).missing)
        print(cluster.sessions_array(["id", "status"])["status"].tolist())
        if cluster.what_if(cpu=100).why is not None:
            print(cluster.agent("a1").free_slots["cpu"] + 1, cluster.now.year)
        try:
            cluster.submit(cpu=-1)
        except InvalidArgument as error:
            assert isinstance(error, BaiError) and error.code.upper()


if __name__ == "__main__":
    main()

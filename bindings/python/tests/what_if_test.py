"""What would become of a session; why one waits, and until when."""

import datetime

import pytest

from bai_manager import Conflict, InvalidArgument, NotFound, Prospect


def test_a_session_that_would_start(make_cluster):
    cluster = make_cluster(agents=[{"cpu": 4}, {"cpu": 8}])
    prospect = cluster.what_if(cpu=6)
    assert prospect and prospect == Prospect(True, {"main1": "agent-2"}, [], None)
    gang = cluster.what_if(cpu=4, kernels=3)
    assert gang.starts_now and sorted(gang.agents) == ["main1", "sub1", "sub2"]
    assert sorted(gang.agents.values()) == ["agent-1", "agent-2", "agent-2"]
    assert cluster.sessions() == []


def test_why_not_and_when(make_cluster):
    cluster = make_cluster(agents=[{"cpu": 4}], policy={"discipline": "skip-ahead"})
    cluster.submit(cpu=3, duration=500, timeout=600)
    cluster.run_until(lambda: cluster.sessions("RUNNING"), 60)
    started = cluster.sessions("RUNNING")[0].starts_at
    prospect = cluster.what_if(cpu=2)
    assert not prospect and prospect.agents == {}
    assert prospect.why.code == "capacity" and prospect.why.position == 1
    assert float(prospect.why.missing["cpu"]) == 1
    assert prospect.why.violations == [("capacity", "")] and prospect.why.kind == ""
    never = cluster.what_if(cpu=5).why
    assert never.code == "never" and never.expected_start is None
    assert abs(prospect.why.expected_start - started - datetime.timedelta(seconds=600)) < datetime.timedelta(seconds=60)
    assert "limits that sessions declare" in prospect.why.expected_basis

    waiting = [cluster.submit(cpu=4, duration=60, timeout=60) for _ in range(12)]
    cluster.advance(1)
    last = cluster.why(waiting[-1], fresh=True)
    assert (last.code, last.position, last.status) == ("capacity", 12, "PENDING")
    assert last.expected_start > prospect.why.expected_start
    assert "the first 8 of the 11 sessions" in last.expected_basis


def test_agents_that_would_be_there(make_cluster):
    cluster = make_cluster(agents=[{"cpu": 4}])
    assert not cluster.what_if(cpu=4, mem="1g", kernels=2)
    new = {"id": "agent-new", "available_slots": {"cpu": "4", "mem": "16g"}}
    prospect = cluster.what_if(cpu=4, mem="1g", kernels=2, new_agents=[new])
    assert prospect.starts_now and sorted(prospect.agents.values()) == ["agent-1", "agent-new"]
    assert [agent.id for agent in cluster.agents()] == ["agent-1"]
    with pytest.raises(InvalidArgument):
        cluster.what_if(cpu=4, new_agents=[{"id": "x", "no_such_member": 1}])


def test_who_would_be_ended(make_cluster):
    preemption = {"enabled": True, "order": "oldest", "victim_scope": "domain"}
    cluster = make_cluster(agents=[{"cpu": 4}, {"cpu": 4}], policy={"options": {"preemption": preemption}})
    other = cluster.user("ada", project="lab")
    old, new = other.submit(cpu=4), other.submit(cpu=4)
    assert cluster.run_until(lambda: len(cluster.sessions("RUNNING")) == 2, 60)
    assert cluster.what_if(cpu=1).why.code == "capacity"
    prospect = cluster.what_if(cpu=1, job_priority=5)
    assert prospect.starts_now and prospect.victims == [old] and prospect.why is None
    assert prospect.agents == {"main1": cluster.session(old).kernels[0].agent}
    gang = cluster.what_if(cpu=3, kernels=2, job_priority=5)
    assert sorted(gang.victims) == sorted([old, new])
    cluster.advance(30)
    assert [cluster.session(id).status for id in (old, new)] == ["RUNNING", "RUNNING"]

    # Who is named is who goes, and the one that waits meanwhile can be asked about.
    job = cluster.submit(cpu=1, job_priority=5)
    assert cluster.run_until(lambda: cluster.session(job).status == "RUNNING", 60)
    assert [cluster.session(id).status for id in (old, new)] == ["TERMINATED", "RUNNING"]


def test_what_cannot_be_asked(make_cluster):
    cluster = make_cluster(agents=[{"cpu": 4}])
    with pytest.raises(NotFound):
        cluster.what_if(cpu=1, image="no-such-image")
    with pytest.raises(InvalidArgument):
        cluster.what_if(cpu=1, name="x")
    job = cluster.submit(cpu=1)
    cluster.run_until(lambda: cluster.session(job).status == "RUNNING", 60)
    with pytest.raises(Conflict):
        cluster.what_if(session=job)
    with pytest.raises(InvalidArgument):
        cluster.what_if(cpu=1, session=job)
    assert cluster.why(job, fresh=True).status == "RUNNING"

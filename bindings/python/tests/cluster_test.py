"""Lives of sessions on a cluster: submitting, time, users, agents that fail."""

import datetime
import math

import pytest

from bai_manager import AgentSpec, Cluster, NotFound


def test_a_session_from_request_to_end(cluster):
    job = cluster.submit(cpu=2, mem="1g", name="first-job")
    assert cluster.session(job).status == "PENDING" or cluster.session(job).status == "RUNNING"
    cluster.advance(5)
    session = cluster.session("first-job")
    assert (session.id, session.status, session.name) == (job, "RUNNING", "first-job")
    assert session.requested_slots == {"cpu": 2, "mem": 1 << 30}
    kernel, = session.kernels
    agent = cluster.agent(kernel.agent)
    assert agent.occupied_slots == {"cpu": 2, "mem": 1 << 30} and agent.free_slots["cpu"] == 6
    assert [k.id for k in agent.kernels] == [kernel.id]
    assert cluster.agent_truth(agent.id) == {"held": {"cpu": 2, "mem": 1 << 30}, "running": [kernel.id]}
    assert cluster.terminate(session) == []
    assert cluster.session(job).status in ("TERMINATING", "TERMINATED")
    cluster.advance(5)
    assert cluster.session(job).status == "TERMINATED"
    assert session.status == "RUNNING", "a view stays as it was"
    assert cluster.session(session).status == "TERMINATED"
    assert [entry.session_id for entry in cluster.history(job)][0] == job


def test_views_describe_themselves(cluster):
    job = cluster.submit(cpu=1)
    cluster.advance(1)
    session = cluster.session(job)
    assert "session_type" in session.fields and session.entity == "session"
    everything = session.to_dict()
    assert set(everything) == set(session.fields)
    assert all(everything[name] == getattr(session, name) for name in session.fields)
    assert job in repr(session) and "RUNNING" in repr(session)
    assert session == cluster.session(job) and len({session, cluster.session(job)}) == 1
    with pytest.raises(AttributeError):
        session.status = "PENDING"
    with pytest.raises(AttributeError):
        session.nothing
    with pytest.raises(TypeError):
        type(session)()
    cluster.user("ada")
    keypair = cluster.snapshot().table("keypair")[0]
    assert "secret_key" not in keypair.to_dict()


def test_virtual_time_moves_only_when_told(cluster):
    begin = cluster.now
    assert begin == datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc) and cluster.elapsed == 0
    job = cluster.submit(cpu=1, duration=600)
    assert cluster.now == begin
    cluster.advance(599.5)
    assert cluster.session(job).status == "RUNNING" and cluster.elapsed == 599.5
    cluster.advance(datetime.timedelta(seconds=1))
    session = cluster.session(job)
    assert (session.status, session.result) == ("TERMINATED", "success")
    assert session.terminated_at - session.starts_at == datetime.timedelta(seconds=600)
    cluster.advance_to(datetime.datetime(2026, 1, 1, 2, tzinfo=datetime.timezone.utc))
    assert cluster.elapsed == 7200


def test_run_until_stops_at_the_moment_it_becomes_true(cluster):
    job = cluster.submit(cpu=1, duration=100)
    asked = []

    def ended():
        asked.append(cluster.elapsed)
        return cluster.session(job).status == "TERMINATED"

    assert cluster.run_until(ended)
    assert cluster.elapsed == 100 and len(asked) > 1
    assert not cluster.run_until(lambda: False, within=50) and cluster.elapsed == 150


def test_run_until_idle(cluster):
    jobs = [cluster.submit(cpu=8, duration=100) for _ in range(6)]
    later = cluster.submit(cpu=1, duration=10, starts_at=5000)
    never = cluster.submit(cpu=100)
    forever = cluster.submit(cpu=1, priority=90)
    assert cluster.run_until_idle()
    assert {cluster.session(job).status for job in [*jobs, later]} == {"TERMINATED"}
    assert cluster.session(later).starts_at >= datetime.datetime(2026, 1, 1, 1, 23, 20, tzinfo=datetime.timezone.utc)
    assert (cluster.session(never).status, cluster.session(forever).status) == ("PENDING", "RUNNING")
    assert 5010 <= cluster.elapsed < 5020
    assert cluster.terminate(never) == [(never, "cancelled")]
    cluster.submit(cpu=1, duration=1000)
    assert not cluster.run_until_idle(within=10)


def test_failures_of_jobs(cluster):
    job = cluster.submit(cpu=1, duration=10, exit_code=3)
    after = cluster.submit(cpu=1, duration=10, dependencies=[job])
    assert cluster.run_until_idle()
    assert cluster.session(job).result == "failure"
    assert cluster.session(after).status in ("PENDING", "CANCELLED")


@pytest.mark.cluster(agents=3, slots={"cpu": 4})
def test_gangs_start_whole_or_not_at_all(cluster):
    blocker = cluster.submit(cpu=3)
    gang = cluster.submit(cpu=4, kernels=3)
    cluster.advance(10)
    assert (cluster.session(gang).status, cluster.session(gang).cluster_mode) == ("PENDING", "multi-node")
    reason = cluster.why(gang)
    assert reason.code == "capacity" and reason.position == 1 and "cpu" in reason.missing and str(reason)
    cluster.terminate(blocker)
    cluster.advance(10)
    assert len({kernel.agent for kernel in cluster.session(gang).kernels}) == 3
    assert cluster.why(gang).code == "" and cluster.why(gang).status == "RUNNING"
    one_node = cluster.submit(cpu=1, kernels=4, cluster_mode="single-node")
    cluster.terminate(gang)
    cluster.advance(10)
    assert len({kernel.agent for kernel in cluster.session(one_node).kernels}) == 1


@pytest.mark.cluster(agents=[{"cpu": 2}, {"cpu": 8}, {"cpu": 8}])
def test_a_gang_of_kernels_that_differ(cluster):
    blocker = cluster.submit(cpu=1, agents=["agent-3"])
    cluster.advance(5)
    gang = cluster.submit(kernel_slots=[{"cpu": 2}] + 2 * [{"cpu": 8}])
    cluster.advance(5)
    session = cluster.session(gang)
    assert (session.status, session.cluster_size, session.requested_slots["cpu"]) == ("PENDING", 3, 18)
    assert [kernel.agent for kernel in session.kernels] == ["", "", ""], "none of it starts"
    assert cluster.why(gang).code == "capacity" and cluster.why(gang).missing["cpu"] == 1
    cluster.terminate(blocker)
    cluster.advance(5)
    session = cluster.session(gang)
    assert session.status == "RUNNING"
    held = {kernel.cluster_hostname: (kernel.agent, kernel.occupied_slots["cpu"]) for kernel in session.kernels}
    assert held["main1"] == ("agent-1", 2)
    assert {held["sub1"], held["sub2"]} == {("agent-2", 8), ("agent-3", 8)}
    together = cluster.what_if(kernel_slots=[{"cpu": 1}, {"cpu": 1}, {"cpu": 2}], cluster_mode="single-node")
    assert not together.starts_now and together.why.missing["cpu"] > 0


@pytest.mark.cluster(agents=2, slots={"cpu": 8})
def test_sessions_of_a_group_are_apart_or_together(cluster):
    apart = cluster.session_group("replicas", strict=True)
    replicas = [cluster.submit(cpu=1, session_group=apart) for _ in range(3)]
    cluster.advance(5)
    running = [cluster.session(job) for job in replicas if cluster.session(job).status == "RUNNING"]
    assert {job.kernels[0].agent for job in running} == {"agent-1", "agent-2"}
    waiting, = [job for job in replicas if cluster.session(job).status == "PENDING"]
    assert cluster.why(waiting).rejected == {"session-group": 2}
    together = cluster.session_group("pack", "pack", strict=True)
    packed = [cluster.submit(cpu=2, session_group=together) for _ in range(4)]
    cluster.terminate(waiting)
    cluster.advance(5)
    started = [cluster.session(job) for job in packed if cluster.session(job).status == "RUNNING"]
    assert len(started) == 3 and len({job.kernels[0].agent for job in started}) == 1
    ada = cluster.user("ada")
    with pytest.raises(NotFound, match="session_group"):
        ada.submit(cpu=1, session_group=apart)
    own = cluster.session_group("replicas", user=ada)
    assert own != apart and ada.submit(cpu=1, session_group=own)


@pytest.mark.cluster(agents=1, slots={"cpu": 1})
def test_first_come_first_served(cluster):
    jobs = [cluster.submit(cpu=1, duration=10) for _ in range(20)]
    assert cluster.run_until_idle() and cluster.elapsed == 200
    started = [cluster.session(job).starts_at for job in jobs]
    assert started == sorted(started) and len(set(started)) == 20


@pytest.mark.cluster(agents=1, slots={"cpu": 1})
def test_submit_many_is_considered_together(cluster):
    low, high = cluster.submit_many([{"cpu": 1, "priority": 5}, {"cpu": 1, "priority": 50}])
    cluster.advance(1)
    assert (cluster.session(low).status, cluster.session(high).status) == ("PENDING", "RUNNING")


def test_users_projects_domains_and_limits(cluster):
    ada = cluster.user("ada", limits={"max_concurrent_sessions": 1})
    bob = cluster.user("bob", project="vision", domain="lab")
    cluster.project("vision", "lab", slots={"cpu": 2})
    mine = [ada.submit(cpu=1), ada.submit(cpu=1)]
    his = [bob.submit(cpu=2), bob.submit(cpu=1)]
    cluster.advance(5)
    assert [cluster.session(job).status for job in mine + his] == ["RUNNING", "PENDING", "RUNNING", "PENDING"]
    assert cluster.why(his[1]).message and cluster.session(his[0]).domain_name == "lab"
    assert [session.id for session in ada.sessions("RUNNING")] == [mine[0]]
    assert {session.id for session in cluster.sessions(["RUNNING", "PENDING"], user=bob.id)} == set(his)
    assert (cluster.user("ada").id, cluster.user("ada").access_key) == (ada.id, ada.access_key)
    assert cluster.snapshot().count("user") == 3


def test_roles_and_limits_of_a_user_change_without_each_other(tmp_path):
    path = tmp_path / "state.sqlite"
    with Cluster(storage=path) as cluster:
        def stored(user):
            row = cluster.snapshot().find("user", user.id)
            keypair = cluster.snapshot().find("keypair", user.access_key)
            return row.role, keypair.is_admin, keypair.resource_policy

        root = cluster.user("root", role="superadmin", limits={"max_concurrent_sessions": 1})
        assert stored(root) == ("superadmin", True, root.access_key)
        cluster.user("root", limits={"max_concurrent_sessions": 2})
        assert stored(root) == ("superadmin", True, root.access_key)
        ada = cluster.user("ada")
        assert stored(ada) == ("user", False, "default")
        cluster.user("ada", role="superadmin")
        assert stored(ada) == ("superadmin", True, "default")
        other = cluster.submit(cpu=1)
        assert ada.terminate(other) and cluster.session(other).status != "PENDING"
        cluster.user("ada", role="user")
        assert stored(ada) == ("user", False, "default")
    with Cluster(agents=0, storage=path) as cluster:
        cluster.user("root")
        assert stored(root) == ("superadmin", True, root.access_key), "as it was stored"


def test_agents_of_many_kinds_and_resource_groups():
    agents = ["plain", {"cpu": 2}, AgentSpec("gpu-1", {"cpu": 16, "cuda.device": 4, "mem": "64g"}, "gpu"),
              AgentSpec("npu-1", {"cpu": 4, "acme.device": 2}, "gpu", slot_types={"acme.device": "count"}),
              AgentSpec("arm-1", {"cpu": 4}, architecture="aarch64")]
    with Cluster(agents=0) as cluster:
        cluster.resource_group("gpu", {"selector": "dispersed", "scheduler": "drf"})
        for agent in agents:
            cluster.add_agent(agent)
        cluster.advance(1)
        assert [agent.id for agent in cluster.agents()] == ["agent-2", "arm-1", "gpu-1", "npu-1", "plain"]
        assert cluster.agent("plain").available_slots == {"cpu": 8, "mem": 1 << 40}
        assert cluster.agent("gpu-1").available_slots == {"cpu": 16, "cuda.device": 4, "mem": 64 << 30}
        train = cluster.submit({"cpu": 0.5}, gpus=2, resource_group="gpu")
        acme = cluster.submit({"cpu": 1, "acme.device": 1}, resource_group="gpu")
        arm = cluster.submit(cpu=1, architecture="aarch64")
        designated = cluster.submit(cpu=1, agents=["plain"], resource_opts={"agent_selection_policy": "strict"})
        cluster.advance(1)
        places = [cluster.session(job).kernels[0].agent for job in (train, acme, arm, designated)]
        assert places == ["gpu-1", "npu-1", "arm-1", "plain"]
        assert cluster.session(train).requested_slots["cpu"] == 0.5
        cluster.check_invariants()


def test_agents_fail_and_come_back(cluster):
    cluster.set_schedulable("agent-2", False)
    job = cluster.submit(cpu=1)
    cluster.advance(5)
    cluster.fail_agent("agent-1")
    cluster.advance(60)
    assert cluster.agent("agent-1").status == "LOST" and cluster.agent("agent-1").lost_at is not None
    cluster.advance(300)
    assert cluster.session(job).status != "RUNNING"
    cluster.restore_agent("agent-1")
    cluster.advance(10)
    assert cluster.agent("agent-1").status == "ALIVE"
    again = cluster.submit(cpu=1)
    cluster.advance(5)
    assert cluster.session(again).status == "RUNNING"
    cluster.fail_agent("agent-1", hang=True)
    cluster.advance(20)
    cluster.restore_agent("agent-1")
    cluster.advance(30)
    assert cluster.session(again).status == "RUNNING", "hung for less than the timeout"


def test_kernels_fail(cluster):
    cluster.fail_creates("agent-1", 1)
    cluster.fail_creates("agent-2", 1, late=True)
    job = cluster.submit(cpu=1)
    assert cluster.run_until(lambda: cluster.session(job).status == "RUNNING", within=300)
    cluster.kill_kernel(cluster.session(job).kernels[0], exit_code=9)
    assert cluster.run_until(lambda: cluster.session(job).status == "TERMINATED", within=300)


def test_capacity_shrinks_and_grows(cluster):
    for id in ("agent-1", "agent-2"):
        cluster.set_capacity(id, {"cpu": 1})
    cluster.advance(10)
    assert cluster.agent("agent-1").available_slots["cpu"] == 1
    job = cluster.submit(cpu=2)
    cluster.advance(10)
    assert cluster.session(job).status == "PENDING"
    cluster.set_capacity("agent-1", {"cpu": 2})
    cluster.advance(10)
    assert cluster.session(job).status == "RUNNING"


@pytest.mark.cluster(behaviour={"create": (5, 5), "pull": 0, "destroy": 3})
def test_behaviour_takes_its_time(cluster):
    job = cluster.submit(cpu=1)
    cluster.advance(4)
    assert cluster.session(job).status == "CREATING"
    cluster.advance(1)
    assert cluster.session(job).status == "RUNNING"
    cluster.terminate(job)
    cluster.advance(2)
    assert cluster.session(job).status == "TERMINATING"
    cluster.advance(2)
    assert cluster.session(job).status == "TERMINATED"
    times = cluster.session(job).status_history
    assert (times["RUNNING"] - times["CREATING"]).total_seconds() == 5


def test_code_runs_in_a_session(cluster):
    job = cluster.submit(cpu=1)
    cluster.advance(1)
    assert cluster.execute(job, "print(1)")["status"] == "finished"


def test_the_same_seed_gives_the_same_history():
    def life(seed):
        with Cluster(agents=3, seed=seed, behaviour={"create": (1, 9), "batch_failure": 0.5}, shuffle=True) as cluster:
            for i in range(20):
                cluster.submit(cpu=1 + i % 4, duration=30 + i)
                cluster.advance(7)
            cluster.run_until_idle()
            return [session.to_dict() for session in cluster.sessions()], cluster.statistics()

    assert life(1) == life(1)
    assert life(1) != life(2)


def test_limits_without_bound_are_infinite(cluster):
    cluster.domain("default", slots={"cpu": "Infinity"})
    row = cluster.snapshot().find("domain", "default")
    assert row.total_resource_slots == {"cpu": math.inf}


def test_closing(cluster):
    assert "2 agents" in repr(cluster)
    snapshot = cluster.snapshot()
    cluster.close()
    cluster.close()
    assert "closed" in repr(cluster)
    assert snapshot.count("agent") == 2, "a snapshot outlives its cluster"

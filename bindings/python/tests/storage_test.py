"""What is stored outlives its manager."""

import pytest

from bai_manager import Cluster, Corruption, NotFound, Unavailable


def test_reopening_a_file_goes_on_where_it_was(tmp_path):
    path = tmp_path / "manager.sqlite"
    with Cluster(agents=1, slots={"cpu": 4}, storage=path) as cluster:
        ada = cluster.user("ada", project="vision")
        done = cluster.submit(cpu=1, duration=10)
        cluster.run_until_idle()
        waiting = ada.submit(cpu=100)
        cluster.advance(50)
        then = cluster.session(done).terminated_at
    with Cluster(agents=1, slots={"cpu": 200}, storage=str(path)) as cluster:
        assert cluster.session(done).result == "success"
        assert cluster.now > then and cluster.elapsed == 0
        cluster.advance(10)
        assert cluster.session(waiting).status == "RUNNING", "the new agent has room for it"
        assert cluster.session(waiting).user == cluster.user("ada", project="vision").id
        new = cluster.submit(cpu=1)
        cluster.advance(1)
        assert new not in (done, waiting) and cluster.session(new).name != cluster.session(waiting).name
        assert [entry.session_id for entry in cluster.history(waiting)] != []
        cluster.check_invariants()


def test_what_ran_on_agents_that_are_gone_ends(tmp_path):
    path = tmp_path / "manager.sqlite"
    with Cluster(agents=1, storage=path) as cluster:
        job = cluster.submit(cpu=1)
        cluster.advance(5)
        assert cluster.session(job).status == "RUNNING"
    with Cluster(agents=1, storage=path) as cluster:
        assert cluster.run_until(lambda: cluster.session(job).status != "RUNNING", within=3600)


@pytest.mark.parametrize("stored", ["memory", "file"])
def test_a_restart_loses_nothing(tmp_path, stored):
    storage = "memory" if stored == "memory" else tmp_path / "manager.sqlite"
    with Cluster(agents=2, storage=storage, behaviour={"create": 5}) as cluster:
        running = cluster.submit(cpu=1)
        cluster.advance(10)
        creating = cluster.submit(cpu=1)
        cluster.advance(2)
        assert cluster.session(creating).status == "CREATING"
        before = cluster.now
        cluster.restart(outage=20)
        assert (cluster.now - before).total_seconds() == 20
        cluster.advance(60)
        assert [cluster.session(id).status for id in (running, creating)] == ["RUNNING", "RUNNING"]
        assert sum(len(cluster.agent_truth(agent.id)["running"]) for agent in cluster.agents()) == 2
        cluster.check_invariants()


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(NotFound):
        Cluster(storage=tmp_path / "no" / "such" / "folder.sqlite")
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(Corruption):
        Cluster(storage=broken)
    with Cluster(storage=tmp_path / "one.sqlite"):
        with pytest.raises(Unavailable):
            Cluster(storage=tmp_path / "one.sqlite")
    with Cluster(storage=tmp_path / "one.sqlite") as cluster:
        cluster.submit(cpu=1)

"""Bad input: an exception of the right class that says what is wrong, and nothing has changed."""

import datetime
import pickle

import pytest

import bai_manager
from bai_manager import (AgentSpec, AlreadyExists, BaiError, Cluster, Conflict, InvalidArgument, NotFound, Policy,
                         PermissionDenied, QuotaExceeded, Selector, Unavailable, Validator)

SUBMIT = [
    ({"cpu": -1}, "negative"), ({"cpu": "many"}, "cpu"), ({"cpu": float("nan")}, "cpu"), ({"cpu": float("inf")}, "finite"),
    ({"cpu": True}, "cpu"), ({"slots": {"gold": 1}}, "gold"), ({"slots": 5}, "slots"), ({"gpus": 1}, "cuda.device"),
    ({"kernels": 0}, "cluster_size"), ({"kernels": 2.5}, "cluster_size"), ({"priority": 101}, "priority"),
    ({"priority": "high"}, "priority"), ({"session_type": "party"}, "session_type"), ({"duration": -1}, "duration"),
    ({"duration": float("inf")}, "duration"), ({"duration": 5, "exit_code": "x"}, "exit_code"), ({"timeout": 10}, "batch"),
    ({"name": "x"}, "session_name"), ({"starts_at": 100}, "batch"), ({"duration": 1, "starts_at": -1}, "starts_at"),
    ({"colour": "red"}, "colour"), ({"environ": {1: 2}}, "environ"), ({"environ": object()}, "environ"),
    ({"tag": 5}, "tag"), ({"cluster_mode": "both"}, "cluster_mode"), ({"dependencies": ["nobody"]}, "nobody"),
    ({"preopen_ports": "x"}, "preopen_ports"), ({"preopen_ports": [8080, "x"]}, "preopen_ports"),
    ({"preopen_ports": [True]}, "preopen_ports"), ({"agents": 5}, "agents"), ({"agents": "agent-1"}, "agents"),
    ({"dependencies": 5}, "dependencies"), ({"kernel_slots": 5}, "kernel_slots"), ({"kernel_slots": [5]}, "kernel_slots"),
    ({"kernel_slots": [{"cpu": 1}], "cpu": 1}, "either"), ({"kernel_slots": [{"cpu": 1}], "kernels": 2}, "cluster_size"),
    ({"session_group": 5}, "session_group"), ({"session_group": "none"}, "none"),
    ({"duration": 1, "starts_at": datetime.datetime(2026, 1, 2)}, "time zone"), ({"duration": "x"}, "duration"),
    ({"image": "no/such:image"}, "no/such"), ({"resource_group": "nowhere"}, "nowhere"), ({"project": "none"}, "none"),
]


@pytest.mark.parametrize("request_, said", SUBMIT, ids=[str(i) for i in range(len(SUBMIT))])
def test_requests_that_can_never_be_right(cluster, request_, said):
    with pytest.raises((InvalidArgument, NotFound)) as caught:
        cluster.submit(**request_)
    assert said in str(caught.value) and caught.value.code in ("invalid-argument", "not-found")
    assert cluster.sessions() == []


CLUSTERS = [
    ({"agents": -1}, "agents"), ({"agents": "ten"}, "agents"), ({"agents": True}, "agents"), ({"agents": [5]}, "agent"),
    ({"agents": ["twin", "twin"]}, "twin"), ({"slots": {"gold": 1}}, "gold"), ({"seed": -1}, "seed"),
    ({"seed": "x"}, "seed"), ({"policy": "astrology"}, "astrology"), ({"policy": 5}, "policy"),
    ({"policy": {"planner": "x"}}, "planner"), ({"policy": {"discipline": "chaos"}}, "chaos"),
    ({"policy": {"selector": "astrology"}}, "astrology"), ({"policy": {"selector": object()}}, "selector"),
    ({"policy": {"selector": Selector}}, "selector"), ({"policy": {"options": {"selector": {"x": 1}}}}, "x"),
    ({"policies": {"own": object()}}, "own"), ({"options": {"agent_timeout": -1}}, "agent_timeout"),
    ({"options": {"agent_timeout": "soon"}}, "agent_timeout"), ({"options": {"batch_max": 0}}, "batch_max"),
    ({"options": {"speed": 1}}, "speed"), ({"behaviour": {"mood": 1}}, "mood"), ({"behaviour": {"create": (5, 1)}}, "create"),
    ({"behaviour": {"create_failure": 2}}, "create_failure"), ({"behaviour": {"heartbeat_interval": 0}}, "heartbeat"),
    ({"limits": {"max_fun": 1}}, "max_fun"), ({"storage": ""}, "storage"), ({"storage": 5}, "storage"),
    ({"policy": {"slot_priority": "cpu"}}, "slot_priority"), ({"policy": {"slot_priority": [5]}}, "slot_priority"),
    ({"policy": {"validators": object()}}, "validators"), ({"policy": {"validators": [object()]}}, "validators"),
    ({"policy": {"validators": [Validator]}}, "validators"), ({"policy": {"options": 5}}, "options"),
    ({"policy": {"discipline": 5}}, "discipline"), ({"slots": 5}, "slots"), ({"options": 5}, "options"),
    ({"behaviour": 5}, "behaviour"), ({"limits": 5}, "limits"), ({"policies": 5}, "policies"), ({"agents": 2.5}, "agents"),
    ({"agents": [AgentSpec("a", slots=5)]}, "slots"), ({"agents": [AgentSpec("a", images="x")]}, "images"),
    ({"agents": [AgentSpec("a", slot_types=5)]}, "slot_types"), ({"agents": [AgentSpec("a", behaviour=5)]}, "behaviour"),
]


@pytest.mark.parametrize("arguments, said", CLUSTERS, ids=[str(i) for i in range(len(CLUSTERS))])
def test_clusters_that_cannot_be(arguments, said):
    with pytest.raises((InvalidArgument, NotFound, AlreadyExists)) as caught:
        Cluster(**arguments)
    assert said in str(caught.value)


def test_time_does_not_go_backwards(cluster):
    cluster.advance(100)
    for wrong in (lambda: cluster.advance(-1), lambda: cluster.advance_to(50), lambda: cluster.advance(float("nan")),
                  lambda: cluster.advance("soon"), lambda: cluster.advance(1e12), lambda: cluster.advance_to("x"),
                  lambda: cluster.advance_to(datetime.datetime(2026, 1, 2)), lambda: cluster.advance_to(None),
                  lambda: cluster.advance_to(True), lambda: cluster.advance_to(float("nan")),
                  lambda: cluster.run_until(5), lambda: cluster.run_until_idle(-1)):
        with pytest.raises(InvalidArgument):
            wrong()
    with pytest.raises(InvalidArgument, match="nan"):
        cluster.advance(float("nan"))
    assert cluster.elapsed == 100


def test_what_is_not_there(cluster):
    nobody = "00000000-0000-7000-8000-000000000000"
    for missing in (lambda: cluster.session(nobody), lambda: cluster.session("nobody"), lambda: cluster.why(nobody),
                    lambda: cluster.terminate(nobody), lambda: cluster.history(nobody), lambda: cluster.agent("none"),
                    lambda: cluster.fail_agent("none"), lambda: cluster.set_schedulable("none", True),
                    lambda: cluster.kill_kernel(nobody), lambda: cluster.set_capacity("none", {})):
        with pytest.raises(NotFound) as caught:
            missing()
        assert isinstance(caught.value, LookupError)
    with pytest.raises(InvalidArgument):
        cluster.session(5)
    with pytest.raises(InvalidArgument):
        cluster.kill_kernel("not-an-id")
    with pytest.raises(InvalidArgument, match="PENDING"):
        cluster.sessions("ASLEEP")
    with pytest.raises(InvalidArgument, match="session_type"):
        cluster.sessions(colour="red")
    with pytest.raises(InvalidArgument, match="keypair"):
        cluster.snapshot().table("wheel")


def test_values_of_wrong_types(cluster):
    job = cluster.submit(cpu=1)
    for wrong in (lambda: cluster.submit(cpu=1, user="ada"), lambda: cluster.what_if(cpu=1, user=5),
                  lambda: cluster.submit_many([{"cpu": 1}], user="ada"), lambda: cluster.terminate(job, user="ada"),
                  lambda: cluster.terminate(job, forced="yes"), lambda: cluster.terminate(job, reason=5),
                  lambda: cluster.execute(job, 5), lambda: cluster.set_schedulable("agent-1", "yes"),
                  lambda: cluster.fail_agent("agent-1", hang=1), lambda: cluster.fail_creates("agent-1", -1),
                  lambda: cluster.fail_creates("agent-1", kind=5), lambda: cluster.fail_creates("agent-1", 2**40),
                  lambda: cluster.kill_kernel(5), lambda: cluster.kill_kernel(cluster.session(job).kernels[0], "9"),
                  lambda: cluster.user(5), lambda: cluster.project(5), lambda: cluster.domain(None),
                  lambda: cluster.session_group("x", strict="no"), lambda: Cluster(shuffle="x")):
        with pytest.raises(InvalidArgument):
            wrong()
    cluster.advance(5)
    assert cluster.session(job).status == "RUNNING" and len(cluster.sessions()) == 1


def test_states_that_do_not_allow_it(cluster):
    cluster.fail_agent("agent-1")
    with pytest.raises(Conflict):
        cluster.fail_agent("agent-1")
    with pytest.raises(Conflict):
        cluster.restore_agent("agent-2")
    with pytest.raises(AlreadyExists):
        cluster.add_agent("agent-2")
    cluster.submit(cpu=1, name="taken")
    with pytest.raises(AlreadyExists) as caught:
        cluster.submit(cpu=1, name="taken")
    assert caught.value.kind == "session-already-exists"
    with pytest.raises(InvalidArgument, match="Cluster"):
        cluster.resource_group("late", Policy(selector=Selector()))
    with pytest.raises(NotFound):
        cluster.resource_group("odd", "astrology")


@pytest.mark.cluster(limits={"max_containers_per_session": 2, "max_pending_session_count": 1})
def test_quotas(cluster):
    with pytest.raises(QuotaExceeded) as caught:
        cluster.submit(cpu=1, kernels=3)
    assert caught.value.code == "quota-exceeded" and caught.value.kind
    cluster.submit(cpu=100)
    with pytest.raises(QuotaExceeded):
        cluster.submit(cpu=100)


def test_dependencies_that_cannot_be(cluster):
    nobody = "00000000-0000-0000-0000-00000000beef"
    for named in ("itself", "later", nobody):
        for ask in (cluster.submit, cluster.what_if):
            with pytest.raises(NotFound) as caught:
                ask(cpu=1, name="itself", dependencies=[named])
            assert "dependencies: " in str(caught.value) and named in str(caught.value)
            assert caught.value.kind == "session-not-found"
    with pytest.raises(InvalidArgument, match="dependencies: .*not 5"):
        cluster.submit(cpu=1, dependencies=[5])
    # Two that would wait for each other: neither is there when the other one is asked for.
    ring = [{"cpu": 1, "name": "ring-1", "dependencies": ["ring-2"]}, {"cpu": 1, "name": "ring-2", "dependencies": ["ring-1"]}]
    answers = cluster.submit_many(ring, return_exceptions=True)
    assert [type(answer) for answer in answers] == [NotFound, NotFound] and cluster.sessions() == []
    with pytest.raises(InvalidArgument, match='no table "sessions" to load'):
        cluster.load({"sessions": [{"name": "ring-1"}]})


def test_reservations_that_cannot_be(make_cluster):
    cluster = make_cluster(agents=[{"cpu": 4}])
    start = cluster.now

    def moment(seconds):
        return (start + datetime.timedelta(seconds=seconds)).isoformat()
    right = {"resource_group": "default", "name": "course", "agents": {"agent-1": {"cpu": "3"}},
             "owners": [f"user/{cluster.default_user.id}"], "starts_at": moment(0), "ends_at": moment(3600)}

    def reserve(**changes):
        return cluster.load({"reservations": [{**right, **changes}]})

    for said, changes in (
            ("is not after starts_at", {"ends_at": moment(-1)}), ("is not after starts_at", {"ends_at": moment(0)}),
            ("is over", {"starts_at": moment(-9), "ends_at": moment(-5)}), ("366 days", {"ends_at": moment(367 * 86400)}),
            ("366 days", {"starts_at": "1700-01-01T00:00:00Z", "ends_at": "2250-01-01T00:00:00Z"}),
            ("starts_at", {"starts_at": "noon"}), ("ends_at", {"ends_at": None}), ("agent-9", {"agents": {"agent-9": {"cpu": 1}}}),
            ("negative", {"agents": {"agent-1": {"cpu": -1}}}), ("positive", {"agents": {"agent-1": {"cpu": 0}}}),
            ('Unknown slot type "gold"', {"agents": {"agent-1": {"gold": 1}}}), ("it has 4", {"agents": {"agent-1": {"cpu": 5}}}),
            ("names no slot", {"agents": {"agent-1": {}}}), ("agent-1", {"agents": {"agent-1": 5}}),
            ("agents", {"agents": {}}), ("owners", {"owners": []}), ("owners", {"owners": ["ada"]}),
            ("nowhere", {"owners": ["domain/nowhere"]}), ("stands twice", {"owners": ["domain/default"] * 2}),
            ("should be written", {"owners": [right["owners"][0].replace("-", "")]}),
            ("nowhere", {"resource_group": "nowhere"}), ("name", {"name": "a/b"}), ("colour", {"colour": "red"})):
        with pytest.raises((InvalidArgument, NotFound)) as caught:
            reserve(**changes)
        assert said in str(caught.value), changes
    assert reserve() == (1, 0)
    with pytest.raises(InvalidArgument, match="together"):
        reserve(name="second", agents={"agent-1": {"cpu": "2"}}, starts_at=moment(3599), ends_at=moment(7200))
    assert reserve(name="second", agents={"agent-1": {"cpu": "2"}}, starts_at=moment(3600), ends_at=moment(7200)) == (1, 0)


def test_whose_reservation_it_is_and_what_becomes_of_it(make_cluster):
    cluster = make_cluster(agents=[{"cpu": 4}, {"cpu": 1}])
    end = (cluster.now + datetime.timedelta(seconds=3600)).isoformat()
    cluster.load({"reservations": [{
        "resource_group": "default", "name": "course", "agents": {"agent-1": {"cpu": "3", "mem": "1g"}},
        "owners": [f"user/{cluster.default_user.id}"], "starts_at": cluster.now.isoformat(), "ends_at": end}]})
    stranger = cluster.user("ada")
    inside = {"cpu": 2, "duration": 100, "timeout": 200, "resource_opts": {"reservation": "course"}}
    for ask in (lambda: stranger.submit(**inside), lambda: cluster.what_if(user=stranger, **inside)):
        with pytest.raises(PermissionDenied, match="not yours to use"):
            ask()
    with pytest.raises(NotFound, match='no reservation "lecture"'):
        cluster.submit(cpu=1, resource_opts={"reservation": "lecture"})
    for wrong in (5, "", ["course"]):
        with pytest.raises(InvalidArgument, match="resource_opts.reservation"):
            cluster.submit(cpu=1, resource_opts={"reservation": wrong})
    assert cluster.what_if(**inside).agents == {"main1": "agent-1"}
    never = cluster.what_if(**{**inside, "cpu": 4, "mem": "2g"}).why
    assert never.code == "never" and "course keeps on no agent" in never.message
    assert "cpu 4, of which it keeps 3 at most; mem 2g, of which it keeps 1g at most" in never.message
    # The agent goes, and with it what was reserved: its owner waits, and is told why.
    cluster.fail_agent("agent-1")
    assert cluster.run_until(lambda: cluster.agent("agent-1").status == "LOST", 600)
    waiting = cluster.submit(**inside)
    cluster.advance(5)
    why = cluster.why(waiting, fresh=True)
    assert why.status == "PENDING" and why.code and why.message
    cluster.restore_agent("agent-1")
    assert cluster.run_until(lambda: cluster.session(waiting).status == "RUNNING", 300)
    # Who still waits in it when it is over is told so, and nobody else can begin to.
    late = cluster.submit(cpu=3, duration=100, timeout=200, resource_opts={"reservation": "course"})
    cluster.fail_agent("agent-1")
    cluster.advance(4000)
    why = cluster.why(late, fresh=True)
    assert why.status == "PENDING" and "reservation" in why.message and "course" in why.message
    with pytest.raises((InvalidArgument, NotFound), match="course"):
        cluster.submit(**inside)


def test_some_of_many_are_refused(cluster):
    answers = cluster.submit_many([{"cpu": 1}, {"cpu": -1}, {"cpu": 2}], return_exceptions=True)
    assert isinstance(answers[1], InvalidArgument) and len(cluster.sessions()) == 2
    with pytest.raises(InvalidArgument):
        cluster.submit_many([{"cpu": 1}, {"cpu": -1}])
    assert len(cluster.sessions()) == 3
    wrong = [{"duration": "x"}, {"slots": 5}, 5, {"user": "ada"}, {"dependencies": ["nobody"]}, {"agents": 5}, None]
    answers = cluster.submit_many([*wrong, {"cpu": 1, "name": "after-all"}], return_exceptions=True)
    assert all(isinstance(answer, BaiError) for answer in answers[:-1]) and len(answers) == len(wrong) + 1
    assert cluster.session("after-all").id == answers[-1] and len(cluster.sessions()) == 4
    with pytest.raises(InvalidArgument, match="duration"):
        cluster.submit_many([{"duration": "x"}, {"cpu": 1, "name": "behind"}])
    assert cluster.session("behind")
    with pytest.raises(InvalidArgument, match="requests"):
        cluster.submit_many(5)


def test_other_arguments_of_the_wrong_type(cluster):
    for said, wrong in (("fixture", lambda: cluster.load(5)), ("slots", lambda: cluster.domain("d", slots=5)),
                        ("slots", lambda: cluster.project("p", slots=5)), ("limits", lambda: cluster.user("u", limits=5)),
                        ("domains", lambda: cluster.resource_group("g", domains="default")),
                        ("slots", lambda: cluster.set_capacity("agent-1", 5)), ("status", lambda: cluster.sessions(5)),
                        ("fields", lambda: cluster.sessions_array("id")), ("fields", lambda: cluster.array("agent", 5)),
                        ("new_agents", lambda: cluster.what_if(cpu=1, new_agents=5)),
                        ("new_agents", lambda: cluster.what_if(cpu=1, new_agents=[5])),
                        ("direction", lambda: cluster.session_group("g", "around")),
                        ("role", lambda: cluster.user("u", role="king"))):
        with pytest.raises(InvalidArgument, match=said):
            wrong()


def test_others_sessions_are_out_of_reach(cluster):
    ada, bob = cluster.user("ada"), cluster.user("bob")
    job = ada.submit(cpu=1)
    with pytest.raises(BaiError) as caught:
        bob.terminate(job)
    assert isinstance(caught.value, (NotFound, bai_manager.PermissionDenied))
    assert ada.terminate(job)


def test_after_closing(cluster):
    job = cluster.submit(cpu=1)
    cluster.close()
    for use in (lambda: cluster.submit(cpu=1), lambda: cluster.advance(1), lambda: cluster.session(job), cluster.restart,
                cluster.snapshot, cluster.statistics, lambda: cluster.add_agent("late"), lambda: cluster.run_until(bool)):
        with pytest.raises(Unavailable):
            use()


def test_exceptions_are_ordinary():
    error = InvalidArgument("wrong", "kind-of", {"what": "it"})
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.message, copy.kind, copy.data) == (InvalidArgument, "wrong", "kind-of", {"what": "it"})
    assert isinstance(error, ValueError) and isinstance(bai_manager.DeadlineExceeded(), TimeoutError)


def test_fixtures_all_or_nothing(cluster):
    before = cluster.snapshot().version
    with pytest.raises(InvalidArgument, match="domains"):
        cluster.load({"domains": [{"name": "ok"}, {"colour": "red"}]})
    assert cluster.snapshot().version == before and cluster.snapshot().find("domain", "ok") is None
    assert cluster.load({"domains": [{"name": "ok"}]}) == (1, 0)

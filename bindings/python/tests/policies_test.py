"""Policies written in Python, good ones and bad ones."""

import gc
import weakref

import numpy
import pytest

from bai_manager import BandSorter, Cluster, Refusal, ScoreSelector, Selector, Sequencer, Validator


class Chooses(Selector):
    def __init__(self, choose):
        self.choose = choose

    def select(self, view, demand, candidates):
        return self.choose(view, demand, candidates)


class Orders(Sequencer):
    def __init__(self, order):
        self.order = order


class Checks(Validator):
    def __init__(self, check):
        self.check = check


def place_one(make_cluster, choose, **more):
    cluster = make_cluster(agents=[{"cpu": 8}, {"cpu": 4}, {"cpu": 2}], policy={"selector": Chooses(choose)}, **more)
    job = cluster.submit(cpu=1)
    cluster.advance(5)
    return cluster, job


def test_a_selector_sees_the_resource_group(make_cluster):
    seen = {}

    def choose(view, demand, candidates):
        seen.update(
            ids=view.agent_ids, free=view.free_column("cpu"), capacity=view.capacity_column("cpu"),
            containers=view.containers_column(), candidates=list(candidates), array=candidates.to_numpy(),
            length=len(candidates), last=candidates[-1], slots=demand.slots, order=demand.selection_order,
            session=demand.session.id, user=demand.session.user, one=view.free(2, "cpu"), name=view.agent_id(1),
            best=candidates.best([("most-free", "cpu")]), group=view.resource_group, now=view.now, pick=demand.pick,
            architecture=demand.architecture, pending=view.pending_count, inside=1 in candidates, outside=7 in candidates,
            total=view.group_capacity("cpu"), takes=view.takes_sessions(0), containers_wanted=demand.containers)
        return numpy.int64(2)

    cluster, job = place_one(make_cluster, choose)
    assert cluster.session(job).kernels[0].agent == "agent-3"
    assert seen["ids"] == ["agent-1", "agent-2", "agent-3"] and seen["name"] == "agent-2"
    assert seen["free"].tolist() == [8000, 4000, 2000] and seen["free"].dtype == numpy.int64
    assert seen["capacity"].tolist() == [8000, 4000, 2000] and seen["containers"].tolist() == [0, 0, 0]
    assert seen["candidates"] == [0, 1, 2] and seen["array"].tolist() == [0, 1, 2] and seen["last"] == 2
    assert seen["slots"]["cpu"] == 1000 and "cpu" in seen["order"] and seen["best"] == 0
    assert seen["session"] == job and seen["user"] == cluster.session(job).user and seen["one"] == 2000
    assert (seen["group"], seen["architecture"], seen["length"]) == ("default", "x86_64", 3)
    assert (seen["inside"], seen["outside"], seen["total"], seen["takes"]) == (True, False, 14000, True)
    assert (seen["containers_wanted"], seen["pending"], seen["now"]) == (1, 1, cluster.session(job).created_at)
    assert cluster.policy_errors == []


def test_none_leaves_the_session_waiting(make_cluster):
    cluster, job = place_one(make_cluster, lambda view, demand, candidates: None)
    assert cluster.session(job).status == "PENDING" and cluster.why(job).code not in ("", "policy-error")


NONSENSE = [lambda *_: "agent-1", lambda *_: -1, lambda *_: 3, lambda *_: 10**30, lambda *_: True, lambda *_: 1.0,
            lambda *_: [0], lambda view, demand, candidates: view]


@pytest.mark.parametrize("choose", NONSENSE, ids=[str(i) for i in range(len(NONSENSE))])
def test_a_selector_that_returns_nonsense(make_cluster, choose):
    cluster, job = place_one(make_cluster, choose)
    assert cluster.session(job).status == "PENDING"
    reason = cluster.why(job)
    assert reason.code == "policy-error" and "Chooses.select" in reason.message and "candidates" in reason.message
    assert cluster.policy_errors[-1].exception is None
    assert any("Chooses.select" in line for line in cluster.log())


def test_a_selector_that_raises_fails_its_pass_and_nothing_else(make_cluster):
    mood = {"bad": True}

    def choose(view, demand, candidates):
        if mood["bad"]:
            raise ValueError("not today")
        return candidates[0]

    cluster = make_cluster(agents=1, policies={"moody": Chooses(choose)})
    cluster.resource_group("other", {"selector": "moody"})
    cluster.add_agent("there", resource_group="other")
    cluster.advance(5)
    job = cluster.submit(cpu=1, resource_group="other")
    fine = cluster.submit(cpu=1, resource_group="default")
    cluster.advance(5)
    assert (cluster.session(job).status, cluster.session(fine).status) == ("PENDING", "RUNNING")
    assert cluster.why(job).code == "policy-error" and "ValueError: not today" in cluster.why(job).message
    error = cluster.policy_errors[0]
    assert (error.policy, error.method) == ("moody", "select")
    assert isinstance(error.exception, ValueError) and error.exception.__traceback__ is not None
    mood["bad"] = False
    another = cluster.submit(cpu=1, resource_group="other")
    cluster.advance(5)
    assert [cluster.session(id).status for id in (job, another)] == ["RUNNING", "RUNNING"]
    assert cluster.why(job).code == ""


def test_what_a_policy_raises_when_its_text_raises_too(make_cluster):
    class Rude(Exception):
        def __str__(self):
            raise RuntimeError("no")

    def choose(view, demand, candidates):
        raise Rude

    cluster, job = place_one(make_cluster, choose)
    assert cluster.why(job).code == "policy-error" and "Rude" in cluster.why(job).message


def test_views_end_with_their_pass(make_cluster):
    kept = []

    def choose(view, demand, candidates):
        kept.extend([view, demand, candidates, demand.session, view.free_column("cpu")])
        return candidates[0]

    cluster, job = place_one(make_cluster, choose)
    view, demand, candidates, session, column = kept[:5]
    for use in (lambda: view.now, lambda: view.free(0, "cpu"), lambda: demand.slots, lambda: len(candidates),
                lambda: list(candidates), lambda: session.id, lambda: view.queue()):
        with pytest.raises(RuntimeError, match="over"):
            use()
    assert column.tolist() == [8000, 4000, 2000], "an array is a copy"


def test_bad_questions_to_a_view_fail_the_pass(make_cluster):
    for choose, said in ((lambda v, d, c: v.free(99, "cpu"), "99"), (lambda v, d, c: v.free_column("gold"), "gold"),
                         (lambda v, d, c: v.holding("planet", d.session), "planet"), (lambda v, d, c: c[50], "fewer"),
                         (lambda v, d, c: c.best([("tallest", "cpu")]), "tallest"), (lambda v, d, c: v.free(-1, "cpu"), "-1")):
        cluster, job = place_one(make_cluster, choose)
        assert cluster.why(job).code == "policy-error" and said in cluster.why(job).message


def test_a_sequencer_orders_the_queue(make_cluster):
    class Largest(BandSorter):
        def sort(self, view, band):
            return sorted(band, key=lambda session: -session.slots["cpu"])

    cluster = make_cluster(agents=1, slots={"cpu": 8}, policy={"scheduler": Largest(), "discipline": "skip-ahead"})
    small, large, urgent = cluster.submit_many([{"cpu": 2}, {"cpu": 6}, {"cpu": 2, "priority": 60}])
    cluster.advance(1)
    assert [cluster.session(id).status for id in (small, large, urgent)] == ["PENDING", "RUNNING", "RUNNING"]


def test_a_sequencer_is_drawn_from_as_the_pass_goes_on(make_cluster):
    told = []

    class Told:
        """An iterable that hears what was placed."""

        def __init__(self, view):
            self.view, self.queue = view, view.queue()

        def __iter__(self):
            for session in self.queue:
                told.append(("free", self.view.free(0, "cpu")))
                yield session

        def placed(self, session):
            told.append(("placed", session.id, self.view.holding("user", session)["slots"]["cpu"]))

    cluster = make_cluster(agents=1, slots={"cpu": 4}, policy={"scheduler": Orders(Told)})
    first, second, third = cluster.submit_many([{"cpu": 2, "priority": 30}, {"cpu": 2, "priority": 20}, {"cpu": 1}])
    cluster.advance(1)
    assert told[:5] == [("free", 4000), ("placed", first, 2000), ("free", 2000), ("placed", second, 4000), ("free", 0)]
    assert cluster.session(third).status == "PENDING"


def test_what_a_sequencer_leaves_out_waits(make_cluster):
    cluster = make_cluster(policy={"scheduler": Orders(lambda view: [])})
    job = cluster.submit(cpu=1)
    cluster.advance(5)
    assert cluster.session(job).status == "PENDING" and cluster.policy_errors == []
    assert cluster.why(job).code == "left-out" and "leaves it out" in cluster.why(job).message


kept_sessions = []


def keeps(view):
    kept_sessions.extend(view.queue())
    return [kept_sessions[0]]


def raises_late(view):
    yield from view.queue()
    raise KeyError("the end")


SEQUENCES = [(lambda view: None, "returned None"), (lambda view: 5, "iterable"), (lambda view: [0], "no session"), (lambda view: ["x"], "no session"),
             (lambda view: 2 * list(view.queue()), "twice"), (lambda view: view.queue("tallest"), "tallest"),
             (raises_late, "KeyError"), (lambda view: 1 / 0, "ZeroDivisionError")]


@pytest.mark.parametrize("order, said", SEQUENCES, ids=[str(i) for i in range(len(SEQUENCES))])
def test_a_sequencer_that_gives_nonsense(make_cluster, order, said):
    cluster = make_cluster(policy={"scheduler": Orders(order), "discipline": "skip-ahead"})
    jobs = cluster.submit_many([{"cpu": 1}, {"cpu": 1}])
    cluster.advance(5)
    for job in jobs:
        assert (cluster.session(job).status, cluster.why(job).code) == ("PENDING", "policy-error")
        assert said in cluster.why(job).message
    assert said in str(cluster.policy_errors[-1]) and " at 0x" not in cluster.policy_errors[-1].message
    cluster.advance(100)
    assert {cluster.session(job).status for job in jobs} == {"PENDING"}


def test_sessions_of_an_earlier_pass_are_refused(make_cluster):
    kept_sessions.clear()
    cluster = make_cluster(agents=1, slots={"cpu": 1}, policy={"scheduler": Orders(keeps)})
    cluster.submit(cpu=1)
    second = cluster.submit(cpu=1)
    cluster.advance(1)
    cluster.submit(cpu=1)
    cluster.advance(1)
    assert cluster.why(second).code == "policy-error" and "another pass" in cluster.why(second).message


def test_validators(make_cluster):
    answers = {"none-1": None, "text-1": "Not now.", "whole-1": Refusal("Too late.", code="late", never=False),
               "never-1": Refusal("Cannot be.", never=True), "more-1": ["First.", Refusal("Second.", code="two")]}

    def check(view, session):
        return answers[cluster.session(session.id).name]

    cluster = make_cluster(policy={"validators": [Checks(check)]})
    cluster.submit_many([{"cpu": 1, "name": name} for name in answers])
    cluster.advance(1)
    got = {name: (cluster.session(name).status, cluster.why(name).code, cluster.why(name).message) for name in answers}
    assert got["none-1"][0] == "RUNNING"
    for name, code, message in (("text-1", "refused", "Not now."), ("whole-1", "late", "Too late."),
                                ("never-1", "never", "Cannot be."), ("more-1", "refused", "First.\nSecond.")):
        assert got[name][:2] == ("PENDING", code) and got[name][2].startswith(message), name


def test_a_refusal_that_time_lifts(make_cluster):
    import datetime

    def check(view, session):
        due = session.created_at + datetime.timedelta(seconds=100)
        return None if view.now >= due else Refusal("Wait.", due=due)

    cluster = make_cluster(policy={"validators": [Checks(check)]})
    job = cluster.submit(cpu=1)
    assert cluster.run_until(lambda: cluster.session(job).status == "RUNNING", within=200)
    assert cluster.elapsed == 100


@pytest.mark.parametrize("answer", [5, True, {"a": 1}, [5], Refusal(5), Refusal("x", due="soon"), object(), "", [""],
                                    Refusal(""), Refusal("x", due=5), Refusal("x", never=1), Refusal("x", kind=3)])
def test_a_validator_that_returns_nonsense(make_cluster, answer):
    cluster = make_cluster(policy={"validators": [Checks(lambda view, session: answer)]})
    job = cluster.submit(cpu=1)
    cluster.advance(1)
    assert cluster.why(job).code == "policy-error" and "Checks.check returned" in cluster.why(job).message
    assert " at 0x" not in cluster.why(job).message


def test_a_policy_cannot_drive_its_cluster(make_cluster):
    holder = []

    def choose(view, demand, candidates):
        holder[0].advance(1)

    holder.append(make_cluster(policy={"selector": Chooses(choose)}))
    job = holder[0].submit(cpu=1)
    holder[0].advance(1)
    assert "driven" in holder[0].why(job).message and holder[0].why(job).code == "policy-error"


def test_a_policy_can_read_its_cluster(make_cluster):
    holder, seen = [], []

    def choose(view, demand, candidates):
        seen.append(holder[0].session(demand.session.id).status)
        return candidates[0]

    holder.append(make_cluster(policy={"selector": Chooses(choose)}))
    holder[0].submit(cpu=1)
    holder[0].advance(1)
    assert seen == ["PENDING"]


def test_interrupts_pass_through(make_cluster):
    def choose(view, demand, candidates):
        raise KeyboardInterrupt

    cluster = make_cluster(policy={"selector": Chooses(choose)})
    with pytest.raises(KeyboardInterrupt):
        cluster.submit(cpu=1)
        cluster.advance(5)
    cluster.advance(5)  # nothing of it is left
    assert cluster.sessions()[0].status == "PENDING"


def test_the_errors_that_are_kept_are_bounded(make_cluster):
    count = []

    def choose(view, demand, candidates):
        count.append(1)
        raise ValueError(len(count))

    cluster = make_cluster(agents=1, policy={"selector": Chooses(choose)})
    for _ in range(500):
        cluster.submit(cpu=1)
        if len(count) >= 202:
            break
    assert len(count) >= 202 and len(cluster.policy_errors) == 200
    assert cluster.policy_errors[-1].message.endswith(str(len(count)))


def test_policies_go_with_their_cluster():
    policy = Chooses(lambda view, demand, candidates: candidates[0])
    cluster = Cluster(policy={"selector": policy})
    cluster.submit(cpu=1)
    cluster.advance(1)
    cluster.close()
    gone = weakref.ref(policy)
    del policy, cluster
    gc.collect()
    assert gone() is None


def test_the_same_choice_as_a_built_in_one(make_cluster):
    class Emptiest(Selector):
        def select(self, view, demand, candidates):
            agents = candidates.to_numpy()
            keys = [-view.free_column(slot)[agents] for slot in demand.selection_order]
            return agents[numpy.lexsort(keys[::-1])[0]]

    class Indexed(Selector):
        def select(self, view, demand, candidates):
            return candidates.best([("most-free", slot) for slot in demand.selection_order])

    def places(selector):
        cluster = make_cluster(agents=10, slots={"cpu": 16}, policy={"selector": selector})
        cluster.submit_many([{"cpu": 1 + i % 3} for i in range(60)])
        cluster.advance(1)
        return {session.name: session.kernels[0].agent for session in cluster.sessions("RUNNING")}

    assert places(Emptiest()) == places("dispersed") == places(Indexed())
    assert len(set(places("dispersed").values())) == 10


class Rates(ScoreSelector):
    def __init__(self):
        self.rated = []

    def score(self, view, slots, agent):
        self.rated.append((view.agent_id(agent), dict(slots)["cpu"]))
        return {"agent-1": 5, "agent-2": 7, "agent-3": 7}[view.agent_id(agent)]


def test_a_score_selector_rates_agents_once_until_they_change(make_cluster):
    rates = Rates()
    cluster = make_cluster(agents=[{"cpu": 2}] * 3, policy={"selector": rates})
    jobs = [cluster.submit(cpu=1) for _ in range(5)]
    cluster.run_until(lambda: len(cluster.sessions("RUNNING")) == 5, 60)
    where = [cluster.session(job).kernels[0].agent for job in jobs]
    assert where == ["agent-2", "agent-2", "agent-3", "agent-3", "agent-1"]
    assert {units for _, units in rates.rated} == {1000}
    assert sum(agent == "agent-1" for agent, _ in rates.rated) == 1
    assert cluster.policy_errors == []


@pytest.mark.parametrize("score", [0.5, None, True, 2**63])
def test_a_score_that_is_none(make_cluster, score):
    class Rated(ScoreSelector):
        def score(self, view, slots, agent):
            return score

    cluster = make_cluster(agents=1, policy={"selector": Rated()})
    job = cluster.submit(cpu=1)
    cluster.advance(5)
    assert cluster.why(job).code == "policy-error" and "right would be an integer" in cluster.why(job).message


class LastDevice(Selector):
    def __init__(self, wrong=False):
        self.seen, self.wrong = [], wrong

    def select(self, view, demand, candidates):
        return candidates[0]

    def device(self, view, demand, agent, slot, units, free):
        self.seen.append((view.agent_id(agent), slot, units, list(free)))
        return len(free) if self.wrong else max(i for i, units_free in enumerate(free) if units_free >= units)


def test_a_selector_chooses_the_device(make_cluster):
    policy = LastDevice()
    cluster = make_cluster(agents=[{"cpu": 8, "cuda.shares": 4}], policy={"selector": policy})
    job = cluster.submit({"cpu": 1, "cuda.shares": "0.5"})
    cluster.run_until(lambda: cluster.session(job).status == "RUNNING", 60)
    assert policy.seen == [("agent-1", "cuda.shares", 500, [1000, 1000, 1000, 1000])]
    assert dict(cluster.session(job).kernels[0].devices["cuda.shares"]) == {"3": "0.5"}


def test_a_device_that_is_not_there(make_cluster):
    cluster = make_cluster(agents=[{"cpu": 8, "cuda.shares": 4}], policy={"selector": LastDevice(wrong=True)})
    job = cluster.submit({"cpu": 1, "cuda.shares": "0.5"})
    cluster.advance(5)
    assert cluster.why(job).code == "policy-error" and "chose device 4" in cluster.why(job).message


def test_an_order_is_told_what_can_be_left_out(make_cluster):
    told = []

    class Order:
        def __init__(self, view):
            self.sessions = iter(list(view.queue()))

        def __iter__(self):
            return self.sessions

        def narrow(self, request, longest):
            told.append((request, longest))

    cluster = make_cluster(agents=[{"cpu": 4}], policy={"scheduler": Orders(Order), "discipline": "skip-ahead"})
    cluster.submit(cpu=8)
    cluster.advance(1)
    # Whoever may start alone is asked about with all that is before it.
    assert cluster.what_if(cpu=1).starts_now
    assert len(told) == 1 and told[0][1] is None


def test_the_view_knows_limits_devices_and_shares(make_cluster):
    seen = {}

    def choose(view, demand, candidates):
        session = demand.session
        seen.update(observed=view.observed_free(0, "cpu"), has=view.has_slot(0, "cpu"), type=view.slot_type("mem"),
                    hosted=view.hosted(0, "cpu"), ring=view.dependency_ring(session),
                    share=view.dominant_share(session), cohort=view.cohort(session),
                    limits=view.limits("project", session), image=session.image, job_priority=session.job_priority,
                    preemptible=session.is_preemptible, request=session.request)
        with pytest.raises(Exception, match="must be user, project or domain"):
            view.limits("planet", session)
        return 0

    cluster, job = place_one(make_cluster, choose)
    assert (seen["observed"], seen["has"], seen["type"]) == (8000, True, "bytes")
    assert seen["hosted"] == [] and seen["ring"] == [] and seen["cohort"] is None and seen["limits"] == {}
    assert seen["share"][0] == 0 and seen["image"] and (seen["job_priority"], seen["preemptible"]) == (0, True)
    assert isinstance(seen["request"], int) and cluster.policy_errors == []

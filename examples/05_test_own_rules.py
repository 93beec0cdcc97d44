# %% [markdown]
# # A control plane's own rules, tested as one tests any other code
# The rules of an imagined laboratory: work of the night may use the whole cluster, by day nobody gets more than half
# of it; whoever asks for least goes first; and nothing that is refused holds up what is behind it. Each test takes
# milliseconds, however many hours pass in it.
#
#     cmake --preset dev && cmake --build build/dev --target bai_python
#     PYTHONPATH=build/dev/python python3 -m pytest -p bai_manager.pytest_plugin examples/05_test_own_rules.py
#
# Also runs as a script, and opens as a notebook where the format of its cells is known (Jupytext, VS Code, Spyder).

# %%
import datetime

import pytest

from bai_manager import BandSorter, Cluster, Refusal, Validator

# %% [markdown]
# ## The rules
# A validator says whether a session may start now, and until when not. A sequencer says who goes first.

# %%
NIGHT = range(0, 6)  # hours, UTC


class HalfByDay(Validator):
    """By day a user holds at most half of the cores."""

    def check(self, view, session):
        if view.now.hour in NIGHT:
            return None
        held = view.holding("user", session)["slots"].get("cpu", 0)
        if 2 * (held + session.slots.get("cpu", 0)) <= view.group_capacity("cpu"):
            return None
        midnight = (view.now + datetime.timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return Refusal("By day you can hold half of the cores at most; this session starts at midnight or when one "
                       "of yours ends.", code="half-by-day", due=midnight)


class SmallestFirst(BandSorter):
    """Within a priority, whoever asks for least goes first."""

    def sort(self, view, band):
        return sorted(band, key=lambda session: session.slots.get("cpu", 0))


# %% [markdown]
# ## The laboratory
# A cluster with these rules, without the hours before it opens.


# %%
def laboratory(make_cluster):
    """Two agents of eight cores, at eight in the morning."""
    cluster = make_cluster(agents=2, slots={"cpu": 8}, behaviour={"heartbeat_interval": 600},
                           options={"agent_timeout": 3600},
                           policy={"scheduler": SmallestFirst(), "discipline": "skip-ahead",
                                   "validators": [HalfByDay()]})
    cluster.advance_to(8 * 3600)
    return cluster


@pytest.fixture
def lab(make_cluster):
    return laboratory(make_cluster)


# %% [markdown]
# ## What must hold
# The plugin's fixture checks every sum of the manager after each test.


# %%
def test_by_day_a_user_gets_half_and_the_rest_at_midnight(lab):
    jobs = lab.submit_many([{"cpu": 4} for _ in range(4)], user=lab.user("ada"))
    lab.advance(1)
    assert [lab.session(job).status for job in jobs].count("RUNNING") == 2
    waiting = [job for job in jobs if lab.session(job).status == "PENDING"]
    assert {lab.why(job).code for job in waiting} == {"half-by-day"}
    lab.advance_to(24 * 3600 + 1)
    assert [lab.session(job).status for job in jobs].count("RUNNING") == 4


def test_one_user_does_not_hold_up_another(lab):
    ada, bob = lab.user("ada"), lab.user("bob")
    for _ in range(3):
        ada.submit(cpu=4)
    job = bob.submit(cpu=8)
    lab.advance(1)
    assert lab.session(job).status == "RUNNING"


def test_the_smallest_goes_first_within_a_priority(lab):
    lab.set_schedulable("agent-2", False)
    large, small = lab.submit_many([{"cpu": 8}, {"cpu": 2}])
    lab.advance(1)
    assert (lab.session(small).status, lab.session(large).status) == ("RUNNING", "PENDING")


# %% [markdown]
# What the rules rest on can fail, too: the manager may die, and agents do.


# %%
def test_a_job_outlives_the_manager_but_not_its_agent(lab):
    job = lab.submit(cpu=1, duration=7200)
    lab.advance(60)
    agent = lab.session(job).kernels[0].agent
    lab.restart(outage=30)
    assert lab.session(job).status == "RUNNING"
    lab.fail_agent(agent)
    assert lab.run_until(lambda: lab.session(job).status != "RUNNING", within=6 * 3600)


@pytest.mark.cluster(agents=1, slots={"cpu": 2}, limits={"max_concurrent_sessions": 1})
def test_limits_of_the_keypair_policy(cluster: Cluster):
    first, second = cluster.submit(cpu=1, duration=600), cluster.submit(cpu=1, duration=600)
    cluster.advance(1)
    assert cluster.session(first).status == "RUNNING"
    assert "concurren" in cluster.why(second).message.lower()
    assert cluster.run_until_idle()
    assert cluster.session(second).result == "success"


# %% [markdown]
# ## Without pytest
# Each test once, on a laboratory of its own.

# %%
if __name__ == "__main__":
    for test in (test_by_day_a_user_gets_half_and_the_rest_at_midnight, test_one_user_does_not_hold_up_another,
                 test_the_smallest_goes_first_within_a_priority, test_a_job_outlives_the_manager_but_not_its_agent):
        with laboratory(Cluster) as own:
            test(own)
            own.check_invariants()
        print("holds:", test.__name__[5:].replace("_", " "))

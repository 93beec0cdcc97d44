"""Large results as NumPy arrays."""

import numpy
import pytest

from bai_manager import InvalidArgument


def fill(cluster):
    jobs = [cluster.submit(cpu=1 + i % 3, duration=60 + i, name=f"session-é{i}".replace("é", "e")) for i in range(8)]
    cluster.submit({"cpu": 0.5}, mem="1g", tag="größe")
    cluster.submit(cpu=1000)
    cluster.advance(30)
    return jobs


def test_columns_equal_the_attributes_of_the_views(cluster):
    fill(cluster)
    rows = {session.id: session for session in cluster.sessions()}
    array = cluster.sessions_array()
    assert len(array) == len(rows) == 10
    for record in array:
        session = rows[str(record["id"])]
        for name in ("name", "status", "session_type", "tag", "user", "result", "priority", "cluster_size", "attempts",
                     "is_preemptible"):
            assert record[name] == getattr(session, name), name
        for name in ("created_at", "starts_at", "terminated_at"):
            value = getattr(session, name)
            if value is None:
                assert numpy.isnat(record[name])
            else:
                # A datetime has microseconds.
                assert record[name].astype("M8[us]") == numpy.datetime64(value.replace(tzinfo=None), "us")
        for slot in ("cpu", "mem"):
            assert record[f"requested_slots.{slot}"] == session.requested_slots.get(slot, 0)
    assert array["created_at"].dtype == numpy.dtype("M8[ns]") and array["priority"].dtype == numpy.int64


def test_chosen_columns_and_statuses(cluster):
    fill(cluster)
    array = cluster.sessions_array(["id", "requested_slots", "status_history"], status="RUNNING")
    assert array.dtype.names[0] == "id" and "requested_slots.cpu" in array.dtype.names
    assert len(array) == len(cluster.sessions("RUNNING")) > 0
    assert not numpy.isnat(array["status_history.RUNNING"]).any()
    assert array["requested_slots.cpu"].sum() == sum(s.requested_slots["cpu"] for s in cluster.sessions("RUNNING"))
    waits = cluster.sessions_array(["created_at", "starts_at"], status=["RUNNING", "PENDING"])
    assert set(waits.dtype.names) == {"created_at", "starts_at"}
    assert numpy.isnan((waits["starts_at"] - waits["created_at"]) / numpy.timedelta64(1, "s")).sum() == 1


def test_other_tables(cluster):
    fill(cluster)
    agents = cluster.array("agent", ["id", "available_slots", "occupied_slots", "kernel_count"])
    assert agents["id"].tolist() == ["agent-1", "agent-2"] and agents["available_slots.cpu"].tolist() == [8, 8]
    assert agents["kernel_count"].sum() == len(cluster.sessions("RUNNING"))
    kernels = cluster.array("kernel")
    assert len(kernels) == 10 and kernels["exit_code"].dtype == numpy.float64 and numpy.isnan(kernels["exit_code"]).all()
    assert "secret_key" not in cluster.array("keypair").dtype.names


def test_long_texts_do_not_widen_every_row(cluster):
    script = "#" * 500_000
    jobs = [cluster.submit(cpu=1, bootstrap_script=script), *(cluster.submit(cpu=1) for _ in range(20))]
    usual = cluster.sessions_array()
    assert not {"bootstrap_script", "startup_command"} & set(usual.dtype.names) and usual.dtype.itemsize < 4000
    array = cluster.sessions_array(["id", "bootstrap_script", "priority"])
    assert array.dtype["bootstrap_script"] == object and array.dtype.itemsize < 200
    texts = {str(row["id"]): row["bootstrap_script"] for row in array}
    assert texts == {job: script if job == jobs[0] else "" for job in jobs}
    assert set(array["priority"]) == {10}


def test_texts_are_in_the_row_up_to_a_length(cluster):
    scripts = ["bootstrap_script"]
    cluster.submit(cpu=1, bootstrap_script="x" * 256)
    assert cluster.sessions_array(scripts).dtype[0] == numpy.dtype("U256")
    cluster.submit(cpu=1, bootstrap_script="é" * 257)
    array = cluster.sessions_array(scripts)
    assert array.dtype[0] == object and sorted(map(len, array["bootstrap_script"])) == [256, 257]


def test_empty_and_wrong(cluster):
    empty = cluster.sessions_array()
    assert empty.shape == (0,) and "status" in empty.dtype.names
    for wrong in (lambda: cluster.sessions_array(["colour"]), lambda: cluster.sessions_array(["environ"]),
                  lambda: cluster.array("keypair", ["secret_key"]), lambda: cluster.array("wheel"),
                  lambda: cluster.sessions_array(status="ASLEEP")):
        with pytest.raises(InvalidArgument):
            wrong()


def test_text_beyond_ascii_and_pandas_shape(cluster):
    cluster.submit(cpu=1, tag="größe-模型-🚀")
    array = cluster.sessions_array(["tag"])
    assert array["tag"][0] == "größe-模型-🚀"
    assert array.dtype.itemsize == 4 * len("größe-模型-🚀")

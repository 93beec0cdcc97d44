"""Fixtures for tests of what runs on a cluster.

Loaded by itself when the wheel is installed, otherwise with ``-p bai_manager.pytest_plugin``.
"""

from __future__ import annotations

from typing import Any, Callable, Iterator, List

import pytest

from .cluster import Cluster

MARKER = "cluster"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARKER}(**arguments): what the `cluster` fixture is made with, as of Cluster")


@pytest.fixture
def make_cluster() -> "Iterator[Callable[..., Cluster]]":
    """Makes clusters that are checked and closed after the test."""
    made: List[Cluster] = []

    def make(*arguments: Any, **options: Any) -> Cluster:
        made.append(Cluster(*arguments, **options))
        return made[-1]

    yield make
    broken = []
    for cluster in made:
        try:
            cluster.check_invariants()
        except AssertionError as error:
            broken.append(str(error))
        except Exception:  # closed by the test
            continue
        cluster.close()
    assert not broken, "the cluster's sums do not hold:\n" + "\n".join(broken)


@pytest.fixture
def cluster(request: pytest.FixtureRequest, make_cluster: "Callable[..., Cluster]") -> Cluster:
    """A Cluster: two agents with 8 cores each, or as ``@pytest.mark.cluster(...)`` says."""
    arguments: Any = {"agents": 2}
    for marker in reversed(list(request.node.iter_markers(MARKER))):
        if marker.args:
            raise TypeError(f"pytest.mark.{MARKER}: takes arguments by name, as agents={marker.args[0]!r}")
        arguments.update(marker.kwargs)
    return make_cluster(**arguments)

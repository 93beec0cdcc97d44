"""A control plane for compute sessions inside your program, on virtual time.

>>> from bai_manager import Cluster
>>> with Cluster(agents=1, slots={"cpu": 4}) as cluster:
...     first = cluster.submit(cpu=4, duration=60)
...     second = cluster.submit(cpu=4, duration=60)
...     cluster.advance(1)
...     print(cluster.why(second).code)
capacity
"""

from __future__ import annotations

from ._core import (Agent, Candidates, Demand, Image, Kernel, PendingSession, Project, ResourceGroup, SchedulingHistory,
                    Session, Snapshot, View)
from .cluster import Cluster, User
from .errors import (AlreadyExists, BaiError, Cancelled, Conflict, Corruption, DeadlineExceeded, InDoubt, Internal,
                     InvalidArgument, NotFound, PermissionDenied, QuotaExceeded, Unauthenticated, Unavailable,
                     Unschedulable, Unsupported)
from .policies import BandSorter, Policy, PolicyError, Refusal, ScoreSelector, Selector, Sequencer, Validator
from .values import AgentSpec, Prospect, Why

__version__ = "0.1.0"

__all__ = [
    "Agent", "AgentSpec", "AlreadyExists", "BaiError", "BandSorter", "Cancelled", "Candidates", "Cluster", "Conflict",
    "Corruption", "DeadlineExceeded", "Demand", "Image", "InDoubt", "Internal", "InvalidArgument", "Kernel", "NotFound",
    "PendingSession", "PermissionDenied", "Policy", "PolicyError", "Project", "Prospect", "QuotaExceeded", "Refusal",
    "ResourceGroup", "SchedulingHistory", "ScoreSelector", "Selector", "Sequencer", "Session", "Snapshot", "Unauthenticated",
    "Unavailable", "Unschedulable", "Unsupported", "User", "Validator", "View", "Why",
]

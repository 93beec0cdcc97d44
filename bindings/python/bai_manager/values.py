"""The small values that clusters are made of and answer with."""

from __future__ import annotations

import dataclasses
import datetime
import math
import uuid
from typing import TYPE_CHECKING, Any, Iterable, List, Mapping, Sequence, Union

from .errors import InvalidArgument

if TYPE_CHECKING:
    from . import _core

Seconds = Union[float, int, datetime.timedelta]
Moment = Union[datetime.datetime, float, int]
Slots = Mapping[str, Union[int, float, str]]
SessionLike = Union[str, "_core.Session"]
Behaviour = Mapping[str, Any]

DEFAULT = "default"
DEFAULT_IMAGE = "local/python:3"
DEFAULT_SLOTS: Slots = {"cpu": 8}
#: What an agent has of memory unless its slots say so: enough not to be what binds.
DEFAULT_MEMORY = "1t"
_NAMESPACE = uuid.UUID("b5a0c6d2-5f0e-5d0c-9a54-3c1b6e7a9f10")
KEEP_ENDED = 100 * 366 * 86400.0


@dataclasses.dataclass(frozen=True)
class AgentSpec:
    """A simulated agent."""

    id: str
    slots: Slots = dataclasses.field(default_factory=lambda: dict(DEFAULT_SLOTS))
    resource_group: str = DEFAULT
    architecture: str = "x86_64"
    accelerator_model: str = ""
    #: Canonical names that it can run; empty: any.
    images: Sequence[str] = ()
    #: Slots beyond the built-in ones: name -> "count" or "bytes".
    slot_types: Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: How it behaves; see Cluster.
    behaviour: Behaviour = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Why:
    """Why a session waits, or where it is otherwise."""

    session: str
    status: str
    #: "capacity", "behind-head", "quota", "policy-error", ...; "never" when waiting does not help; empty unless it
    #: is pending.
    code: str
    message: str
    #: Amounts that the best agent lacks, or by how much limits would be exceeded.
    missing: Mapping[str, Any]
    #: In its resource group's queue, from 1; 0: beyond those that are told, or not pending.
    position: int
    #: Agents by what stands against them, as {"slots": 3, "labels": 1}; "quota": they have room that a limit forbids.
    rejected: Mapping[str, int] = dataclasses.field(default_factory=dict)
    #: When it will start, as far as estimates of what runs and waits tell.
    expected_start: datetime.datetime | None = None
    expected_basis: str = ""
    #: The rules that keep it from starting: the code of each, and the reference system's error code if it has one.
    violations: Sequence[tuple[str, str]] = ()
    #: The reference system's error code for all of them; empty where it has none.
    kind: str = ""

    def __str__(self) -> str:
        return self.message


@dataclasses.dataclass(frozen=True)
class Prospect:
    """What would become of a session."""

    starts_now: bool
    #: Where its kernels would start, as {"main1": "agent-1"}.
    agents: Mapping[str, str]
    #: Ids of the sessions that would be ended for it.
    victims: Sequence[str]
    #: Why it would not start, and when it would; None where it starts.
    why: Why | None

    def __bool__(self) -> bool:
        return self.starts_now


def a_mapping(value: Any, what: str, of: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"{what}: must be a dict of {of}, not {value!r}")
    return value


def a_list(value: Any, what: str, of: str) -> List[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise InvalidArgument(f"{what}: must be a list of {of}, not {value!r}")
    return list(value)


def a_text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"{what}: must be a text, not {value!r}")
    return value


def a_truth(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgument(f"{what}: must be True or False, not {value!r}")
    return value


def an_integer(value: Any, what: str, least: int, most: int = 2**31 - 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidArgument(f"{what}: must be an integer from {least} to {most}, not {value!r}")
    return value


def make_id(*parts: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, "/".join(parts)))


def policy_name(policy: Any, fallback: str) -> str:
    name = getattr(policy, "name", None) or type(policy).__name__
    return name if isinstance(name, str) else fallback


def statuses(status: "str | Iterable[str] | None") -> "List[str] | None":
    if status is None:
        return None
    return [status] if isinstance(status, str) else a_list(status, "status", "statuses")


def command(duration: Seconds, exit_code: int) -> str:
    length = duration.total_seconds() if isinstance(duration, datetime.timedelta) else duration
    if isinstance(length, bool) or not isinstance(length, (int, float)) or not math.isfinite(length) or length < 0:
        raise InvalidArgument(f"duration: must be seconds from 0, not {duration!r}")
    if isinstance(exit_code, bool) or not isinstance(exit_code, int):
        raise InvalidArgument(f"exit_code: must be an integer, not {exit_code!r}")
    return f"sleep {float(length)!r}" + (f"; exit {exit_code}" if exit_code else "")

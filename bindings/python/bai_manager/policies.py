"""Scheduling policies: which of the built-in ones, and the base classes of one's own.

A policy is a pure function of the view it gets: the same view gives the same answer. It runs inside the manager's
scheduling pass. When it raises, or returns what cannot be, that pass of its resource group is abandoned: nothing is
placed, ``cluster.why()`` tells the waiting sessions with code "policy-error", ``cluster.policy_errors`` has the
exception, and the manager goes on.

Amounts in views are integers in the smallest unit: thousandths of a core or device, bytes of memory.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import TYPE_CHECKING, Any, Iterable, Iterator, List, Mapping, Sequence, Union

from .errors import InvalidArgument
from .values import a_list, a_mapping

if TYPE_CHECKING:
    from ._core import Candidates, Demand, PendingSession, View

__all__ = ["BandSorter", "Policy", "PolicyError", "Refusal", "ScoreSelector", "Selector", "Sequencer", "Validator"]


class Selector:
    """Decides where: which of the agents that have room gets a session or a kernel of it."""

    def select(self, view: "View", demand: "Demand", candidates: "Candidates") -> int | None:
        """The index of one of ``candidates`` (there is at least one), or None to leave the session waiting."""
        raise NotImplementedError(f"{type(self).__name__}.select")

    # A method ``device(view, demand, agent, slot, units, free)`` chooses which of the agent's devices gives ``units``,
    # less than a whole one: an index into ``free``, what each has. Without it: the first of those with the least room.


class ScoreSelector:
    """Decides where by rating agents: the highest score wins, the first agent among equals.

    Scores are kept until what the agent has free changes, so they may rest on nothing else. It may have a method
    ``device`` as a Selector may.
    """

    def score(self, view: "View", slots: "Mapping[str, int]", agent: int) -> int:
        """How well ``slots``, the amounts of one kernel in units, would lie on the agent, which has room for them."""
        raise NotImplementedError(f"{type(self).__name__}.score")


class Sequencer:
    """Decides who goes first."""

    def order(self, view: "View") -> "Iterable[PendingSession]":
        """Sessions of ``view.queue()`` or ``view.band()``, each at most once; drawn one by one, so a generator that
        looks at ``view`` sees what the pass has granted so far. Those that are left out wait.

        What is returned may have the methods ``placed(session)``: the session drawn last got its agents; and
        ``narrow(request, longest)``: for the rest of the pass no session of that ``request`` that runs longer than
        ``longest`` seconds can start (None: none at all), so that it may be left out."""
        raise NotImplementedError(f"{type(self).__name__}.order")


class BandSorter(Sequencer):
    """A sequencer that keeps priority bands and sorts each of them when it is reached."""

    def sort(self, view: "View", band: "List[PendingSession]") -> "Iterable[PendingSession]":
        """The members of ``band``, which comes oldest first, in another order."""
        raise NotImplementedError(f"{type(self).__name__}.sort")

    def order(self, view: "View") -> "Iterator[PendingSession]":
        for priority in view.bands():
            yield from self.sort(view, view.band(priority))


class Validator:
    """Decides whether a session may start now. A refused one never holds up those behind it."""

    def check(self, view: "View", session: "PendingSession") -> "None | str | Refusal | Sequence[str | Refusal]":
        """None, or why it may not: a sentence for its owner, a Refusal, or several of them."""
        raise NotImplementedError(f"{type(self).__name__}.check")


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why a session may not start now."""

    #: Whole sentences for the session's owner.
    message: str
    #: What ``why()`` gives as its code.
    code: str = "refused"
    #: The error code of the reference system, if there is one.
    kind: str = ""
    #: Waiting will not help.
    never: bool = False
    #: When time alone lifts it; None: something else must change.
    due: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True)
class PolicyError:
    """A policy that raised, or answered with what cannot be."""

    policy: str
    method: str
    message: str
    #: None when it did not raise.
    exception: BaseException | None


@dataclasses.dataclass(frozen=True)
class Policy:
    """How a resource group is scheduled. Policies are names of built-in or registered ones, or objects of one's own."""

    scheduler: Union[str, Sequencer] = "fifo"
    selector: Union[str, Selector, ScoreSelector] = "concentrated"
    #: "head-of-line", "skip-ahead", "easy" or "conservative"
    discipline: str = "head-of-line"
    #: Added to the built-in ones; they check the sessions of all resource groups.
    validators: Sequence[Validator] = ()
    #: Slot names that come first in the selector's key.
    slot_priority: Sequence[str] = ()
    #: The resource group's policy_options, as {"selector": {...}}.
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not all(isinstance(name, str) for name in a_list(self.slot_priority, "policy.slot_priority", "slot names")):
            raise InvalidArgument(f"policy.slot_priority: must be a list of slot names, not {self.slot_priority!r}")
        for validator in a_list(self.validators, "policy.validators", "Validators"):
            if isinstance(validator, type) or not callable(getattr(validator, "check", None)):
                raise InvalidArgument(f"policy.validators: must be a list of Validators, not {validator!r}")
        a_mapping(self.options, "policy.options", "options")

    @classmethod
    def of(cls, given: "str | Mapping[str, Any] | Policy | None") -> "Policy":
        """A scheduler's name, a mapping of the members above, or a Policy."""
        if given is None:
            return cls()
        if isinstance(given, Policy):
            return given
        if isinstance(given, str):
            return cls(scheduler=given)
        if not isinstance(given, Mapping):
            raise InvalidArgument(f"policy: must be a name, a dict or a Policy, not {given!r}")
        known = [field.name for field in dataclasses.fields(cls)]
        for name in given:
            if name not in known:
                raise InvalidArgument(f"policy: there is no {name!r}; there are: {', '.join(known)}")
        return cls(**given)

"""A whole control plane inside one program: the manager, its storage and simulated agents on virtual time."""

from __future__ import annotations

import dataclasses
import datetime
import numbers
import os
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Mapping, Sequence, Tuple

from . import _core
from .errors import BaiError, InvalidArgument, NotFound
from .policies import Policy, PolicyError, ScoreSelector, Selector, Sequencer, Validator
from .requests import session_request
from .tenants import Tenants, User
from .values import (DEFAULT, DEFAULT_IMAGE, DEFAULT_MEMORY, DEFAULT_SLOTS, KEEP_ENDED, AgentSpec, Behaviour, Moment,
                     Seconds, SessionLike, Slots, Prospect, Why, a_list, a_mapping, a_text,
                     a_truth, an_integer, make_id, policy_name, statuses)

if TYPE_CHECKING:
    import numpy.typing

__all__ = ["Cluster", "User"]


class Cluster(Tenants):
    """A manager with simulated agents on virtual time: an hour of the cluster's life takes milliseconds.

    >>> with Cluster(agents=2, slots={"cpu": 4}, policy="fifo") as cluster:
    ...     job = cluster.submit(cpu=2, duration=600)
    ...     cluster.advance(60)
    ...     cluster.session(job).status
    'RUNNING'

    agents
        A number, or a list of ids, slot dicts and AgentSpecs.
    slots
        Of each agent that says nothing else; memory that is not named does not bind.
    policy
        Of the resource group "default": a scheduler's name, a dict or a Policy.
    policies
        More policies of one's own by name, for resource groups that are made later.
    storage
        "memory", or the path of an SQLite file: what it has is taken up again.
    seed
        The same seed and calls give the same history, to the byte.
    behaviour
        Of the agents: seconds or (least, most) for "answer", "pull", "create", "destroy", "batch";
        "heartbeat_interval"; shares for "create_failure" and "batch_failure".
    options
        Limits and waits of the manager, as {"agent_timeout": 40}; see Options in manager.hpp.
    limits
        Of the default keypair policy, as {"max_concurrent_sessions": 5}; none by default.
    shuffle
        Draws the order of concurrent work from the seed instead of keeping it.

    One thread drives it at a time; others wait for their turn. The GIL is released meanwhile.
    """

    def __init__(self, agents: "int | Iterable[str | Slots | AgentSpec]" = 1, slots: Slots | None = None,
                 policy: "str | Mapping[str, Any] | Policy | None" = None, storage: "str | os.PathLike[str]" = "memory",
                 seed: int = 0, *, policies: "Mapping[str, Sequencer | Selector | ScoreSelector | Validator] | None" = None,
                 behaviour: Behaviour | None = None, options: Mapping[str, Any] | None = None,
                 limits: Mapping[str, Any] | None = None, shuffle: bool = False) -> None:
        if not isinstance(storage, (str, os.PathLike)) or not os.fspath(storage):
            raise InvalidArgument(f'storage: must be "memory" or the path of a file, not {storage!r}')
        path = "" if storage == "memory" else os.fspath(storage)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 1 << 63:
            raise InvalidArgument(f"seed: must be an integer from 0 to 2^63-1, not {seed!r}")
        options = {} if options is None else a_mapping(options, "options", "the manager's options")
        self._behaviour = {} if behaviour is None else dict(a_mapping(behaviour, "behaviour", "waits and shares"))
        self._slots = dict(a_mapping(slots, "slots", "amounts") if slots else DEFAULT_SLOTS)
        limits = {} if limits is None else a_mapping(limits, "limits", "a keypair policy's members")
        own_policies = {} if policies is None else a_mapping(policies, "policies", "policies")
        super().__init__(_core.Engine(seed, a_truth(shuffle, "shuffle"), path, {"keep_ended": KEEP_ENDED, **options}))
        self._names = 0
        self._agents_made = 0
        self._images: set[Tuple[str, str]] = set()
        chosen = Policy.of(policy)
        for name, own in own_policies.items():
            self._register(name, own)
        group = self._group_row(DEFAULT, chosen, register=True)
        for number, validator in enumerate(chosen.validators, 1):
            self._engine.add_policy("validator", policy_name(validator, f"validator-{number}"), validator)
        self._engine.check_group(group)
        specs = self._agent_specs(agents)
        self._engine.open()
        try:
            self._names = self._engine.snapshot().count("session")
            self._load_defaults(group, limits)
            for spec in specs:
                self.add_agent(spec)
            self._engine.advance(0)
        except BaseException:
            self._engine.close()
            raise

    # ---- what there is

    def _register(self, name: str, own: Any) -> None:
        for kind, method in (("sequencer", "order"), ("validator", "check"), ("selector", "select"),
                             ("selector", "score")):
            if callable(getattr(own, method, None)):
                return self._engine.add_policy(kind, name, own)
        raise InvalidArgument(f"policy {name}: must be a Sequencer, a Validator or a Selector, not {own!r}")

    def _group_row(self, name: str, policy: Policy, register: bool) -> Dict[str, Any]:
        row: Dict[str, Any] = {"name": name, "is_default": name == DEFAULT, "queue_discipline": policy.discipline,
                               "policy_options": dict(policy.options),
                               "agent_selection_resource_priority": list(policy.slot_priority)}
        for column, kind, chosen in (("scheduler", "sequencer", policy.scheduler),
                                     ("agent_selection_strategy", "selector", policy.selector)):
            if not isinstance(chosen, str):
                if not register:
                    raise InvalidArgument(f"resource group {name}: policies of one's own are given to Cluster() with "
                                          f"policies={{name: ...}} and named here")
                chosen_name = policy_name(chosen, kind)
                self._engine.add_policy(kind, chosen_name, chosen)
                chosen = chosen_name
            row[column] = chosen
        return row

    def _load_defaults(self, group: Mapping[str, Any], limits: Mapping[str, Any]) -> None:
        self._engine.load({
            "domains": [{"name": DEFAULT}],
            "keypair_resource_policies": [{"name": DEFAULT, "max_containers_per_session": 0, **limits}],
            "resource_groups": [group],
            "resource_group_grants": [{"resource_group": DEFAULT, "scope_kind": "domain", "scope": DEFAULT}],
        })
        self._known.add(f"domain/{DEFAULT}")
        self.image(DEFAULT_IMAGE)
        self.user("user")

    def _agent_specs(self, agents: "int | Iterable[str | Slots | AgentSpec]") -> "List[str | Slots | AgentSpec]":
        if isinstance(agents, int):
            if isinstance(agents, bool) or agents < 0:
                raise InvalidArgument(f"agents: must be a number from 0 or a list, not {agents!r}")
            return [{} for _ in range(agents)]
        return a_list(agents, "agents", "agents, or a number from 0")

    def add_agent(self, spec: "str | Slots | AgentSpec" = "", **more: Any) -> str:
        """Adds an agent: an AgentSpec, an id, or slots. ``more`` are members of AgentSpec. Returns its id."""
        if isinstance(spec, AgentSpec):
            agent = dataclasses.replace(spec, **more)
        else:
            self._agents_made += 1
            members: Dict[str, Any] = {"id": f"agent-{self._agents_made}", "slots": self._slots}
            if isinstance(spec, str):
                members["id"] = spec or members["id"]
            elif isinstance(spec, Mapping):
                members["slots"] = dict(spec) or self._slots
            else:
                raise InvalidArgument(f"agent: must be an AgentSpec, an id or slots, not {spec!r}")
            agent = AgentSpec(**{**members, **more})
        slots = {"cpu": 0, "mem": DEFAULT_MEMORY, **a_mapping(agent.slots, "slots", "amounts")}
        self._engine.add_agent(
            {"id": agent.id, "slots": slots, "resource_group": agent.resource_group, "architecture": agent.architecture,
             "accelerator_model": agent.accelerator_model, "images": a_list(agent.images, "images", "names"),
             "slot_types": dict(a_mapping(agent.slot_types, "slot_types", "slot types"))},
            {**self._behaviour, **a_mapping(agent.behaviour, "behaviour", "waits and shares")})
        self.image(DEFAULT_IMAGE, architecture=agent.architecture)
        return agent.id

    def load(self, fixture: Mapping[str, Sequence[Mapping[str, Any]]]) -> Tuple[int, int]:
        """Inserts or replaces rows, as {"users": [{...}]}: all or none. How many were inserted and replaced."""
        return self._engine.load(dict(a_mapping(fixture, "fixture", "tables")))

    def image(self, name: str, architecture: str = "x86_64", **row: Any) -> None:
        """Makes an image known. Other members of ``row``: "min_slots", "labels", "aliases", "is_local", ..."""
        if (name, architecture) in self._images and not row:
            return
        self._engine.load({"images": [{
            "id": make_id("image", name, architecture), "canonical": name, "architecture": architecture,
            "registry": name.split("/")[0], "is_local": True, "min_slots": {"cpu": 0, "mem": "1m"},
            "labels": {"ai.backend.resource.preferred.shmem": "0"}, **row}]})
        self._images.add((name, architecture))

    def resource_group(self, name: str, policy: "str | Mapping[str, Any] | Policy | None" = None,
                       domains: Sequence[str] = (DEFAULT,), **row: Any) -> str:
        """Makes a resource group, or changes how it is scheduled. It is open to ``domains``."""
        group = {**self._group_row(name, Policy.of(policy), register=False), **row}
        self._engine.check_group(group)
        self._engine.load({"resource_groups": [group], "resource_group_grants": [
            {"resource_group": name, "scope_kind": "domain", "scope": domain}
            for domain in a_list(domains, "domains", "names")]})
        return name

    # ---- sessions

    def _request(self, user: User, arguments: Any) -> Dict[str, Any]:
        self._names += 1
        return session_request(arguments, user, self._names, self._session_id)

    def submit(self, slots: Slots | None = None, *, user: User | None = None, cpu: "int | float | str | None" = None,
               mem: "int | float | str | None" = None, gpus: int | None = None, duration: Seconds | None = None,
               exit_code: int = 0, timeout: Seconds | None = None, name: str | None = None,
               session_type: str | None = None, kernels: int | None = None, cluster_mode: str | None = None,
               priority: int | None = None, project: str | None = None, domain: str | None = None,
               resource_group: str | None = None, image: str | None = None, architecture: str | None = None,
               agents: Sequence[str] | None = None, dependencies: "Sequence[SessionLike] | None" = None,
               starts_at: Moment | None = None, kernel_slots: "Sequence[Slots] | None" = None,
               session_group: str | None = None, **more: Any) -> str:
        """Queues a session and returns its id.

        slots, cpu, mem, gpus
            Of each kernel; one core unless any of them is given.
        duration
            Seconds: makes it a batch session that runs so long and ends with ``exit_code``. Without, it runs until
            it is terminated.
        timeout
            The longest it may run (batch), which backfilling disciplines take for its estimate.
        kernels
            Its cluster size: all of them start together or none; spread over agents unless ``cluster_mode`` is
            "single-node".
        kernel_slots
            Instead of amounts for all kernels alike: of the main one and of each other, as
            ``[{"cpu": 1}] + 4 * [{"cpu": 8}]``.
        session_group
            Id of the group that it belongs to; see ``session_group()``.
        starts_at
            Not before: an aware datetime, or seconds on ``elapsed``'s scale (batch).
        more
            Other members of the create-session action: tag, environ, resource_opts, bootstrap_script, ...

        The manager may have scheduled it when this returns. Whoever is submitted first is older, by a nanosecond
        when time is not moved on. Use submit_many to have sessions considered together.
        """
        owner = self._owner(user)
        request = self._request(owner, {
            "slots": slots, "cpu": cpu, "mem": mem, "gpus": gpus, "duration": duration, "exit_code": exit_code,
            "timeout": timeout, "kernels": kernels, "name": name, "session_type": session_type,
            "cluster_mode": cluster_mode, "priority": priority, "project": project, "domain": domain,
            "resource_group": resource_group, "image": image, "architecture": architecture, "agents": agents,
            "dependencies": dependencies, "starts_at": starts_at, "kernel_slots": kernel_slots,
            "session_group": session_group, **more})
        answer = self._engine.create_sessions(owner.access_key, [request])[0]
        if isinstance(answer, BaseException):
            raise answer
        return str(answer)

    def what_if(self, slots: Slots | None = None, *, session: SessionLike | None = None, user: User | None = None,
                cpu: "int | float | str | None" = None, mem: "int | float | str | None" = None,
                gpus: int | None = None, duration: Seconds | None = None, timeout: Seconds | None = None,
                kernels: int | None = None, new_agents: "Iterable[Mapping[str, Any]]" = (), **more: Any) -> Prospect:
        """Whether a session would start now, and where; if not, why and when. Creates nothing.

        slots, cpu, mem, gpus, duration, timeout, kernels, more
            Of the session, as for submit; refused for the same reasons.
        session
            Instead of all these: one that waits.
        new_agents
            Agents that would be there, too, as rows of a fixture: {"id": "new", "available_slots": {"cpu": "8"}}.
            Of one that is there, what the row does not name stays.

        >>> with Cluster(agents=1, slots={"cpu": 4}) as cluster:
        ...     cluster.what_if(cpu=8).starts_now
        False
        """
        described = (slots, cpu, mem, gpus, duration, timeout, kernels)
        if session is not None and (more or any(part is not None for part in described)):
            raise InvalidArgument("what_if: asks about either a session that waits or one that is described")
        owner = self._owner(user)
        rows = [{"resource_group": "default", "architecture": "x86_64", **a_mapping(row, "new_agents", "an agent's members")}
                for row in a_list(new_agents, "new_agents", "rows")]
        request = None
        if session is None:
            request = self._request(owner, {"slots": slots, "cpu": cpu, "mem": mem, "gpus": gpus, "duration": duration,
                                            "timeout": timeout, "kernels": kernels, **more})
        waiting = None if session is None else self.session(session).id
        answer = self._engine.what_if(owner.access_key, request, waiting, rows or None)
        reason = answer["reason"]
        why = None if reason is None else self._reason(waiting or "", reason)
        return Prospect(answer["starts_now"], answer["agents"], answer["victims"], why)

    @staticmethod
    def _reason(session: str, reason: "Mapping[str, Any]") -> Why:
        return Why(session, "PENDING", reason["code"], reason["message"], **{
            name: reason[name] for name in ("missing", "position", "rejected", "expected_start", "expected_basis",
                                            "violations", "kind")})

    def submit_many(self, requests: "Iterable[Mapping[str, Any]]", user: User | None = None,
                    return_exceptions: bool = False) -> "List[Any]":
        """Queues sessions at once, each given by the arguments of submit; one commit, one scheduling pass. They are
        of the same age, and orders by age take them by their ids, which are random.

        Returns their ids. When some are refused the others are queued all the same; the first refusal is raised,
        or with ``return_exceptions`` stands in the place of its id.
        """
        owner = self._owner(user)
        bodies: List[Dict[str, Any]] = []
        refused: List[BaiError | None] = []
        for given in a_list(requests, "requests", "submit's arguments"):
            try:
                bodies.append(self._request(owner, given))
                refused.append(None)
            except BaiError as error:
                refused.append(error)
        answered = iter(self._engine.create_sessions(owner.access_key, bodies))
        answers = [error or next(answered) for error in refused]
        for answer in answers:
            if isinstance(answer, BaseException) and not return_exceptions:
                raise answer
        return answers

    def terminate(self, session: SessionLike, *, forced: bool = False, recursive: bool = False,
                  reason: str = "user-requested", user: User | None = None) -> "List[Tuple[str, str]]":
        """Ends a session. Those that are over with that: (id, "cancelled") when it was pending, (id, "terminated") when
        ``forced``. Others are TERMINATING until their agent has answered."""
        return self._engine.destroy_session(self._access_key(user), self._session_id(session),
                                            a_truth(forced, "forced"), a_truth(recursive, "recursive"),
                                            a_text(reason, "reason"))

    def execute(self, session: SessionLike, code: str, user: User | None = None) -> Any:
        """Runs code in a session, as a simulated kernel does: "echo", "sleep" and "exit" steps."""
        return self._engine.execute(self._access_key(user), self._session_id(session), a_text(code, "code"))

    def _session_id(self, session: SessionLike) -> str:
        if isinstance(session, _core.Session):
            return session.id
        if not isinstance(session, str):
            raise InvalidArgument(f"session: must be an id, a name or a Session, not {session!r}")
        if len(session) == 36 and session.count("-") == 4:
            return session
        snapshot = self._engine.snapshot()
        for user in self._users.values():
            found = snapshot.live_session(user.access_key, session)
            if found is not None:
                return found.id
        raise NotFound(f"There is no live session named {session!r}", "session-not-found")

    def session(self, session: SessionLike) -> "_core.Session":
        """The session as it is now, by id, by the name of a live one, or by an earlier view of it."""
        id = self._session_id(session)
        found: "_core.Session | None" = self._engine.snapshot().find("session", id)
        if found is None:
            raise NotFound(f"There is no session {id}", "session-not-found")
        return found

    def sessions(self, status: "str | Iterable[str] | None" = None, **where: Any) -> "List[_core.Session]":
        """Sessions in these statuses (all without), whose attributes equal ``where``."""
        rows = self._engine.snapshot().sessions(statuses(status))
        for name in where:
            if name not in _core.Session.fields:
                raise InvalidArgument(f"sessions: there is no {name!r}; there are: {', '.join(_core.Session.fields)}")
        return [row for row in rows if all(getattr(row, name) == value for name, value in where.items())]

    def sessions_array(self, fields: Sequence[str] = (),
                       status: "str | Iterable[str] | None" = None) -> "numpy.typing.NDArray[Any]":
        """Sessions as a NumPy structured array; see ``array``."""
        return self._engine.snapshot().array("session", a_list(fields, "fields", "names"), statuses(status))

    def array(self, entity: str, fields: Sequence[str] = ()) -> "numpy.typing.NDArray[Any]":
        """All rows of an entity as a NumPy structured array with these fields, or all that fit but startup commands
        and bootstrap scripts.

        Texts are "U", or objects in columns with one beyond 256 characters, times datetime64[ns] (NaT: never), amounts
        one float column per slot ("requested_slots.cpu"), status histories one time column per status
        ("status_history.RUNNING"; only when asked for).
        """
        return self._engine.snapshot().array(entity, a_list(fields, "fields", "names"))

    def why(self, session: SessionLike, *, fresh: bool = False) -> Why:
        """Why a session waits, as the last pass found; for one that does not, where it is.

        fresh
            Asks the planner now, in full wherever the session is in the queue: its position, what its best agent
            lacks, and when it starts as far as that can be expected.
        """
        row = self.session(session)
        if fresh and row.status == "PENDING":
            prospect = self.what_if(session=row)
            return prospect.why or Why(row.id, row.status, "starts-now", "It starts with the next pass.", {}, 0)
        reason = row.pending_reason
        if row.status == "PENDING" and reason is None:
            return Why(row.id, row.status, "not-considered", "The scheduler has not looked at it yet.", {}, 0)
        if reason is None or row.status != "PENDING":
            message = f"{row.status}: {row.status_info}" if row.status_info else row.status
            return Why(row.id, row.status, "", message, {}, 0)
        return self._reason(row.id, reason)

    def history(self, session: SessionLike) -> "List[_core.SchedulingHistory]":
        """What the scheduler has recorded about a session."""
        return self._engine.history(self.session(session).id)

    # ---- agents

    def agents(self) -> "List[_core.Agent]":
        return self._engine.snapshot().table("agent")

    def agent(self, id: str) -> "_core.Agent":
        found: "_core.Agent | None" = self._engine.snapshot().find("agent", id)
        if found is None:
            raise NotFound(f"There is no agent {id!r}", "agent-not-found")
        return found

    def fail_agent(self, id: str, *, kernels_survive: bool = False, hang: bool = False) -> None:
        """The agent dies, with its kernels unless they survive; or it hangs and they go on."""
        self._engine.fail_agent(id, a_truth(kernels_survive, "kernels_survive"), a_truth(hang, "hang"))

    def restore_agent(self, id: str) -> None:
        """Ends what fail_agent began."""
        self._engine.restore_agent(id)

    def fail_creates(self, id: str, count: int = 1, kind: str = "ContainerCreationError", late: bool = False) -> None:
        """The next ``count`` creations of kernels on the agent fail; ``late``: after the container was there."""
        self._engine.fail_creates(id, a_text(kind, "kind"), an_integer(count, "count", 0), a_truth(late, "late"))

    def kill_kernel(self, kernel: "str | _core.Kernel", exit_code: int = 137) -> None:
        """A kernel ends by itself."""
        self._engine.kill_kernel(kernel.id if isinstance(kernel, _core.Kernel) else a_text(kernel, "kernel"),
                                 an_integer(exit_code, "exit_code", -(2**31)))

    def set_capacity(self, id: str, slots: Slots) -> None:
        """Devices die or come back; announced by the agent's next heartbeat."""
        self._engine.set_capacity(id, {"cpu": 0, "mem": DEFAULT_MEMORY, **a_mapping(slots, "slots", "amounts")})

    def set_schedulable(self, id: str, schedulable: bool) -> None:
        """Whether the agent takes new sessions."""
        self._engine.modify_agent(id, a_truth(schedulable, "schedulable"))

    def agent_truth(self, id: str) -> Dict[str, Any]:
        """What the agent itself holds: {"held": slots, "running": kernel ids}."""
        return self._engine.agent_truth(id)

    # ---- time

    @property
    def now(self) -> datetime.datetime:
        """Virtual time, which begins on 1 January 2026."""
        return self._engine.now

    @property
    def elapsed(self) -> float:
        """Seconds of virtual time since the cluster began."""
        return self._engine.elapsed

    def advance(self, seconds: Seconds) -> None:
        """Moves time forward; everything that falls due happens, in order."""
        self._engine.advance(seconds)

    def advance_to(self, moment: Moment) -> None:
        """As advance, to an aware datetime or to seconds on ``elapsed``'s scale; InvalidArgument when it is past."""
        if isinstance(moment, datetime.datetime) and moment.tzinfo is not None:
            ahead = (moment - self.now).total_seconds()
        elif isinstance(moment, numbers.Real) and not isinstance(moment, bool):
            ahead = float(moment) - self.elapsed
        else:
            raise InvalidArgument("advance_to: must be seconds or a datetime with a time zone, as "
                                  f"datetime.timezone.utc, not {moment!r}")
        if ahead < 0:
            raise InvalidArgument(f"advance_to: that was {-ahead:g} seconds ago; time does not go backwards")
        self._engine.advance(ahead)

    def run_until(self, predicate: "Callable[[], Any]", within: Seconds = 3600) -> bool:
        """Moves time on until ``predicate()``, which is asked whenever state or time have changed, is true.

        False when it is not after ``within``. The predicate can read the cluster, not drive it.
        """
        if not callable(predicate):
            raise InvalidArgument(f"predicate: must be callable, not {predicate!r}")
        return self._engine.run_until(predicate, within)

    def run_until_idle(self, within: Seconds = 30 * 86400) -> bool:
        """Moves time on until nothing more will happen by itself: no session is on its way, no batch runs, and what
        still waits, waits for more than time. False when it is not so after ``within``."""
        return self._engine.run_until_idle(within)

    # ---- everything else

    def snapshot(self) -> "_core.Snapshot":
        """The committed state now; stays as it is."""
        return self._engine.snapshot()

    def statistics(self) -> Dict[str, int]:
        """Counters of the manager since it was opened."""
        return self._engine.statistics()

    @property
    def policy_errors(self) -> List[PolicyError]:
        """What policies of one's own have raised, oldest first; the last 200."""
        return [PolicyError(*entry) for entry in self._engine.policy_errors()]

    def check_invariants(self) -> None:
        """Recomputes every sum; raises AssertionError that says which one does not hold."""
        broken = self._engine.check_invariants()
        if broken:
            raise AssertionError(broken)

    def log(self) -> List[str]:
        """What the manager has logged."""
        return self._engine.log_lines()

    def restart(self, outage: Seconds = 0) -> None:
        """The manager dies without warning; another one opens what was stored ``outage`` later. Agents live on."""
        self._engine.restart(outage)

    def close(self) -> None:
        """Flushes and closes the storage. Every other call then raises Unavailable."""
        self._engine.close()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        try:
            snapshot = self._engine.snapshot()
        except BaiError:
            return "<Cluster, closed>"
        return (f"<Cluster {snapshot.count('agent')} agents, {snapshot.count('session')} sessions, "
                f"{self.elapsed:g} s>")

"""Who is on a cluster: domains, projects, users, and the groups of their sessions."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Dict, Iterable, List, Mapping, Tuple, cast

from . import _core
from .errors import InvalidArgument
from .values import DEFAULT, SessionLike, Slots, a_mapping, a_text, a_truth, make_id

if TYPE_CHECKING:
    from .cluster import Cluster

__all__ = ["Tenants", "User"]


class User:
    """A user with a keypair; sessions submitted through it are its own."""

    def __init__(self, cluster: "Cluster", name: str, domain: str, project: str, access_key: str, id: str) -> None:
        self._cluster = cluster
        self.name = name
        self.domain = domain
        self.project = project
        self.access_key = access_key
        self.id = id

    def submit(self, slots: Slots | None = None, **request: Any) -> str:
        """As Cluster.submit, for this user."""
        return self._cluster.submit(slots, user=self, **request)

    def terminate(self, session: SessionLike, **options: Any) -> "List[Tuple[str, str]]":
        """As Cluster.terminate, with this user's rights."""
        return self._cluster.terminate(session, user=self, **options)

    def sessions(self, status: "str | Iterable[str] | None" = None) -> "List[_core.Session]":
        return self._cluster.sessions(status, user=self.id)

    def __repr__(self) -> str:
        return f"<User {self.name} of {self.domain}/{self.project}>"


class Tenants:
    """The part of a Cluster that makes tenants."""

    def __init__(self, engine: "_core.Engine") -> None:
        self._engine = engine
        self._users: Dict[Tuple[str, str], User] = {}
        self._known: set[str] = set()

    @property
    def default_user(self) -> User:
        """Who submits where no user is named."""
        return self._users[DEFAULT, "user"]

    def _owner(self, user: "User | None") -> User:
        if user is None:
            return self.default_user
        if not isinstance(user, User):
            raise InvalidArgument(f"user: must be what user() returns, not {user!r}")
        return user

    def _access_key(self, user: "User | None") -> str:
        """Empty for nobody in particular, who may do everything."""
        return "" if user is None else self._owner(user).access_key

    def domain(self, name: str, slots: Slots | None = None) -> str:
        """Makes a domain, or changes its limits."""
        row: Dict[str, Any] = {"name": a_text(name, "domain")}
        if slots is not None:
            row["total_resource_slots"] = dict(a_mapping(slots, "slots", "amounts"))
        if f"domain/{name}" not in self._known or slots is not None:
            self._engine.load({"domains": [row], "resource_group_grants": [
                {"resource_group": DEFAULT, "scope_kind": "domain", "scope": name}]})
            self._known.add(f"domain/{name}")
        return name

    def project(self, name: str, domain: str = DEFAULT, slots: Slots | None = None) -> str:
        """Makes a project, or changes its limits. Returns its id."""
        self.domain(domain)
        id = make_id("project", domain, a_text(name, "project"))
        if f"project/{id}" not in self._known or slots is not None:
            row: Dict[str, Any] = {"id": id, "name": name, "domain_name": domain}
            if slots is not None:
                row["total_resource_slots"] = dict(a_mapping(slots, "slots", "amounts"))
            self._engine.load({"projects": [row]})
            self._known.add(f"project/{id}")
        return id

    def user(self, name: str, project: str = DEFAULT, domain: str = DEFAULT, role: str | None = None,
             limits: Mapping[str, Any] | None = None) -> User:
        """Makes a user with a keypair, or finds it; member of ``project``.

        role
            "user", "admin" (of the domain), "superadmin" or "monitor"; None: as it is, "user" for a new one.
        limits
            A keypair policy of its own, as {"max_concurrent_sessions": 2, "total_resource_slots": {"cpu": 8}}.
        """
        project_id = self.project(project, domain)
        id = make_id("user", domain, a_text(name, "name"))
        access_key = "AK" + uuid.UUID(id).hex[:18].upper()
        known = self._users.get((domain, name))
        user: Dict[str, Any] = {"uuid": id}
        keypair: Dict[str, Any] = {"access_key": access_key}
        document: Dict[str, Any] = {"users": [user], "keypairs": [keypair],
                                    "project_members": [{"project": project_id, "user": id}]}
        if known is None and self._engine.snapshot().find("user", id) is None:
            suffix = "" if domain == DEFAULT else f".{domain}"
            user.update(email=f"{name}@{domain}.example", username=name + suffix, domain_name=domain,
                        main_access_key=access_key)
            keypair.update(secret_key="secret", user=id, resource_policy=DEFAULT)
            role = role or "user"
        if role is not None:
            user["role"] = role
            keypair["is_admin"] = role == "superadmin"
        if limits is not None:
            keypair["resource_policy"] = access_key
            document["keypair_resource_policies"] = [{
                "name": access_key, "max_containers_per_session": 0, "max_concurrent_sessions": 0,
                **a_mapping(limits, "limits", "a keypair policy's members")}]
        if known is None or known.project != project or role is not None or limits is not None:
            self._engine.load(document)
        made = self._users[domain, name] = User(cast("Cluster", self), name, domain, project, access_key, id)
        return made

    def session_group(self, name: str, placement: str = "spread", strict: bool = False, user: User | None = None) -> str:
        """Makes a group of a user's sessions that are to be on different agents ("spread") or on one ("pack"), or
        changes it. ``strict``: those that cannot be, wait. Returns the id that ``submit(session_group=...)`` takes."""
        owner = self._owner(user)
        id = make_id("session_group", owner.access_key, a_text(name, "name"))
        self._engine.load({"session_groups": [{
            "id": id, "domain_name": owner.domain, "project": self.project(owner.project, owner.domain),
            "owner": owner.id, "placement_direction": placement,
            "placement_enforcement": "strict" if a_truth(strict, "strict") else "preferred"}]})
        return id
